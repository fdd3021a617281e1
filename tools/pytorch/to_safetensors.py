#!/usr/bin/env python3
"""Turns weights that PyTorch saved (.pth, .pt, .ckpt) into a safetensors file.

    to_safetensors.py ckpt.pth weights.safetensors             the weights
    to_safetensors.py ckpt.pth weights.safetensors --weights ema   their running average, where the file has one
    to_safetensors.py ckpt.pth all.safetensors --snapshot      weights, average, optimiser and counters

Read are: a state_dict; a dictionary with the entry "state_dict" (as Lightning saves); and the lists that the trainers
of tangdong1994/easy_diffusion leave, [weights, optimiser, epoch, step, average] of the diffusion trainer and
[weights, optimiser, optimiser of the discriminator, epoch, step] of the autoencoder's.

In a snapshot the average is called ema.<name>, Adam's moments optimizer.m.<name> and optimizer.v.<name> (those of the
discriminator, whose names the file does not tell, discriminator.m.<number>), the rest is in the metadata: the names
that checkpoints of the C++ programs use. from_safetensors.py makes the same list of it again.
"""

import inspect
import io
import json
import pickle
import re
import types

import torch

from safetensors_file import BUFFERS, Parser, Refused, printable, run, write


# What a file of numbers names: the types of tensors, and the containers they lie in.
DATA = re.compile(r"torch (\w+Storage|float\d+|bfloat16|u?int\d+|bool|Size|Tensor|device)|torch\._utils _rebuild_(tensor|tensor_v2|parameter)"
                  r"|torch\._tensor _rebuild_from_type_v2|torch\.nn\.parameter Parameter|collections (OrderedDict|defaultdict)")


class DataUnpickler(pickle.Unpickler):
    """A pickle may call whatever it names. Of this reader it gets what a file of numbers names, and nothing else."""

    def find_class(self, module, name):
        if not DATA.fullmatch(f"{module} {name}"):
            raise Refused(f"it holds a Python object, {module} {name}; if you know where the file is from, --trust reads it, which may "
                          "run any code")
        return super().find_class(module, name)


# The module pickle with that reader, for every form of file that torch.load knows. (A look at the file beforehand would have to
# know these forms too. torch.load's own restricted reader, where there is one, does not know the trainers' lists.)
data_pickle = types.ModuleType("pickle")
data_pickle.__dict__.update(vars(pickle), Unpickler=DataUnpickler, load=lambda file, **options: DataUnpickler(file, **options).load(),
                            loads=lambda data, **options: DataUnpickler(io.BytesIO(data), **options).load())


class NoData:
    """What no file of numbers holds."""


def load_data(file, options):
    """torch.load with that reader: as the argument that is meant for it and, as PyTorch 1.13 forgets that, in its place."""
    usual = torch.serialization.pickle
    torch.serialization.pickle = data_pickle
    try:
        return torch.load(file, map_location="cpu", pickle_module=data_pickle, **options)
    finally:
        torch.serialization.pickle = usual


def expect_restriction(options):
    """Raises Refused where this PyTorch reads pickles without asking the reader, before it is given a file."""
    for zipped in (True, False):
        file = io.BytesIO()
        torch.save(NoData(), file, _use_new_zipfile_serialization=zipped)
        file.seek(0)
        try:
            load_data(file, options)
        except Refused:
            continue
        raise Refused(f"PyTorch {torch.__version__} cannot be kept from running code of a file; --trust lets it, if you know where "
                      "the file is from")


def load(path, trust):
    # Newer ones restrict themselves where nothing is said, and take no other reader then.
    options = {"weights_only": False} if "weights_only" in inspect.signature(torch.load).parameters else {}
    try:
        if trust:
            return torch.load(path, map_location="cpu", **options)
        expect_restriction(options)
        return load_data(path, options)
    except Refused as error:
        raise Refused(f"{path}: {error}") from error
    except OSError:
        raise
    except Exception as error:  # a damaged pickle can fail in any way
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise Refused(f"{path}: not a file of PyTorch weights, or a damaged one ({reason})") from error


def is_state_dict(value):
    return isinstance(value, dict) and bool(value) and all(torch.is_tensor(item) for item in value.values())


def is_optimizer(value):
    return isinstance(value, dict) and "state" in value and "param_groups" in value


