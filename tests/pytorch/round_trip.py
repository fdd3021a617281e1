#!/usr/bin/env python3
"""Weights that run_model writes load in PyTorch with strict=True, and forward and all gradients there agree.

    round_trip.py RUN_MODEL SCRATCH    exit code: 0 all is well, 1 something is broken, 77 there is no PyTorch
"""
import json
import pathlib
import statistics
import subprocess
import sys

try:
    import torch
except ImportError:
    print("SKIP: pytorch_round_trip: this python3 has no torch")
    sys.exit(77)

HERE = pathlib.Path(__file__).resolve().parent
sys.path += [str(HERE.parent.parent / "tools" / "pytorch"), str(HERE.parent / "golden")]

import make_resnet_golden
import make_unet_golden
import pytorch_models
from safetensors_file import read


def small_unet(residual):
    return lambda: pytorch_models.SmallUNet(residual, (32, 32, 32, 32), 16)


def transformer_unet(**options):
    return lambda: make_unet_golden.TransformerUNet(channels=(32, 32, 64, 64), embed=16, width=8, **options)


def res_unet(**options):
    return lambda: make_resnet_golden.ResUNet(embed=16, width=8, inputs=6, **options)


SMALL = {"channels": [32, 32, 64, 64], "embed_dim": 16, "text_dim": 8}
LARGE = {"channels": [32, 64], "res_num": 1, "embed_dim": 16, "context_dim": 8, "sigma": 25}
SEQUENCE = {**LARGE, "context_embeding": 6}
# The original's class and arguments, and the same network in PyTorch.
CASES = {
    "UNet": ({"channels": [32] * 4, "embed_dim": 16}, small_unet(False)),
    "UNet_res": ({"channels": [32] * 4, "embed_dim": 16}, small_unet(True)),
    "UNet_Tranformer": ({**SMALL, "num_heads": 2}, transformer_unet(padded=False, heads=2)),
    "UNet_Tranformer_Arch": ({**SMALL, "input_channels": 3, "use_psp": True, "image_size": 16, "psp_ratio": 1},
                             transformer_unet(pictures=3, pools=(8, 4, 2), ratio=1)),
    "UNet_Tranformer_Arch_Embeding": ({**SMALL, "text_embeding": 6}, transformer_unet(condition="sequence", inputs=6)),
    "UNetTransformerArchResBlock": ({**SEQUENCE, "num_heads": 2}, res_unet(channels=(32, 64), blocks=1, heads=2)),
    "UNetTransformerArchResBlock2": (SEQUENCE, res_unet(channels=(32, 64), blocks=1, two=True)),
    "UNetTransformerArchResBlockEmbeding": ({**LARGE, "nclass": 6}, res_unet(channels=(32, 64), blocks=1, fourier=True,
                                                                             condition="classes")),
    "UNet_Tranformer_ResBlock_Arch_Embeding":
        ({"channels_ratio": [1, 2], "res_blocks": 1, "embed_dim": 16, "context_dim": 8, "context_embeding": 6, "sigma": 25},
         res_unet(channels=(32, 64), blocks=1, fourier=True, heads=4, attention=(2, 4, 8), halve_last=False)),
    "SimpleAutoEncoder": ({}, make_resnet_golden.SimpleAutoEncoder),
    "AutoEncoderKL":
        ({"ddconfig": {"ch": 32, "ch_mult": [1, 2], "num_res_blocks": 1, "resolution": 32, "attn_resolutions": [16]}},
         lambda: make_resnet_golden.AutoEncoderKL(ch=32, mult=(1, 2), blocks=1, resolution=32, attention=(16,))),
}


def forward(architecture, model, inputs):
    told = {"y": inputs["y"]} if "y" in inputs else {}
    if "t" not in inputs:
        return model(inputs["x"])
    if isinstance(model, make_unet_golden.TransformerUNet):
        make_unet_golden.TIMES = inputs["t"]
        return model(inputs["x"], **told)
    return model(inputs["x"], inputs["t"], **told)


def worst_error(architecture, make, run_model, settings, scratch):
    scratch.mkdir(parents=True, exist_ok=True)
    (scratch / "config.json").write_text(json.dumps({"architecture": architecture, **settings}))
    subprocess.run([run_model, "--smoke", "--out", scratch, "--config", scratch / "config.json", "--dtype", "f64"],
                   check=True, stdout=subprocess.DEVNULL)
    weights, inputs, got = (read(scratch / (name + ".safetensors"))[0] for name in ("weights", "inputs", "outputs"))
    model = make()
    model.load_state_dict(weights, strict=True)
    model.double().eval()
    inputs = {name: value.double() if value.is_floating_point() else value for name, value in inputs.items()}
    leaves = [name for name in ("x", "y") if name in inputs and inputs[name].is_floating_point()]
    for name in leaves:
        inputs[name].requires_grad_()
    output = forward(architecture, model, inputs)
    (output * inputs["grad_output"]).sum().backward()
    want = {"output": output.detach(), **{"grad_input." + name: inputs[name].grad for name in leaves}}
    want.update({"grad." + name: value.grad for name, value in model.named_parameters() if value.grad is not None})
    assert set(got) == set(want), sorted(set(got) ^ set(want))
    median = statistics.median(float(value.abs().max()) for name, value in want.items() if name.startswith("grad"))
    return max(float((got[name] - value).abs().max() / (value.abs().max() + 0.1 * median)) for name, value in want.items())


def main():
    run_model, scratch = sys.argv[1], pathlib.Path(sys.argv[2])
    torch.set_num_threads(1)
    failures = 0
    for architecture, (settings, make) in CASES.items():
        error = worst_error(architecture, make, run_model, settings, scratch / architecture)
        good = error <= 1e-8  # false for NaN
        failures += not good
        print(f"{'' if good else 'FAILED: '}{architecture}: largest relative difference {error:.1e}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
