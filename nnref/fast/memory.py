"""Make large arrays in memory that earlier arrays used.

The first write to fresh memory costs a page fault for every few kilobytes, often more time than
computing the numbers. So the memory of an array goes to a shelf when the last view of it is gone,
and the next array of the same size takes it from there: repeated training steps allocate nothing.

The shelf holds at most as much as is in use, and SPARE bytes more, so that batches of many sizes do
not pile up. And nothing but these arrays keeps the shelf: it goes with the last of them, as when a
network is deleted. Only the scratch memory of each thread stays, some ten megabytes.
"""

import math
import os
import threading
import weakref

import numpy as np

SMALLEST = 64 * 1024  # bytes; smaller arrays are cheap anyway
SPARE = 64 * 2**20  # bytes; less is not worth giving back

_mine = threading.local()  # scratch memory of each thread, by purpose


class _Shelf:
    """Memory that nothing uses, and what is known about the rest."""

    def __init__(self):
        self.free = {}  # size in bytes -> memory that nothing uses; last the size last asked for
        self.back = []  # returned memory that still has to be put in its place
        self.lent = {}  # by the memory's id: the references that bring it back
        self.used = self.idle = 0  # bytes

    def lend(self, size):
        """A lease on memory of this size."""
        while self.back:
            self._put_in_place(self.back.pop().memory)
        pieces = self.free[size] = self.free.pop(size, [])
        if pieces:
            memory = pieces.pop()
            self.idle -= size
        else:
            memory = np.empty(size, np.uint8)
        self.used += size
        while self.idle > self.used + SPARE and self.free:
            self._give_back(next(iter(self.free)))
        lease = _Lease(memory, self)
        back = self.lent[id(memory)] = _Return(lease, self.back.append)
        back.memory = memory
        return lease

    def _put_in_place(self, memory):
        """Take memory that came back to what is free."""
        del self.lent[id(memory)]
        self.free.setdefault(len(memory), []).append(memory)
        self.used -= len(memory)
        self.idle += len(memory)

    def _give_back(self, size):
        """Forget all memory of this size; no array uses it, so it is free for other programs."""
        self.idle -= size * len(self.free.pop(size))


class _Lease:
    """Owns a piece of memory while arrays use it; NumPy keeps it alive through `base`."""

    def __init__(self, memory, shelf):
        self.__array_interface__ = memory.__array_interface__
        self.shelf = shelf  # nothing else keeps the shelf


class _Return(weakref.ref):
    """A weak reference to a lease. When the lease ends, Python calls `append` of a list with it.

    So the memory returns. A `__del__` would do the same, but lose a Ctrl-C that arrives in it.
    """


def _forget_shelf():
    """Start without a shelf: the first array makes one."""
    global _shelf, _lock
    _shelf, _lock = (lambda: None), threading.Lock()


_forget_shelf()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_shelf)  # another thread may have held the lock


def empty(shape, dtype) -> np.ndarray:
    """An array like np.empty(shape, dtype), its memory reused."""
    global _shelf
    dtype = np.dtype(dtype)
    size = math.prod(shape) * dtype.itemsize
    if size < SMALLEST:
        return np.empty(shape, dtype)
    with _lock:
        shelf = _shelf()
        if shelf is None:
            shelf = _Shelf()
            _shelf = weakref.ref(shelf)
        lease = shelf.lend(size)
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
