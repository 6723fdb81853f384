"""Every figure of the project. A rule has the same color everywhere, a layer the same line style.

Colors: Okabe & Ito 2008 (and gray), which color-blind readers can tell apart.
"""

from io import BytesIO
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle
from matplotlib.ticker import MaxNLocator

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
    figure = Figure(figsize=(12, 5.4), layout="constrained")
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
        # the B of layer 1 is never used, and the delta of the last layer is always BP's
        _layers(weight, watched["epoch"], watched["weight_angle_deg"], color, skip=0)
        _layers(delta, watched["epoch"], watched["delta_angle_deg"], color, skip=-1)
    accuracy.set(title="Does it learn?", ylabel="test accuracy (%)")
    weight.set(title="Is B like W?", ylabel="angle between W and B (degrees)")
    delta.set(title="Is the error like BP's?", ylabel="angle between delta and BP's (degrees)")
    for axes in (weight, delta):
        axes.axhline(90, color="#BBBBBB", linewidth=0.8, zorder=0)
        axes.text(record["epochs"], 91, "unrelated", ha="right", va="bottom", color="#666666")
        axes.text(record["epochs"], -1.5, "the same", ha="right", va="top", color="#666666")
        axes.set(ylim=(-8, 100), yticks=range(0, 91, 15))
    for axes in (accuracy, weight, delta):
        axes.set_xlabel("epochs")
        axes.set_xlim(0, record["epochs"] * 1.02)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    _legend(figure, record)
    return figure


def _layers(axes, epochs, angles, color, skip):
    """One line for each layer but the one at position `skip`, and what the line styles mean."""
    layers = list(zip(*angles, strict=True))
    handles = []
    for position, (values, style) in enumerate(zip(layers, LAYER_STYLES, strict=True)):
        if position != skip % len(layers):
            handles.append(
                Line2D([], [], color="#555555", linestyle=style, label=f"layer {position + 1}")
            )
            if None not in values:
                axes.plot(epochs, values, color=color, linestyle=style)
    axes.legend(handles=handles, loc="center", bbox_to_anchor=(0.5, 0.2), ncols=2, frameon=False)


def _legend(figure, record):
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
        for rule in record["rules"]
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=4, frameon=False)


def alignment(watched: dict) -> Figure:
    """Both angles while a network with one hidden layer trains (tutorial 2).

    watched maps the name of a rule to an object with the lists `epochs`, `weight` (degrees, of the
    top layer) and `delta` (degrees, of the hidden layer).
    """
    figure = Figure(figsize=(9, 3.8), layout="constrained")
    weight, delta = figure.subplots(1, 2, sharey=True)
    for name, run in watched.items():
        weight.plot(run.epochs, run.weight, color=COLORS[name], label=name)
        delta.plot(run.epochs, run.delta, color=COLORS[name], label=name)
    weight.set(title="Is B like W?", ylabel="angle (degrees)")
    delta.set(title="Is the error like BP's?")
    for axes in (weight, delta):
        axes.set(xlabel="epochs", ylim=(0, 100), yticks=range(0, 91, 15))
        axes.axhline(90, color="#BBBBBB", linewidth=0.8, zorder=0)
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    delta.legend(frameon=False, loc="lower right")
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
        ((7.2, -0.5), (2.8, -0.5), "--", -1.35, "error $\\delta$ through weight $B$  (Eq. 2)"),
    ):
        axes.annotate("", end, start, arrowprops=arrow | {"linestyle": style})
        axes.text(5, y, label, ha="center", va="center")
    return figure
