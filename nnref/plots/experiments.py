"""The figures of the experiments; a rule has the same color in all of them (rules/known.py).

Every function takes plain numbers; the file of an experiment chooses which.
"""

import math
from statistics import mean, stdev

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from nnref.plots.style import bare_axes, layer_bar, layer_colors, plain_ticks
from nnref.rules.known import COLORS

STYLES = {  # name of a setting -> (color, line style)
    "BP": (COLORS["backprop"], "-"),
    "SS": (COLORS["sign-symmetry"], "-"),
    "uSF": (COLORS["sign-symmetry"], "-"),
    "uSF, bare": (COLORS["sign-symmetry"], ":"),
    "SS, BP last": (COLORS["sign-symmetry"], "--"),
    "frSF": (COLORS["fixed-magnitudes"], "-"),
    "brSF": (COLORS["redrawn-magnitudes"], "-"),
    "FA": (COLORS["feedback-alignment"], "-"),
    "FA, BP last": (COLORS["feedback-alignment"], "--"),
    "KP": (COLORS["kolen-pollack"], "-"),
    "DTP parallel": (COLORS["difference-target-propagation"], "--"),
    "DTP alternating": (COLORS["difference-target-propagation"], "-"),
    "SDTP parallel": (COLORS["simplified-dtp"], "--"),
    "SDTP alternating": (COLORS["simplified-dtp"], "-"),
    "DFA": (COLORS["direct-feedback"], "-"),
    "DFA from zero": (COLORS["direct-feedback"], "--"),
    "microcircuit": (COLORS["microcircuit"], "-"),
    "WM": (COLORS["weight-mirror"], "-"),
    "WM, noise": (COLORS["weight-mirror"], "--"),
    "IA": (COLORS["information-alignment"], "-"),
    "SA": (COLORS["symmetric-alignment"], "-"),
    "AA": (COLORS["activation-alignment"], "-"),
    "last layer only": (COLORS["last-layer-only"], "-"),
}
WIDE = 4.2  # inches for a panel


def curves(panels: dict, label: str, published: dict | None = None) -> Figure:
    """A panel for each task: every setting over its epochs, thin for a seed, thick for the mean.

    panels       title -> name of a setting -> list of curves, one for each seed; a curve is a list
                 of (epoch, value)
    published    name of a setting -> list of (epoch, value): shown as stars
    """
    figure, all_axes = _panels(panels)
    for axes, (title, settings) in zip(all_axes, panels.items(), strict=True):
        for name, lines in settings.items():
            if not lines:
                continue
            color, style = STYLES[name]
            for line in lines if len(lines) > 1 else []:
                axes.plot(*zip(*line, strict=True), style, color=color, linewidth=0.7, alpha=0.5)
            shortest = min(map(len, lines))
            epochs = [epoch for epoch, _ in lines[0][:shortest]]
            middle = [mean(line[i][1] for line in lines) for i in range(shortest)]
            axes.plot(epochs, middle, style, color=color, linewidth=2)
        for name, points in (published or {}).items():
            x, y = [x for x, _ in points], [y for _, y in points]
            axes.plot(x, y, "*", color=STYLES[name][0], markersize=13, markeredgecolor="white")
        axes.set(title=title, xlabel="epochs")
        axes.set_ylabel(label)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    names = list(dict.fromkeys(name for settings in panels.values() for name in settings))
    _legend(figure, names, "stars: as published" if published else None)
    return figure


def weights_over_time(histories: dict) -> Figure:
    """For each network, over its epochs and layers: the angle of W and sign(W), and the kurtosis.

    histories    title -> the history of a trial under sign-symmetry (trial.watch_layers). Dots
                 are the angles that the histogram of the weights predicts.
    """
    figure = Figure(figsize=(2 * WIDE + 1, 3.4 * len(histories)), layout="constrained")
    rows = figure.subplots(len(histories), 2, squeeze=False)
    for (angle, kurtosis), (title, history) in zip(rows, histories.items(), strict=True):
        epochs = [entry["epoch"] for entry in history]
        count = len(history[0]["kurtosis"])
        colors = layer_colors(count)
        for layer, color in enumerate(colors):
            for axes, key, style in (
                (angle, "weight_angle_deg", "-"),
                (angle, "predicted_sign_angle_deg", "."),
                (kurtosis, "kurtosis", "-"),
            ):
                axes.plot(epochs, [entry[key][layer] for entry in history], style, color=color)
        angle.set(ylabel="angle of W and sign(W) (degrees)", title=title)
        kurtosis.set(ylabel="kurtosis of W (3: Gaussian)", title=title, yscale="log")
        plain_ticks(kurtosis.yaxis)
        layer_bar(figure, kurtosis, colors)
        for axes in (angle, kurtosis):
            axes.set_xlabel("epochs")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            bare_axes(axes)
    _below(
        figure,
        [
            Line2D([], [], color="black", label="measured"),
            Line2D([], [], color="black", ls="none", marker=".",
                   label="angle that the histogram of W predicts"),
        ],
    )  # fmt: skip
    return figure


