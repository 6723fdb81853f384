"""The figures of the experiments; a rule has the same look in all of them (looks.py).

Every function takes plain numbers; the file of an experiment chooses which.
"""

import math
from itertools import count, cycle
from statistics import mean, stdev
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from nnref.plots.looks import HALF, LOOKS, End, Look, name_ends
from nnref.plots.style import bare_axes, plain_ticks

WIDE = 3.8  # inches for a panel


class Panel(NamedTuple):
    """A panel of `against`: its title, the label of its y axis, and its lines."""

    title: str
    label: str
    lines: list  # of (name, look, {place: values of the seeds})


def curves(
    panels: dict, label: str, published: dict | None = None, logarithmic: str = ""
) -> Figure:
    """A panel for each task: every setting over its epochs, thin for a seed, thick for the mean.

    panels       title -> name of a setting -> list of curves, one for each seed; a curve is a list
                 of (epoch, value)
    published    name of a setting -> list of (epoch, value): shown as stars
    label        of the y axis
    logarithmic  which axes are: "", "x", "y" or "xy"
    """
    figure, all_axes = _panels(len(panels))
    ends = []
    for axes, (title, settings) in zip(all_axes, panels.items(), strict=True):
        farthest = {}  # name -> its last point
        for name, points in (published or {}).items():
            if points:
                _stars(axes, *zip(*points, strict=True), LOOKS[name])
                farthest[name] = points[-1]
        for name, lines in settings.items():
            lines = [line for line in lines if line]  # a trial that diverged at once has no points
            if lines:
                _seeds_and_mean(axes, lines, LOOKS[name])
                farthest[name] = max(lines, key=len)[-1]
        axes.set(title=title, xlabel="epochs", ylabel=label)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
        _logarithmic(axes, logarithmic)
        ends.append([End(name, *point, LOOKS[name].color) for name, point in farthest.items()])
    _label_once(all_axes)
    names = dict.fromkeys(end.name for some in ends for end in some)
    remark = _remark(panels) + ("; stars: as published" if published else "")
    _name(figure, all_axes, ends, names, remark)
    return figure


def _seeds_and_mean(axes, lines, look):
    """The curve of every seed, thin, and their mean as far as all seeds go, thick."""
    for line in lines if len(lines) > 1 else []:
        axes.plot(*zip(*line, strict=True), look.line, color=look.color, lw=0.7, alpha=0.5)
    shortest = min(map(len, lines))
    epochs = [epoch for epoch, _ in lines[0][:shortest]]
    look.draw(axes, epochs, [mean(line[i][1] for line in lines) for i in range(shortest)], lw=2)


def _remark(panels) -> str:
    """What thick and thin lines are, if there are thin ones."""
    several = any(len(seeds) > 1 for settings in panels.values() for seeds in settings.values())
    return "thick: the mean, as far as all seeds go; thin: single seeds" if several else "one seed"


def sign_angles(histories: dict) -> Figure:
    """The angle of W and sign(W): as the histogram of W predicts it, and how far training moves it.

    histories    title of a network -> the history of a training (trial.watch_layers)
    """
    figure, (identity, moved) = _panels(2)
    shades = np.linspace(0, 0.62, len(histories))
    for (title, history), shade, marker in zip(histories.items(), shades, cycle("o^sDv")):
        look = Look(str(shade), "-", marker)
        measured, predicted = (
            np.array([entry[key] for entry in history], dtype=float)
            for key in ("weight_angle_deg", "predicted_sign_angle_deg")
        )
        identity.plot(predicted.ravel(), measured.ravel(), **look.dot, ms=4, label=title)
        heights = np.linspace(0, 1, measured.shape[1])
        look.draw(moved, heights, measured[-1] - measured[0], ms=4, markevery=1)
    low, high = identity.get_xlim()
    identity.plot([low, high], [low, high], color="#BBBBBB", linewidth=1, zorder=0)
    identity.set(title="Every layer, at every epoch", xlabel="predicted by the histogram of W (°)")
    identity.set_ylabel("angle of W and sign(W) (°)")
    moved.axhline(0, color="#BBBBBB", linewidth=1, zorder=0)
    moved.set(title="Every layer, bottom to top", ylabel="change of the angle in training (°)")
    moved.set_xticks([0, 1], ["first layer", "last layer"])
    _below(figure, identity.get_legend_handles_labels()[0], "sign-symmetry, one seed")
    return figure


def by_depth(panels: dict, label: str) -> Figure:
    """A panel for each network: a number for every layer, bottom first, under every setting.

    panels    title -> name of a setting -> list of lists, one for each seed; None: undefined
    label     of the y axis
    """
    figure, all_axes = _panels(len(panels))
    for axes, (title, settings) in zip(all_axes, panels.items(), strict=True):
        for name, seeds in settings.items():
            look, table = LOOKS[name], np.array(seeds, dtype=float)
            layers = range(1, table.shape[1] + 1)
            for line in table if len(table) > 1 else []:
                axes.plot(layers, line, look.line, color=look.color, linewidth=0.7, alpha=0.5)
            look.draw(axes, layers, table.mean(axis=0), ms=4, markevery=1)
        axes.axhline(90, color="#BBBBBB", linewidth=0.8, zorder=0)
        axes.set(title=title, xlabel="layer, bottom to top", ylabel=label, ylim=(-4, 104))
        axes.set_yticks(range(0, 91, 30))
        axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True))
    _label_once(all_axes)
    names = dict.fromkeys(name for settings in panels.values() for name in settings)
    _legend(figure, names, _remark(panels))  # all lines end in one point
    return figure


