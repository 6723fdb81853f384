"""Figures: style.py first, then a file for each part of nnref that draws.

`plots.style` is imported when it is first used, and so are the others: matplotlib takes a second.
"""

import importlib.util


def __getattr__(name: str):
    """The module of this name in this folder."""
    if importlib.util.find_spec(f"nnref.plots.{name}") is None:
        raise AttributeError(f"module nnref.plots has no attribute {name}")
    return importlib.import_module(f"nnref.plots.{name}")
