#!/usr/bin/env python3
"""Writes the golden values of tests/nn: forward and all gradients of every layer and of both small U-Nets, optimiser
traces, learning-rate schedules and gradient clipping, all computed by PyTorch in double.

    /usr/bin/python3 tests/golden/make_golden.py

Inputs and parameters are float32 numbers (so that a float and a double program start from the same ones); results are
double. Layouts are PyTorch's. In a file, `<case>/x` and the like are inputs, `<case>/param.<name>` parameters,
`<case>/w` the weight w of the scalar sum(w * output), `<case>/y` the output, `<case>/grad.x` and `<case>/grad.<name>`
the gradients of that scalar. The metadata gives each case's configuration as "key=value key=value".
"""
import json
import math
import pathlib
import struct

import torch

from pytorch_models import GaussianFourierProjection, SmallUNet, check_against_listing

HERE = pathlib.Path(__file__).resolve().parent
SHARED = HERE.parent.parent.parent / "shared" / "reference" / "state_dicts"


def write_safetensors(path, tensors, metadata):
    header, blobs, at = {"__metadata__": metadata}, [], 0
    for name, tensor in tensors.items():
        tensor = tensor.detach().contiguous()
        kind, code = {torch.float32: ("F32", "f"), torch.float64: ("F64", "d")}[tensor.dtype]
        values = tensor.reshape(-1).tolist()
        blob = struct.pack("<%d%s" % (len(values), code), *values)
        header[name] = {"dtype": kind, "shape": list(tensor.shape), "data_offsets": [at, at + len(blob)]}
        blobs.append(blob)
        at += len(blob)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + b"".join(blobs))
    print(path.name, path.stat().st_size, "bytes")


def single(tensor):
    """Rounded to float32, kept as double."""
    return tensor.to(torch.float32).to(torch.float64)


class Cases:
    def __init__(self, seed):
        self.tensors, self.metadata = {}, {}
        self.generator = torch.Generator().manual_seed(seed)

    def normal(self, *shape, scale=1.0):
        return single(torch.randn(*shape, generator=self.generator, dtype=torch.float64) * scale)

    def randomise(self, module):
        """Every parameter away from zero, one and its neighbours."""
        module.double()
        with torch.no_grad():
            for name, parameter in module.state_dict().items():
                if name.endswith(".W"):
                    parameter.copy_(self.normal(*parameter.shape))
                elif parameter.dim() == 1:
                    parameter.copy_(single(0.4 * self.normal(*parameter.shape) + (1.0 if name.endswith("weight") else 0)))
                else:
                    fan = parameter[0].numel()
                    parameter.copy_(self.normal(*parameter.shape, scale=1.5 / math.sqrt(fan)))
        return module

    def add(self, name, config, module, call, fixed=(), **inputs):
        """`fixed` names the inputs without a gradient."""
        leaves = {key: value.clone().requires_grad_(key not in fixed) for key, value in inputs.items()}
        y = call(**leaves)
        w = self.normal(*y.shape)
        (w * y).sum().backward()
        self.metadata[name] = " ".join("%s=%d" % item for item in config.items())
        for key, value in inputs.items():
            self.tensors["%s/%s" % (name, key)] = value.to(torch.float32)
        self.tensors[name + "/w"] = w.to(torch.float32)
        self.tensors[name + "/y"] = y
        for key, leaf in leaves.items():
            if leaf.requires_grad:
                self.tensors["%s/grad.%s" % (name, key)] = leaf.grad
        if module is None:
            return
        for key, value in module.state_dict().items():
            self.tensors["%s/param.%s" % (name, key)] = value.to(torch.float32)
        for key, parameter in module.named_parameters():
            if parameter.requires_grad:
                self.tensors["%s/grad.%s" % (name, key)] = parameter.grad


# --- layers ----------------------------------------------------------------------------------------------------