def relative(tasks: list[str], ratios: dict, label: str) -> Figure:
    """Accuracy as a share of BP's, from the easiest task to the hardest.

    ratios    name of a setting -> a list of numbers for every task, one for each seed
    label     of the y axis
    """
    figure = Figure(figsize=(max(6.4, 1.6 + 1.3 * len(tasks)), 4.6), layout="constrained")
    axes = figure.subplots()
    axes.axhline(1, color=LOOKS["BP"].color, linewidth=1.5)
    axes.text(-0.38, 1.012, "BP", va="bottom")
    ends = []
    for number, (name, values) in enumerate(ratios.items()):
        look, shift = LOOKS[name], 0.1 * (number - (len(ratios) - 1) / 2)
        for place, found in enumerate(values):
            if found:
                wide = stdev(found) if len(found) > 1 else None
                axes.errorbar(place + shift, mean(found), wide, **look.dot, ms=7, capsize=3)
        if known := [place for place, found in enumerate(values) if found]:
            ends.append(End(name, known[-1] + shift, mean(values[known[-1]]), look.color))
    axes.set_xticks(range(len(tasks)), tasks)
    axes.set(ylabel=label, ylim=(0, 1.1), xlim=(-0.4, len(tasks) - 0.6))
    bare_axes(axes)
    remark = "bars: standard deviation over the seeds"
    if any(len(found) == 1 for values in ratios.values() for found in values):
        remark += "; without one: a single seed"
    _name(figure, [axes], [ends], ratios, remark)
    return figure


def budgets(accuracies: dict, shares: dict, half: dict, rerun: dict) -> Figure:
    """Accuracy against the length of a whole training; as a share of BP's; and in a rerun.

    accuracies, shares    name of a setting -> {epochs: accuracy in %, or share of BP's}
    half                  {epochs: BP's accuracy with half of them / with all}
    rerun                 name of a setting -> {steps within one training: share of BP's}
    """
    figure = Figure(figsize=(5.4, 9.6), layout="constrained")
    accuracy, share, other = figure.subplots(3, 1)
    shown = {accuracy: accuracies, share: {HALF: half} | shares, other: rerun}
    ends = []
    for axes, lines in shown.items():
        lines = {name: points for name, points in lines.items() if points}
        for name, points in lines.items():
            LOOKS[name].draw(axes, list(points), list(points.values()), markevery=1)
        axes.set_xscale("log", base=2)
        bare_axes(axes)
        ends.append([End(n, *list(p.items())[-1], LOOKS[n].color) for n, p in lines.items()])
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
    _name(figure, list(shown), ends, [*accuracies, HALF], None)
    return figure


def dots(
    groups: dict, label: str, marks: dict | None = None, key: str = "", logarithmic: str = ""
) -> Figure:
    """A panel for each group: for every row the values under every setting, one above the other.

    groups       title -> row -> name of a setting -> list of values, one for each seed
    label        of the x axis
    marks        title -> row -> name of a setting -> a published value, shown as a star
    key          what the names of the rows mean
    logarithmic  "x", or "" if no axis is
    """
    most = max(len(settings) for rows in groups.values() for settings in rows.values())
    step = min(0.2, 0.7 / most)  # from setting to setting; 1 is from row to row
    heights = [(0.2 + 0.1 * most) * len(rows) for rows in groups.values()]
    figure = Figure(figsize=(5.4, 1.1 + sum(heights) + 0.7 * len(heights)), layout="constrained")
    panels = figure.subplots(len(groups), 1, squeeze=False, height_ratios=heights).ravel()
    for axes, (title, rows) in zip(panels, groups.items(), strict=True):
        for y, (row, settings) in enumerate(rows.items()):
            stars = (marks or {}).get(title, {}).get(row, {})
            for name, place in zip(settings, count(y - step * (len(settings) - 1) / 2, step)):
                _row(axes, settings[name], place, LOOKS[name], stars.get(name))
        axes.set_yticks(range(len(rows)), rows)
        axes.set(title=title, xlabel=label, ylim=(len(rows) - 0.5, -0.5))
        bare_axes(axes)
        _logarithmic(axes, logarithmic)
    named = {n: row for rows in groups.values() for row, found in rows.items() for n in found}
    several = any(name != row for name, row in named.items())  # else the rows have their names
    remark = "marks: single seeds; bars: their mean" + ("; stars: as published" if marks else "")
    _legend(figure, named if several else {}, "\n".join(filter(None, (remark, key))), dots=True)
    return figure


