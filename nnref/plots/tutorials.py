"""The figures that the tutorials draw."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Rectangle

from nnref.plots.looks import of_rule
from nnref.plots.style import LAYER_STYLES, MEASURES, angle_axis, bare_axes
from nnref.rules.known import COLORS


def two_pathways() -> Figure:
    """Two neurons, the loss, the synapses W and B, and what W and B learn from (tutorial 1)."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    axes = figure.subplots()
    axes.set(xlim=(0, 13.6), ylim=(-2.7, 2.7), aspect="equal")
    axes.axis("off")
    ink = {"facecolor": "white", "edgecolor": "#333333", "linewidth": 1.5}
    for x, name in ((1.6, "neuron 1"), (8, "neuron 2\n$y = f(\\sigma)$")):
        axes.add_patch(Circle((x, 0), 1, **ink))
        axes.text(x, 0, name, ha="center", va="center")
    axes.add_patch(Rectangle((11.6, -0.8), 1.7, 1.6, **ink))
    axes.text(12.45, 0, "loss $E$\ntarget $t$", ha="center", va="center")
    arrow = {"arrowstyle": "-|>", "linewidth": 2, "mutation_scale": 18, "color": "#333333"}
    for start, end, style, bend in (
        ((2.5, 0.55), (7.1, 0.55), "-", -0.2),
        ((7.1, -0.55), (2.5, -0.55), "--", -0.2),
        ((9, 0.4), (11.55, 0.4), "-", 0),
        ((11.55, -0.4), (9, -0.4), "--", 0),
    ):
        shape = {"linestyle": style, "connectionstyle": f"arc3,rad={bend}"}
        axes.annotate("", end, start, arrowprops=arrow | shape)
    for y, name in ((1, "$W$"), (-1, "$B$")):
        axes.text(4.8, y, name, ha="center", va="center", bbox={"boxstyle": "square", **ink})
    for x, y, words in (
        (2.75, 1.1, "$x$"),
        (6.65, -1.05, "$\\delta$"),
        (2.95, -1.05, "$e$"),
        (10.3, 0.75, "$y$"),
        (10.3, -0.85, "$\\partial E / \\partial y$"),
        (4.8, 2, "Eq. 1, forward: $\\sigma = W x + b$\n$W$ learns from $x \\delta$"),
        (4.8, -2, "Eq. 2, backward: $e = B \\delta$\nthe rule chooses $B$"),
        (8.2, -1.45, "$\\delta = f'(\\sigma) \\, \\partial E / \\partial y$"),
    ):
        axes.text(x, y, words, ha="center", va="center")
    axes.text(1.4, -1.55, "its own synapses\nlearn from $e$", ha="center", va="center")
    return figure


def alignment(watched: dict) -> Figure:
    """Both angles while a network with one hidden layer trains (tutorial 2).

    watched maps the name of a rule to an object with the lists `epochs`, `weight` (degrees, of the
    top layer) and `delta` (degrees, of the hidden layer).
    """
    figure = Figure(figsize=(9, 4), layout="constrained")
    weight, delta = figure.subplots(1, 2, sharey=True)
    for name, run in watched.items():
        of_rule(name).draw(weight, run.epochs, run.weight, label=name)
        of_rule(name).draw(delta, run.epochs, run.delta, label=name)
    weight.set(title="Top layer: is B like W?", ylabel="angle (degrees)")
    delta.set(title="Hidden layer: is its delta like backprop's?")
    for axes in (weight, delta):
        angle_axis(axes, max(run.epochs[-1] for run in watched.values()))
        axes.set_xlabel("epochs")
        axes.legend(frameon=False, loc="center", bbox_to_anchor=(0.5, 0.2))
        bare_axes(axes)
    return figure


def turning(angles: dict, outcomes: dict, time: str, outcome: str) -> Figure:
    """Angles over time, and beside them the progress of the network (tutorials 3, 3b).

    Both map a name to (times, values). A name is a rule, alone or with a remark ("backprop, W
    frozen"): the rule gives color and marker, each remark of a panel has a line style of its own.
    """
    figure = Figure(figsize=(9, 4.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    for axes, curves in ((left, angles), (right, outcomes)):
        remarks = list(dict.fromkeys(name.partition(", ")[2] for name in curves))
        for name, (times, values) in curves.items():
            rule, _, remark = name.partition(", ")
            style = LAYER_STYLES[::-1][remarks.index(remark) % len(LAYER_STYLES)]
            of_rule(rule, style).draw(axes, times, values, label=name)
        axes.set_xlabel(time)
        axes.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.16))
        bare_axes(axes)
    left.set(title="Which way does the error point?", ylabel="angle (degrees)")
    right.set(title="What does the network learn from it?", ylabel=outcome)
    angle_axis(left, max(times[-1] for times, _ in angles.values()), below=True)
    return figure


