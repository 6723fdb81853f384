"""How rules look in all figures: color, line and marker; and names at the ends of lines.

Two rules differ by more than their color, for a reader who does not see it, or a print without it:
each has a marker of its own (rules/known.py). A dashed or dotted line, whose markers are hollow, is
a variant of a rule.
"""

from typing import NamedTuple

import numpy as np
from matplotlib.colors import to_hex, to_rgb

from nnref.rules.known import KNOWN

MANY = 12  # points; a line of more has a marker here and there
FARTHEST = 1.5  # label heights from the end of a line to its name


class Look(NamedTuple):
    """The color, line style and marker of a line."""

    color: str | None  # None: matplotlib's next one
    line: str = "-"
    marker: str | None = None

    @property
    def dot(self) -> dict:
        """Keywords of a marker alone, for `plot`: hollow, unless the line is solid."""
        inside = self.color if self.line == "-" else "white"
        return {"color": self.color, "marker": self.marker, "mfc": inside, "linestyle": "none"}

    def draw(self, axes, x, y, **more):
        """Draw a line with its markers, in the way of `axes.plot`; return it."""
        spaced = {}
        if len(x) > MANY:  # in equal distances, which matplotlib cannot measure beside a gap
            spaced["markevery"] = 0.14 if np.isfinite(np.array(y, dtype=float)).all() else 5
        look = self.dot | {"linestyle": self.line, "ms": 5} | spaced
        (line,) = axes.plot(x, y, **look | more)
        return line


def of_rule(name: str, line: str = "-") -> Look:
    """The look of a rule; a reader's own has dots and matplotlib's next color."""
    known = KNOWN.get(name)
    return Look(known.color, line, known.marker) if known else Look(None, line, ".")


HALF = "BP, half as long\n/ BP"  # with half of the epochs, as a share of all of them
LOOKS = {  # name of a setting in the experiments -> its look
    "BP": of_rule("backprop"),
    "SS": of_rule("sign-symmetry"),
    "uSF": of_rule("sign-symmetry"),
    "uSF, bare": of_rule("sign-symmetry", ":"),
    "SS, BP last": of_rule("sign-symmetry", "--"),
    "frSF": of_rule("fixed-magnitudes"),
    "signed init": of_rule("signed-init"),
    "brSF": of_rule("redrawn-magnitudes"),
    "FA": of_rule("feedback-alignment"),
    "FA, BP last": of_rule("feedback-alignment", "--"),
    "KP": of_rule("kolen-pollack"),
    "DTP parallel": of_rule("difference-target-propagation", "--"),
    "DTP alternating": of_rule("difference-target-propagation"),
    "SDTP parallel": of_rule("simplified-dtp", "--"),
    "SDTP alternating": of_rule("simplified-dtp"),
    "DFA": of_rule("direct-feedback"),
    "DFA from zero": of_rule("direct-feedback", "--"),
    "microcircuit": of_rule("microcircuit"),
    "WM": of_rule("weight-mirror"),
    "WM, noise": of_rule("weight-mirror", "--"),
    "IA": of_rule("information-alignment"),
    "SA": of_rule("symmetric-alignment"),
    "AA": of_rule("activation-alignment"),
    "last layer only": of_rule("last-layer-only"),
    HALF: of_rule("backprop", ":"),
}


class End(NamedTuple):
    """The end of a line, in units of its axes, and the name that is to stand there."""

    name: str
    x: float
    y: float
    color: str


def name_ends(panels: list[tuple]) -> bool:
    """Write names at the ends of lines, to the right of their panels, none over another.

    panels    (axes, list of End); the limits of the axes must stand
    Writes nothing and returns False if one of the names would be too far from its line: then a
    legend serves the reader better.
    """
    placed = [(axes, ends, *_places(axes, ends)) for axes, ends in panels if ends]
    if not all(farthest <= FARTHEST for *_, farthest in placed):  # NaN: a line without an end
        return False
    for axes, ends, places, _ in placed:
        for end, place in zip(ends, places, strict=True):
            thin = {"arrowstyle": "-", "color": end.color, "lw": 0.7, "shrinkA": 1, "shrinkB": 4}
            thin["relpos"] = (0, 0.5)  # from the left of the name
            axes.annotate(
                end.name, (end.x, end.y), (1.06, place), textcoords="axes fraction", va="center",
                color=darker(end.color), annotation_clip=False, arrowprops=thin,
            )  # fmt: skip
    return True


def _places(axes, ends):
    """The height of every name, as a share of the axes'; the farthest move, in label heights."""
    axes.get_ylim()  # so that the limits follow from what was drawn
    to_share = (axes.transScale + axes.transLimits).transform
    wanted = np.array([to_share((end.x, end.y))[1] for end in ends])
    inches = axes.get_position().height * axes.figure.get_figheight()
    line = 1.2 * 10 / 72 / inches  # of text of 10 points
    heights = np.array([line * (1 + end.name.count("\n")) for end in ends])
    places = apart(wanted, heights)
    return places, abs(places - wanted).max() / line


def apart(wanted, heights):
    """Places for labels of these heights, as close to the wanted ones as none covers another."""
    order = np.argsort(wanted, kind="stable")
    wanted, heights = np.asarray(wanted)[order], np.asarray(heights)[order]
    least = np.cumsum([0, *(heights[1:] + heights[:-1]) / 2])  # from the lowest label to each
    blocks = []  # of labels that touch: the place of the lowest label if all were like them, number
    for place in wanted - least:
        blocks.append((place, 1))
        while len(blocks) > 1 and blocks[-2][0] >= blocks[-1][0]:
            (above, more), (below, some) = blocks.pop(), blocks.pop()
            blocks.append(((more * above + some * below) / (more + some), more + some))
    places = np.empty(len(order))
    places[order] = np.repeat(*zip(*blocks, strict=True)) + least
    return places


def darker(color: str) -> str:
    """A color in which text can be read on white."""
    return to_hex(0.75 * np.array(to_rgb(color)))
