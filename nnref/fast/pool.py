"""The twins of MaxPool2d: the windows are compared position by position, not laid out."""

import numpy as np

from nnref.fast import pieces
from nnref.fast.memory import empty, scratch
from nnref.fast.threads import share
from nnref.layers.checks import check_image


def pool_forward(layer, x):
    """MaxPool2d.forward: the largest number of each window, and its position."""
    check_image(layer, x, None, None)
    if x.size < pieces.SMALL or layer.padding:
        return NotImplemented
    k, stride = layer.k, layer.stride
    N, H, W, C = layer.x_shape = x.shape
    OH, OW = (H - k) // stride + 1, (W - k) // stride + 1
    y = empty((N, OH, OW, C), x.dtype)
    layer.winner = empty((N, OH, OW, C), np.uint8)

    def work(start, stop, _):
        for images in pieces.slices(start, stop, H * W * C):
            largest, winner = y[images], layer.winner[images]
            np.copyto(largest, _window(x[images], 0, 0, OH, OW, stride))
            winner.fill(0)
            larger = scratch("mask", largest.shape, bool)
            for position in range(1, k * k):
                other = _window(x[images], *divmod(position, k), OH, OW, stride)
                np.greater(other, largest, out=larger)
                np.maximum(largest, other, out=largest)
                np.copyto(winner, position, where=larger)

    share(work, N)
    return y


def pool_backward(layer, delta):
    """MaxPool2d.backward: every error goes to the position of the largest number."""
    if layer.winner.dtype != np.uint8:  # the reference did the forward pass
        return NotImplemented
    N, OH, OW, C = delta.shape
    k, stride = layer.k, layer.stride
    error = empty(layer.x_shape, delta.dtype)
    apart = stride >= k  # every pixel is in one window at most

    def work(start, stop, _):
        for images in pieces.slices(start, stop, error[0].size):
            winner, deltas = layer.winner[images], delta[images]
            won = scratch("mask", winner.shape, bool)
            part = scratch("other", winner.shape, delta.dtype)
            error[images] = 0
            for position in range(k * k):
                window = _window(error[images], *divmod(position, k), OH, OW, stride)
                np.equal(winner, position, out=won)
                if apart:
                    np.multiply(deltas, won, out=window)
                else:
                    np.multiply(deltas, won, out=part)
                    np.add(window, part, out=window)

    share(work, N)
    return error


def _window(images, i, j, OH, OW, stride):
    """Pixel (i, j) of every window of these images."""
    return images[:, i : i + stride * OH : stride, j : j + stride * OW : stride]