def layers():
    cases = Cases(1)
    for index, (n, cin, cout, h, w, kernel, stride, padding, bias) in enumerate([
            (2, 3, 5, 6, 7, 3, 1, 1, 1), (1, 1, 4, 7, 6, 3, 2, 0, 0), (3, 5, 17, 5, 5, 5, 2, 2, 1),
            (2, 17, 3, 4, 5, 1, 1, 0, 1), (1, 4, 2, 9, 8, 3, 3, 1, 0)]):
        config = dict(cin=cin, cout=cout, kernel=kernel, stride=stride, padding=padding, bias=bias)
        layer = cases.randomise(torch.nn.Conv2d(cin, cout, kernel, stride, padding, bias=bool(bias)))
        cases.add("conv2d_%d" % index, config, layer, lambda x: layer(x), x=cases.normal(n, cin, h, w))
    for index, (n, cin, cout, h, w, kernel, stride, padding, extra, bias) in enumerate([
            (2, 3, 5, 4, 5, 3, 1, 0, 0, 1), (1, 4, 1, 5, 4, 3, 2, 0, 1, 0), (3, 5, 17, 3, 3, 5, 2, 2, 1, 1),
            (2, 17, 3, 3, 2, 3, 3, 1, 2, 1), (2, 2, 6, 3, 4, 1, 2, 0, 0, 1)]):
        config = dict(cin=cin, cout=cout, kernel=kernel, stride=stride, padding=padding, output_padding=extra, bias=bias)
        layer = cases.randomise(torch.nn.ConvTranspose2d(cin, cout, kernel, stride, padding, extra, bias=bool(bias)))
        cases.add("conv_transpose2d_%d" % index, config, layer, lambda x: layer(x), x=cases.normal(n, cin, h, w))
    for index, (shape, cout, bias) in enumerate([((3, 7), 5, 1), ((2, 4, 17), 33, 0), ((1, 1), 1, 1)]):
        layer = cases.randomise(torch.nn.Linear(shape[-1], cout, bias=bool(bias)))
        cases.add("linear_%d" % index, dict(cin=shape[-1], cout=cout, bias=bias), layer, lambda x: layer(x),
                  x=cases.normal(*shape))
    for index, (n, groups, channels, h, w) in enumerate([(2, 4, 8, 3, 5), (3, 1, 6, 2, 2), (2, 9, 9, 4, 3),
                                                         (1, 2, 34, 3, 3)]):
        layer = cases.randomise(torch.nn.GroupNorm(groups, channels))
        cases.add("group_norm_%d" % index, dict(groups=groups, channels=channels), layer, lambda x: layer(x),
                  x=single(cases.normal(n, channels, h, w) * 2 + 0.7))
    x = torch.cat([cases.normal(60, scale=3.0), torch.tensor([0.0, -0.0, 30.0, -30.0, 90.0, -90.0, 1e-7], dtype=torch.float64)])
    cases.add("silu_0", {}, None, lambda x: torch.nn.functional.silu(x), x=single(x))
    cases.add("embedding_add_0", {}, None, lambda x, e: x + e[:, :, None, None], x=cases.normal(3, 5, 4, 3),
              e=cases.normal(3, 5))
    cases.add("concat_0", {}, None, lambda a, b: torch.cat([a, b], 1), a=cases.normal(2, 3, 4, 5),
              b=cases.normal(2, 7, 4, 5))
    fourier = cases.randomise(GaussianFourierProjection(10))
    cases.add("fourier_0", dict(width=10), fourier, lambda t: fourier(t), t=cases.normal(4))
    for index, transposed in enumerate([0, 1]):
        module = cases.randomise(Stage(transposed))
        h, w = (3, 4) if transposed else (7, 8)
        cases.add("conv_stage_%d" % index, dict(transposed=transposed, cin=3, cout=8, embed=6, groups=4, out_h=7, out_w=9),
                  module, lambda x, e: module(x, e), x=cases.normal(2, 3, h, w), e=cases.normal(2, 6))
    labels = [2, 0, 5]
    logits = single(cases.normal(3, 6) * 4).requires_grad_()
    loss = torch.nn.functional.cross_entropy(logits, torch.tensor(labels))
    loss.backward()
    cases.metadata["cross_entropy_0"] = " ".join("label%d=%d" % item for item in enumerate(labels))
    cases.tensors["cross_entropy_0/x"] = logits.to(torch.float32)
    cases.tensors["cross_entropy_0/y"] = loss.reshape(1)
    cases.tensors["cross_entropy_0/grad.x"] = logits.grad
    write_safetensors(HERE / "layers.safetensors", cases.tensors, cases.metadata)


class Stage(torch.nn.Module):
    """Convolution, plus a linear map of the embedding, GroupNorm, SiLU."""

    def __init__(self, transposed):
        super().__init__()
        kind = torch.nn.ConvTranspose2d if transposed else torch.nn.Conv2d
        self.conv = kind(3, 8, 3, stride=2, bias=False)
        self.dense = torch.nn.Linear(6, 8)
        self.norm = torch.nn.GroupNorm(4, 8)
        self.size = {"output_size": [7, 9]} if transposed else {}

    def forward(self, x, e):
        h = self.conv(x, **self.size) + self.dense(e)[:, :, None, None]
        return torch.nn.functional.silu(self.norm(h))


# --- models ----------------------------------------------------------------------------------------------------

