"""Work on large arrays piece by piece, so that a piece stays in the cache while it is used."""

import functools

import numpy as np

from nnref.fast.threads import share

PIECE = 512 * 1024  # numbers at a time: more leave the cache, fewer need more calls
SMALL = 64 * 1024  # numbers; smaller arrays use the plain NumPy code
SHARE = 128 * 1024  # numbers per thread at least, since waking a thread costs time


def run(work, *arrays):
    """Call work(*pieces) on matching flat pieces of contiguous arrays, divided among the cores."""
    flat = [array.reshape(-1) for array in arrays]

    def part(start, stop, _):
        for i in range(start, stop, PIECE):
            work(*(a[i : min(i + PIECE, stop)] for a in flat))

    share(part, flat[0].size, smallest=SHARE)


def run_rows(work, *arrays):
    """`run` on whole rows of matrices."""
    wide = arrays[0].shape[1]

    def part(start, stop, _):
        for piece in slices(start, stop, wide):
            work(*(a[piece] for a in arrays))

    share(part, len(arrays[0]), smallest=max(1, SHARE // wide))


def slices(start, stop, wide):
    """Slices of rows, about PIECE numbers each."""
    step = max(1, PIECE // wide)
    for i in range(start, stop, step):
        yield slice(i, min(i + step, stop))


@functools.cache
def zeros(dtype):
    """An array of PIECE zeros, made once."""
    return np.zeros(PIECE, dtype)
