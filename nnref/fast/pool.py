"""The twins of MaxPool2d: whole rows of images are compared, so that NumPy's loops are long.

Forward, the largest of k neighbors in a row is computed at every pixel, then that of k such rows;
what no window needs is computed too, since picking pixels costs more. Pixels are picked once, at
the end, each copied as one thing with all of its channels.
"""

import math

import numpy as np

from nnref.fast import pieces
from nnref.fast.memory import as_items, empty, scratch
from nnref.fast.threads import share
from nnref.layers.checks import check_image
from nnref.patches import output_size

LARGEST = 15  # k; positions in larger windows would not fit a byte


def pool_forward(layer, x):
    """MaxPool2d.forward: the largest number of each window, and its position."""
    check_image(layer, x, None, None)
    if x.size < pieces.SMALL or layer.k > LARGEST or not x.flags.c_contiguous:
        return NotImplemented
    k, stride, padding = layer.k, layer.stride, layer.padding
    N, H, W, C = layer.x_shape = x.shape
    OH, OW = (output_size(size, k, stride, padding) for size in (H, W))
    H, W = H + 2 * padding, W + 2 * padding
    y = empty((N, OH, OW, C), x.dtype)
    layer.winner = empty((N, OH, OW, C), np.uint8)

    def work(start, stop, _):
        for images in pieces.slices(start, stop, H * W * C):
            padded = x[images]
            if padding:
                padded = scratch("padded", (len(padded), H, W, C), x.dtype)
                padded.fill(-math.inf)
                np.copyto(_inside(padded, padding), x[images])
            largest, column = _of_neighbors(padded, k)
            largest, winner = _of_rows(largest, column, k, stride, OH)
            for all_, some in ((largest, y[images]), (winner, layer.winner[images])):
                pixels = as_items(all_.reshape(len(some), OH, W, C))
                np.copyto(as_items(some), pixels[:, :, : stride * OW : stride])

    share(work, N)
    return y


def _inside(padded, padding):
    """The images without their padding, a view."""
    H, W = (size - padding for size in padded.shape[1:3])
    return padded[:, padding:H, padding:W]


def _of_neighbors(x, k):
    """At every pixel the largest of k neighbors from there to the right, and which one it is.

    (n, H, W*C) both. At the right edge they mix with the next row; no window looks there.
    """
    n, H, W, C = x.shape
    flat = largest = x.reshape(-1)
    column = scratch("column", flat.shape, np.uint8)
    if k == 1:
        column.fill(0)
    for j in range(1, k):
        count = flat.size - j * C
        other, before = flat[j * C :], largest[:count]
        if j == 1:
            largest = scratch("largest", flat.shape, x.dtype)
            largest[count:] = column[count:] = 0
            np.greater(other, before, out=column[:count].view(bool))
        else:
            larger = scratch("larger", other.shape, np.uint8)
            np.greater(other, before, out=larger.view(bool))
            np.multiply(larger, np.uint8(j), out=larger)
            np.maximum(column[:count], larger, out=column[:count])
        np.maximum(before, other, out=largest[:count])
    return largest.reshape(n, H, W * C), column.reshape(n, H, W * C)


def _of_rows(x, column, k, stride, OH):
    """The largest of k rows for every window, and its position i*k + j; (n, OH, W*C) both."""
    largest, winner = x[:, : stride * OH : stride], column[:, : stride * OH : stride]
    for i in range(1, k):
        other = x[:, i : i + stride * OH : stride]
        position = scratch("position", other.shape, np.uint8)
        larger = scratch("larger", other.shape, bool)
        np.greater(other, largest, out=larger)
        np.add(column[:, i : i + stride * OH : stride], np.uint8(i * k), out=position)
        np.multiply(position, larger.view(np.uint8), out=position)
        before, largest = largest, scratch("rows", other.shape, x.dtype)
        np.maximum(before, other, out=largest)
        before, winner = winner, scratch("winner", other.shape, np.uint8)
        np.maximum(before, position, out=winner)
    return largest, winner


def pool_backward(layer, delta):
    """MaxPool2d.backward: every error goes to the position of the largest number."""
    if layer.winner.dtype != np.uint8:  # the reference did the forward pass
        return NotImplemented
    N, OH, OW, C = delta.shape
    k, stride, padding = layer.k, layer.stride, layer.padding
    error = empty(layer.x_shape, delta.dtype)
    H, W = (size + 2 * padding for size in error.shape[1:3])
    apart = stride >= k  # every pixel is in one window at most
    every = stride == k and (k * OH, k * OW) == (H, W)  # or in one exactly

    def work(start, stop, _):
        for images in pieces.slices(start, stop, H * W * C):
            winner, deltas = layer.winner[images], delta[images]
            won = scratch("larger", winner.shape, bool)
            part = scratch("rows", winner.shape, delta.dtype)
            padded = error[images]
            if padding:
                padded = scratch("padded", (len(winner), H, W, C), delta.dtype)
            if not every:
                padded[...] = 0
            for position in range(k * k):
                i, j = divmod(position, k)
                window = padded[:, i : i + stride * OH : stride, j : j + stride * OW : stride]
                np.equal(winner, np.uint8(position), out=won)
                np.multiply(deltas, won, out=part)
                if apart:
                    np.copyto(as_items(window), as_items(part))
                else:
                    np.add(window, part, out=window)
            if padding:
                np.copyto(error[images], _inside(padded, padding))

    share(work, N)
    return error
