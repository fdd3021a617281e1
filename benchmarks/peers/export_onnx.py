#!/usr/bin/env python3
"""Exports the networks for ONNX Runtime, with an input and PyTorch's output of it.

    export_onnx.py OUT [MODEL.BATCH ...]     for instance: export_onnx.py build/peers/onnx unet.64 unet.1

Writes OUT/<model>.<batch>.onnx, and beside it <model>.<batch>.json with the names, shapes and files of inputs and output
(raw little-endian numbers). What is there already is left alone.
"""
import json
import pathlib
import sys
import warnings

import torch

from networks import NETWORKS, make_inputs, make_network


def write_raw(path, tensor):
    path.write_bytes(tensor.contiguous().numpy().tobytes())


def export(out, name):
    model_name, batch = name.rsplit(".", 1)
    description = out / (name + ".json")
    if description.exists():
        return
    network, inputs = make_network(model_name).eval(), make_inputs(model_name, int(batch))
    names = list("xty")[:len(inputs)]
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        output = network(*inputs)
        torch.onnx.export(network, inputs, str(out / (name + ".onnx")), opset_version=17, input_names=names,
                          output_names=["output"])
    entries = []
    for key, tensor in zip(names + ["output"], list(inputs) + [output]):
        write_raw(out / ("%s.%s.raw" % (name, key)), tensor)
        entries.append({"name": key, "type": "int64" if tensor.dtype == torch.int64 else "float32",
                        "dims": list(tensor.shape), "file": "%s.%s.raw" % (name, key)})
    description.write_text(json.dumps({"inputs": entries[:-1], "output": entries[-1]}, indent=1))
    print("exported", name)


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    out = pathlib.Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    for name in sys.argv[2:] or ["%s.%d" % (name, batch) for name, network in NETWORKS.items() for batch in (network.batch, 1)]:
        export(out, name)


if __name__ == "__main__":
    main()
