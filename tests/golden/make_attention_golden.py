#!/usr/bin/env python3
"""Writes the golden values of tests/nn/attention.cpp: layer normalisation, GELU, attention and the blocks made of it,
forward and all gradients, computed by PyTorch in double. The format is that of make_golden.py.

    /usr/bin/python3 tests/golden/make_attention_golden.py
"""
import math

import torch
from torch.nn import functional

import make_golden
from make_golden import Cases, single


def by_heads(x, heads):
    n, length, channels = x.shape
    return x.reshape(n, length, heads, channels // heads).transpose(1, 2)


def attend(q, k, v, heads):
    q, k, v = (by_heads(x, heads) for x in (q, k, v))
    scores = q @ k.transpose(2, 3) / math.sqrt(q.shape[-1])
    return (torch.softmax(scores, -1) @ v).transpose(1, 2).flatten(2)


class Shared(torch.nn.Module):
    """The heads share out the channels; names and widths of MultiCrossAttention."""

    def __init__(self, channels, context_dim, heads):
        super().__init__()
        linear = lambda i, o: torch.nn.Linear(i, o, bias=False)
        self.heads, self.itself = heads, context_dim == 0
        self.query, self.cancat = linear(channels, channels), linear(channels, channels)
        self.key, self.value = linear(context_dim or channels, channels), linear(context_dim or channels, channels)

    def forward(self, x, context=None):
        source = x if self.itself else context
        return self.cancat(attend(self.query(x), self.key(source), self.value(source), self.heads))


class Separate(torch.nn.Module):
    """Heads and their width apart; names and widths of MultiCrossAttentionV2."""

    def __init__(self, channels, context_dim, heads, width):
        super().__init__()
        inner = heads * width
        self.heads = heads
        self.to_q = torch.nn.Linear(channels, inner, bias=False)
        self.to_k = torch.nn.Linear(context_dim or channels, inner, bias=False)
        self.to_v = torch.nn.Linear(context_dim or channels, inner, bias=False)
        self.to_out = torch.nn.Sequential(torch.nn.Linear(inner, channels))

    def forward(self, x, context=None):
        source = x if context is None else context
        return self.to_out(attend(self.to_q(x), self.to_k(source), self.to_v(source), self.heads))


class Block(torch.nn.Module):
    def __init__(self, channels, context_dim, heads, width):
        super().__init__()
        nn = torch.nn
        make = (lambda c: Separate(channels, c, heads, width)) if width else (lambda c: Shared(channels, c, heads))
        self.attn_self, self.attn_cross = make(0), make(context_dim)
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(channels) for _ in range(3))
        self.ffn = nn.Sequential(nn.Linear(channels, 3 * channels), nn.GELU(), nn.Linear(3 * channels, channels))

    def forward(self, x, context=None):
        h = x + self.attn_self(self.norm1(x))
        h = h + self.attn_cross(self.norm2(h), context)
        return h + self.ffn(self.norm3(h))


class Spatial(torch.nn.Module):
    def __init__(self, *arguments):
        super().__init__()
        self.transformer = Block(*arguments)

    def forward(self, x, context=None):
        tokens = self.transformer(x.flatten(2).transpose(1, 2), context)
        return x + tokens.transpose(1, 2).reshape(x.shape)


class AttnBlock(torch.nn.Module):
    def __init__(self, channels, groups):
        super().__init__()
        self.norm = torch.nn.GroupNorm(groups, channels, eps=1e-6)
        self.q, self.k, self.v, self.proj_out = (torch.nn.Conv2d(channels, channels, 1) for _ in range(4))

    def forward(self, x):
        h = self.norm(x)
        tokens = lambda picture: picture.flatten(2).transpose(1, 2)
        out = attend(tokens(self.q(h)), tokens(self.k(h)), tokens(self.v(h)), 1)
        return x + self.proj_out(out.transpose(1, 2).reshape(x.shape))


class LinearAttention(torch.nn.Module):
    def __init__(self, channels, heads, width):
        super().__init__()
        self.heads, self.width = heads, width
        self.to_qkv = torch.nn.Conv2d(channels, 3 * heads * width, 1, bias=False)
        self.to_out = torch.nn.Conv2d(heads * width, channels, 1)

    def forward(self, x):
        n, _, h, w = x.shape
        q, k, v = self.to_qkv(x).reshape(n, 3, self.heads, self.width, h * w).unbind(1)
        memory = torch.softmax(k, -1) @ v.transpose(2, 3)
        return self.to_out((memory.transpose(2, 3) @ q).reshape(n, -1, h, w))


