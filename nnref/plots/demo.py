"""The figure of the demo: learning curves and both angles over time."""

from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from nnref.plots.style import LAYER_STYLES, angle_axis, bare_axes
from nnref.rules.known import COLORS, OTHER


def demo(record: dict) -> Figure:
    """The demo's figure from its record (demo.py): learning curves and both angles over time."""
    figure = Figure(figsize=(12, 5.4), layout="constrained")
    figure.get_layout_engine().set(wspace=0.06)
    sizes = "-".join(map(str, record["network"]))
    figure.suptitle(
        f"One network ({sizes}) on MNIST, from the same initial weights (seed {record['seed']}): "
        "only the feedback matrix B differs",
        fontsize="medium",
    )
    accuracy, weight, delta = figure.subplots(1, 3)
    for rule in record["rules"]:
        color, watched = COLORS.get(rule["name"], OTHER), rule["watched"]
        epochs = [entry["epoch"] for entry in rule["history"]]
        values = [100 * entry["held_out_accuracy"] for entry in rule["history"]]
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
        angle_axis(axes, record["epochs"])
    for axes in (accuracy, weight, delta):
        axes.set(xlabel="epochs", xlim=(0, record["epochs"] * 1.02))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        bare_axes(axes)
    _rule_legend(figure, record["rules"])
    return figure


def _lines(axes, epochs, angles, color, layers):
    """Draw the angle of some layers (1: the lowest) over time, unless it is undefined."""
    by_layer = list(zip(*angles, strict=True))
    for layer in layers:
        values = by_layer[layer - 1]
        if None not in values:
            style = LAYER_STYLES[layer - 1]
            axes.plot(epochs, values, color=color, linestyle=style)


def _layer_legend(axes, layers, remark):
    """A legend of the line styles, in the empty part of a panel of angles."""
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
    """A legend of the colors below the panels, with the final accuracy of each rule."""
    handles = [
        Line2D(
            [],
            [],
            color=COLORS.get(rule["name"], OTHER),
            marker="o",
            markersize=3,
            label=f"{rule['name']}: {rule['test_accuracy']:.1%}",
        )
        for rule in rules
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=4, frameon=False)
