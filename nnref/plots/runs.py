"""The figures of a training run (runs/report.py) and of several (runs/compare.py)."""

import math

import numpy as np
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from nnref.errors import one_line
from nnref.plots.looks import End, Look, name_ends, of_rule
from nnref.plots.style import (
    MEASURES,
    angle_axis,
    bare_axes,
    layer_bar,
    layer_colors,
    plain_ticks,
)
from nnref.rules.known import COLORS, OTHER

MOST_LAYER_NAMES = 8  # more layers have a bar of colors in place of names
OTHER_MARKERS = "os^Dvp*"  # of groups that differ by another setting than the rule
MOST_NAMED_CLASSES = 20  # a confusion matrix of more has no room for names and numbers


def losses(history: list, rule: str) -> Figure:
    """The loss on training and validation images, epoch by epoch (report.py)."""
    figure, axes = _panel((5, 3.2), history, "loss (nats)")
    color, marker, highest = COLORS.get(rule, OTHER), _marker(history), 0
    ends = []
    for key, style, label in (
        ("train_loss", "--", "training"), ("held_out_loss", "-", "validation"),
    ):  # fmt: skip
        epochs, values = _known(history, key)
        if epochs:  # else no images were held out
            axes.plot(epochs, values, style, color=color, marker=marker, ms=3, label=label)
            highest = max(highest, *values)
            ends.append(End(label, epochs[-1], values[-1], color))
    axes.set_ylim(0, 1.08 * highest)
    if not name_ends([(axes, ends)]):
        axes.legend(frameon=False)
    return figure


def accuracies(history: list, rule: str, guess: float) -> Figure:
    """The accuracy on validation images, epoch by epoch, with a line at the accuracy `guess`."""
    figure, axes = _panel((5, 3.2), history, "validation accuracy (%)")
    epochs, values = _known(history, "held_out_accuracy")
    values = [100 * value for value in values]
    color = COLORS.get(rule, OTHER)
    axes.plot(epochs, values, color=color, marker=_marker(history), ms=3)
    lowest = min([*values, 99])
    bottom = max(0, lowest - (100 - lowest))  # as much room below the curve as above it
    axes.set_ylim(bottom, 100)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10]))
    if 100 * guess > bottom:
        axes.axhline(100 * guess, color="#BBBBBB", linewidth=0.8, zorder=0)
        right = axes.get_xlim()[1]
        axes.text(right, 100 * guess, "most common class", ha="right", va="bottom", color="#666666")
    return figure


def layer_figure(history: list, measure: str, layers: range, count: int) -> Figure:
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
        angle_axis(axes, right)
        if known.max(initial=0) > 98:
            axes.set(ylim=(-12, 188), yticks=range(0, 181, 30))
            axes.text(right, 181.5, "opposite", ha="right", va="bottom", color="#666666")
    if not known.size:
        axes.text(0.5, 0.6, "nothing to measure", ha="center", transform=axes.transAxes)
    ends = _layer_ends(axes, epochs, table, layers, colors)
    if len(ends) > MOST_LAYER_NAMES or not name_ends([(axes, ends)]):
        layer_bar(figure, axes, colors)
    return figure


def _layer_ends(axes, epochs, table, layers, colors):
    """The ends of the lines of layers; layers that end at one place have one name."""
    low, high = axes.get_ylim()
    to_height = np.log if axes.get_yscale() == "log" else float
    near = (to_height(high) - to_height(low)) / 40
    groups = []
    known = {layer: np.flatnonzero(np.isfinite(table[:, layer - 1])) for layer in layers}
    lasts = {layer: table[places[-1], layer - 1] for layer, places in known.items() if places.size}
    for layer, value in sorted(lasts.items(), key=lambda pair: pair[1]):
        if groups and to_height(value) - to_height(groups[-1][1]) < near:
            groups[-1][0].append(layer)
        else:
            groups.append(([layer], value))
    return [
        End(_layers_in_words(sorted(some)), epochs[-1], value, colors[some[0] - 1])
        for some, value in groups
    ]