def models():
    cases = Cases(2)
    for name, residual, (h, w) in [("unet", False, (18, 21)), ("unet_res", True, (20, 17))]:
        config = dict(c0=4, c1=8, c2=8, c3=8, embed=8, pictures=2, first_groups=2, groups=4)
        model = cases.randomise(SmallUNet(residual, (4, 8, 8, 8), 8, 2, 2, 4))
        t = single(torch.tensor([0.31, 0.87], dtype=torch.float64))
        cases.add(name, config, model, lambda x, t: model(x, t), fixed=("t",), x=cases.normal(2, 2, h, w), t=t)
    write_safetensors(HERE / "models.safetensors", cases.tensors, cases.metadata)


def state_dicts():
    """Names and shapes of both presets, one a line."""
    for name, residual in [("UNet", False), ("UNet_res", True)]:
        model = SmallUNet(residual)
        check_against_listing(model, SHARED / (name + ".json"))
        lines = ["%s %s" % (key, list(value.shape)) for key, value in model.state_dict().items()]
        (HERE / (name + ".state_dict.txt")).write_text("\n".join(lines) + "\n")


# --- optimisers ------------------------------------------------------------------------------------------------

def optimisers():
    cases = Cases(3)
    tensors, metadata = cases.tensors, cases.metadata
    start, gradients = cases.normal(9), cases.normal(5, 9)
    start[0], gradients[:, 1], gradients[1:, 2] = 0.0, 0.0, 0.0  # a zero value, gradients that are or become zero
    gradients[:, 3] *= 1e-6
    gradients[:, 3] = single(gradients[:, 3])
    tensors["start"], tensors["gradients"] = start.to(torch.float32), gradients.to(torch.float32)
    optim = torch.optim
    for name, make, settings in [
            ("adam", optim.Adam, dict(lr=1e-2)),
            ("adam_decay", optim.Adam, dict(lr=3e-3, betas=(0.5, 0.9), eps=1e-6, weight_decay=0.1)),
            ("adamw", optim.AdamW, dict(lr=1e-2, betas=(0.9, 0.99), eps=1e-8, weight_decay=0.05)),
            ("sgd", optim.SGD, dict(lr=0.1)),
            ("sgd_momentum", optim.SGD, dict(lr=0.05, momentum=0.9, weight_decay=0.01)),
            ("sgd_nesterov", optim.SGD, dict(lr=0.05, momentum=0.9, nesterov=True, weight_decay=0.01))]:
        parameter = torch.nn.Parameter(start.clone())
        optimiser = make([parameter], **settings)
        trace = []
        for gradient in gradients:
            parameter.grad = gradient.clone()
            optimiser.step()
            trace.append(parameter.detach().clone())
        tensors["trace." + name] = torch.stack(trace)
        flat = dict(settings)
        if "betas" in flat:
            flat["beta1"], flat["beta2"] = flat.pop("betas")
        metadata[name] = " ".join("%s=%r" % (key, float(value)) for key, value in flat.items())
    schedulers = torch.optim.lr_scheduler
    for name, make, settings, base in [
            ("exponential", schedulers.ExponentialLR, dict(gamma=0.9), 1e-3),
            ("cosine", schedulers.CosineAnnealingLR, dict(T_max=10, eta_min=1e-5), 2e-3)]:
        optimiser = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))], lr=base)
        scheduler, rates = make(optimiser, **settings), []
        for _ in range(11):
            rates.append(optimiser.param_groups[0]["lr"])
            optimiser.step()
            scheduler.step()
        tensors["rates." + name] = torch.tensor(rates, dtype=torch.float64)
        metadata["rates." + name] = " ".join("%s=%r" % (k, float(v)) for k, v in dict(settings, lr=base).items())
    for name, limit in [("clip_above", 1.5), ("clip_below", 1e3)]:
        a, b = torch.nn.Parameter(torch.zeros(4, dtype=torch.float64)), torch.nn.Parameter(torch.zeros(2, 3, dtype=torch.float64))
        a.grad, b.grad = cases.normal(4), cases.normal(2, 3)
        tensors[name + "/a"], tensors[name + "/b"] = a.grad.to(torch.float32), b.grad.to(torch.float32)
        norm = torch.nn.utils.clip_grad_norm_([a, b], limit)
        tensors[name + "/norm"] = norm.reshape(1).double()
        tensors[name + "/clipped.a"], tensors[name + "/clipped.b"] = a.grad, b.grad
        metadata[name] = "max_norm=%r" % limit
    write_safetensors(HERE / "optim.safetensors", tensors, metadata)


if __name__ == "__main__":
    torch.set_num_threads(1)
    layers()
    models()
    state_dicts()
    optimisers()