def _row(axes, values, place, look, published):
    """The values of the seeds at one height, their mean as a bar, a published one as a star."""
    axes.plot(values, [place] * len(values), **look.dot, ms=4.5)
    if values:
        axes.plot(mean(values), place, "|", color=look.color, ms=9, markeredgewidth=2.5)
    if published is not None:
        _stars(axes, [published], [place], look)


def _stars(axes, x, y, look):
    """Published values."""
    axes.plot(x, y, "*", color=look.color, ms=12, markeredgecolor="white", zorder=4)


def against(
    label: str, panels: list[Panel], ticks: dict | None = None, remark: str | None = None
) -> Figure:
    """Panels of named lines with their spread over the seeds; all have the same x axis.

    label    of the x axes
    ticks    {place: its name} on them
    remark   a line below the panels

    Panels whose y axes have the same label have the same range.
    """
    figure, all_axes = _panels(len(panels))
    ends = []
    for axes, panel in zip(all_axes, panels, strict=True):
        ends.append([])
        for name, look, found in panel.lines:
            points = [(place, values) for place, values in found.items() if values]
            places = [place for place, _ in points]
            middle = np.array([mean(values) for _, values in points])
            wide = np.array([stdev(v) if len(v) > 1 else 0 for _, v in points])
            look.draw(axes, places, middle, label=name)
            axes.fill_between(places, middle - wide, middle + wide, color=look.color, alpha=0.15)
            if points:
                right = max(range(len(places)), key=places.__getitem__)
                ends[-1].append(End(name, places[right], middle[right], look.color))
        axes.set(title=panel.title, xlabel=label, ylabel=panel.label)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=5))
        if ticks:
            axes.set_xticks(list(ticks), list(ticks.values()))
    _share_ranges(all_axes)
    _label_once(all_axes)
    drawn_by_lines = all(look.line != "none" for panel in panels for _, look, _ in panel.lines)
    if not (drawn_by_lines and name_ends(list(zip(all_axes, ends, strict=True)))):
        handles = {name: line for a in all_axes for line, name in zip(*_handles(a), strict=True)}
        _below(figure, list(handles.values()), remark)
    elif remark:
        figure.supxlabel(remark, fontsize="small")
    return figure


def _handles(axes):
    return axes.get_legend_handles_labels()


def _share_ranges(all_axes):
    """Give the y axes of one label one range."""
    by_label = {}
    for axes in all_axes:
        by_label.setdefault(axes.get_ylabel(), []).append(axes)
    for alike in by_label.values():
        ranges = np.array([axes.get_ylim() for axes in alike])
        for axes in alike:
            axes.set_ylim(ranges[:, 0].min(), ranges[:, 1].max())


def _label_once(all_axes):
    """Leave out the label of a y axis that its left neighbor has, of an x axis that is not last."""
    for left, right in zip(all_axes[::2], all_axes[1::2], strict=False):
        if left.get_ylabel() == right.get_ylabel():
            right.set_ylabel("")
    for above, below in zip(all_axes, all_axes[2:], strict=False):
        if above.get_xlabel() == below.get_xlabel():
            above.set_xlabel("")


def _panels(count):
    """A figure with so many panels, two in a row."""
    columns = min(2, count)
    rows = math.ceil(count / columns)
    figure = Figure(
        figsize=(WIDE * columns + 0.8 * (columns == 1), (3.3 if rows == 1 else 2.7) * rows + 0.5),
        layout="constrained",
    )
    all_axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in all_axes[count:]:
        axes.remove()
    for axes in all_axes[:count]:
        bare_axes(axes)
    return figure, all_axes[:count]


def _logarithmic(axes, which):
    """Plain numbers on a log scale for these axes, "x", "y" or both."""
    for name in which:
        getattr(axes, f"set_{name}scale")("log")
        plain_ticks(getattr(axes, f"{name}axis"))


def _name(figure, all_axes, ends, names, remark):
    """Names at the ends of the lines where they can be read, else a legend; and a remark."""
    if not name_ends(list(zip(all_axes, ends, strict=True))):
        _legend(figure, names, remark)
    elif remark:
        figure.supxlabel(remark, fontsize="small")


def _legend(figure, names, remark=None, dots=False):
    """A legend of the looks below the panels, of lines or of dots alone; and a remark."""
    handles = [
        Line2D([], [], **LOOKS[name].dot | ({} if dots else {"ls": LOOKS[name].line}), label=name)
        for name in names
    ]
    if handles:
        _below(figure, handles, remark)
    else:
        figure.supxlabel(remark, fontsize="small")


def _below(figure, handles, remark=None):
    """A legend below the panels, as wide as the figure allows."""
    longest = max(len(handle.get_label()) for handle in handles)
    columns = min(len(handles), int(figure.get_figwidth() / max(1.3, 0.6 + 0.075 * longest)))
    figure.legend(
        handles=handles, loc="outside lower center", ncols=columns, frameon=False,
        title=remark, title_fontsize="small",
    )  # fmt: skip