def patches(image, k: int, rows) -> Figure:
    """An image, and its patches of k x k pixels as the rows of a matrix (tutorial 4).

    image (height, width) of whole numbers; rows (places, k k). The first patch and the last have
    a frame, in the image and in the matrix.
    """
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(image.shape[1], rows.shape[1] + 1))
    last = np.subtract(image.shape, k)
    for axes, numbers in ((left, image), (right, rows)):
        _write_numbers(axes, numbers)
    for style, color, place, row in (
        ("-", "#0072B2", (0, 0), 0),
        ("--", "#D55E00", last, len(rows) - 1),
    ):
        frame = {"fill": False, "linewidth": 3, "linestyle": style, "edgecolor": color}
        frame |= {"zorder": 3, "clip_on": False}
        inset = 0.08 if row else 0.02  # so that both frames can be seen where they meet
        for axes, (y, x), height, width in ((left, place, k, k), (right, (row, 0), 1, k * k)):
            corner, size = (x - 0.5 + inset, y - 0.5 + inset), (width, height)
            axes.add_patch(Rectangle(corner, *np.subtract(size, 2 * inset), **frame))
    left.set_title("first and last patch")
    right.set_title("one row for each patch")
    right.set_yticks(range(len(rows)), [f"patch {i + 1}" for i in range(len(rows))])
    right.tick_params(length=0)
    return figure


def patch_overlaps(parts: list) -> Figure:
    """What each patch sends back to the pixels of the image, and the sum of it all (tutorial 4).

    parts holds an array (height, width) of whole numbers for each patch, 0 outside of the patch.
    """
    figure = Figure(figsize=(11, 2.4), layout="constrained")
    panels = [*parts, sum(parts)]
    signs = [*"+" * (len(parts) - 1), "=", ""]
    for i, (axes, numbers) in enumerate(zip(figure.subplots(1, len(panels)), panels, strict=True)):
        _write_numbers(axes, numbers, empty=True)
        axes.set_title(f"patch {i + 1}" if i < len(parts) else "col2im: the sum")
        axes.text(
            1.1, 0.5, signs[i], fontsize=18, ha="center", va="center", transform=axes.transAxes
        )
    return figure


def kernels(angles: dict, changes: dict) -> Figure:
    """The delta angle of each layer, and the change of the lowest kernels (tutorial 4).

    angles maps the name of a rule to two lists of delta angles (degrees, one per layer, bottom
    first): before and after training. changes maps it to how much every weight of the kernels
    has changed, (k, k, number of kernels).
    """
    figure = Figure(figsize=(11, 4.3), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=(1, 1.1), wspace=0.05)
    delta = left.subplots()
    for name, (birth, after) in angles.items():
        layers = range(1, len(birth) + 1)
        look = of_rule(name, "--")
        line = look.draw(delta, layers, birth, ms=9, label=f"{name}, at birth")
        look = look._replace(line="-", color=line.get_color())
        look.draw(delta, layers, after, label=f"{name}, trained")
        delta.set_xticks(layers)
    angle_axis(delta, delta.get_xticks()[-1])
    delta.set(title="Is the error like backprop's?", xlabel="layer with weights (1: the lowest)")
    delta.set_ylabel(MEASURES["delta_angle_deg"])
    delta.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 0.1))
    bare_axes(delta)
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


