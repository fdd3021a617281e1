"""The original's networks in PyTorch, with its parameter names: what golden values and the comparison of speed are made from.

Written from what each class computes. `check_against_listing` holds names, shapes and order of a module's state_dict
against a listing {"parameters": {name: shape}}; `main` does so for all of them, and compares outputs with stored ones:

    /usr/bin/python3 tests/golden/pytorch_models.py
"""
import json
import math
import pathlib
import struct
import sys

import torch
from torch import nn
from torch.nn import functional

SHARED = pathlib.Path(__file__).resolve().parent.parent.parent.parent / "shared" / "reference"


def marginal_std(t, sigma=25.0):
    return torch.sqrt((sigma ** (2 * t) - 1) / 2 / math.log(sigma))


class GaussianFourierProjection(nn.Module):
    def __init__(self, width, scale=30.0):
        super().__init__()
        self.W = nn.Parameter(torch.randn(width // 2) * scale, requires_grad=False)

    def forward(self, t):
        angle = t[:, None] * self.W[None, :] * 2 * math.pi
        return torch.cat([torch.sin(angle), torch.cos(angle)], dim=-1)


class Dense(nn.Module):
    """A linear map of the embedding, to be added to every pixel."""

    def __init__(self, width, channels):
        super().__init__()
        self.dense = nn.Linear(width, channels)

    def forward(self, e):
        return self.dense(e)[:, :, None, None]


# --- attention -------------------------------------------------------------------------------------------------

class Attention(nn.Module):
    """Attention of the tokens to the context, or to themselves without one; no biases."""

    def __init__(self, width, context_width=None, heads=1):
        super().__init__()
        self.heads, source = heads, context_width or width
        self.from_context = context_width is not None
        self.query, self.cancat = nn.Linear(width, width, bias=False), nn.Linear(width, width, bias=False)
        self.key, self.value = nn.Linear(source, width, bias=False), nn.Linear(source, width, bias=False)

    def split(self, x):
        return x.reshape(x.shape[0], x.shape[1], self.heads, -1).transpose(1, 2)

    def forward(self, tokens, context=None):
        source = context if self.from_context else tokens
        q, k, v = self.split(self.query(tokens)), self.split(self.key(source)), self.split(self.value(source))
        weights = torch.softmax(q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1]), dim=-1)
        return self.cancat((weights @ v).transpose(1, 2).reshape(tokens.shape))


class Transformer(nn.Module):
    """Self-attention, attention to the context and two linear layers, each on a normalised input and added to it."""

    def __init__(self, width, context_width, heads=1):
        super().__init__()
        self.attn_self, self.attn_cross = Attention(width, None, heads), Attention(width, context_width, heads)
        self.norm1, self.norm2, self.norm3 = nn.LayerNorm(width), nn.LayerNorm(width), nn.LayerNorm(width)
        self.ffn = nn.Sequential(nn.Linear(width, 3 * width), nn.GELU(), nn.Linear(3 * width, width))

    def forward(self, x, context=None):
        x = x + self.attn_self(self.norm1(x))
        x = x + self.attn_cross(self.norm2(x), context)
        return x + self.ffn(self.norm3(x))


class SpatialTransformer(nn.Module):
    """The transformer over the pixels of a picture, and the picture once more."""

    def __init__(self, channels, context_width, heads=1):
        super().__init__()
        self.transformer = Transformer(channels, context_width, heads)

    def forward(self, x, context=None):
        tokens = self.transformer(x.flatten(2).transpose(1, 2), context)
        return x + tokens.transpose(1, 2).reshape(x.shape)


# --- the small networks -----------------------------------------------------------------------------------------

