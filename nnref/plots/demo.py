"""The figures of the README: two pathways and three B; the demo's curves and angles over time."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle
from matplotlib.ticker import MaxNLocator

from nnref.backend import to_device
from nnref.measure import angle
from nnref.plots.looks import Look, of_rule
from nnref.plots.style import LAYER_STYLES, angle_axis, bare_axes
from nnref.rules.known import KNOWN, OTHER


def demo(record: dict) -> Figure:
    """The figure of the demo (tools/demo.py), from its record: learning curves and both angles."""
    figure = Figure(figsize=(6, 9.6), layout="constrained")  # stacked: a phone can show it
    sizes = "-".join(map(str, record["network"]))
    figure.suptitle(
        f"One network ({sizes}) on MNIST, seed {record['seed']}:\n"
        "the same initial weights, only B differs",
        fontsize="medium",
    )
    accuracy, weight, delta = figure.subplots(3, 1, sharex=True)
    for rule in record["rules"]:
        look, watched = _look(rule["name"]), rule["watched"]
        epochs = [entry["epoch"] for entry in rule["history"]]
        values = [100 * entry["held_out_accuracy"] for entry in rule["history"]]
        look.draw(accuracy, epochs, values, markevery=1)
        _lines(weight, watched["epoch"], watched["weight_angle_deg"], look, layers=(2, 3))
        _lines(delta, watched["epoch"], watched["delta_angle_deg"], look, layers=(1, 2))
    accuracy.set(title="Does it learn?", ylabel="test accuracy (%)")
    weight.set(title="Is B like W?", ylabel="angle of W and B (degrees)")
    delta.set(title="Is the error like BP's?", ylabel="angle of delta and BP's (degrees)")
    _layer_legend(weight, 0.57, (2, 3), "the B of layer 1 is never used,\nB = 0 has no angle")
    _layer_legend(
        delta, 0.525, (1, 2), "the delta of layer 3 is always BP's,\nB = 0 sends none to the others"
    )
    for axes in (weight, delta):
        angle_axis(axes, record["epochs"])
    for axes in (accuracy, weight, delta):
        axes.set(xlim=(0, record["epochs"] * 1.02))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        bare_axes(axes)
    delta.set_xlabel("epochs")
    _rule_legend(figure, record["rules"])
    return figure


def pathways() -> Figure:
    """A network with its two pathways; beside it W, and three B with their angles to it."""
    figure = Figure(figsize=(8.6, 3.9), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=[1.15, 1])
    _network(left.subplots())
    rng = np.random.default_rng(48)  # whose angles are close to those of large matrices
    W = rng.normal(size=(7, 7))
    shown = {
        "weights W": W,
        "B = W": W,
        "B = λ sign(W)": np.sqrt(2 / np.pi) * np.sign(W),
        "B random, fixed": rng.normal(size=W.shape),
    }
    for axes, (name, matrix) in zip(right.subplots(2, 2).ravel(), shown.items(), strict=True):
        axes.imshow(matrix, cmap="RdBu", vmin=-2.5, vmax=2.5)
        for (row, column), value in np.ndenumerate(matrix):
            sign = "+" if value > 0 else "-"
            axes.text(column, row, sign, ha="center", va="center", fontsize=8, alpha=0.6)
        axes.set(xticks=[], yticks=[], title=name)
        if name != "weights W":
            axes.set_xlabel(f"{angle(to_device(W), to_device(matrix)):.0f}° from W")
    return figure


def _network(axes):
    """Three columns of neurons; W leads up, a dashed B leads the error back."""
    axes.set(xlim=(-1.1, 9.1), ylim=(-4.4, 4.2), aspect="equal")
    axes.axis("off")
    columns = {0: (4, "inputs $x$"), 4: (3, "hidden"), 8: (2, "outputs")}
    for x, (count, name) in columns.items():
        for i in range(count):
            y = 1.6 * (i - (count - 1) / 2)
            axes.add_patch(Circle((x, y), 0.55, facecolor="white", edgecolor="#333333", lw=1.5))
        axes.text(x, 3.6, name, ha="center")
    arrow = {"arrowstyle": "-|>", "linewidth": 2.2, "mutation_scale": 18}
    forward, back = arrow | {"color": "black"}, arrow | {"color": "#D55E00", "linestyle": "--"}
    for start, end, name in ((0.8, 3.2, "$W_1$"), (4.8, 7.2, "$W_2$")):
        axes.annotate("", (end, 0.7), (start, 0.7), arrowprops=forward)
        axes.text((start + end) / 2, 1.15, name, ha="center")
    axes.annotate("", (4.8, -0.7), (7.2, -0.7), arrowprops=back)
    axes.text(6, -1.5, "$B_2$", ha="center", color="#D55E00")
    axes.text(4, -3.4, "solid: activity, through $W$", ha="center")
    axes.text(4, -4.2, "dashed: error, through $B$", ha="center", color="#D55E00")


def _look(rule):
    """The look of a rule, or of one of the reader's own."""
    return of_rule(rule) if rule in KNOWN else Look(OTHER, "-", ".")


def _lines(axes, epochs, angles, look, layers):
    """Draw the angle of some layers (1: the lowest) over time, unless it is undefined."""
    by_layer = list(zip(*angles, strict=True))
    for layer in layers:
        values = by_layer[layer - 1]
        if None not in values:
            line = {"linestyle": LAYER_STYLES[layer - 1], "markevery": 10}
            look.draw(axes, epochs, values, **line)


def _layer_legend(axes, y, layers, remark):
    """A legend of the line styles, at the height y (0 to 1) where a panel of angles is empty."""
    handles = [
        Line2D([], [], color="#555555", linestyle=LAYER_STYLES[layer - 1], label=f"layer {layer}")
        for layer in layers
    ]
    axes.legend(
        handles=handles,
        title=remark,
        title_fontsize="small",
        loc="center",
        bbox_to_anchor=(0.5, y),
        ncols=len(layers),
        edgecolor="none",
    )


def _rule_legend(figure, rules):
    """A legend of the colors below the panels, with the final accuracy of each rule."""
    handles = [
        Line2D(
            [],
            [],
            **_look(rule["name"]).dot | {"linestyle": "-"},
            markersize=5,
            label=f"{rule['name']}: {rule['test_accuracy']:.1%}",
        )
        for rule in rules
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=2, frameon=False)
