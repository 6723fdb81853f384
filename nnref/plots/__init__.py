"""Figures: style.py first, then a file for each part of nnref that draws.

`plots.style` is imported when it is first used, and so are the others: matplotlib takes a second.
"""

import importlib.util
import sys
from collections.abc import Callable

from nnref.errors import InputError, one_line


def __getattr__(name: str):
    """The module of this name in this folder."""
    if importlib.util.find_spec(f"nnref.plots.{name}") is None:
        raise AttributeError(f"module nnref.plots has no attribute {name}")
    return importlib.import_module(f"nnref.plots.{name}")


def drawn(path, draw: Callable) -> bool:
    """Call draw(), with matplotlib's own settings; False, after one line, if it cannot be drawn.

    So that a program's results never wait for its pictures. Raises InputError for a file that
    cannot be written.
    """
    try:
        import matplotlib

        with matplotlib.rc_context():
            matplotlib.rcdefaults()  # whatever a matplotlibrc says
            draw()
    except InputError:
        raise
    except Exception as error:  # matplotlib's own, of its installation or its fonts
        problem = one_line(f"{path}: cannot be drawn: {type(error).__name__}: {error}")
        print(f"nnref: {problem}", file=sys.stderr)
        return False
    return True
