#!/usr/bin/env python3
"""Writes the golden values of the residual models: blocks, U-Nets and autoencoders, computed by PyTorch in double from
modules that follow the original's structure and names.

    /usr/bin/python3 tests/golden/make_resnet_golden.py

Parameters and inputs are not stored: both sides draw them by name, see `drawn` (in C++ tests/support/drawn.hpp). In
resnet.safetensors `<case>/y` is the output, `<case>/grad.x` and the like the gradients of inputs of sum(w * output), and
`<case>/sums` three sums of each parameter's gradient, each weighted by a drawn tensor. Layouts are PyTorch's.
The metadata gives each case's configuration as "key=value key=value".

Also writes `<class>.state_dict.txt`, the names and shapes of each preset.
"""
import json
import math

import numpy
import torch
from torch import nn
from torch.nn import functional

from make_golden import HERE, SHARED, write_safetensors
from pytorch_models import GaussianFourierProjection, marginal_std


# --- numbers by name -------------------------------------------------------------------------------------------

def mix(z):
    """The finaliser of splitmix64."""
    z = (z ^ (z >> numpy.uint64(30))) * numpy.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> numpy.uint64(27))) * numpy.uint64(0x94D049BB133111EB)
    return z ^ (z >> numpy.uint64(31))


def drawn(name, shape):
    """Uniform in [-1, 1), 20 bits: exact in float and double."""
    key = 0xCBF29CE484222325  # FNV-1a of the name
    for byte in name.encode():
        key = (key ^ byte) * 0x100000001B3 % 2 ** 64
    count = math.prod(shape)
    with numpy.errstate(over="ignore"):
        words = mix(numpy.uint64(key) + numpy.arange(1, count + 1, dtype=numpy.uint64) * numpy.uint64(0x9E3779B97F4A7C15))
    values = (words >> numpy.uint64(44)).astype(numpy.float64) / 2 ** 19 - 1
    return torch.from_numpy(values).reshape(tuple(shape))


def draw_state(module):
    """Sets every entry of the state: matrices and kernels near the size that keeps activations near 1 (a power of two),
    vectors near 0, gains and variances near 1."""
    module.double()
    with torch.no_grad():
        for name, entry in module.state_dict().items():
            if not entry.is_floating_point():
                entry.fill_(3)
                continue
            u = drawn(name, entry.shape)
            last = name.rsplit(".", 1)[-1]
            if last == "W":
                entry.copy_(u)
            elif entry.dim() > 1:
                entry.copy_(u * 2.0 ** -math.floor(0.5 * math.log2(max(1, entry[0].numel())) - 0.5))
            else:
                entry.copy_(u * 0.5 + (1 if last in ("weight", "running_var") else 0))
    return module


# --- blocks ----------------------------------------------------------------------------------------------------

def sinusoidal(t, width):
    half = width // 2
    frequencies = torch.exp(torch.arange(half, dtype=t.dtype) * (-math.log(10000) / (half - 1)))
    angles = t[:, None] * frequencies
    return functional.pad(torch.cat([angles.sin(), angles.cos()], 1), (0, width % 2))


class Upsample(nn.Module):
    def __init__(self, channels, convolve=True):
        super().__init__()
        if convolve:
            self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x):
        x = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
        return self.conv(x) if hasattr(self, "conv") else x


class Downsample(nn.Module):
    def __init__(self, channels, convolve=True):
        super().__init__()
        self.op = nn.Conv2d(channels, channels, 3, 2, 1) if convolve else nn.AvgPool2d(2)

    def forward(self, x):
        return self.op(x)


class ResBlock(nn.Module):
    def __init__(self, cin, cout, embed, resample="none", groups=32):
        super().__init__()
        if resample == "none":
            self.h_func = self.x_func = nn.Conv2d(cin, cout, 3, padding=1)  # never used
        else:
            kind = {"up": Upsample, "down": Downsample}[resample]
            self.h_func, self.x_func = kind(cin), kind(cin)
        self.resample = resample != "none"
        self.in_layers = nn.Sequential(nn.GroupNorm(groups, cin), nn.SiLU(), nn.Conv2d(cin, cout, 3, padding=1))
        self.time_embe = nn.Sequential(nn.SiLU(), nn.Linear(embed, cout))
        self.out_layers = nn.Sequential(nn.GroupNorm(groups, cout), nn.SiLU())
        self.skip_connection = nn.Identity() if cin == cout else nn.Conv2d(cin, cout, 1)

    def forward(self, x, embedding):
        h = self.in_layers[:2](x)
        if self.resample:
            h, x = self.h_func(h), self.x_func(x)
        h = self.in_layers[2](h) + self.time_embe(embedding)[:, :, None, None]
        return self.out_layers(h) + self.skip_connection(x)


