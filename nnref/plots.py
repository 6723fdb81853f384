"""Every figure of the project. A rule has the same color everywhere, a layer the same line style.

Colors: Okabe & Ito 2008 (with gray and a dark brown), which color-blind readers can tell apart. The
report of a run has one rule and many layers: there a layer has a color, dark (bottom) to light.
"""

import math
from io import BytesIO
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.cm import ScalarMappable
from matplotlib.colors import BoundaryNorm, ListedColormap, PowerNorm, to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from nnref.files import make_folder, write_whole

COLORS = {
    "backprop": "#000000",
    "sham": "#56B4E9",
    "sign-symmetry": "#D55E00",
    "fixed-magnitudes": "#E69F00",
    "redrawn-magnitudes": "#CC79A7",
    "signed-init": "#009E73",
    "feedback-alignment": "#0072B2",
    "kolen-pollack": "#6B3E00",
    "last-layer-only": "#999999",
}
LAYER_STYLES = [":", "--", "-"]  # of the layers, bottom first
MEASURES = {  # of a run's history -> the label of its axis
    "weight_angle_deg": "angle between W and B (degrees)",
    "delta_angle_deg": "angle between delta and BP's (degrees)",
    "norm_ratio": "rms(B) / rms(W)",
}
MOST_NAMED_CLASSES = 20  # a confusion matrix of more has no room for names and numbers


def save(figure: Figure, path: Path):
    """Write a figure as PNG, whole or not at all; its folder is made if it is not there."""
    make_folder(Path(path).parent)
    write_whole(Path(path), png(figure))


def png(figure: Figure, dpi: int = 140) -> bytes:
    """A figure as the content of a PNG file."""
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None})
    return buffer.getvalue()


def demo(record: dict) -> Figure:
    """The demo's figure from its record (demo.py): learning curves and both angles over time."""
    figure = Figure(figsize=(12, 5.4), layout="constrained")
    figure.get_layout_engine().set(wspace=0.06)
    sizes = "-".join(map(str, record["network"]))
    figure.suptitle(
        f"One network ({sizes}) on MNIST, always from the same start (seed {record['seed']}): "
        "only the feedback matrix B differs",
        fontsize="medium",
    )
    accuracy, weight, delta = figure.subplots(1, 3)
    for rule in record["rules"]:
        color, watched = COLORS[rule["name"]], rule["watched"]
        epochs = [entry["epoch"] for entry in rule["history"]]
        values = [100 * entry["test_accuracy"] for entry in rule["history"]]
        accuracy.plot(epochs, values, color=color, marker="o", markersize=3)
        _lines(weight, watched["epoch"], watched["weight_angle_deg"], color, layers=(2, 3))
        _lines(delta, watched["epoch"], watched["delta_angle_deg"], color, layers=(1, 2))
    accuracy.set(title="Does it learn?", ylabel="test accuracy (%)")
    weight.set(title="Is B like W?", ylabel="angle between W and B (degrees)")
    delta.set(title="Is the error like BP's?", ylabel="angle between delta and BP's (degrees)")
    _layer_legend(weight, (2, 3), "the B of layer 1 is never used,\nB = 0 has no angle")
    _layer_legend(
        delta, (1, 2), "the delta of layer 3 is always BP's,\nB = 0 sends none to the others"
    )
    for axes in (weight, delta):
        _angle_axis(axes, record["epochs"])
    for axes in (accuracy, weight, delta):
        axes.set(xlabel="epochs", xlim=(0, record["epochs"] * 1.02))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        _open(axes)
    _rule_legend(figure, record["rules"])
    return figure


def alignment(watched: dict) -> Figure:
    """Both angles while a network with one hidden layer trains (tutorial 2).

    watched maps the name of a rule to an object with the lists `epochs`, `weight` (degrees, of the
    top layer) and `delta` (degrees, of the hidden layer).
    """
    figure = Figure(figsize=(9, 4), layout="constrained")
    weight, delta = figure.subplots(1, 2, sharey=True)
    for name, run in watched.items():
        color = COLORS.get(name)  # a rule of a reader's own takes matplotlib's next color
        weight.plot(run.epochs, run.weight, color=color, label=name)
        delta.plot(run.epochs, run.delta, color=color, label=name)
    weight.set(title="Top layer: is B like W?", ylabel="angle (degrees)")
    delta.set(title="Hidden layer: is its delta like backprop's?")
    for axes in (weight, delta):
        _angle_axis(axes, max(run.epochs[-1] for run in watched.values()))
        axes.set_xlabel("epochs")
        axes.legend(frameon=False, loc="center", bbox_to_anchor=(0.5, 0.2))
        _open(axes)
    return figure


