"""The rows of the comparison with the peers, the figures' statistics, and the table.

A turn is {side: {figure: number}} with the sides "ours", "pytorch" and "onnx": milliseconds, or MiB for memory. Our
side also has {"share": {figure: share of the peak}}.
"""
import csv
import dataclasses
import io
import math
import re
import statistics
import typing

SIDES = ("ours", "pytorch", "onnx")
NAMES = {"ours": "ours", "pytorch": "PyTorch", "onnx": "ONNX Runtime"}


@dataclasses.dataclass
class Row:
    """Goals: "pytorch" and "onnx" are least values of the peer's figure divided by ours, "peak" that of our share of the
    arithmetic peak, "rate" path-steps a second, and "memory" is the largest value of our figure divided by PyTorch's."""
    figure: str
    title: str
    goals: typing.Dict[str, float]
    sides: typing.Tuple[str, ...] = ("ours", "pytorch")
    unit: str = "ms"


PATH_STEPS = 1e6 * 100  # of the figure "paths_1000000"


def rows():
    everyone = ("ours", "pytorch", "onnx")
    large = "unet_transformer_arch_resblock_embeding"
    result = [
        Row("unet.64.forward", "UNet 28x28, batch 64, forward", {"onnx": 1.5, "pytorch": 3}, everyone),
        Row("unet.64.train", "UNet 28x28, batch 64, training step", {"pytorch": 3}),
        Row("unet.64.train_memory", "UNet 28x28, batch 64, memory of a training step", {"memory": 0.7}, unit="MiB"),
        Row("unet_transformer.64.forward", "UNet_Tranformer 28x28, batch 64, forward", {"onnx": 1.5}, everyone),
        Row("unet_transformer.64.train", "UNet_Tranformer 28x28, batch 64, training step", {"pytorch": 3}),
        Row(large + ".8.forward", "UNetTransformerArchResBlockEmbeding (79 M) 32x32, batch 8, forward", {"onnx": 1.3}, everyone),
        Row(large + ".8.train", "UNetTransformerArchResBlockEmbeding (79 M) 32x32, batch 8, training step", {"pytorch": 2}),
        Row("unet.1.forward", "UNet, batch 1, forward", {"onnx": 1.2}, everyone),
        Row("unet_transformer.1.forward", "UNet_Tranformer, batch 1, forward", {"onnx": 1.2}, everyone),
        Row(large + ".1.forward", "UNetTransformerArchResBlockEmbeding (79 M), batch 1, forward", {"onnx": 1.2}, everyone),
    ]
    for channels, size in ((64, 32), (128, 32), (256, 16), (512, 8)):
        for part in ("forward", "backward_data", "backward_weights"):
            result.append(Row("conv3x3_%d_%d_%dx%d_b16.%s" % (channels, channels, size, size, part),
                              "conv 3x3, %d channels, %dx%d, batch 16, %s" % (channels, size, size, part.replace("_", " of ")),
                              {"peak": 0.85, "pytorch": 1}))
    result += [
        Row("matmul_1024x1024x1024.forward", "matrix product 1024^3", {"peak": 0.85}),
        Row("attention_1024x128_b16.forward", "attention 1024 x 128, batch 16, forward", {"peak": 0.5}),
        Row("attention_1024x128_b16.forward_backward", "attention 1024 x 128, batch 16, forward and backward", {"peak": 0.5}),
        Row("group_norm_silu_16x32x32x128_g32.forward", "GroupNorm(32) + SiLU, 16x32x32x128, forward", {}),
        Row("group_norm_silu_16x32x32x128_g32.forward_backward", "GroupNorm(32) + SiLU, 16x32x32x128, forward and backward", {}),
        Row("paths_1000000", "Euler-Maruyama, 10^6 scalar paths, 100 steps", {"rate": 2e9, "pytorch": 5}),
    ]
    return result


def wanted_rows(pattern):
    """Rows whose figure or title the pattern finds. Raises re.error."""
    found = re.compile(pattern)
    return [row for row in rows() if found.search(row.figure) or found.search(row.title)]


class Spread(typing.NamedTuple):
    median: float
    least: float
    most: float


def spread(values):
    """Raises ValueError for no value, or one that is not a positive number."""
    if not values:
        raise ValueError("no figure")
    for value in values:
        if not (isinstance(value, (int, float)) and math.isfinite(value) and value > 0):
            raise ValueError("not a positive number: %r" % (value,))
    return Spread(statistics.median(values), min(values), max(values))