class ResBlock2(nn.Module):
    def __init__(self, cin, cout, embed=0, wide=False, groups=32):
        super().__init__()
        self.norm1, self.conv1 = nn.GroupNorm(groups, cin, eps=1e-6), nn.Conv2d(cin, cout, 3, padding=1)
        if embed:
            self.temb_proj = nn.Linear(embed, cout)
        self.norm2, self.conv2 = nn.GroupNorm(groups, cout, eps=1e-6), nn.Conv2d(cout, cout, 3, padding=1)
        self.act = nn.SiLU()
        self.shortcut = None
        if cin != cout:
            self.shortcut = "conv_shortcut" if wide else "nin_shortcut"
            setattr(self, self.shortcut, nn.Conv2d(cin, cout, 3, padding=1) if wide else nn.Conv2d(cin, cout, 1))

    def forward(self, x, embedding=None):
        h = self.conv1(functional.silu(self.norm1(x)))
        if embedding is not None:
            h = h + self.temb_proj(self.act(embedding))[:, :, None, None]
        h = self.conv2(functional.silu(self.norm2(h)))
        return h + (getattr(self, self.shortcut)(x) if self.shortcut else x)


class Attention(nn.Module):
    """Heads are runs of channels; queries and keys from tokens and context; no biases."""

    def __init__(self, width, context_width, heads):
        super().__init__()
        self.heads, self.own = heads, context_width is None
        self.query, self.cancat = nn.Linear(width, width, bias=False), nn.Linear(width, width, bias=False)
        self.key = nn.Linear(context_width or width, width, bias=False)
        self.value = nn.Linear(context_width or width, width, bias=False)

    def forward(self, tokens, context=None):
        context = tokens if self.own else context
        q, k, v = (z.unflatten(2, (self.heads, -1)).transpose(1, 2)
                   for z in (self.query(tokens), self.key(context), self.value(context)))
        scores = q @ k.transpose(2, 3) / math.sqrt(q.shape[-1])
        return self.cancat((scores.softmax(3) @ v).transpose(1, 2).flatten(2))


class TransformerBlock(nn.Module):
    def __init__(self, width, context_width, heads):
        super().__init__()
        self.attn_self, self.attn_cross = Attention(width, None, heads), Attention(width, context_width, heads)
        self.norm1, self.norm2, self.norm3 = nn.LayerNorm(width), nn.LayerNorm(width), nn.LayerNorm(width)
        self.ffn = nn.Sequential(nn.Linear(width, 3 * width), nn.GELU(), nn.Linear(3 * width, width))

    def forward(self, x, context):
        x = x + self.attn_self(self.norm1(x))
        x = x + self.attn_cross(self.norm2(x), context)
        return x + self.ffn(self.norm3(x))


class SpatialTransformer(nn.Module):
    def __init__(self, width, context_width, heads):
        super().__init__()
        self.transformer = TransformerBlock(width, context_width, heads)

    def forward(self, x, context):
        tokens = x.flatten(2).transpose(1, 2)
        return x + self.transformer(tokens, context).transpose(1, 2).unflatten(2, x.shape[2:])


class AttnBlock(nn.Module):
    def __init__(self, channels, groups=32):
        super().__init__()
        self.norm = nn.GroupNorm(groups, channels, eps=1e-6)
        self.q, self.k, self.v, self.proj_out = (nn.Conv2d(channels, channels, 1) for _ in range(4))

    def forward(self, x):
        h = self.norm(x)
        q, k, v = (layer(h).flatten(2).transpose(1, 2) for layer in (self.q, self.k, self.v))
        h = (q @ k.transpose(1, 2) / math.sqrt(q.shape[2])).softmax(2) @ v
        return x + self.proj_out(h.transpose(1, 2).unflatten(2, x.shape[2:]))


