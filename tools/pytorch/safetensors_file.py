"""Reads and writes safetensors files, with nothing but PyTorch: https://huggingface.co/docs/safetensors.

Also what both scripts beside it share: one line for whatever goes wrong, and exit code 2.
"""

import argparse
import json
import os
import struct
import sys
import tempfile

import torch

TYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64,
         "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool}
# Last parts of the names of what is in a state_dict and is no parameter.
BUFFERS = ("running_mean", "running_var", "num_batches_tracked")
NAMES = {dtype: name for name, dtype in TYPES.items()}


class Refused(Exception):
    """What is wrong, in one line."""


def read(path):
    """The tensors by name, in the order of their bytes, and the metadata."""
    with open(path, "rb") as file:
        content = file.read()
    length = struct.unpack("<Q", content[:8])[0] if len(content) >= 8 else len(content)
    if length > len(content) - 8:
        raise Refused(f"{path}: not a safetensors file, or cut short")
    try:
        header = json.loads(content[8:8 + length].decode())
        metadata = header.pop("__metadata__", {})
        rows = sorted(((*row["data_offsets"], name, row["dtype"], row["shape"]) for name, row in header.items()))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Refused(f"{path}: the header is damaged: {error}") from error
    tensors, data, at = {}, memoryview(content)[8 + length:], 0
    for begin, end, name, kind, shape in rows:
        if kind not in TYPES:
            raise Refused(f"{path}: tensor {name}: element type {kind} is not known here")
        count = 1
        for extent in shape:
            count *= extent
        size = torch.empty(0, dtype=TYPES[kind]).element_size()
        if begin != at or end - begin != count * size or end > len(data):
            raise Refused(f"{path}: tensor {name}: its bytes {begin} to {end} do not fit its shape, its neighbours or the file")
        flat = torch.frombuffer(bytearray(data[begin:end]), dtype=TYPES[kind]) if count else torch.empty(0, dtype=TYPES[kind])
        tensors[name], at = flat.reshape(shape), end
    if at != len(data):
        raise Refused(f"{path}: {len(data) - at} bytes after the last tensor")
    return tensors, metadata


def write(path, tensors, metadata):
    header, blobs, at = {"__metadata__": metadata} if metadata else {}, [], 0
    for name, tensor in tensors.items():
        tensor = tensor.detach().cpu().contiguous()
        if tensor.dtype not in NAMES:
            raise Refused(f"tensor {name}: {tensor.dtype} cannot be written")
        blob = tensor.reshape(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b""
        header[name] = {"dtype": NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [at, at + len(blob)]}
        blobs.append(blob)
        at += len(blob)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    replace(path, lambda file: file.write(struct.pack("<Q", len(text)) + text + b"".join(blobs)))


def replace(path, fill):
    """Writes beside the file, under a name of its own, and renames: it is whole or as before, and keeps its mode."""
    path = os.path.realpath(path)
    handle, temporary = tempfile.mkstemp(
        dir=os.path.dirname(path), prefix=f".{os.path.basename(path)[:200]}.", suffix=".partial"
    )
    try:
        with os.fdopen(handle, "wb") as file:
            fill(file)
            if os.path.exists(path):
                mode = os.stat(path).st_mode & 0o777
            else:
                mask = os.umask(0)
                os.umask(mask)
                mode = 0o666 & ~mask
            os.fchmod(file.fileno(), mode)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        if os.path.exists(temporary):
            os.remove(temporary)


class Parser(argparse.ArgumentParser):
    def error(self, message):
        raise Refused(f"{message} (see --help)")


def printable(text):
    """On one line, with escapes for what a terminal obeys."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode("ascii") for c in text)


def run(parser, convert, arguments):
    try:
        convert(parser.parse_args(arguments))
    except (Refused, OSError, RuntimeError, MemoryError) as error:
        print(f"{parser.prog}: {printable(' '.join(str(error).split()))}", file=sys.stderr)
        sys.exit(2)