class SmallUNet(nn.Module):
    """Four unpadded convolutions and their transposes: `UNet` (skips concatenated), `UNet_res` (added), and with
    `transformers` `UNet_Tranformer` (added)."""

    def __init__(self, residual, channels=(32, 64, 128, 256), embed_dim=256, pictures=1, first_groups=4, groups=32,
                 transformers=False, text_dim=256, classes=10, heads=1):
        super().__init__()
        self.residual = residual
        self.time_embed = nn.Sequential(GaussianFourierProjection(embed_dim), nn.Linear(embed_dim, embed_dim))
        joined = 1 if residual else 2
        widths = (pictures,) + tuple(channels)
        for level in (1, 2, 3, 4):
            self.add_module("conv%d" % level, nn.Conv2d(widths[level - 1], widths[level], 3, 1 if level == 1 else 2, bias=False))
            self.add_module("dense%d" % level, Dense(embed_dim, widths[level]))
            self.add_module("gnorm%d" % level, nn.GroupNorm(first_groups if level == 1 else groups, widths[level]))
            if transformers and level >= 3:
                self.add_module("attn%d" % level, SpatialTransformer(widths[level], text_dim, heads))
        for number, level in ((5, 4), (6, 3), (7, 2)):
            inputs = widths[level] * (1 if level == 4 else joined)
            self.add_module("tconv%d" % level, nn.ConvTranspose2d(inputs, widths[level - 1], 3, 2, bias=False))
            self.add_module("dense%d" % number, Dense(embed_dim, widths[level - 1]))
            self.add_module("tgnorm%d" % level, nn.GroupNorm(groups, widths[level - 1]))
        self.tconv1 = nn.ConvTranspose2d(joined * channels[0], pictures, 3, 1)
        self.transformers = transformers
        if transformers and text_dim is not None:
            self.cond_embed = nn.Embedding(classes, text_dim)

    def attend(self, level, h, context):
        return getattr(self, "attn%d" % level)(h, context) if self.transformers and level >= 3 else h

    def join(self, h, skip):
        return h + skip if self.residual else torch.cat([h, skip], 1)

    def forward(self, x, t, y=None):
        silu, part = functional.silu, lambda name: getattr(self, name)
        context = self.cond_embed(y)[:, None, :] if y is not None else None
        e = silu(self.time_embed(t))
        h, seen = x, []
        for level in (1, 2, 3, 4):
            h = part("conv%d" % level)(h) + part("dense%d" % level)(e)
            h = self.attend(level, silu(part("gnorm%d" % level)(h)), context)
            seen.append(h)
        for number, level in ((5, 4), (6, 3), (7, 2)):
            skip = seen[level - 2]
            h = transposed_to(part("tconv%d" % level), h, skip) + part("dense%d" % number)(e)
            h = self.join(silu(part("tgnorm%d" % level)(h)), skip)
        return self.tconv1(h) / marginal_std(t)[:, None, None, None]


def transposed_to(layer, x, like):
    """A transposed convolution without padding to the size of `like`."""
    extra = [int(like.shape[i]) - (int(x.shape[i]) - 1) * layer.stride[0] - layer.kernel_size[0] for i in (2, 3)]
    return functional.conv_transpose2d(x, layer.weight, layer.bias, layer.stride, 0, extra)


def UNet(**settings):
    return SmallUNet(False, **settings)


def UNet_res(**settings):
    return SmallUNet(True, **settings)


def UNet_Tranformer(**settings):
    return SmallUNet(True, transformers=True, **settings)


# --- the large network ------------------------------------------------------------------------------------------

class ResBlock(nn.Module):
    """One convolution with the time added behind it. `h_func` is in the state_dict, under two names, and never used."""

    def __init__(self, inputs, embed_dim, outputs):
        super().__init__()
        self.h_func = self.x_func = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.in_layers = nn.Sequential(nn.GroupNorm(32, inputs), nn.SiLU(), nn.Conv2d(inputs, outputs, 3, padding=1))
        self.time_embe = nn.Sequential(nn.SiLU(), nn.Linear(embed_dim, outputs))
        self.out_layers = nn.Sequential(nn.GroupNorm(32, outputs), nn.SiLU())
        self.skip_connection = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1)

    def forward(self, x, e):
        return self.skip_connection(x) + self.out_layers(self.in_layers(x) + self.time_embe(e)[:, :, None, None])