# --- U-Nets ----------------------------------------------------------------------------------------------------

class Steps(nn.Sequential):
    def forward(self, x, embedding, context):
        for layer in self:
            if isinstance(layer, (ResBlock, ResBlock2)):
                x = layer(x, embedding)
            elif isinstance(layer, SpatialTransformer):
                x = layer(x, context)
            else:
                x = layer(x)
        return x


class ResUNet(nn.Module):
    """`condition` is "none", "classes" or "sequence"; `attention` the divisors of the picture's size where there is a
    transformer, or None for every level but the first."""

    def __init__(self, pictures=1, model_channels=32, channels=(32, 64, 128, 256), blocks=2, two=False, embed=256,
                 fourier=False, heads=1, attention=None, condition="sequence", inputs=512, width=512, halve_last=True,
                 resample_blocks=False, convolved=True, groups=32):
        super().__init__()
        self.embed, self.fourier = embed, fourier
        if fourier:
            self.time_embed = nn.Sequential(GaussianFourierProjection(embed), nn.Linear(embed, embed))
        else:
            self.temb = nn.Module()
            self.temb.dense = nn.ModuleList([nn.Linear(embed, embed), nn.Linear(embed, embed)])
        context_width = None if condition == "none" else width

        def block(cin, cout):
            return ResBlock2(cin, cout, embed, groups=groups) if two else ResBlock(cin, cout, embed, groups=groups)

        def transformer(level, ch):
            here = level > 0 if attention is None else 2 ** level in attention
            return [SpatialTransformer(ch, context_width, heads)] if here else []

        def resized(ch, way):
            if resample_blocks:
                return ResBlock(ch, ch, embed, way, groups)
            return (Upsample if way == "up" else Downsample)(ch, convolved)

        ch, seen = model_channels, [model_channels]
        down = [Steps(nn.Conv2d(pictures, ch, 3, padding=1))]
        for level, cout in enumerate(channels):
            for _ in range(blocks):
                down.append(Steps(block(ch, cout), *transformer(level, cout)))
                ch = cout
                seen.append(ch)
            if halve_last or level + 1 < len(channels):
                down.append(Steps(resized(ch, "down")))
                seen.append(ch)
        self.first_block = nn.ModuleList(down)
        self.middle_block = Steps(block(ch, ch), SpatialTransformer(ch, context_width, heads), block(ch, ch))
        up = []
        for level, cout in reversed(list(enumerate(channels))):
            for i in range(blocks + 1):
                layers = [block(ch + seen.pop(), cout), *transformer(level, cout)]
                ch = cout
                if (i == 0) if halve_last else (level > 0 and i == blocks):
                    layers.append(resized(ch, "up"))
                up.append(Steps(*layers))
        self.up_name = "last_block" if halve_last else "output_blocks"
        setattr(self, self.up_name, nn.ModuleList(up))
        self.out = nn.Sequential(nn.GroupNorm(groups, ch), nn.SiLU(), nn.Conv2d(ch, pictures, 3, padding=1, bias=False))
        if condition == "classes":
            self.cond_embed = nn.Embedding(inputs, width)
        elif condition == "sequence":
            self.cond_embed = nn.Linear(inputs, width)

    def forward(self, x, t, y=None, null=()):
        """`null` lists the samples that are shown zeros."""
        if self.fourier:
            embedding = self.time_embed(t)
        else:
            embedding = self.temb.dense[1](functional.silu(self.temb.dense[0](sinusoidal(t, self.embed))))
        context = None
        if y is not None:
            context = self.cond_embed(y)
            if context.dim() == 2:
                context = context[:, None]
            keep = torch.ones(len(x), 1, 1, dtype=x.dtype)
            keep[list(null)] = 0
            context = context * keep
        seen, h = [], x
        for step in self.first_block:
            h = step(h, embedding, context)
            seen.append(h)
        h = self.middle_block(h, embedding, context)
        for step in getattr(self, self.up_name):
            h = step(torch.cat([h, seen.pop()], 1), embedding, context)
        return self.out(h) / marginal_std(t)[:, None, None, None]


# --- autoencoders ----------------------------------------------------------------------------------------------

