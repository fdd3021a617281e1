#!/usr/bin/env python3
"""Tries the scripts of tools/pytorch on every kind of file they know, and on bad ones.

    convert.py SCRATCH    exit code: 0 all is well, 1 something is broken, 77 there is no PyTorch
"""
import contextlib
import importlib
import io
import json
import os
import pathlib
import pickle
import struct
import subprocess
import sys
import tarfile

try:
    import torch
except ImportError:
    print("SKIP: pytorch_convert: this python3 has no torch")
    sys.exit(77)

TOOLS = pathlib.Path(__file__).resolve().parent.parent.parent / "tools" / "pytorch"
SCRATCH = pathlib.Path(sys.argv[1])
sys.path.insert(0, str(TOOLS))
failures = []


def check(what, good):
    if not good:
        failures.append(what)
        print("FAILED:", what)


def tool(name, *options):
    """The script's exit code and its standard error, without a process of its own."""
    errors, output = io.StringIO(), io.StringIO()
    with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(output):
        try:
            importlib.import_module(name).main([str(option) for option in options])
            code = 0
        except SystemExit as end:
            code = end.code
    return code, errors.getvalue()


def converted(name, *options):
    code, errors = tool(name, *options)
    check(f"{name} {' '.join(map(str, options))}: {errors}", code == 0 and not errors)


def refused(text, name, *options):
    code, errors = tool(name, *options)
    check(f"refusal with '{text}', got {code} and: {errors}", code == 2 and errors.count("\n") == 1 and text in errors)


def save(name, value):
    torch.save(value, SCRATCH / name)
    return SCRATCH / name


def header(path):
    content = path.read_bytes()
    return json.loads(content[8:8 + struct.unpack("<Q", content[:8])[0]])