def late_overlap(delay: float, images: int = 4) -> Figure:
    """What each synapse gets while images follow each other, and errors come late (tutorial 8).

    delay in units of T, the time for which an image is shown; 0 to 1.
    """
    figure = Figure(figsize=(8.5, 3.2), layout="constrained")
    axes = figure.subplots()
    box = {"facecolor": "white", "edgecolor": "#333333", "linewidth": 1.5}
    for k in range(images):
        for start, y, letter, style in ((k, 2, "x", "-"), (k + delay, 0, "\\delta", "--")):
            axes.add_patch(Rectangle((start, y), 1, 0.8, linestyle=style, **box))
            axes.text(start + 0.5, y + 0.4, f"${letter}_{k + 1}$", ha="center", va="center")
        bands = (k + delay, 1 - delay, "own", {"facecolor": "#BBBBBB"})
        false = (k + 1, delay, "false", {"facecolor": "white", "hatch": "////"})
        for start, width, name, look in (bands, false) if k + 1 < images else (bands,):
            axes.add_patch(Rectangle((start, 0.8), width, 1.2, edgecolor="#888888", **look))
            paper = {"facecolor": "white", "edgecolor": "none", "pad": 2}
            axes.text(start + width / 2, 1.4, name, ha="center", va="center", bbox=paper)
    for start, end, y, name in ((0, 1, 3.05, "$T$"), (0, delay, 0.4, "$d$")):
        axes.annotate(
            "", (start, y), (end, y), arrowprops={"arrowstyle": "<->", "shrinkA": 0, "shrinkB": 0}
        )
        axes.text((start + end) / 2, y + 0.1, name, ha="center", va="bottom")
    axes.set(xlim=(-0.03, images + delay + 0.03), ylim=(-0.1, 3.5), xlabel="time")
    names = ["0", "$T$", *(f"${k} T$" for k in range(2, images + 1))]
    axes.set_xticks(range(images + 1), names)
    axes.set_yticks([0.4, 2.4], ["the error\nthat arrives", "the image\nthat is shown"])
    bare_axes(axes)
    axes.grid(visible=False)
    return figure


