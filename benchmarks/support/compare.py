#!/usr/bin/env python3
"""Runs this library, PyTorch and ONNX Runtime in turn, and prints the table. Started by benchmarks/compare.sh."""
import argparse
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time

import comparison

HERE = pathlib.Path(__file__).resolve().parent
PEERS = HERE.parent / "peers"
# What somebody has set for other programs shall not slow one side down.
UNSET = ("OPENBLAS_CORETYPE", "OPENBLAS_NUM_THREADS", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "OMP_WAIT_POLICY", "OMP_PROC_BIND",
         "ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA")


class Failed(Exception):
    pass


def environment(options):
    result = {key: value for key, value in os.environ.items() if key not in UNSET}
    result.update(OMP_NUM_THREADS=str(options.threads), EASY_DIFFUSION_PEERS=str(options.peers))
    return result


def lines_of(command, options):
    """The JSON lines that a program prints."""
    done = subprocess.run([str(word) for word in command], env=environment(options), stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True)
    if done.returncode != 0:
        raise Failed("%s: exit code %d: %s" % (" ".join(map(str, command)), done.returncode, done.stderr.strip()[-400:]))
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


# --- each side's figures of some rows, as {figure: number} ----------------------------------------------------------

def any_of(figures):
    return "^(" + "|".join(re.escape(figure) for figure in figures) + ")$"


def ours(figures, options):
    """Also the shares of the peak."""
    times, shares = {}, {}
    program = lambda name: options.build / "benchmarks" / name
    models = {}  # (model, batch) -> parts
    for figure in figures:
        match = re.fullmatch(r"(.+)\.(\d+)\.(forward|train|train_memory)", figure)
        if match:
            models.setdefault(match.group(1, 2), set()).add(match.group(3))
        elif figure.startswith("paths_"):
            line = lines_of([program("bench_paths"), "--json", "--threads", options.threads, "--repetitions", options.repetitions], options)[0]
            times[figure] = line["ms"] * 100 / line["steps"]
    for (model, batch), parts in models.items():
        command = [program("bench_models"), "--json", "--model", model, "--batch", batch, "--threads", options.threads,
                   "--repetitions", repetitions(figures, options)]
        name = "%s.%s." % (model, batch)
        if "forward" in parts:
            times[name + "forward"] = lines_of(command + ["--only", "forward"], options)[0]["forward_ms"]
        if parts & {"train", "train_memory"}:
            line = lines_of(command + ["--only", "train"], options)[0]
            times[name + "train"], times[name + "train_memory"] = line["train_ms"], line["train_memory_mb"]
    operations = [figure for figure in figures if is_operation(figure)]
    if operations:
        command = [program("bench_ops"), "--json", "--threads", options.threads, "--repetitions", options.repetitions, "--filter", any_of(operations)]
        for line in lines_of(command, options):
            if line["op"] != "peak":
                times[line["op"]], shares[line["op"]] = line["ms"], line["share"]
    return times, shares


def is_operation(figure):
    return re.match(r"conv|matmul|attention|group_norm", figure) is not None


