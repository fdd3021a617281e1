#!/usr/bin/env python3
"""Writes the golden values of the small U-Nets with transformers, unet_transformers.safetensors, in the format that
make_resnet_golden.py describes, and the listings `<class>.state_dict.txt` of their presets.

    /usr/bin/python3 tests/golden/make_unet_golden.py
"""
import json

import torch
from torch import nn
from torch.nn import functional

from make_golden import HERE, SHARED, write_safetensors
from make_resnet_golden import METADATA, TENSORS, SpatialTransformer, add, draw_state
from pytorch_models import Dense, GaussianFourierProjection, marginal_std

TIMES = torch.tensor([0.25, 0.875], dtype=torch.float64)


class PyramidPooling(nn.Module):
    def __init__(self, channels, width, sizes):
        super().__init__()
        self.sizes = sizes
        self.modlist = nn.ModuleList([nn.Sequential(nn.Identity(), nn.Conv2d(channels, width, 1)) for _ in sizes])
        self.out = nn.Conv2d(channels + len(sizes) * width, channels, 3, padding=1)

    def forward(self, x):
        parts = [x]
        for size, branch in zip(self.sizes, self.modlist):
            h = functional.leaky_relu(branch(functional.adaptive_avg_pool2d(x, size)))
            parts.append(functional.interpolate(h, x.shape[2:], mode="bilinear", align_corners=True))
        return self.out(torch.cat(parts, 1)).relu()


class TransformerUNet(nn.Module):
    """`condition` is "none", "classes" or "sequence"; `pools` the sizes of the pyramid's grids."""

    def __init__(self, pictures=1, channels=(32, 64, 128, 256), embed=256, padded=True, heads=1, condition="classes",
                 inputs=10, width=256, pools=(), ratio=2, first_groups=4, groups=32):
        super().__init__()
        self.padded, padding = padded, int(padded)
        c, context_width = channels, None if condition == "none" else width
        self.time_embed = nn.Sequential(GaussianFourierProjection(embed), nn.Linear(embed, embed))
        self.pools = bool(pools)
        if pools:
            for name, level in [("psp1", 0), ("psp2", 1), ("psp3", 2), ("psp4", 3), ("tpsp4", 2), ("tpsp3", 1), ("tpsp2", 0)]:
                setattr(self, name, PyramidPooling(c[level], ratio * c[level], pools))
        before = pictures
        for i in range(4):
            number = str(i + 1)
            setattr(self, "conv" + number, nn.Conv2d(before, c[i], 3, 2 if i else 1, padding, bias=False))
            setattr(self, "dense" + number, Dense(embed, c[i]))
            setattr(self, "gnorm" + number, nn.GroupNorm(groups if i else first_groups, c[i]))
            if i >= 2:
                setattr(self, "attn" + number, SpatialTransformer(c[i], context_width, heads))
            before = c[i]
        for i in (3, 2, 1):
            number = str(i + 1)
            setattr(self, "tconv" + number, nn.ConvTranspose2d(c[i], c[i - 1], 3, 2, padding, bias=False))
            setattr(self, "dense" + str(8 - i), Dense(embed, c[i - 1]))
            setattr(self, "tgnorm" + number, nn.GroupNorm(groups, c[i - 1]))
        self.tconv1 = nn.Conv2d(c[0], pictures, 3, padding=1) if padded else nn.ConvTranspose2d(c[0], pictures, 3)
        if condition == "classes":
            self.cond_embed = nn.Embedding(inputs, width)
        elif condition == "sequence":
            self.cond_embed = nn.Linear(inputs, width)

    def forward(self, x, y=None, null=()):
        """`null` lists the samples that are shown zeros."""
        e, context = functional.silu(self.time_embed(TIMES)), None
        if y is not None:
            context = self.cond_embed(y)
            if context.dim() == 2:
                context = context[:, None]
            keep = torch.ones(len(x), 1, 1, dtype=x.dtype)
            keep[list(null)] = 0
            context = context * keep

        def finish(h, norm, dense, pyramid):
            h = functional.silu(getattr(self, norm)(h + getattr(self, dense)(e)))
            return getattr(self, pyramid)(h) if self.pools else h

        seen, h = [], x
        for i in "1234":
            h = finish(getattr(self, "conv" + i)(h), "gnorm" + i, "dense" + i, "psp" + i)
            if i in "34":
                h = getattr(self, "attn" + i)(h, context)
            seen.append(h)
        h = seen.pop()
        for i, dense in zip("432", "567"):
            skip = seen.pop()
            h = getattr(self, "tconv" + i)(h, output_size=skip.shape[2:])
            h = finish(h, "tgnorm" + i, "dense" + dense, "tpsp" + i) + skip
        return self.tconv1(h) / marginal_std(TIMES)[:, None, None, None]


def main():
    small = dict(channels=(4, 8, 8, 8), embed=8, first_groups=2, groups=4)
    kinds = ["none", "classes", "sequence"]
    for index, (padded, pictures, h, w, heads, condition, length, pools, ratio, null) in enumerate([
            (False, 2, 18, 21, 1, "classes", 1, (), 2, False), (False, 1, 17, 20, 2, "none", 0, (), 2, False),
            (True, 3, 9, 13, 2, "classes", 1, (), 2, True), (True, 1, 8, 8, 1, "classes", 1, (4, 2, 1), 2, False),
            (True, 3, 11, 7, 2, "none", 0, (5, 2, 1), 1, False), (True, 3, 10, 9, 2, "sequence", 3, (), 2, True),
            (True, 1, 7, 5, 1, "sequence", 1, (3, 1, 1), 2, False), (True, 1, 1, 3, 1, "sequence", 4, (), 2, False)]):
        name = "unet_transformer_%d" % index
        model = draw_state(TransformerUNet(pictures, padded=padded, heads=heads, condition=condition, inputs=5, width=6,
                                           pools=pools, ratio=ratio, **small))
        config = dict(padded=padded, pictures=pictures, height=h, columns=w, heads=heads, condition=kinds.index(condition),
                      inputs=5, width=6, length=length, ratio=ratio, null=null)
        config.update(("p%d" % i, size) for i, size in enumerate(pools))
        inputs, fixed = {"x": (2, pictures, h, w)}, {"null": (1,) if null else ()}
        if condition == "sequence":
            inputs["y"] = (2, length, 5)
        elif condition == "classes":
            fixed["y"] = torch.tensor([3, 1])
        add(name, config, model, lambda **leaves: model(**leaves, **fixed), inputs)
    write_safetensors(HERE / "unet_transformers.safetensors", TENSORS, METADATA)
    for name, settings in [("UNet_Tranformer", dict(padded=False)), ("UNet_Tranformer_Arch", {}),
                           ("UNet_Tranformer_Arch_psp", dict(pools=(16, 8, 4))),
                           ("UNet_Tranformer_Arch_Embeding", dict(condition="sequence", inputs=512, width=512))]:
        shapes = {key: list(value.shape) for key, value in TransformerUNet(**settings).state_dict().items()}
        reference = SHARED / (name + ".json")
        if reference.exists():
            assert list(shapes.items()) == list(json.loads(reference.read_text())["parameters"].items()), name
        (HERE / (name + ".state_dict.txt")).write_text("".join("%s %s\n" % item for item in shapes.items()))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
