#!/usr/bin/env python3
"""What the table of benchmarks/compare.sh computes, on figures known beforehand: comparison.py <repository>.

Medians, ratios turn by turn and goals; figures that are missing, NaN, zero or no numbers must be rejected.
"""
import csv
import io
import math
import pathlib
import re
import sys

REPOSITORY = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ".").resolve()
sys.path.insert(0, str(REPOSITORY / "benchmarks" / "support"))
import comparison  # noqa: E402

ALL = ("ours", "pytorch", "onnx")
failures = []


def expect(what, good):
    if not good:
        failures.append(what)
        print("FAILED:", what)


def rejects(what, row, turns, words, present=ALL):
    try:
        comparison.evaluate(row, turns, present)
    except ValueError as error:
        expect("%s: says '%s', not '%s'" % (what, words, error), words in str(error))
    else:
        expect(what + " is rejected", False)


def row(figure):
    return next(row for row in comparison.rows() if row.figure == figure)


def turns_of(figure, ours, pytorch=(), onnx=(), share=()):
    columns = {"ours": ours, "pytorch": pytorch, "onnx": onnx, "share": share}
    return [{side: ({figure: values[i]} if values else {}) for side, values in columns.items()} for i in range(len(ours))]


# Ratios are of the same turn: their median (2) is not that of the medians (40 / 20), nor their least and most.
forward = row("unet.64.forward")
turns = turns_of("unet.64.forward", [10, 20, 40], [40, 20, 80], [15, 40, 50])
result = comparison.evaluate(forward, turns, ALL)
expect("medians", [result.figures[side].median for side in ALL] == [20, 40, 40])
expect("spread of a figure", result.figures["ours"] == (20, 10, 40))
expect("ratios turn by turn", result.ratios["pytorch"] == (2, 1, 4) and result.ratios["onnx"] == (1.5, 1.25, 2))
expect("a goal reached exactly, another not", dict(zip(forward.goals, result.reached)) == {"onnx": True, "pytorch": False})
even = comparison.evaluate(forward, turns_of("unet.64.forward", [1, 1], [3, 4], [1, 2]), ALL)
expect("median of an even number of turns", even.ratios["pytorch"].median == 3.5 and even.reached == [True, True])

# The other kinds of goals.
memory = row("unet.64.train_memory")
for ours, reached in (([70], True), ([71], False)):
    expect("memory %s" % ours, comparison.evaluate(memory, turns_of(memory.figure, ours, [100]), ALL).reached == [reached])
product = row("matmul_1024x1024x1024.forward")
for share, reached in ((0.85, True), (0.8499, False)):
    expect("share of the peak", comparison.evaluate(product, turns_of(product.figure, [1], [1], share=[share]), ALL).reached == [reached])
paths = row("paths_1000000")
for ms, reached in ((50, True), (50.1, False)):
    expect("path-steps a second", comparison.evaluate(paths, turns_of(paths.figure, [ms], [ms * 5]), ALL).reached == [reached, True])

# A peer that is not installed.
alone = comparison.evaluate(forward, turns_of("unet.64.forward", [10, 20, 40]), ("ours",))
expect("goals without peers", alone.reached == [None, None] and "not measured" in comparison.cells(alone)[-1])

# What must be rejected.
rejects("a missing figure of ours", forward, [{"ours": {}, "pytorch": {forward.figure: 1}, "onnx": {forward.figure: 1}}], "ours, turn 1")
rejects("a peer's figure missing in one turn", forward, turns[:2] + turns_of("unet.64.forward", [1], [1]), "ONNX Runtime, turn 3")
rejects("a missing share", product, turns_of(product.figure, [1], [1]), "no figure")
rejects("no turn", forward, [], "no figure")
for bad in (math.nan, math.inf, 0, -1, "1", None):
    rejects("the figure %r" % (bad,), forward, turns_of("unet.64.forward", [1, bad], [1, 1], [1, 1]), "not a positive number")

# Tables.
text = comparison.text([result, alone])
expect("text: every row", text.count("UNet 28x28, batch 64, forward") == 2 and "2.00 (1.00 - 4.00)" in text)
table = comparison.markdown([result]).splitlines()
expect("markdown: as many cells in each line", len(table) == 3 and len({line.count("|") for line in table}) == 1)
lines = list(csv.DictReader(io.StringIO(comparison.as_csv([result, alone]))))
expect("csv", lines[0]["ours"] == "20" and lines[0]["pytorch_ratio_most"] == "4" and lines[1]["onnx"] == "")

# What other programs say is shown, not obeyed.
for hostile in ("a\nb | c", "\x1b[2J\x9b31m", "\u202egpj", "\udcff", "| x |", "<b>`x`</b> [a](b) *c* \\", "a\r\0b", "Grüße 葡萄"):
    shown = comparison.printable(hostile)
    expect("printable %r" % hostile, shown.isprintable() and comparison.printable(shown) == shown)
    marked = comparison.markdown_text(hostile)
    expect("markdown %r" % hostile, re.sub(r"\\([^\w\s])", r"\1", marked) == shown and not re.search(r"(?<!\\)(?:\\\\)*[`*_\[\]<>#|]", marked))
expect("what is printable stays", comparison.printable("PyTorch 2.1.0+cpu, Grüße") == "PyTorch 2.1.0+cpu, Grüße")

# Rows.
figures = [known.figure for known in comparison.rows()]
expect("no figure twice", len(set(figures)) == len(figures))
expect("rows by name and by title", [found.figure for found in comparison.wanted_rows(r"^unet\.1\b|10\^6")] == ["unet.1.forward", "paths_1000000"])
try:
    comparison.wanted_rows("(")
    expect("a broken expression is rejected", False)
except re.error:
    pass

sys.exit(1 if failures else 0)