def turning(angles: dict, outcomes: dict, time: str, outcome: str) -> Figure:
    """Angles over time, and beside them what the network makes of them (tutorial 3).

    Both map a name to (times, values). A name is a rule, alone or with a remark ("backprop, W
    frozen"): the rule gives the color, and each remark of a panel has a line style of its own.
    """
    figure = Figure(figsize=(9, 4.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    for axes, curves in ((left, angles), (right, outcomes)):
        remarks = list(dict.fromkeys(name.partition(", ")[2] for name in curves))
        for name, (times, values) in curves.items():
            rule, _, remark = name.partition(", ")
            style = LAYER_STYLES[::-1][remarks.index(remark) % len(LAYER_STYLES)]
            axes.plot(times, values, color=COLORS.get(rule), linestyle=style, label=name)
        axes.set_xlabel(time)
        axes.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.16))
        _open(axes)
    left.set(title="Which way does the error point?", ylabel="angle (degrees)")
    right.set(title="What does the network learn from it?", ylabel=outcome)
    _angle_axis(left, max(times[-1] for times, _ in angles.values()), below=True)
    return figure


def kernels(angles: dict, changes: dict) -> Figure:
    """How wrong each layer's delta is, and what it taught the lowest convolution (tutorial 4).

    angles maps the name of a rule to two lists of delta angles (degrees, one per layer, bottom
    first): at birth, and after training. changes maps it to how much every weight of the kernels
    has changed, (k, k, number of kernels).
    """
    figure = Figure(figsize=(11, 4.3), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=(1, 1.1), wspace=0.05)
    delta = left.subplots()
    for name, (birth, after) in angles.items():
        layers = range(1, len(birth) + 1)
        (line,) = delta.plot(layers, birth, "--", color=COLORS.get(name), label=f"{name}, at birth")
        line.set(marker="o", markersize=9, markerfacecolor="white")
        color = line.get_color()
        delta.plot(layers, after, color=color, marker="o", markersize=5, label=f"{name}, trained")
        delta.set_xticks(layers)
    _angle_axis(delta, delta.get_xticks()[-1])
    delta.set(title="Is the error like backprop's?", xlabel="layer with weights (1: the lowest)")
    delta.set_ylabel(MEASURES["delta_angle_deg"])
    delta.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 0.1))
    _open(delta)
    right.suptitle("How the kernels of layer 1 have changed", fontsize="large")
    remark = "red: up, blue: down, white: not at all; each row in its own scale"
    right.supxlabel(remark, fontsize="medium")
    columns = max(change.shape[-1] for change in changes.values())
    panels = right.subplots(len(changes), columns, squeeze=False)
    for (name, change), row in zip(changes.items(), panels, strict=True):
        largest = abs(change).max() or 1
        for i, axes in enumerate(row):
            axes.set(xticks=[], yticks=[])
            axes.imshow(change[:, :, i], cmap="RdBu_r", vmin=-largest, vmax=largest)
        label, color = name.replace("-", "-\n"), COLORS.get(name, "black")
        row[0].set_ylabel(label, color=color, rotation=0, ha="right", va="center")
    return figure


def comparison(groups: list[dict]) -> Figure:
    """Groups of runs (compare.py) over their epochs: every seed thin, their mean thick."""
    figure = Figure(figsize=(9, 4.5), layout="constrained")
    loss, accuracy = figure.subplots(1, 2)
    rules = [group["feedback"] for group in groups]
    for i, group in enumerate(groups):
        # a rule has its own color, unless it stands in several groups
        color = COLORS[rules[i]] if rules.count(rules[i]) == 1 else f"C{i}"
        runs = [
            [entry for entry in run["history"] if "train_loss" in entry] for run in group["results"]
        ]
        for axes, name, factor in ((loss, "train_loss", 1), (accuracy, "val_accuracy", 100)):
            curves = [[factor * entry.get(name, math.nan) for entry in run] for run in runs]
            epochs = [entry["epoch"] for entry in runs[0]]
            for curve in curves:
                axes.plot(epochs, curve, color=color, linewidth=0.8, alpha=0.6)
            means = [sum(values) / len(values) for values in zip(*curves, strict=True)]
            axes.plot(epochs, means, color=color, linewidth=2, marker="o", markersize=3)
            axes.lines[-1].set_label(f"{group['name']} ({len(runs)})")
    loss.set(title="Training loss", ylabel="nats", yscale="log")
    accuracy.set(title="Validation accuracy", ylabel="%")
    for axes in (loss, accuracy):
        axes.set_xlabel("epochs")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        _open(axes)
    handles, labels = loss.get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside lower center", ncols=2, frameon=False,
        title="thick: the mean over the seeds (their number)",
    )  # fmt: skip
    return figure