def settling(times, somas, apical, settled: float, teacher: float) -> Figure:
    """Potentials after a new input at 0 ms, and a teacher from `teacher` ms on (tutorial 11).

    times (T,) in ms; somas (T, layers), one cell of each layer, the output cells' last; apical
    (T, cells of layer 1). Until `settled` ms the ground is gray.
    """
    figure = Figure(figsize=(8, 5.2), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    end = times[-1]
    for k, potentials in enumerate(zip(*somas, strict=True)):
        above.plot(times, potentials, LAYER_STYLES[k % len(LAYER_STYLES)], color="#333333")
        name = "output" if k == len(somas[0]) - 1 else f"layer {k + 1}"
        above.text(end * 1.01, potentials[-1], name, va="center")
    below.plot(times, apical, color=COLORS["microcircuit"], linewidth=1)
    for axes in (above, below):
        axes.axvspan(0, settled, color="#EBEBEB", linewidth=0)
        axes.axvline(teacher, color="#333333", linewidth=1)
        bare_axes(axes)
    top = {"xycoords": ("data", "axes fraction"), "textcoords": "offset points", "va": "top"}
    words = {
        above: ("new input", "settled", "with a teacher"),
        below: ("false errors", "silence", "errors"),
    }
    for axes, remarks in words.items():
        axes.margins(y=0.25)
        for start, remark in zip((0, settled, teacher), remarks, strict=True):
            axes.annotate(remark, (start, 1), (4, -4), **top)
    above.set(title="Somas: one cell of each layer", ylabel="potential", xlim=(0, end))
    below.set(title="Apical dendrites: all cells of layer 1", ylabel="potential")
    below.set_xlabel("time since the new input (ms)")
    return figure


def steps_in_two_spaces(W, h, wanted, matrices: dict) -> Figure:
    """One step of two hidden units, where they act and where the two outputs h W act (tutorial 10).

    W (2, 2), h (2,) and wanted (2,), the outputs that there should be. matrices maps a name, which
    is a rule, alone or with a remark in brackets, to a B of W's shape: the step goes along
    -e B^T, e = h W - wanted, as far as the loss |e|^2 / 2 falls.
    """
    figure = Figure(figsize=(9, 4.9), layout="constrained")
    hidden, output = figure.subplots(1, 2)
    e = h @ W - wanted
    right = wanted @ np.linalg.inv(W)  # the hidden activity that gives the wanted output
    middles = (h + right) / 2, (h @ W + wanted) / 2
    for axes, middle, to_output in zip((hidden, output), middles, (W, np.eye(2)), strict=True):
        reach = (
            0.85 * np.linalg.norm(middles[0] - h if axes is hidden else middles[1] - h @ W) + 0.4
        )
        x, y = (np.linspace(m - reach, m + reach, 200) for m in middle)
        grid = np.stack(np.meshgrid(x, y), axis=-1)
        distance = np.linalg.norm(grid @ to_output - wanted, axis=-1)
        levels = np.linalg.norm(e) * np.array([0.2, 0.4, 0.6, 0.8, 1, 1.2])
        axes.contour(x, y, distance, levels, colors="#BBBBBB", linewidths=0.8, zorder=0)
        axes.set(aspect="equal", xlim=x[[0, -1]], ylim=y[[0, -1]])
        bare_axes(axes)
        axes.grid(visible=False)
    for (name, B), style in zip(matrices.items(), ("-", "--", ":"), strict=False):
        step = -e @ B.T
        moved = step @ W
        step = step * max(0, -(moved @ e) / (moved @ moved))
        for axes, start, change in ((hidden, h, step), (output, h @ W, step @ W)):
            color = COLORS.get(name.partition(" (")[0])
            axes.plot(
                *np.stack([start, start + change]).T, style, color=color, linewidth=2, label=name,
                marker="o", markevery=[1], markersize=7, markerfacecolor="white",
            )  # fmt: skip
    for axes, start, end in ((hidden, h, right), (output, h @ W, wanted)):
        axes.plot(*start, "s", color="#333333", markersize=8)
        axes.plot(*end, "*", color="#333333", markersize=14, zorder=3)
        for point, name in ((start, "now"), (end, "target")):
            place = {"xytext": (-9, 0), "textcoords": "offset points"}
            axes.annotate(name, point, ha="right", va="center", **place)
        axes.locator_params(nbins=6)
    hidden.set(title="The hidden layer", xlabel="hidden unit 1", ylabel="hidden unit 2")
    output.set(title="The output of the same steps", xlabel="output 1", ylabel="output 2")
    lines, names = hidden.get_legend_handles_labels()
    figure.legend(lines, names, frameon=False, loc="outside lower center", ncols=len(names))
    return figure


def one_slot(studies: dict) -> Figure:
    """Whose B turns to W, and what the error is worth (tutorial 12).

    studies maps the name of a rule to an object with the lists `epochs` and `weight_angles`
    (degrees, of layer 2; NaN without a B), `delta_angle` (degrees, of layer 1 in the end) and
    `accuracy` (0 to 1).
    """
    figure = Figure(figsize=(11, 4.8), layout="constrained")
    course, outcome = figure.subplots(1, 2)
    for name, study in studies.items():
        if study.weight_angles[-1] > 0:  # not 0, not NaN
            of_rule(name).draw(course, study.epochs, study.weight_angles)
            _beside(course, name, (study.epochs[-1], study.weight_angles[-1]))
    angle_axis(course, max(study.epochs[-1] for study in studies.values()))
    course.set(title="Layer 2: is B like W?", xlabel="epochs", ylabel=MEASURES["weight_angle_deg"])
    points = {name: (s.delta_angle, 100 * s.accuracy) for name, s in studies.items()}
    for name, (delta, accuracy) in points.items():
        if delta >= 0:
            outcome.plot(delta, accuracy, **of_rule(name).dot, markersize=8)
            crowded = any(0 < a - delta < 8 and abs(b - accuracy) < 2 for a, b in points.values())
            _beside(outcome, name, (delta, accuracy), left=crowded)
        else:  # no error, no angle
            outcome.axhline(accuracy, color=COLORS.get(name), linestyle="--")
            outcome.text(0, accuracy, f"{name}: no error is sent", va="bottom")
    outcome.set(title="What is the error of layer 1 worth?", xlim=(-4, 91), xticks=range(0, 91, 15))
    outcome.set(xlabel=MEASURES["delta_angle_deg"], ylabel="test accuracy (%)")
    for axes in (course, outcome):
        bare_axes(axes)
    return figure


def _beside(axes, name, point, left=False):
    """Write a name to the right or the left of a point."""
    place = {"xytext": (-9 if left else 9, 0), "ha": "right" if left else "left", "va": "center"}
    axes.annotate(name, point, textcoords="offset points", **place, annotation_clip=False)


def _write_numbers(axes, numbers, empty=False):
    """Show an array of whole numbers as a table of squares; `empty`: zeros are left out."""
    height, width = numbers.shape
    axes.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5), aspect="equal", xticks=[])
    axes.set_yticks([])
    for (y, x), number in np.ndenumerate(numbers):
        shown = number or not empty
        face = "#E8E8E8" if shown else "white"
        axes.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, facecolor=face, edgecolor="#AAAAAA"))
        axes.text(x, y, f"{number:.0f}" if shown else "", ha="center", va="center")
    axes.spines[:].set_visible(False)