def equal(a, b):
    """Values and their kinds, all the way down."""
    if torch.is_tensor(a):
        return torch.is_tensor(b) and a.dtype == b.dtype and a.shape == b.shape and bool((a == b).all())
    if isinstance(a, dict):
        return set(a) == set(b) and all(equal(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(equal, a, b))
    return a == b


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.W = torch.nn.Parameter(torch.randn(3), requires_grad=False)
        self.conv = torch.nn.Conv2d(2, 3, 3)
        self.norm = torch.nn.BatchNorm2d(3)

    def forward(self, x):
        return self.norm(self.conv(x))


def trained(optimizer_class=torch.optim.AdamW):
    torch.manual_seed(1)
    net = Net()
    optimizer = optimizer_class(net.parameters(), lr=3e-4)
    for _ in range(2):
        optimizer.zero_grad()
        net(torch.randn(2, 2, 5, 5)).pow(3).sum().backward()
        optimizer.step()
    return net, optimizer


def main():
    SCRATCH.mkdir(parents=True, exist_ok=True)
    net, optimizer = trained()
    weights = net.state_dict()
    average = {name: value.detach() * 0.5 for name, value in net.named_parameters() if value.requires_grad}
    file, back = SCRATCH / "a.safetensors", SCRATCH / "back.pth"

    # --- a state_dict, Lightning's dictionary, element types -------------------------------------------------------
    mixed = {**weights, "half": torch.randn(3).half(), "brain": torch.randn(2, 2).bfloat16(), "flag": torch.tensor([True, False]),
             "double": torch.randn(3).double(), "scalar": torch.tensor(2.5), "none": torch.zeros(0, 3), "strided": torch.randn(4, 3).t()}
    converted("to_safetensors", save("plain.pth", mixed), file)
    check("dtypes by their names", header(file)["half"]["dtype"] == "F16" and header(file)["brain"]["dtype"] == "BF16" and
          header(file)["norm.num_batches_tracked"]["dtype"] == "I64")
    converted("from_safetensors", file, back)
    check("a state_dict comes back", equal(torch.load(back), dict(mixed)))
    converted("to_safetensors", save("lightning.ckpt", {"state_dict": weights, "global_step": 7, "epoch": 1}), file)
    converted("from_safetensors", file, back)
    other = Net()
    other.load_state_dict(torch.load(back), strict=True)
    check("a Lightning checkpoint's weights load strictly", equal(other.state_dict(), weights))

    # --- the trainers' lists --------------------------------------------------------------------------------------
    for name, states in [("ema", [weights, optimizer.state_dict(), 3, 5000, average]), ("plain", [weights, optimizer.state_dict(), 3, 5000]),
                         ("autoencoder", [weights, optimizer.state_dict(), trained(torch.optim.Adam)[1].state_dict(), 2, 41])]:
        snapshot = save(name + "_list.pth", states)
        converted("to_safetensors", snapshot, file, "--snapshot")
        converted("from_safetensors", file, back, "--snapshot")
        check(f"the list '{name}' comes back", equal(torch.load(back), states))
        fresh = torch.optim.AdamW(Net().parameters(), lr=1)
        fresh.load_state_dict(torch.load(back)[1])
        check(f"the optimiser of '{name}' goes on", equal(fresh.state_dict()["state"], optimizer.state_dict()["state"]))
        converted("to_safetensors", snapshot, file)
        check(f"weights alone of '{name}'", list(header(file)) == list(weights))
    torch.save([weights, optimizer.state_dict(), 3, 5000], SCRATCH / "old.pth", _use_new_zipfile_serialization=False)
    converted("to_safetensors", SCRATCH / "old.pth", file)
    check("a file of an old PyTorch", list(header(file)) == list(weights))
    snapshot = SCRATCH / "ema_list.pth"
    converted("to_safetensors", snapshot, file, "--weights", "ema")
    converted("from_safetensors", file, back)
    check("the average, and what has none", equal(torch.load(back), {**weights, **average}))
    converted("to_safetensors", snapshot, file, "--snapshot")
    names = header(file)
    check("names of a snapshot", {"conv.weight", "ema.conv.weight", "optimizer.m.conv.weight", "optimizer.v.norm.bias"} < set(names) and
          "optimizer.m.W" not in names and names["__metadata__"]["step"] == "5000" and names["__metadata__"]["optimizer_steps"] == "2")
    converted("from_safetensors", file, back, "--weights", "ema")
    check("the average of a snapshot", equal(torch.load(back), {**weights, **average}))

    # --- what is refused ------------------------------------------------------------------------------------------
    refused("No such file", "to_safetensors", SCRATCH / "none.pth", file)
    (SCRATCH / "text.pth").write_text("no weights")
    refused("not a file of PyTorch weights", "to_safetensors", SCRATCH / "text.pth", file)
    (SCRATCH / "cut.pth").write_bytes(snapshot.read_bytes()[:900])
    refused("cut.pth", "to_safetensors", SCRATCH / "cut.pth", file)
    (SCRATCH / "empty.pth").write_bytes(b"")
    refused("empty.pth", "to_safetensors", SCRATCH / "empty.pth", file)
    refused("--trust", "to_safetensors", save("object.pth", {"state_dict": weights, "args": pathlib.PurePosixPath("x")}), file)
    converted("to_safetensors", SCRATCH / "object.pth", file, "--trust")
    refused("Python object", "to_safetensors", save("module.pth", net), file)
    refused("whole module", "to_safetensors", SCRATCH / "module.pth", file, "--trust")
    for name in hostile_files(weights):
        refused("it holds a Python object, posix system", "to_safetensors", SCRATCH / name, file)
    check("no code of a file is run", not VICTIM.exists())
    refused(r"a\x1b[2Jb.pth", "to_safetensors", SCRATCH / "a\x1b[2Jb.pth", file)
    refused(r"keys a b, \x1b[2J", "to_safetensors", save("escapes.pth", {"a\nb": 1, "\x1b[2J": 2}), file)
    refused("a list of 2", "to_safetensors", save("short.pth", [weights, 3]), file)
    refused("keys a, b", "to_safetensors", save("keys.pth", {"a": 1, "b": weights}), file)
    refused("no running average", "to_safetensors", SCRATCH / "plain_list.pth", file, "--weights", "ema")
    refused("not Adam", "to_safetensors", save("sgd.pth", [weights, trained(lambda p, lr: torch.optim.SGD(p, lr, 0.9))[1].state_dict(), 1, 2]), file, "--snapshot")
    refused("whole numbers", "to_safetensors", save("counters.pth", [weights, optimizer.state_dict(), "1", 2]), file)
    refused("--weights", "to_safetensors", snapshot, file, "--weights", "best")
    refused("arguments are required", "to_safetensors", snapshot)
    result = subprocess.run([sys.executable, TOOLS / "from_safetensors.py", SCRATCH / "none", back], capture_output=True, text=True)
    check("the script by itself", result.returncode == 2 and result.stderr.startswith("from_safetensors.py: ") and result.stderr.count("\n") == 1)
    refused("No such file or directory", "to_safetensors", snapshot, SCRATCH / "no" / "folder.safetensors")
    converted("to_safetensors", snapshot, file, "--snapshot")
    good = file.read_bytes()
    bad = SCRATCH / "bad.safetensors"
    for what, content in [("not a safetensors file", good[:5]), ("cut short", good[:200]), ("do not fit", good[:-4]), ("after the last", good + b"\0"),
                          ("header is damaged", good[:8] + b"[" + good[9:]), ("not known", good.replace(b'"F32"', b'"F31"', 1)),
                          ("do not fit", good.replace(b"data_offsets\":[0", b"data_offsets\":[4", 1))]:
        bad.write_bytes(content)
        refused(what, "from_safetensors", bad, back)
    refused("whole number", "from_safetensors", _replaced(bad, good, b'"step":"5000"', b'"step":"five"'), back, "--snapshot")
    refused("no running average", "from_safetensors", _plain(weights), back, "--weights", "ema")
    check("nothing half written", not list(SCRATCH.glob("*.tmp")) + list(SCRATCH.glob(".*.partial")))
    file.chmod(0o600)
    bystander = pathlib.Path(str(file) + ".tmp")
    bystander.write_text("another's")
    converted("to_safetensors", snapshot, file, "--snapshot")
    check("the mode is kept", file.stat().st_mode & 0o777 == 0o600)
    check("another's file is left alone", bystander.read_text() == "another's")
    bystander.unlink()


VICTIM = SCRATCH / "victim"


class Command:
    def __reduce__(self):
        return os.system, (f"touch '{VICTIM}'",)


def hostile_files(weights):
    """One of every form that torch.load knows: a zip, five pickles, a tar, and a tar that begins as five pickles do."""
    torch.save({**weights, "x": Command()}, SCRATCH / "zip.pth")
    torch.save({**weights, "x": Command()}, SCRATCH / "pickles.pth", _use_new_zipfile_serialization=False)
    for name, first in [("tar.pth", "x"), ("pickles_and_tar.pth", 5 * "I0\n.")]:
        with tarfile.open(SCRATCH / name, "w", format=tarfile.PAX_FORMAT) as tar:
            for member, content in [(first, b""), ("storages", pickle.dumps(0, 2) + pickle.dumps([], 2)), ("tensors", pickle.dumps(0, 2)),
                                    ("pickle", pickle.dumps(Command(), 2))]:
                entry = tarfile.TarInfo(member)
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))
    return "zip.pth", "pickles.pth", "tar.pth", "pickles_and_tar.pth"


def _replaced(path, content, old, new):
    assert old in content and len(old) == len(new)
    path.write_bytes(content.replace(old, new))
    return path


def _plain(weights):
    path = SCRATCH / "weights.safetensors"
    converted("to_safetensors", save("weights.pth", weights), path)
    return path


if __name__ == "__main__":
    main()
    print("failures:", len(failures))
    sys.exit(1 if failures else 0)