class Down(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.op = nn.Conv2d(channels, channels, 3, 2, 1)

    def forward(self, x):
        return self.op(x)


class Up(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x):
        return self.conv(functional.interpolate(x, scale_factor=2, mode="nearest"))


class Stage(nn.Sequential):
    """Layers in a row; residual blocks are given the time, transformers the context."""

    def forward(self, x, e, context):
        for layer in self:
            x = layer(x, e) if isinstance(layer, ResBlock) else layer(x, context) if isinstance(layer, SpatialTransformer) else layer(x)
        return x


class LargeUNet(nn.Module):
    """`UNetTransformerArchResBlockEmbeding`: Fourier features of the time, a class embedding as context. With
    `sinusoidal` it is `UNetTransformerArchResBlock`: sinusoidal features and two linear layers, a sequence [N, L,
    context_embeding] as context, and no division by the standard deviation."""

    def __init__(self, in_channels=1, model_channels=32, channels=(32, 64, 128, 256), embed_dim=256, res_num=2,
                 context_dim=512, nclass=10, num_heads=1, sinusoidal=False, context_embeding=512):
        super().__init__()
        self.sinusoidal, self.embed_dim = sinusoidal, embed_dim
        if sinusoidal:
            self.temb = nn.Module()
            self.temb.dense = nn.ModuleList([nn.Linear(embed_dim, embed_dim), nn.Linear(embed_dim, embed_dim)])
        else:
            self.time_embed = nn.Sequential(GaussianFourierProjection(embed_dim), nn.Linear(embed_dim, embed_dim))

        def blocks(inputs, level):
            layers = [ResBlock(inputs, embed_dim, channels[level])]
            return layers + [SpatialTransformer(channels[level], context_dim, num_heads)] if level > 0 else layers

        down, seen, width = [Stage(nn.Conv2d(in_channels, model_channels, 3, padding=1))], [model_channels], model_channels
        for level, outputs in enumerate(channels):
            for _ in range(res_num):
                down.append(Stage(*blocks(width, level)))
                width = outputs
                seen.append(width)
            down.append(Stage(Down(width)))
            seen.append(width)
        self.first_block = nn.ModuleList(down)
        self.middle_block = Stage(ResBlock(width, embed_dim, width), SpatialTransformer(width, context_dim, num_heads),
                                  ResBlock(width, embed_dim, width))
        up = []
        for level in reversed(range(len(channels))):
            for i in range(res_num + 1):
                layers = blocks(width + seen.pop(), level)
                width = channels[level]
                up.append(Stage(*layers, *([Up(width)] if i == 0 else [])))
        self.last_block = nn.ModuleList(up)
        self.out = nn.Sequential(nn.GroupNorm(32, width), nn.SiLU(),
                                 nn.Conv2d(model_channels, in_channels, 3, padding=1, bias=False))
        self.cond_embed = nn.Linear(context_embeding, context_dim) if sinusoidal else nn.Embedding(nclass, context_dim)

    def embed(self, t):
        if not self.sinusoidal:
            return self.time_embed(t)
        half = self.embed_dim // 2
        frequencies = torch.exp(torch.arange(half, dtype=t.dtype) * (-math.log(10000) / (half - 1)))
        angle = t[:, None] * frequencies[None, :]
        first, second = self.temb.dense
        return second(functional.silu(first(torch.cat([torch.sin(angle), torch.cos(angle)], 1))))

    def forward(self, x, t, y):
        e = self.embed(t)
        context = self.cond_embed(y) if self.sinusoidal else self.cond_embed(y)[:, None, :]
        h, seen = x, []
        for stage in self.first_block:
            h = stage(h, e, context)
            seen.append(h)
        h = self.middle_block(h, e, context)
        for stage in self.last_block:
            h = stage(torch.cat([h, seen.pop()], 1), e, context)
        h = self.out(h)
        return h if self.sinusoidal else h / marginal_std(t)[:, None, None, None]


def UNetTransformerArchResBlockEmbeding(**settings):
    return LargeUNet(**settings)


def UNetTransformerArchResBlock(**settings):
    return LargeUNet(sinusoidal=True, **settings)


# --- held against what is stored ----------------------------------------------------------------------------------

def check_against_listing(module, path):
    """Names, shapes and their order; nothing where there is no such file."""
    if path.exists():
        want = json.loads(path.read_text())["parameters"]
        got = {name: list(value.shape) for name, value in module.state_dict().items()}
        assert list(got.items()) == list(want.items()), path.name


def read_safetensors(path):
    data = path.read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:8 + length])
    kinds = {"F32": torch.float32, "F64": torch.float64, "I64": torch.int64, "I32": torch.int32}
    tensors = {}
    for name, entry in header.items():
        if name != "__metadata__":
            first, last = entry["data_offsets"]
            flat = torch.frombuffer(bytearray(data[8 + length + first:8 + length + last]), dtype=kinds[entry["dtype"]])
            tensors[name] = flat.reshape(entry["shape"])
    return tensors


def check_against_case(make, case):
    folder = SHARED / case
    if not folder.exists():
        return
    config = json.loads((folder / "config.json").read_text())
    renamed = {"nClass": "classes", "num_heads": "heads"} if "embeding" not in case and "arch" not in case else {}
    settings = {renamed.get(key, key): value for key, value in config.items() if key not in ("architecture", "sigma")}
    module = make(**settings).eval()
    module.load_state_dict(read_safetensors(folder / "weights.safetensors"))
    module.double()
    inputs = read_safetensors(folder / "inputs.safetensors")
    arguments = {key: value if value.dtype == torch.int64 else value.double() for key, value in inputs.items() if key in "xty"}
    if renamed and "y" in arguments:
        arguments["y"] = arguments["y"].long()
    with torch.no_grad():
        got = module(**arguments)
    want = read_safetensors(folder / "outputs_f64.safetensors")["output"]
    error = float((got - want).abs().max() / want.abs().max())
    print(case, "differs by", error)
    assert error < 1e-8, case


def main():
    listings = SHARED / "state_dicts"
    for make in (UNet, UNet_res, UNet_Tranformer, UNetTransformerArchResBlock, UNetTransformerArchResBlockEmbeding):
        check_against_listing(make(), listings / (make.__name__ + ".json"))
    check_against_case(UNet, "unet")
    check_against_case(UNet_Tranformer, "unet_transformer")
    check_against_case(UNetTransformerArchResBlock, "unet_transformer_arch_resblock")


if __name__ == "__main__":
    sys.exit(main())