def two_pathways() -> Figure:
    """Two neurons, the synapse W between them, and the synapse B of the way back (tutorial 1)."""
    figure = Figure(figsize=(7, 2.7), layout="constrained")
    axes = figure.subplots()
    axes.set(xlim=(0, 10), ylim=(-1.9, 1.9), aspect="equal")
    axes.axis("off")
    for x, name in ((2, "1"), (8, "2")):
        axes.add_patch(Circle((x, 0), 0.9, facecolor="white", edgecolor="#333333", linewidth=1.5))
        axes.text(x, 0, f"neuron {name}", ha="center", va="center")
    arrow = {"arrowstyle": "-|>", "linewidth": 2, "mutation_scale": 18, "color": "#333333"}
    arrow["connectionstyle"] = "arc3,rad=-0.15"
    for start, end, style, y, label in (
        ((2.8, 0.5), (7.2, 0.5), "-", 1.35, "activity $x$ through weight $W$  (Eq. 1)"),
        ((7.2, -0.5), (2.8, -0.5), "--", -1.35, "$\\delta$ through weight $B$  (Eq. 2)"),
    ):
        axes.annotate("", end, start, arrowprops=arrow | {"linestyle": style})
        axes.text(5, y, label, ha="center", va="center")
    return figure


def losses(history: list, rule: str) -> Figure:
    """The loss on training and validation images, epoch by epoch (report.py)."""
    figure, axes = _panel((5, 3.2), history, "loss (nats)")
    color, marker, highest = COLORS.get(rule, "#333333"), _marker(history), 0
    for key, style, label in (
        ("train_loss", "--", "training, mean over the epoch"),
        ("val_loss", "-", "validation, after it"),
    ):
        epochs, values = _known(history, key)
        if epochs:  # else no images were held out
            axes.plot(epochs, values, style, color=color, marker=marker, ms=3, label=label)
            highest = max(highest, *values)
    axes.set_ylim(0, 1.08 * highest)
    axes.legend(frameon=False)
    return figure


def accuracies(history: list, rule: str, guess: float) -> Figure:
    """The accuracy on validation images, epoch by epoch, with the line that a guess reaches."""
    figure, axes = _panel((5, 3.2), history, "validation accuracy (%)")
    epochs, values = _known(history, "val_accuracy")
    values = [100 * value for value in values]
    color = COLORS.get(rule, "#333333")
    axes.plot(epochs, values, color=color, marker=_marker(history), ms=3)
    lowest = min([*values, 99])
    bottom = max(0, lowest - (100 - lowest))  # as much room below the curve as above it
    axes.set_ylim(bottom, 100)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10]))
    if 100 * guess > bottom:
        axes.axhline(100 * guess, color="#BBBBBB", linewidth=0.8, zorder=0)
        right = axes.get_xlim()[1]
        axes.text(right, 100 * guess, "commonest class", ha="right", va="bottom", color="#666666")
    return figure


def layer_colors(count: int) -> list[str]:
    """The colors of `count` layers, bottom first; the lightest is still visible on white."""
    return [to_hex(colormaps["viridis"](x)) for x in np.linspace(0, 0.88, count)]


def by_layer(history: list, measure: str, layers: range, count: int) -> Figure:
    """One of MEASURES over time, a line for each of `layers` (1: the lowest) out of `count`."""
    figure, axes = _panel((4, 3.3), history, MEASURES[measure])
    epochs, measured = _known(history, measure)
    table = np.array(measured, dtype=float).reshape(-1, count)  # None becomes NaN, a gap
    if measure == "norm_ratio":
        table[table <= 0] = math.nan  # a log axis has no place for B = 0
    chosen = table[:, layers.start - 1 : layers.stop - 1]
    colors, marker = layer_colors(count), _marker(history)
    for layer in layers:
        axes.plot(epochs, table[:, layer - 1], color=colors[layer - 1], marker=marker, ms=2.5)
    known = chosen[np.isfinite(chosen)]
    if measure == "norm_ratio":
        _ratio_axis(axes, known)
    else:
        right = axes.get_xlim()[1]
        _angle_axis(axes, right)
        if known.max(initial=0) > 98:
            axes.set(ylim=(-12, 188), yticks=range(0, 181, 30))
            axes.text(right, 181.5, "opposite", ha="right", va="bottom", color="#666666")
    if not known.size:
        axes.text(0.5, 0.6, "nothing to measure", ha="center", transform=axes.transAxes)
    layer_bar(figure, axes, colors)
    return figure