def figures_of(turns, side, figure):
    """One for every turn. Raises ValueError where one is missing or not a positive number."""
    values = []
    for number, turn in enumerate(turns, 1):
        if figure not in turn.get(side, {}):
            raise ValueError("%s, turn %d: no figure %s" % (NAMES.get(side, side), number, figure))
        values.append(turn[side][figure])
    try:
        spread(values)
    except ValueError as error:
        raise ValueError("%s, %s: %s" % (NAMES.get(side, side), figure, error)) from None
    return values


@dataclasses.dataclass
class Result:
    row: Row
    figures: typing.Dict[str, Spread]  # by side
    ratios: typing.Dict[str, Spread]  # the peer's figure over ours, turn by turn; "peak": our share of it
    goals: typing.List[str]  # in words
    reached: typing.List[typing.Optional[bool]]  # None: the peer is missing


def evaluate(row, turns, present):
    """The medians of a row. `present`: the sides that are installed. Raises ValueError for figures that should be there."""
    sides = [side for side in row.sides if side in present]
    values = {side: figures_of(turns, side, row.figure) for side in sides}
    result = Result(row, {side: spread(values[side]) for side in sides}, {}, [], [])
    for side in sides:
        if side != "ours":
            result.ratios[side] = spread([peer / ours for peer, ours in zip(values[side], values["ours"])])
    if "peak" in row.goals:
        result.ratios["peak"] = spread(figures_of(turns, "share", row.figure))
    for goal, limit in row.goals.items():
        if goal == "rate":
            result.goals.append("%.3g G path-steps/s" % (1e-9 * limit))
            result.reached.append(PATH_STEPS / (1e-3 * result.figures["ours"].median) >= limit)
        elif goal == "memory":
            result.goals.append("%.3g x PyTorch's" % limit)
            result.reached.append(1 / result.ratios["pytorch"].median <= limit if "pytorch" in result.ratios else None)
        else:
            words = "%.3g of the peak" if goal == "peak" else "%.3g x " + NAMES[goal]
            result.goals.append(words % limit)
            result.reached.append(result.ratios[goal].median >= limit if goal in result.ratios else None)
    return result


def printable(text):
    """On one line, with escapes for what a terminal obeys: for what other programs and the surroundings say."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode("ascii") for c in text)


def markdown_text(text):
    """The same as text of a Markdown document, whatever it has of its marks and of HTML."""
    return re.sub(r"([\\`*_{}\[\]<>#|&~!])", r"\\\1", printable(text))


HEADINGS = ("work", "ours", "PyTorch", "ONNX Runtime", "PyTorch / ours", "ONNX Runtime / ours", "of the peak", "goal", "reached")


def cells(result):
    """The row as it stands in the table: medians, and ratios as `median (min - max)`."""
    def figure(side):
        return "%.4g %s" % (result.figures[side].median, result.row.unit) if side in result.figures else ""

    def ratio(name, places=2):
        if name not in result.ratios:
            return ""
        return "%.*f (%.*f - %.*f)" % tuple(x for value in result.ratios[name] for x in (places, value))

    answers = {True: "yes", False: "no", None: "not measured"}
    return (result.row.title, figure("ours"), figure("pytorch"), figure("onnx"), ratio("pytorch"), ratio("onnx"),
            ratio("peak"), "; ".join(result.goals), "; ".join(answers[answer] for answer in result.reached))


def markdown(results):
    lines = [HEADINGS, tuple("---" for _ in HEADINGS)] + [cells(result) for result in results]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def text(results):
    """The same with columns of one width."""
    lines = [HEADINGS] + [cells(result) for result in results]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADINGS))]
    return "".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() + "\n" for line in lines)


def as_csv(results):
    """Numbers: medians, and each ratio's median, least and most."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    heading = ["figure", "unit"] + list(SIDES)
    for name in ("pytorch", "onnx", "peak"):
        heading += ["%s_ratio_%s" % (name, part) for part in Spread._fields]
    writer.writerow(heading + ["goal", "reached"])
    for result in results:
        line = [result.row.figure, result.row.unit]
        line += ["%.6g" % result.figures[side].median if side in result.figures else "" for side in SIDES]
        for name in ("pytorch", "onnx", "peak"):
            line += ["%.6g" % value for value in result.ratios[name]] if name in result.ratios else [""] * 3
        writer.writerow(line + list(cells(result)[-2:]))
    return out.getvalue()