def main():
    cases = Cases(11)
    for index, shape in enumerate([(3, 7), (2, 4, 17), (2, 3, 32)]):
        layer = cases.randomise(torch.nn.LayerNorm(shape[-1]))
        cases.add("layer_norm_%d" % index, dict(channels=shape[-1]), layer, lambda x: layer(x),
                  x=single(cases.normal(*shape) * 2 + 0.7))
    x = torch.cat([cases.normal(60, scale=2.0), torch.tensor([0.0, -0.0, 6.0, -6.0, 90.0, -90.0, 1e-7], dtype=torch.float64)])
    for name in ["none", "tanh"]:
        cases.add("gelu_%s" % name, dict(tanh=name == "tanh"), None, lambda x: functional.gelu(x, approximate=name), x=single(x))

    for index, (n, length, channels, heads) in enumerate([(2, 5, 6, 1), (1, 17, 12, 3), (3, 1, 4, 2)]):
        layer = cases.randomise(Shared(channels, 0, heads))
        cases.add("self_attention_%d" % index, dict(channels=channels, heads=heads, width=0), layer, lambda x: layer(x),
                  x=cases.normal(n, length, channels))
    layer = cases.randomise(Separate(5, 0, 2, 3))
    cases.add("self_attention_3", dict(channels=5, heads=2, width=3), layer, lambda x: layer(x), x=cases.normal(2, 6, 5))

    for index, (n, length, keys, channels, context_dim, heads, width) in enumerate([
            (2, 4, 3, 6, 5, 2, 0), (2, 5, 1, 4, 7, 1, 0), (1, 3, 6, 5, 4, 3, 2), (3, 2, 1, 3, 4, 2, 4)]):
        layer = cases.randomise(Separate(channels, context_dim, heads, width) if width else Shared(channels, context_dim, heads))
        cases.add("cross_attention_%d" % index, dict(channels=channels, context=context_dim, heads=heads, width=width),
                  layer, lambda x, context: layer(x, context), x=cases.normal(n, length, channels),
                  context=cases.normal(n, keys, context_dim))

    for index, (n, h, w, keys, channels, context_dim, heads, width) in enumerate([
            (2, 2, 3, 3, 8, 5, 2, 0), (2, 3, 2, 1, 6, 4, 1, 0), (1, 3, 3, 2, 6, 4, 2, 2), (2, 2, 2, 1, 5, 3, 2, 3)]):
        config = dict(channels=channels, context=context_dim, heads=heads, width=width)
        for name, make, shape in [("transformer_block", Block, (n, h * w, channels)), ("spatial_transformer", Spatial, (n, channels, h, w))]:
            if make is Block and index in (0, 1):
                continue  # the spatial transformer has them
            layer = cases.randomise(make(channels, context_dim, heads, width))
            cases.add("%s_%d" % (name, index), config, layer, lambda x, context: layer(x, context),
                      x=cases.normal(*shape), context=cases.normal(n, keys, context_dim))
    for index, width in enumerate([0, 4]):
        layer = cases.randomise(Block(6, 0, 2, width))
        cases.add("transformer_without_context_%d" % index, dict(channels=6, heads=2, width=width), layer,
                  lambda x: layer(x), x=cases.normal(2, 5, 6))

    for index, (n, h, w, channels, groups) in enumerate([(2, 3, 4, 8, 4), (1, 5, 5, 6, 2)]):
        layer = cases.randomise(AttnBlock(channels, groups))
        cases.add("attn_block_%d" % index, dict(channels=channels, groups=groups), layer, lambda x: layer(x),
                  x=single(cases.normal(n, channels, h, w) + 0.5))
    for index, (n, h, w, channels, heads, width) in enumerate([(2, 3, 4, 5, 2, 3), (1, 2, 3, 6, 1, 6)]):
        layer = cases.randomise(LinearAttention(channels, heads, width))
        cases.add("linear_attention_%d" % index, dict(channels=channels, heads=heads, width=width), layer,
                  lambda x: layer(x), x=cases.normal(n, channels, h, w))
    make_golden.write_safetensors(make_golden.HERE / "attention.safetensors", cases.tensors, cases.metadata)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