def _layers_in_words(layers) -> str:
    """layer 3; layers 2, 4; layers 2 to 5."""
    if len(layers) == 1:
        return f"layer {layers[0]}"
    if len(layers) > 2 and layers[-1] - layers[0] == len(layers) - 1:
        return f"layers {layers[0]}\nto {layers[-1]}"
    return f"layers\n{', '.join(map(str, layers))}"


def confusion(counts, names) -> Figure:
    """A confusion matrix: true classes down, predictions across; shades are shares of a row."""
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
        labels = [name if len(name) <= 14 else f"{name[:13]}…" for name in map(one_line, names)]
        turn = 90 if max(map(len, labels)) > 2 else 0
        axes.set_xticks(range(len(counts)), labels, rotation=turn, parse_math=False)
        axes.set_yticks(range(len(counts)), labels, parse_math=False)
        _write_counts(axes, counts, shares)
    return figure


def comparison(groups: list[dict]) -> Figure:
    """Groups of runs (runs/compare.py) over their epochs: every seed thin, their mean thick."""
    figure = Figure(figsize=(9, 4.5), layout="constrained")
    loss, accuracy = figure.subplots(1, 2)
    rules = [group["feedback"] for group in groups]
    for i, group in enumerate(groups):
        alone = rules.count(rules[i]) == 1 and rules[i] in COLORS  # else it has no look of its own
        look = of_rule(rules[i]) if alone else Look(f"C{i}", "-", OTHER_MARKERS[i % 7])
        runs = [
            [entry for entry in run["history"] if "train_loss" in entry] for run in group["results"]
        ]
        for axes, name, factor in ((loss, "train_loss", 1), (accuracy, "held_out_accuracy", 100)):
            curves = [[factor * entry.get(name, math.nan) for entry in run] for run in runs]
            epochs = [entry["epoch"] for entry in runs[0]]
            for curve in curves:
                axes.plot(epochs, curve, color=look.color, linewidth=0.8, alpha=0.6)
            means = [sum(values) / len(values) for values in zip(*curves, strict=True)]
            line = look.draw(axes, epochs, means, linewidth=2, ms=4)
            line.set_label(f"{group['name']} ({len(runs)})")
    loss.set(title="Training loss", ylabel="nats (natural logarithm)", yscale="log")
    plain_ticks(loss.yaxis)
    accuracy.set(title="Validation accuracy", ylabel="%")
    for axes in (loss, accuracy):
        axes.set(xlabel="epochs", xlim=(0, None))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        bare_axes(axes)
    handles, labels = loss.get_legend_handles_labels()
    legend = figure.legend(
        handles, labels, loc="outside lower center", ncols=2, frameon=False,
        title="thick: the mean over the seeds (their number)",
    )  # fmt: skip
    for text in legend.get_texts():
        text.set_parse_math(False)  # a $ in a path is no formula
    return figure


def _write_counts(axes, counts, shares):
    """The counts in the cells of a confusion matrix; 0 stays empty."""
    size = min(9, 100 / len(counts))
    for row, column in zip(*np.nonzero(counts), strict=True):
        color = "white" if shares[row, column] > 0.35 else "#222222"
        number = f"{counts[row, column]}"
        axes.text(column, row, number, ha="center", va="center", color=color, fontsize=size)


def _panel(size, history, label):
    """A figure of one panel over epochs, from 0 to the last."""
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots()
    last = max(entry["epoch"] for entry in history)
    axes.set(xlabel="epochs", ylabel=label, xlim=(-0.02 * last, 1.02 * last))
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    bare_axes(axes)
    return figure, axes


def _known(history, key):
    """(epochs, values) of the entries that have this key; before training there is no loss."""
    known = [entry for entry in history if entry.get(key) is not None]
    return [entry["epoch"] for entry in known], [entry[key] for entry in known]


def _marker(history):
    """A dot for each epoch, so that one between two gaps shows; none if dots would touch."""
    return "o" if len(history) <= 25 else None


def _ratio_axis(axes, ratios):
    """A log axis with a line at 1, and room above and below it."""
    axes.set_yscale("log")
    lowest, highest = ratios.min(initial=0.5), ratios.max(initial=2)
    axes.set_ylim(lowest / 1.8, highest * 1.8)
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 3)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda ratio, _: f"{ratio:g}"))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.axhline(1, color="#999999", linewidth=1.2, zorder=0)
