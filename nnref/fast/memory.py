"""Make large arrays in memory that earlier arrays used.

The first write to fresh memory costs a page fault for every few kilobytes, often more time than
computing the numbers. So the memory of an array goes to a shelf when the last view of it is gone,
and the next array of the same size takes it from there: repeated training steps allocate nothing.
"""

import math
import threading
import weakref

import numpy as np

SMALLEST = 64 * 1024  # bytes; smaller arrays are cheap anyway

_shelf: dict[int, list] = {}  # size in bytes -> memory that nothing uses
_lent: dict[int, weakref.ref] = {}  # by the memory's id, so that these references live on
_mine = threading.local()  # scratch memory of each thread, by purpose


class _Lease:
    """Owns a piece of memory while arrays use it; NumPy keeps it alive through `base`."""

    def __init__(self, memory):
        self.__array_interface__ = memory.__array_interface__


class _Return(weakref.ref):
    """A weak reference to a lease. When the lease ends, Python calls `append` of a shelf with it.

    So the memory returns. A `__del__` would do the same, but lose a Ctrl-C that arrives in it.
    """


def empty(shape, dtype) -> np.ndarray:
    """An array like np.empty(shape, dtype), its memory reused."""
    dtype = np.dtype(dtype)
    size = math.prod(shape) * dtype.itemsize
    if size < SMALLEST:
        return np.empty(shape, dtype)
    shelf = _shelf.setdefault(size, [])
    try:
        memory = shelf.pop().memory
    except IndexError:
        memory = np.empty(size, np.uint8)
    lease = _Lease(memory)
    back = _lent[id(memory)] = _Return(lease, shelf.append)
    back.memory = memory
    return np.asarray(lease).view(dtype).reshape(shape)


def width(size: int, C: int) -> int:
    """A row length for an array of `size` numbers whose last axis is C: some rows side by side.

    NumPy's loops run along the last axis, and starting a short loop costs more than its numbers.
    """
    wide = C
    while wide < 8192 and size % (2 * wide) == 0:
        wide *= 2
    return wide


def repeated(purpose: str, v, wide: int):
    """The numbers v (C,) again and again, (wide,), in scratch memory.

    Not in a new array: to combine rows with a new one of 4 or 8 KB, NumPy 2.4 took up to eight
    times as long, at some addresses and not at others (measured; the cause was not found).
    """
    row = scratch(purpose, (wide // len(v), len(v)), v.dtype)
    row[...] = v
    return row.reshape(-1)


def as_items(x):
    """A view of x (..., C) in which C numbers are one item: pixels are copied faster as a whole."""
    return x.view(np.dtype((np.void, x.shape[-1] * x.itemsize)))[..., 0]


def scratch(purpose: str, shape, dtype) -> np.ndarray:
    """An array that this thread may use until it asks again for the same purpose."""
    dtype = np.dtype(dtype)
    size = math.prod(shape) * dtype.itemsize
    held = _mine.__dict__.get(purpose)
    if held is None or len(held) < size:
        held = _mine.__dict__[purpose] = np.empty(size, np.uint8)
    return held[:size].view(dtype).reshape(shape)
