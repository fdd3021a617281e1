#!/usr/bin/env python3
"""Writes the seeds of the fuzz targets, small files of every format, into tests/fuzz/seeds/<target>/.

Files there that this script does not write were found by fuzzing, and stay.
"""

import gzip
import json
import pathlib
import struct
import zlib

SEEDS = pathlib.Path(__file__).resolve().parent / "seeds"


def write(target, name, data):
    folder = SEEDS / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)


def packed(data):
    return gzip.compress(data, mtime=0)


# --- pictures ---


def png(width, height, depth, kind, rows, extra=b"", interlace=0):
    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, interlace)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + extra + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def palette():
    data = bytes([255, 0, 0, 0, 255, 0])
    return struct.pack(">I", len(data)) + b"PLTE" + data + struct.pack(">I", zlib.crc32(b"PLTE" + data))


def bmp(bits, pixels, colours=b"", compression=0, width=2, height=2):
    offset = 54 + len(colours)
    return (b"BM" + struct.pack("<IHHI", offset + len(pixels), 0, 0, offset) +
            struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, compression, len(pixels), 0, 0, len(colours) // 4, 0) +
            colours + pixels)


def lzw(codes, bits):
    value = sum(code << (bits * i) for i, code in enumerate(codes))
    data = value.to_bytes((bits * len(codes) + 7) // 8, "little")
    return bytes([2, len(data)]) + data + b"\0"


def gif(version=b"89a", behind=b"", extension=b""):
    screen = struct.pack("<HHBBB", 2, 2, 0x80, 0, 0) + bytes([0, 0, 0, 255, 255, 255])
    frame = b"," + struct.pack("<HHHHB", 0, 0, 2, 2, 0) + lzw([4, 0, 1, 1, 5], 3)
    return b"GIF" + version + screen + extension + frame + b";" + behind


def jpeg(components=1, restart=False, orientation=False):
    """8 x 8 pixels, baseline, coefficients of zero frequency alone."""
    def segment(marker, data):
        return bytes([0xFF, marker]) + struct.pack(">H", len(data) + 2) + data

    bits_dc = bytes([0, 1, 5, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0])
    # One code of two bits, 00, for the end of a block.
    bits_ac = bytes([0, 1] + [0] * 14)
    parts = [b"\xFF\xD8"]
    if orientation:
        tiff = b"MM\0*\0\0\0\x08" + struct.pack(">HHHIHHI", 1, 0x0112, 3, 1, 6, 0, 0)
        parts.append(segment(0xE1, b"Exif\0\0" + tiff))
    parts.append(segment(0xDB, b"\0" + bytes([16] * 64)))
    ids = range(1, components + 1)
    parts.append(segment(0xC0, struct.pack(">BHHB", 8, 8, 8, components) + b"".join(bytes([i, 0x11, 0]) for i in ids)))
    parts.append(segment(0xC4, b"\0" + bits_dc + bytes(range(12))))
    parts.append(segment(0xC4, b"\x10" + bits_ac + b"\0"))
    if restart:
        parts.append(segment(0xDD, struct.pack(">H", 1)))
    parts.append(segment(0xDA, bytes([components]) + b"".join(bytes([i, 0]) for i in ids) + b"\0\x3F\0"))
    # For each component: category 2 (011), value 3 (11), end of block (00).
    code = "0111100" * components
    code += "1" * (-len(code) % 8)
    parts.append(int(code, 2).to_bytes(len(code) // 8, "big"))
    parts.append(b"\xFF\xD9")
    return b"".join(parts)


def pictures():
    write("pnm", "grey.pgm", b"P5 2 2 255\n" + bytes([0, 80, 160, 255]))
    write("pnm", "colour.ppm", b"P6\n# a comment\n2 1\n255\n" + bytes(range(6)))
    write("pnm", "maximum.pgm", b"P5 2 2 15\n" + bytes([0, 5, 10, 15]))
    write("pnm", "wide.pgm", b"P5 2 1 65535\n" + bytes([0, 1, 255, 255]))
    write("pnm", "ascii.pgm", b"P2\n2 2\n100\n0 50\n75 100\n")
    write("pnm", "ascii.ppm", b"P3 1 1 255 1 2 3\n")
    write("bmp", "colour.bmp", bmp(24, bytes(range(6)) + b"\0\0" + bytes(range(6)) + b"\0\0"))
    write("bmp", "alpha.bmp", bmp(32, bytes(range(16))))
    write("bmp", "palette.bmp", bmp(8, b"\0\1\0\0\1\0\0\0", b"\0\0\0\0\xFF\xFF\xFF\0"))
    write("bmp", "two.bmp", bmp(1, b"\x40\0\0\0\x80\0\0\0", b"\0\0\0\0\xFF\xFF\xFF\0"))
    write("bmp", "wide.bmp", bmp(16, bytes(8)))
    write("bmp", "falling.bmp", bmp(24, bytes(16), height=-2))
    write("png", "grey.png", png(2, 2, 8, 0, b"\0\1\2\1\3\4"))
    write("png", "colour.png", png(1, 2, 8, 2, b"\2\1\2\3\4\1\2\3"))
    write("png", "palette.png", png(2, 1, 1, 3, b"\0\x40", palette()))
    write("png", "alpha.png", png(1, 1, 8, 6, b"\0\1\2\3\4"))
    write("png", "wide.png", png(1, 1, 16, 4, b"\0\1\2\3\4"))
    write("png", "interlaced.png", png(2, 2, 8, 0, b"\0\1\0\2\0\3\4", interlace=1))
    write("gif", "plain.gif", gif())
    write("gif", "87a.gif", gif(b"87a"))
    write("gif", "trailing.gif", gif(behind=b"\0\0more"))
    write("gif", "transparent.gif", gif(extension=b"!\xF9\x04\x01\0\0\0\0"))
    write("jpeg", "grey.jpg", jpeg())
    write("jpeg", "colour.jpg", jpeg(3))
    write("jpeg", "restart.jpg", jpeg(1, restart=True))
    write("jpeg", "orientation.jpg", jpeg(1, orientation=True))
    write("jpeg", "behind.jpg", jpeg() + b"something else")


# --- arrays ---


def idx(extents, data, kind=8):
    return bytes([0, 0, kind, len(extents)]) + b"".join(struct.pack(">I", n) for n in extents) + data


def npy(descr, shape, data, version=1, order="False"):
    header = f"{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY" + bytes([version, 0]) + struct.pack("<H" if version == 1 else "<I", len(header)) + header + data


def safetensors(header, data):
    text = header.encode() if isinstance(header, str) else json.dumps(header, separators=(",", ":")).encode()
    return struct.pack("<Q", len(text)) + text + data


def arrays():
    plain = idx([2, 3], bytes(range(6)))
    write("idx", "plain", plain)
    write("idx", "labels", idx([4], b"\0\1\2\1"))
    write("idx", "gzipped", packed(plain))
    write("idx", "nothing", idx([0], b""))
    write("gzip", "one", packed(b"some bytes, some bytes"))
    write("gzip", "padded", packed(b"some") + bytes(20))
    write("gzip", "members", packed(b"some") + packed(b"") + bytes(3) + packed(b"bytes" * 20))
    write("gzip", "named", b"\x1f\x8b\x08\x08\0\0\0\0\0\3name\0" + packed(b"some bytes")[10:])
    write("npy", "floats", npy("<f4", "(2,)", struct.pack("<2f", 1, 2)))
    write("npy", "big", npy(">f8", "(1, 1)", struct.pack(">d", 0.5), version=2))
    write("npy", "bytes", npy(">u1", "(2, 3)", bytes(range(6)), version=3, order="True"))
    write("npy", "half", npy("<f2", "()", b"\0\x3C"))
    write("npy", "old", npy("|b1", "(2L, 1L)", b"\0\1"))
    record = {"dtype": "F32", "shape": [1, 2], "data_offsets": [0, 8]}
    data = struct.pack("<2f", 1, -2)
    write("safetensors", "one", safetensors({"a": record}, data))
    write("safetensors", "metadata", safetensors({"__metadata__": {"format": "pt", "\n\"\u00e4": "\\"}, "a": record}, data))
    write("safetensors", "types", safetensors(
        {"a": {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]}, "b": {"dtype": "I64", "shape": [], "data_offsets": [4, 12]},
         "c": {"dtype": "F4", "shape": [4], "data_offsets": [12, 14]},
         "d": {"dtype": "U8", "shape": [1] * 7, "data_offsets": [14, 15]}}, bytes(15)))
    write("safetensors", "escapes", safetensors(
        r'{"__metadata__":null,"\ud83c\udf4e\u0041\/":{"shape":[0,3],"data_offsets":[0,0],"dtype":"F64"}} ', b""))
    write("safetensors", "pointer", b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n")
    write("safetensors", "page", b"<!DOCTYPE html><html></html>")
    write("safetensors", "pytorch", b"PK\3\4" + bytes(26) + b"archive/data.pkl")


# --- texts ---


def texts():
    settings = {
        "unet": {"architecture": "UNet", "channels": [32, 64, 128, 256], "embed_dim": 256, "sigma": 25.0},
        "transformer": {"architecture": "UNet_Tranformer_Arch", "nClass": 10, "text_dim": None, "use_psp": True,
                        "image_size": 64, "psp_ratio": 2, "num_heads": 4},
        "residual": {"architecture": "UNetTransformerArchResBlock", "model_channels": 32, "channels": [32, 64],
                     "dropout": 0.1, "dims": 2, "conv_resample": False},
        "residual2": {"architecture": "UNet_Tranformer_ResBlock_Arch_Embeding", "channels_ratio": [1, 2],
                      "attention_resolutions": [2], "context_dim": 8, "use_spatial_transformer": True},
        "kl": {"architecture": "AutoEncoderKL", "embed_dim": 4, "ddconfig": {"ch": 32, "ch_mult": [1, 2], "attn_type": "none",
                                                                              "double_z": True}},
        "simple": {"architecture": "SimpleAutoEncoder", "channels": [4, 8, 16], "in_channel": 1},
        "ddpm": {"architecture": "UNet", "sigma": None, "diffusion": {
            "method": "ddpm", "schedule": "cosine", "timesteps": 100, "zero_terminal_snr": True, "prediction": "velocity",
            "variance": "learned_range", "height": 28, "width": 28, "channels": 1, "time_scale": 0.001}},
        "edm": {"diffusion": {"method": "edm", "data_deviation": 0.5}},
        "wrong": {"architecture": "UNet", "channels": [[[[[[1]]]]]], "\u009b\x1b": "\x7f"},
    }
    for name, value in settings.items():
        write("settings", name + ".json", json.dumps(value, ensure_ascii=False).encode())
    write("settings", "deep.json", b'{"architecture":' + b"[" * 300)
    names = ['["apple","pear"]', '[["fruit"],[]]']
    write("captions", "one", "\n".join(names).encode())
    write("captions", "all", "\n".join(names + ['["苹果","梨"]', "[[],[]]", '["a","b"]', '["fruit"]']).encode())
    write("captions", "wrong", b'["a"]\n[[[]]]\n[1]\n{}')
    write("captions", "deep", b"[" * 300)


pictures()
arrays()
texts()
