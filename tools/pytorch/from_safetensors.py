#!/usr/bin/env python3
"""Turns a safetensors file (weights, or a checkpoint of the C++ programs) into what PyTorch loads.

    from_safetensors.py weights.safetensors ckpt.pth                 a state_dict: model.load_state_dict(torch.load(..))
    from_safetensors.py checkpoint.safetensors ckpt.pth --weights ema    the averaged weights
    from_safetensors.py checkpoint.safetensors ckpt.pth --snapshot   the list from which the trainers of
                                                                     tangdong1994/easy_diffusion go on

The list is [weights, optimiser, epoch, step, average], or with the state of a discriminator's optimiser in the file
[weights, optimiser, optimiser of the discriminator, epoch, step].
"""

import json

import torch

from safetensors_file import BUFFERS, Parser, Refused, printable, read, replace, run

PREFIXES = ("ema.", "optimizer.", "discriminator.")
ADAM = {"lr": 1e-4, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0, "amsgrad": False, "maximize": False,
        "foreach": None, "capturable": False}


def part(tensors, prefix):
    return {name[len(prefix):]: value for name, value in tensors.items() if name.startswith(prefix)}


def number(path, metadata, key):
    text = metadata.get(key, "0")
    if not text.isdecimal():
        raise Refused(f"{path}: metadata {key}: expected a whole number, got '{text}'")
    return int(text)


def optimizer(path, tensors, metadata, prefix, names):
    found = part(tensors, prefix + ".")
    group = dict(ADAM)
    try:
        group.update(json.loads(metadata.get(prefix, "{}")))
        group["lr"] = json.loads(metadata.get("training", "{}")).get("learning_rate", group["lr"])
    except (ValueError, TypeError, AttributeError) as error:
        raise Refused(f"{path}: metadata {prefix} or training: expected a JSON object") from error
    group["betas"] = tuple(group["betas"])
    if names is None:  # parameters that are known by their number alone
        names = [str(index) for index in range(group.get("parameters", 0))]
    group.pop("parameters", None)
    steps = number(path, metadata, prefix + "_steps")
    state = {}
    for index, name in enumerate(names):
        if "m." + name in found and "v." + name in found:
            state[index] = {"step": torch.tensor(float(steps)), "exp_avg": found["m." + name], "exp_avg_sq": found["v." + name]}
    if 2 * len(state) != len(found):
        raise Refused(f"{path}: the state of the optimiser does not fit the parameters")
    return {"state": state, "param_groups": [{**group, "params": list(range(len(names)))}]}


def convert(options):
    tensors, metadata = read(options.input)
    weights = {name: value for name, value in tensors.items() if not name.startswith(PREFIXES)}
    average = part(tensors, "ema.")
    if not weights:
        raise Refused(f"{options.input}: there are no weights in it")
    if options.weights == "ema":
        if not average:
            raise Refused(f"{options.input}: it holds no running average")
        weights = {**weights, **average}
    if not options.snapshot:
        result = weights
    else:
        names = [name for name in weights if name.rsplit(".", 1)[-1] not in BUFFERS]
        result = [weights, optimizer(options.input, tensors, metadata, "optimizer", names)]
        if part(tensors, "discriminator."):
            result.append(optimizer(options.input, tensors, metadata, "discriminator", None))
        result += [number(options.input, metadata, "epoch"), number(options.input, metadata, "step")]
        if average:
            result.append(average)
    replace(options.output, lambda file: torch.save(result, file))
    print(printable(f"{options.output}: " + (f"a list of {len(result)}" if options.snapshot else f"{len(result)} tensors")))


def main(arguments=None):
    parser = Parser(prog="from_safetensors.py", description="Turns a safetensors file into what PyTorch loads.")
    parser.add_argument("input", help="weights, or a checkpoint of the C++ programs")
    parser.add_argument("output", help="the .pth file to write")
    parser.add_argument("--weights", choices=["model", "ema"], default="model", help="the last weights or their running average")
    parser.add_argument("--snapshot", action="store_true", help="the list from which the original's trainers go on")
    run(parser, convert, arguments)


if __name__ == "__main__":
    main()