class Level(nn.Module):
    def __init__(self, blocks, attention, resample):
        super().__init__()
        self.block, self.attn = nn.ModuleList(blocks), nn.ModuleList(attention)
        if resample is not None:
            setattr(self, *resample)
        self.resample = resample[0] if resample is not None else None

    def forward(self, h):
        for i, block in enumerate(self.block):
            h = block(h)
            if len(self.attn) > 0:
                h = self.attn[i](h)
        return getattr(self, self.resample)(h) if self.resample else h


class Coder(nn.Module):
    """Encoder, or decoder with `up`."""

    def __init__(self, up, cin, cout, ch, mult, blocks, attention, resolution, groups=32):
        super().__init__()
        levels = len(mult)
        order = list(range(levels))[::-1] if up else list(range(levels))
        now = ch * mult[-1] if up else ch
        size = resolution >> (levels - 1) if up else resolution
        self.conv_in = nn.Conv2d(cin, now, 3, padding=1)
        made = {}
        for level in order:
            here, attn = [], []
            for _ in range(blocks + 1 if up else blocks):
                here.append(ResBlock2(now, ch * mult[level], groups=groups))
                now = ch * mult[level]
                if size in attention:
                    attn.append(AttnBlock(now, groups))
            resample = None
            if level != order[-1]:
                resample = ("upsample", Upsample(now)) if up else ("downsample", Downsample(now))
                size = size * 2 if up else size // 2
            made[level] = Level(here, attn, resample)
        stack = nn.ModuleList([made[level] for level in range(levels)])
        middle_channels = ch * mult[-1]
        middle = nn.Module()
        middle.block_1, middle.attn_1 = ResBlock2(middle_channels, middle_channels, groups=groups), AttnBlock(middle_channels, groups)
        middle.block_2 = ResBlock2(middle_channels, middle_channels, groups=groups)
        if up:
            self.mid, self.up = middle, stack
        else:
            self.down, self.mid = stack, middle
        self.norm_out, self.conv_out = nn.GroupNorm(groups, now, eps=1e-6), nn.Conv2d(now, cout, 3, padding=1)
        self.is_up = up

    def middle(self, h):
        return self.mid.block_2(self.mid.attn_1(self.mid.block_1(h)))

    def forward(self, x):
        h = self.conv_in(x)
        if self.is_up:
            h = self.middle(h)
            for level in reversed(self.up):
                h = level(h)
        else:
            for level in self.down:
                h = level(h)
            h = self.middle(h)
        return self.conv_out(functional.silu(self.norm_out(h)))


class AutoEncoderKL(nn.Module):
    def __init__(self, pictures=3, z_channels=4, embed=4, ch=128, mult=(1, 2, 4, 4), blocks=2, attention=(),
                 resolution=256, groups=32):
        super().__init__()
        self.encoder = Coder(False, pictures, 2 * z_channels, ch, mult, blocks, attention, resolution, groups)
        self.decoder = Coder(True, z_channels, pictures, ch, mult, blocks, attention, resolution, groups)
        self.quant_conv, self.post_quant_conv = nn.Conv2d(2 * z_channels, 2 * embed, 1), nn.Conv2d(embed, z_channels, 1)

    def forward(self, x):
        mean = self.quant_conv(self.encoder(x)).chunk(2, 1)[0]
        return self.decoder(self.post_quant_conv(mean))


class SimpleAutoEncoder(nn.Module):
    def __init__(self, pictures=1, channels=(4, 8, 32)):
        super().__init__()
        a, b, c = channels
        self.encoder = nn.Sequential(nn.Conv2d(pictures, a, 3), nn.BatchNorm2d(a), nn.SiLU(), nn.Conv2d(a, b, 3, 2),
                                     nn.BatchNorm2d(b), nn.SiLU(), nn.Conv2d(b, c, 3), nn.BatchNorm2d(c))
        self.decoder = nn.Sequential(nn.ConvTranspose2d(c, b, 3), nn.BatchNorm2d(b), nn.SiLU(),
                                     nn.ConvTranspose2d(b, a, 3, 2, output_padding=1), nn.BatchNorm2d(a), nn.SiLU(),
                                     nn.ConvTranspose2d(a, pictures, 3), nn.Sigmoid())

    def forward(self, x):
        return self.decoder(self.encoder(x))