def by_depth(panels: dict, label: str) -> Figure:
    """A panel for each network: a number for every layer, bottom first, under every setting.

    panels    title -> name of a setting -> list of lists, one for each seed; None: undefined
    """
    figure, all_axes = _panels(panels)
    for axes, (title, settings) in zip(all_axes, panels.items(), strict=True):
        for name, seeds in settings.items():
            color, style = STYLES[name]
            table = np.array(seeds, dtype=float)
            layers = range(1, table.shape[1] + 1)
            for line in table if len(table) > 1 else []:
                axes.plot(layers, line, style, color=color, linewidth=0.7, alpha=0.5)
            axes.plot(layers, table.mean(axis=0), style, color=color, marker="o", ms=3)
        axes.axhline(90, color="#BBBBBB", linewidth=0.8, zorder=0)
        axes.set(title=title, xlabel="layer, bottom to top", ylim=(-4, 104))
        axes.set_yticks(range(0, 91, 30))
        axes.set_ylabel(label)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True))
    _legend(figure, dict.fromkeys(name for settings in panels.values() for name in settings))
    return figure


def relative(tasks: list[str], ratios: dict, label: str) -> Figure:
    """Accuracy as a share of BP's, from the easiest task to the hardest.

    ratios    name of a setting -> a list of numbers for every task, one for each seed
    """
    figure = Figure(figsize=(7.5, 4.6), layout="constrained")
    axes = figure.subplots()
    axes.axhline(1, color=COLORS["backprop"], linewidth=1.5)
    axes.text(-0.32, 1.012, "BP", va="bottom")
    for number, (name, values) in enumerate(ratios.items()):
        color, style = STYLES[name]
        shift = 0.03 * (number - len(ratios) / 2)
        places = [place + shift for place, found in enumerate(values) if found]
        known = [found for found in values if found]
        axes.plot(places, [mean(found) for found in known], style, color=color, marker="o")
        for place, found in zip(places, known, strict=True):
            axes.plot([place] * len(found), found, "o", color=color, markersize=4, mfc="white")
            if len(found) > 1:
                axes.errorbar(place, mean(found), stdev(found), color=color, capsize=3)
    axes.set_xticks(range(len(tasks)), tasks)
    axes.set(ylabel=label, ylim=(0, 1.1), xlim=(-0.4, len(tasks) - 0.6))
    bare_axes(axes)
    _legend(figure, ratios)
    return figure


def budgets(accuracies: dict, shares: dict, half: dict, rerun: dict) -> Figure:
    """Accuracy against the length of a whole training; as a share of BP's; and in a rerun.

    accuracies, shares    name of a setting -> {epochs: accuracy in %, or share of BP's}
    half                  {epochs: BP's accuracy with half of them / with all}
    rerun                 name of a setting -> {steps within one training: share of BP's}
    """
    figure = Figure(figsize=(2 * WIDE + 0.4, 8), layout="constrained")
    (accuracy, share), (empty, other) = figure.subplots(2, 2)
    empty.set_axis_off()
    for axes, lines in ((accuracy, accuracies), (share, shares), (other, rerun)):
        for name, points in lines.items():
            color, style = STYLES[name]
            x, y = list(points), list(points.values())
            axes.plot(x, y, style, color=color, marker="o", ms=4)
        axes.set_xscale("log", base=2)
        bare_axes(axes)
    share.plot(list(half), list(half.values()), ":", color=COLORS["backprop"], marker="x")
    longest = max(epochs for points in accuracies.values() for epochs in points)
    lengths = [2**n for n in range(longest.bit_length())]
    for axes in (accuracy, share):
        axes.set_xticks(lengths, [str(n) for n in lengths])
        axes.set_xlabel("epochs of a training, each with its own schedule")
    steps = [500, 1000, 2000, 4000]
    other.set_xticks(steps, [f"{n:,}" for n in steps])
    other.set_xlabel("steps within one training")
    accuracy.set(title="accuracy", ylabel="test accuracy (%)")
    share.set(title="as a share of BP's")
    other.set(title="the same in a rerun of Xiao et al.'s code")
    for axes in (share, other):
        axes.set(ylabel="test accuracy / that of BP", ylim=(0.3, 1.02))
    handles = [
        Line2D([], [], color=STYLES[name][0], ls=STYLES[name][1], marker="o", ms=4, label=name)
        for name in accuracies
    ]
    half_label = "BP after half the epochs,\nas a share of BP after all"
    handles.append(Line2D([], [], color=COLORS["backprop"], ls=":", marker="x", label=half_label))
    empty.legend(handles=handles, loc="center", frameon=False)
    return figure