def confusion(counts, names) -> Figure:
    """How often each class (rows) was taken for each (columns); shares of a row as shades."""
    counts, few = np.asarray(counts), len(counts) <= MOST_NAMED_CLASSES
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure = Figure(figsize=(5.6, 4.7), layout="constrained")
    axes = figure.subplots()
    # with the square root of the share, rare mistakes show too
    image = axes.imshow(shares, cmap="Blues", norm=PowerNorm(0.5, 0, 1), interpolation="nearest")
    bar = figure.colorbar(image, shrink=0.8, label="share of the true class")
    bar.set_ticks([0, 0.01, 0.1, 0.25, 0.5, 1], labels=["0", "1%", "10%", "25%", "50%", "100%"])
    axes.set(xlabel="predicted class", ylabel="true class")
    if few:
        labels = [name if len(name) <= 14 else f"{name[:13]}…" for name in map(str, names)]
        turn = 90 if max(map(len, labels)) > 2 else 0
        axes.set_xticks(range(len(counts)), labels, rotation=turn, parse_math=False)
        axes.set_yticks(range(len(counts)), labels, parse_math=False)
        _write_counts(axes, counts, shares)
    return figure


def _write_counts(axes, counts, shares):
    """The counts in the cells of a confusion matrix; 0 stays empty."""
    size = min(9, 100 / len(counts))
    for row, column in zip(*np.nonzero(counts), strict=True):
        color = "white" if shares[row, column] > 0.35 else "#222222"
        number = f"{counts[row, column]}"
        axes.text(column, row, number, ha="center", va="center", color=color, fontsize=size)


def _panel(size, history, label):
    """A figure of one panel over epochs, from birth to the last."""
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots()
    last = max(entry["epoch"] for entry in history)
    axes.set(xlabel="epochs", ylabel=label, xlim=(-0.02 * last, 1.02 * last))
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    _open(axes)
    return figure, axes


def _known(history, key):
    """(epochs, values) of the entries that have one; before training there is no loss."""
    known = [entry for entry in history if entry.get(key) is not None]
    return [entry["epoch"] for entry in known], [entry[key] for entry in known]


def _marker(history):
    """A dot for each epoch, which shows one between two gaps too; none where they would touch."""
    return "o" if len(history) <= 25 else None


def _ratio_axis(axes, ratios):
    """A log axis with 1 marked and something above and below it."""
    axes.set_yscale("log")
    lowest, highest = ratios.min(initial=0.5), ratios.max(initial=2)
    axes.set_ylim(lowest / 1.8, highest * 1.8)
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 3)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda ratio, _: f"{ratio:g}"))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.axhline(1, color="#999999", linewidth=1.2, zorder=0)


def layer_bar(figure, axes, colors):
    """Which color is which layer, however many there are."""
    norm = BoundaryNorm(np.arange(0.5, len(colors) + 1), len(colors))
    shown = ScalarMappable(norm, ListedColormap(colors))
    bar = figure.colorbar(shown, ax=axes, aspect=35, pad=0.02, label="layer")
    step = math.ceil(len(colors) / 10)
    bar.set_ticks(range(1, len(colors) + 1, step))
    bar.minorticks_off()
    bar.ax.tick_params(length=0)
    bar.outline.set_visible(False)


def _lines(axes, epochs, angles, color, layers):
    """The angle of some layers (1: the lowest) over time, unless there is none to show."""
    by_layer = list(zip(*angles, strict=True))
    for layer in layers:
        values = by_layer[layer - 1]
        if None not in values:
            style = LAYER_STYLES[layer - 1]
            axes.plot(epochs, values, color=color, linestyle=style)


def _layer_legend(axes, layers, remark):
    """What the line styles mean, in the empty part of a panel of angles."""
    handles = [
        Line2D([], [], color="#555555", linestyle=LAYER_STYLES[layer - 1], label=f"layer {layer}")
        for layer in layers
    ]
    axes.legend(
        handles=handles,
        title=remark,
        title_fontsize="small",
        loc="center",
        bbox_to_anchor=(0.5, 0.2),
        ncols=len(layers),
        edgecolor="none",
    )


def _rule_legend(figure, rules):
    """Below the panels, what the colors mean, and how well each rule did in the end."""
    handles = [
        Line2D(
            [],
            [],
            color=COLORS[rule["name"]],
            marker="o",
            markersize=3,
            label=f"{rule['name']}: {rule['test_accuracy']:.1%}",
        )
        for rule in rules
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=4, frameon=False)


def _angle_axis(axes, right, below=False):
    """Degrees from 0 to 90, and what the two ends mean, written up to x = `right`.

    `below` writes "unrelated" under its line, where curves may run above it.
    """
    axes.axhline(90, color="#BBBBBB", linewidth=0.8, zorder=0)
    y, side = (88.5, "top") if below else (91.5, "bottom")
    axes.text(right, y, "unrelated", ha="right", va=side, color="#666666")
    axes.text(right, -1.5, "the same", ha="right", va="top", color="#666666")
    axes.set(ylim=(-8, 100), yticks=range(0, 91, 15))


def _open(axes):
    """A light grid, and no frame at the top and the right."""
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