def take_apart(path, value):
    """(weights, optimiser or None, discriminator's or None, counters, average or None)"""
    if is_state_dict(value):
        return value, None, None, {}, None
    if isinstance(value, dict) and is_state_dict(value.get("state_dict")):
        step = value.get("global_step")
        return value["state_dict"], None, None, {"step": step} if isinstance(step, int) else {}, None
    if isinstance(value, (list, tuple)) and value and is_state_dict(value[0]):
        if len(value) == 5 and is_optimizer(value[1]) and is_optimizer(value[2]):
            return value[0], value[1], value[2], {"epoch": value[3], "step": value[4]}, None
        if len(value) in (4, 5) and is_optimizer(value[1]):
            average = value[4] if len(value) == 5 else None
            return value[0], value[1], None, {"epoch": value[2], "step": value[3]}, average
    if isinstance(value, torch.nn.Module):
        raise Refused(f"{path}: it holds a whole module; save its state_dict() instead")
    raise Refused(f"{path}: expected a state_dict, a dictionary with one, or a trainer's list; got {describe(value)}")


def describe(value):
    if isinstance(value, dict):
        return f"a dictionary with the keys {', '.join(str(key) for key in list(value)[:8])}" if value else "an empty dictionary"
    return f"a list of {len(value)}" if isinstance(value, (list, tuple)) else f"a {type(value).__name__}"


def moments(path, state, names):
    """Adam's moments by the parameter's name, and the number of steps made."""
    result, steps = {}, 0
    order = [index for group in state["param_groups"] for index in group["params"]]
    if names is not None and len(names) != len(order):
        raise Refused(f"{path}: the optimiser has {len(order)} parameters, the model {len(names)}: cannot tell which is which")
    for place, index in enumerate(order):
        entry = state["state"].get(index)
        if not entry:
            continue  # a parameter that never had a gradient
        if "exp_avg" not in entry or "exp_avg_sq" not in entry:
            raise Refused(f"{path}: the optimiser is not Adam; leave out --snapshot to convert the weights alone")
        name = str(place) if names is None else names[place]
        result["m." + name], result["v." + name] = entry["exp_avg"], entry["exp_avg_sq"]
        steps = max(steps, int(entry["step"]))
    return result, steps


def settings(state):
    group = {key: value for key, value in state["param_groups"][0].items() if key != "params"}
    return json.dumps({"parameters": sum(len(g["params"]) for g in state["param_groups"]), **group})


def convert(options):
    weights, optimizer, discriminator, counters, average = take_apart(options.input, load(options.input, options.trust))
    if any(not isinstance(number, int) for number in counters.values()):
        raise Refused(f"{options.input}: epoch and step must be whole numbers, got {counters}")
    if options.weights == "ema" or average is not None:
        if not is_state_dict(average):
            raise Refused(f"{options.input}: it holds no running average")
        strangers = [name for name in average if name not in weights]
        if strangers:
            raise Refused(f"{options.input}: the average has names that the model lacks: {', '.join(strangers[:5])}")
    if not options.snapshot:
        # Frozen parameters and buffers have no average.
        tensors = {**weights, **average} if options.weights == "ema" else dict(weights)
        metadata = {}
    else:
        tensors = dict(weights)
        metadata = {key: str(value) for key, value in counters.items()}
        for name, value in (average or {}).items():
            tensors["ema." + name] = value
        names = [name for name in weights if name.rsplit(".", 1)[-1] not in BUFFERS]
        for prefix, state, of in (("optimizer", optimizer, names), ("discriminator", discriminator, None)):
            if state is None:
                continue
            found, steps = moments(options.input, state, of)
            tensors.update({f"{prefix}.{name}": value for name, value in found.items()})
            metadata[prefix + "_steps"], metadata[prefix] = str(steps), settings(state)
    write(options.output, tensors, metadata)
    print(printable(f"{options.output}: {len(tensors)} tensors"))


def main(arguments=None):
    parser = Parser(prog="to_safetensors.py", description="Turns weights that PyTorch saved (.pth, .pt, .ckpt) into a safetensors file.")
    parser.add_argument("input", help="a state_dict, a Lightning checkpoint or a trainer's list")
    parser.add_argument("output", help="the safetensors file to write")
    parser.add_argument("--weights", choices=["model", "ema"], default="model", help="the last weights or their running average")
    parser.add_argument("--snapshot", action="store_true", help="everything: weights, average, optimiser, counters")
    parser.add_argument("--trust", action="store_true", help="read Python objects too, which may run any code")
    run(parser, convert, arguments)


if __name__ == "__main__":
    main()