# --- cases -----------------------------------------------------------------------------------------------------

TENSORS, METADATA = {}, {}


def add(name, config, module, call, inputs, extra=()):
    """`inputs` maps a name to a shape, of a drawn input with a gradient; `extra` maps names to results of `call`'s module."""
    leaves = {key: (drawn(name + "/" + key, shape) * 2).requires_grad_() for key, shape in inputs.items()}
    y = call(**leaves)
    (drawn(name + "/w", y.shape) * y).sum().backward()
    METADATA[name] = " ".join("%s=%d" % item for item in config.items())
    TENSORS[name + "/y"] = y
    for key, leaf in leaves.items():
        TENSORS["%s/grad.%s" % (name, key)] = leaf.grad
    sums = [torch.stack([(drawn("%s#%d" % (key, i), parameter.shape) * parameter.grad).sum() for i in range(3)])
            for key, parameter in module.named_parameters() if parameter.grad is not None]
    if sums:
        TENSORS[name + "/sums"] = torch.stack(sums)
    for key in extra:
        TENSORS["%s/%s" % (name, key)] = module.state_dict()[key].double()


class Plain(nn.Module):
    """A function without parameters."""


def blocks():
    for index, width in enumerate([8, 5]):
        add("sinusoidal_%d" % index, dict(width=width), Plain(), lambda t: sinusoidal(t, width), {"t": (3,)})
    for index, convolve in enumerate([1, 0]):
        layer = draw_state(Upsample(5, convolve))
        add("upsample_%d" % index, dict(channels=5, convolve=convolve), layer, layer, {"x": (2, 5, 3, 4)})
        layer = draw_state(Downsample(5, convolve))
        add("downsample_%d" % index, dict(channels=5, convolve=convolve), layer, layer, {"x": (2, 5, 7, 6)})
    for index, (cin, cout, resample) in enumerate([(6, 9, "none"), (6, 6, "none"), (6, 9, "up"), (6, 6, "up"),
                                                   (9, 6, "down"), (6, 6, "down")]):
        layer = draw_state(ResBlock(cin, cout, 7, resample, groups=3))
        layer.time_embe[0] = nn.Identity()  # the library's blocks are told the embedding after its SiLU
        config = dict(cin=cin, cout=cout, embed=7, resample=["none", "up", "down"].index(resample), groups=3)
        add("res_block_%d" % index, config, layer, lambda x, e: layer(x, e), {"x": (2, cin, 5, 4), "e": (2, 7)})
    for index, (cin, cout, embed, wide) in enumerate([(6, 9, 7, 0), (6, 6, 7, 0), (9, 6, 0, 0), (6, 9, 0, 1)]):
        layer = draw_state(ResBlock2(cin, cout, embed, wide, groups=3))
        layer.act = nn.Identity()
        config = dict(cin=cin, cout=cout, embed=embed, wide=wide, groups=3)
        inputs = {"x": (2, cin, 5, 4)}
        if embed:
            inputs["e"] = (2, embed)
        add("block2_%d" % index, config, layer, lambda x, e=None: layer(x, e), inputs)


