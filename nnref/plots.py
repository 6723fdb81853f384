"""Every figure of the project. A rule has the same color everywhere, a layer the same line style.

Colors: Okabe & Ito 2008 (and gray), which color-blind readers can tell apart.
"""

from io import BytesIO
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle
from matplotlib.ticker import MaxNLocator

from nnref.files import make_folder, write_whole

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
    """Write a figure as PNG, whole or not at all; its folder is made if it is not there."""
    make_folder(Path(path).parent)
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=140, metadata={"Software": None})
    write_whole(Path(path), buffer.getvalue())


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


def _angle_axis(axes, right):
    """Degrees from 0 to 90, and what the two ends mean, written up to x = `right`."""
    axes.axhline(90, color="#BBBBBB", linewidth=0.8, zorder=0)
    axes.text(right, 91.5, "unrelated", ha="right", va="bottom", color="#666666")
    axes.text(right, -1.5, "the same", ha="right", va="top", color="#666666")
    axes.set(ylim=(-8, 100), yticks=range(0, 91, 15))


def _open(axes):
    """A light grid, and no frame at the top and the right."""
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
