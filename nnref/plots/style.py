"""Colors, line styles and axes that all figures share, and a function that writes a figure.

A rule has the same color in all figures (nnref/rules/known.py). The report of a run has one rule
and many layers: there every layer has a color, from dark (bottom) to light.
"""

import math
import warnings
from io import BytesIO
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.cm import ScalarMappable
from matplotlib.colors import BoundaryNorm, ListedColormap, to_hex
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from nnref.files import make_folder, write_whole

MEASURES = {  # of a run's history -> the label of its axis
    "weight_angle_deg": "angle between W and B (degrees)",
    "delta_angle_deg": "angle between delta and BP's (degrees)",
    "norm_ratio": "rms(B) / rms(W)",
}
LAYER_STYLES = [":", "--", "-"]  # of the layers, bottom first


def save(figure: Figure, path: Path):
    """Write a figure as PNG, atomically; make its folder if needed."""
    make_folder(Path(path).parent)
    write_whole(Path(path), png(figure))


def png(figure: Figure, dpi: int = 140) -> bytes:
    """A figure as the content of a PNG file."""
    buffer = BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph ")  # names in scripts that the font does not have
        figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None})
    return buffer.getvalue()


def layer_colors(count: int) -> list[str]:
    """The colors of `count` layers, bottom first; the lightest is still visible on white."""
    return [to_hex(colormaps["viridis"](x)) for x in np.linspace(0, 0.88, count)]


def layer_bar(figure, axes, colors):
    """A bar that shows the color of each layer, for any number of layers."""
    norm = BoundaryNorm(np.arange(0.5, len(colors) + 1), len(colors))
    shown = ScalarMappable(norm, ListedColormap(colors))
    bar = figure.colorbar(shown, ax=axes, aspect=35, pad=0.02, label="layer")
    step = math.ceil(len(colors) / 10)
    bar.set_ticks(range(1, len(colors) + 1, step))
    bar.minorticks_off()
    bar.ax.tick_params(length=0)
    bar.outline.set_visible(False)


def angle_axis(axes, right, below=False):
    """Show degrees from 0 to 90, and write the meaning of both ends to the left of x = `right`.

    `below` writes "unrelated" under its line, for curves that may run above it.
    """
    axes.axhline(90, color="#BBBBBB", linewidth=0.8, zorder=0)
    y, side = (88.5, "top") if below else (91.5, "bottom")
    axes.text(right, y, "unrelated", ha="right", va=side, color="#666666")
    axes.text(right, -1.5, "the same", ha="right", va="top", color="#666666")
    axes.set(ylim=(-8, 100), yticks=range(0, 91, 15))


def bare_axes(axes):
    """A light grid, and no frame at the top and the right."""
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


def plain_ticks(axis):
    """Plain decimal numbers on a log axis."""
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(NullLocator())