def unets():
    times = torch.tensor([0.25, 0.875], dtype=torch.float64)
    small = dict(pictures=2, model_channels=4, embed=6, groups=2)
    for name, config, size in [
            ("arch", dict(channels=(4, 8), blocks=1, heads=2, inputs=5, width=6), (8, 12)),
            ("arch_null", dict(channels=(4, 8), blocks=1, heads=1, inputs=5, width=6), (4, 8)),
            ("arch_levels", dict(channels=(4, 6, 8), blocks=1, heads=2, inputs=3, width=4), (8, 8)),
            ("arch_none", dict(channels=(4, 8), blocks=2, heads=4, condition="none"), (8, 4)),
            ("arch2", dict(channels=(4, 8), blocks=1, heads=2, inputs=5, width=6, two=True), (4, 8)),
            ("arch2_mixed", dict(channels=(4, 8), blocks=1, inputs=5, width=6, two=True, resample_blocks=True), (4, 4)),
            ("embedding", dict(channels=(4, 8), blocks=2, fourier=True, condition="classes", inputs=4, width=6), (8, 8)),
            ("embedding_blocks", dict(channels=(4, 8), blocks=1, heads=2, fourier=True, condition="classes", inputs=4,
                                      width=6, resample_blocks=True), (8, 4)),
            ("ratios", dict(channels=(4, 8, 12), blocks=2, heads=2, fourier=True, inputs=5, width=6, halve_last=False,
                            attention=(1, 4)), (4, 12)),
            ("ratios_means", dict(channels=(4, 8), blocks=3, heads=4, fourier=True, inputs=5, width=6, halve_last=False,
                                  attention=(2,), convolved=False), (6, 10))]:
        config = {**small, **config}
        model = draw_state(ResUNet(**config))
        null = (1,) if name.endswith("null") else ()
        inputs = {"x": (2, 2, *size)}
        condition = config.get("condition", "sequence")
        if condition == "sequence":
            inputs["y"] = (2, 3, config["inputs"])
        classes = torch.tensor([3, 1]) if condition == "classes" else None
        case = "res_unet_" + name
        add(case, {}, model, lambda x, y=classes: model(x, times, y, null), inputs)
        plain = {key: int(value) for key, value in config.items() if isinstance(value, (int, bool))}
        plain["condition"] = ["none", "classes", "sequence"].index(condition)
        for key, values in (("c", config["channels"]), ("a", config.get("attention") or ())):
            plain.update({"%s%d" % (key, i): value for i, value in enumerate(values)})
        plain.update(null=len(null), height=size[0], columns=size[1])
        METADATA[case] = " ".join("%s=%d" % item for item in plain.items())


def autoencoders():
    for name, config, size in [
            ("middle", dict(ch=4, mult=(1, 2), blocks=1, attention=(), resolution=8), (8, 12)),
            ("attention", dict(ch=4, mult=(1, 2, 3), blocks=1, attention=(4,), resolution=8), (8, 8)),
            ("level", dict(ch=4, mult=(2,), blocks=2, attention=(6,), resolution=6), (6, 5))]:
        model = draw_state(AutoEncoderKL(pictures=2, z_channels=3, embed=2, groups=2, **config))
        case = "kl_" + name
        add(case, {}, model, model, {"x": (2, 2, *size)})
        plain = dict(ch=config["ch"], blocks=config["blocks"], resolution=config["resolution"], height=size[0], columns=size[1])
        for key, values in (("m", config["mult"]), ("a", config["attention"])):
            plain.update({"%s%d" % (key, i): value for i, value in enumerate(values)})
        METADATA[case] = " ".join("%s=%d" % item for item in plain.items())
    for name, train in [("simple_train", True), ("simple_eval", False)]:
        model = draw_state(SimpleAutoEncoder(2, (3, 4, 5)))
        model.train(train)
        add(name, dict(train=train), model, model, {"x": (2, 2, 12, 10)},
            extra=[key for key in model.state_dict() if "running" in key or "tracked" in key] if train else ())


def state_dicts():
    ratios = dict(fourier=True, channels=(32, 64, 96, 160), blocks=3, heads=4, attention=(2, 4, 8), halve_last=False)
    for name, model in [("UNetTransformerArchResBlock", ResUNet()), ("UNetTransformerArchResBlock2", ResUNet(two=True)),
                        ("UNetTransformerArchResBlockEmbeding", ResUNet(fourier=True, condition="classes", inputs=10)),
                        ("UNet_Tranformer_ResBlock_Arch_Embeding", ResUNet(**ratios)),
                        ("AutoEncoderKL", AutoEncoderKL()), ("SimpleAutoEncoder", SimpleAutoEncoder())]:
        shapes = {key: list(value.shape) for key, value in model.state_dict().items()}
        reference = SHARED / (name + ".json")
        if reference.exists():
            wanted = json.loads(reference.read_text())["parameters"]
            assert shapes == wanted and list(shapes) == list(wanted), name
        (HERE / (name + ".state_dict.txt")).write_text("".join("%s %s\n" % item for item in shapes.items()))


if __name__ == "__main__":
    torch.set_num_threads(1)
    blocks()
    unets()
    autoencoders()
    write_safetensors(HERE / "resnet.safetensors", TENSORS, METADATA)
    state_dicts()