def dots(groups: dict, label: str, marks: dict | None = None) -> Figure:
    """A panel for each group: for every row the values under every setting, side by side.

    groups    title -> row -> name of a setting -> list of values, one for each seed
    marks     title -> row -> name of a setting -> a published value, shown as a star
    """
    tallest = max(len(rows) for rows in groups.values())
    figure = Figure(figsize=(WIDE * len(groups) + 1.2, 1.4 + 0.75 * tallest), layout="constrained")
    for axes, (title, rows) in zip(
        np.atleast_1d(figure.subplots(1, len(groups))), groups.items(), strict=True
    ):
        for y, (row, settings) in enumerate(rows.items()):
            for number, (name, values) in enumerate(settings.items()):
                place = y + 0.11 * (number - (len(settings) - 1) / 2)
                color, style = STYLES[name]
                inside = color if style == "-" else "white"
                axes.plot(values, [place] * len(values), "o", color=color, ms=4, mfc=inside)
                if values:
                    axes.plot(mean(values), place, "|", color=color, ms=9, markeredgewidth=2.5)
                known = (marks or {}).get(title, {}).get(row, {}).get(name)
                if known is not None:
                    axes.plot(
                        known, place, "*", color=color, ms=12, markeredgecolor="white", zorder=4
                    )
        axes.set_yticks(range(len(rows)), rows)
        axes.set(title=title, xlabel=label, ylim=(len(rows) - 0.5, -0.5))
        bare_axes(axes)
    names = dict.fromkeys(n for rows in groups.values() for row in rows.values() for n in row)
    remark = "dots: single seeds, bars: their mean" + (", stars: as published" if marks else "")
    _legend(figure, names, remark, marker="o")
    return figure


def against(label: str, panels: dict) -> Figure:
    """Panels of labeled lines with their spread over the seeds; all have the same x axis.

    label     of the x axes
    panels    label of a y axis -> list of (name, color, style, {place: values of the seeds})
    """
    figure, all_axes = _panels(panels)
    named = [{name for name, *_ in lines} for lines in panels.values()]
    shared = all(names <= named[0] for names in named)  # one legend for all panels
    for axes, (other, lines) in zip(all_axes, panels.items(), strict=True):
        for name, color, style, values in lines:
            values = {place: found for place, found in values.items() if found}
            middle = np.array([mean(found) for found in values.values()])
            wide = np.array([stdev(f) if len(f) > 1 else 0 for f in values.values()])
            axes.plot(list(values), middle, style, color=color, label=name)
            axes.fill_between(list(values), middle - wide, middle + wide, color=color, alpha=0.15)
        axes.set(xlabel=label, ylabel=other)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6))
        if not shared:
            axes.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.14))
    if shared:
        _below(figure, all_axes[0].get_legend_handles_labels()[0])
    return figure


def _panels(panels):
    """A figure with a panel for each entry, two in a row."""
    columns = min(2, len(panels))
    rows = math.ceil(len(panels) / columns)
    figure = Figure(figsize=(WIDE * columns + 0.4, 3.7 * rows + 0.6), layout="constrained")
    all_axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in all_axes[len(panels) :]:
        axes.remove()
    for axes in all_axes[: len(panels)]:
        bare_axes(axes)
    return figure, all_axes[: len(panels)]


def _legend(figure, names, remark=None, marker=None):
    """A legend of colors and styles below the panels; a marker takes the place of the line."""
    handles = []
    for name in names:
        color, style = STYLES[name]
        inside = color if style == "-" else "white"
        line = "none" if marker else style
        handles.append(Line2D([], [], color=color, ls=line, marker=marker, mfc=inside, label=name))
    _below(figure, handles, remark)


def _below(figure, handles, remark=None):
    """A legend below the panels, as wide as the figure allows."""
    longest = max(len(handle.get_label()) for handle in handles)
    columns = min(len(handles), int(figure.get_figwidth() / max(1.5, 0.5 + 0.07 * longest)))
    figure.legend(
        handles=handles, loc="outside lower center", ncols=columns, frameon=False,
        title=remark, title_fontsize="small",
    )  # fmt: skip