def repetitions(figures, options):
    return max(3, options.repetitions // 2) if any("arch_resblock" in figure for figure in figures) else options.repetitions


def pytorch(figures, options):
    command = [options.python, PEERS / "pytorch_peer.py", "--threads", options.threads, "--repetitions", repetitions(figures, options)]
    memory = [figure for figure in figures if figure.endswith("train_memory")]
    lines = []
    for some in [[figure for figure in figures if figure not in memory]] + [[figure] for figure in memory]:
        if some:
            lines += lines_of(command + [re.escape(figure) for figure in some], options)
    return {line["name"]: line.get("ms", line.get("mb")) for line in lines}


def onnx(figures, options):
    names = [figure[:-len(".forward")] for figure in figures]
    command = [options.node, PEERS / "onnxruntime_peer.js", "--models", options.peers / "onnx", "--threads", options.threads,
               "--repetitions", options.repetitions]
    return {line["name"]: line["ms"] for line in lines_of(command + names, options)}


# --- the turns -------------------------------------------------------------------------------------------------------

def groups_of(rows):
    """Rows that run together: each side's part of a group is short, so that noise hits all sides."""
    groups = {}
    for row in rows:
        key = row.figure.split(".")[0] if not is_operation(row.figure) else row.figure.split("_")[0]
        groups.setdefault(key, []).append(row)
    return list(groups.values())


def run_turn(number, rows, present, options):
    turn = {"ours": {}, "pytorch": {}, "onnx": {}, "share": {}}
    for group in groups_of(rows):
        order = [side for side in comparison.SIDES if side in present]
        for side in order if number % 2 == 0 else reversed(order):
            figures = [row.figure for row in group if side in row.sides]
            if not figures:
                continue
            try:
                if side == "ours":
                    times, shares = ours(figures, options)
                    turn["share"].update(shares)
                else:
                    times = {"pytorch": pytorch, "onnx": onnx}[side](figures, options)
                turn[side].update(times)
            except Failed as error:  # its rows are told as missing at the end
                print(comparison.printable(str(error)), file=sys.stderr, flush=True)
    return turn


# --- what is installed ---------------------------------------------------------------------------------------------------

def find_peers(options):
    """The sides that can run, and what is to be said about the others."""
    present, notes = ["ours"], []
    python = subprocess.run([options.python, "-c", "import torch; print(torch.__version__)"], capture_output=True, text=True)
    if python.returncode == 0:
        present.append("pytorch")
        notes.append("PyTorch " + python.stdout.strip())
    else:
        notes.append("PyTorch is not installed for %s: its columns stay empty (--install installs it)" % options.python)
    if options.node and (options.peers / "node_modules" / "onnxruntime-node").is_dir():
        package = json.loads((options.peers / "node_modules" / "onnxruntime-node" / "package.json").read_text())
        present.append("onnx")
        notes.append("ONNX Runtime " + package["version"])
    else:
        notes.append("ONNX Runtime is not installed in %s: its column stays empty (--install installs it)" % options.peers)
    return present, notes


def export_networks(rows, present, options):
    """The networks for ONNX Runtime come from PyTorch; what is there already is left alone."""
    names = [row.figure[:-len(".forward")] for row in rows if "onnx" in row.sides]
    missing = [name for name in names if not (options.peers / "onnx" / (name + ".json")).exists()]
    if "onnx" not in present or not missing:
        return None
    if "pytorch" not in present:
        present.remove("onnx")
        return "ONNX Runtime has no networks to run: they are exported by PyTorch, which is not installed"
    subprocess.run([options.python, PEERS / "export_onnx.py", options.peers / "onnx"] + missing, check=True, env=environment(options),
                   stdout=sys.stderr)
    return None


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--rows", default="")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repetitions", type=int, default=9)
    parser.add_argument("--out", type=pathlib.Path, action="append", default=[])
    parser.add_argument("--build", type=pathlib.Path, required=True)
    parser.add_argument("--peers", type=pathlib.Path, required=True)
    parser.add_argument("--python", default="/usr/bin/python3" if os.path.exists("/usr/bin/python3") else "python3")
    options = parser.parse_args()
    options.node = shutil.which("node")
    rows = comparison.wanted_rows(options.rows)
    present, notes = find_peers(options)
    note = export_networks(rows, present, options)
    notes += [note] if note else []
    turns, start = [], time.monotonic()
    for number in range(options.turns):
        turns.append(run_turn(number, rows, present, options))
        print("turn %d of %d: %.0f s" % (number + 1, options.turns, time.monotonic() - start), file=sys.stderr, flush=True)
    results, broken = [], []
    for row in rows:
        try:
            results.append(comparison.evaluate(row, turns, present))
        except ValueError as error:
            broken.append("missing: %s: %s" % (row.title, error))
    print(comparison.text(results))
    heading = "threads: %d, turns: %d; medians, and ratios as median (min - max) over the turns" % (options.threads, options.turns)
    print("\n".join([heading] + [comparison.printable(line) for line in notes + broken]))
    for out in options.out:
        body = comparison.as_csv(results) if out.suffix == ".csv" else comparison.markdown(results) + "\n" + "\n".join([heading + ".  "] + [comparison.markdown_text(line) + ".  " for line in notes + broken]) + "\n"
        out.write_text(body)
    return 1 if broken else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (Failed, subprocess.CalledProcessError, OSError) as error:
        sys.exit("compare: %s" % comparison.printable(str(error)))
