"""Every figure of the project. A rule has the same color everywhere, a layer the same line style.

Colors: Okabe & Ito 2008, which color-blind readers can tell apart.
"""

from io import BytesIO
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from nnref.files import write_whole

COLORS = {
    "backprop": "#000000",
    "sham": "#56B4E9",
    "sign-symmetry": "#D55E00",
    "fixed-magnitudes": "#E69F00",
    "redrawn-magnitudes": "#CC79A7",
    "signed-init": "#009E73",
    "feedback-alignment": "#0072B2",
    "last-layer-only": "#999999",
}
LAYER_STYLES = [":", "--", "-"]  # of the layers, bottom first


def save(figure: Figure, path: Path):
    """Write a figure as PNG, whole or not at all."""
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=140, metadata={"Software": None})
    write_whole(Path(path), buffer.getvalue())


def demo(record: dict) -> Figure:
    """The demo's figure from its record (demo.py): learning curves and both angles over time."""
    figure = Figure(figsize=(11, 4.6), layout="constrained")
    accuracy, weight, delta = figure.subplots(1, 3)
    for rule in record["rules"]:
        color = COLORS[rule["name"]]
        epochs = [entry["epoch"] for entry in rule["history"]]
        values = [100 * entry["test_accuracy"] for entry in rule["history"]]
        accuracy.plot(epochs, values, color=color, marker="o", markersize=3)
        watched = rule["watched"]
        # the B of layer 1 is never used, and the delta of the last layer is always BP's
        _layers(weight, watched["epoch"], watched["weight_angle_deg"], color, skip=0)
        _layers(delta, watched["epoch"], watched["delta_angle_deg"], color, skip=-1)
    accuracy.set(title="Does it learn?", ylabel="test accuracy (%)")
    weight.set(title="Is B like W?", ylabel="angle between W and B (degrees)")
    delta.set(
        title="Does the error point where BP's would?",
        ylabel="angle between delta and BP's delta (degrees)",
    )
    for axes in (weight, delta):
        axes.axhline(90, color="#BBBBBB", linewidth=0.8, zorder=0)
        axes.text(record["epochs"], 91, "90: unrelated", ha="right", va="bottom", color="#666666")
        axes.set(ylim=(-3, 100), yticks=range(0, 91, 15))
    for axes in (accuracy, weight, delta):
        axes.set_xlabel("epochs")
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    _legend(figure, record)
    return figure


def _layers(axes, epochs, angles, color, skip):
    """One line for each layer but the one at position `skip`."""
    layers = list(zip(*angles, strict=True))
    for position, (values, style) in enumerate(zip(layers, LAYER_STYLES, strict=True)):
        if position != skip % len(layers) and None not in values:
            axes.plot(epochs, values, color=color, linestyle=style)


def _legend(figure, record):
    """What the colors and the line styles mean, below the panels."""
    rules = [
        Line2D([], [], color=COLORS[rule["name"]], marker="o", markersize=3, label=_label(rule))
        for rule in record["rules"]
    ]
    layers = [
        Line2D([], [], color="#555555", linestyle=style, label=f"layer {i}")
        for i, style in enumerate(LAYER_STYLES, start=1)
    ]
    figure.legend(handles=rules + layers, loc="outside lower center", ncols=4, frameon=False)


def _label(rule):
    return f"{rule['name']}: {rule['test_accuracy']:.1%}"
