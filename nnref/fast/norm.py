"""The twins of BatchNorm: sums over the batch in one pass, then one pass that scales and shifts.

Where the mean of a channel is far from zero, x^2 and a x leave few digits for what differs between
samples. Then x is counted from its mean, piece by piece; that takes longer.
"""

import numpy as np

from nnref.fast import pieces
from nnref.fast.memory import empty, repeated, scratch, width
from nnref.fast.threads import share
from nnref.layers.checks import check_input

FAR = 10  # standard deviations from a mean to zero


def norm_forward(layer, x):
    """BatchNorm.forward: y = a x + c for every channel, with a = gamma / std, c = beta - a mean."""
    gamma, beta = layer.params["gamma"], layer.params["beta"]
    check_input(layer, x, (..., layer.C), gamma.dtype)
    if x.size < pieces.SMALL or x.size <= layer.C or not x.flags.c_contiguous:
        return NotImplemented
    mean, var = layer.running_mean, layer.running_var
    if layer.training:
        mean, var = moments(x.reshape(-1, layer.C), layer.eps)
        n = x.size // layer.C
        layer.running_mean += layer.momentum * (mean - layer.running_mean)
        layer.running_var += layer.momentum * (var * (n / (n - 1)) - layer.running_var)
    layer.x, layer.mean, layer.inv_std = x, mean, 1 / np.sqrt(var + layer.eps)
    y = empty(x.shape, x.dtype)
    wide = width(x.size, layer.C)
    origin, mean = _origin(mean, var + layer.eps, wide)
    a = gamma * layer.inv_std
    a, c = repeated("gain", a, wide), repeated("shift", beta - a * mean, wide)

    def work(x, y):
        np.multiply(_counted_from(origin, x), a, out=y)
        np.add(y, c, out=y)

    pieces.run_rows(work, x.reshape(-1, wide), y.reshape(-1, wide))
    return y


def norm_backward(layer, delta):
    """BatchNorm.backward in training: an error a delta + b x + c, for every channel."""
    x, inv_std, C = layer.x, layer.inv_std, layer.C
    if not layer.training or delta.size < pieces.SMALL or not x.flags.c_contiguous:
        return NotImplemented
    delta, n, wide = np.ascontiguousarray(delta), delta.size // C, width(delta.size, C)
    origin, mean = _origin(layer.mean, 1 / inv_std**2, wide)
    of_delta, of_both = _sums(delta.reshape(-1, wide), x.reshape(-1, wide), C, origin)
    grad_gamma = inv_std * (of_both - mean * of_delta)  # the sum of delta (x - mean) / std
    layer.grads = {"gamma": grad_gamma, "beta": of_delta}
    a = layer.gain_of_errors() * inv_std
    b = -a * inv_std * grad_gamma / n
    c = -a * of_delta / n - b * mean
    a, b = repeated("gain", a, wide), repeated("slope", b, wide)
    c = repeated("shift", c, wide)
    error = empty(delta.shape, delta.dtype)

    def work(delta, x, error):
        other = scratch("other", x.shape, x.dtype)
        np.multiply(_counted_from(origin, x), b, out=other)
        np.add(other, c, out=other)
        np.multiply(delta, a, out=error)
        np.add(error, other, out=error)

    pieces.run_rows(work, *(v.reshape(-1, wide) for v in (delta, x, error)))
    return error


def moments(x, eps):
    """Mean and variance of every column of x (n, C), from the sums of x and of x^2.

    Once more, from the sums of x - mean, where E x^2 - mean^2 would be inexact.
    """
    n, C = x.shape
    wide = width(x.size, C)
    rows = x.reshape(-1, wide)
    mean, squares = _sums(rows, rows, C) / n
    var = squares - mean**2
    origin, rest = _origin(mean, var + eps, wide)
    if origin is not None:
        rest, squares = _sums(rows, rows, C, origin) / n
        mean, var = mean + rest, squares - rest**2
    return mean, var


def _origin(mean, var, wide):
    """Where to count x from, a row of `wide` numbers or None for zero, and the mean from there."""
    if (mean**2 > FAR**2 * var).any():
        return repeated("origin", mean, wide), np.zeros_like(mean)
    return None, mean


def _counted_from(origin, x):
    """x - origin, in scratch memory."""
    if origin is None:
        return x
    return np.subtract(x, origin, out=scratch("moved", x.shape, x.dtype))


def _sums(x, z, C, origin=None):
    """The sums of x and of x z for each of C channels; a row of x and z holds several samples.

    z, and x if it is the same array, are counted from `origin`.
    """
    parts = {}

    def work(start, stop, part):
        total = parts[part] = np.zeros((2, x.shape[1]), x.dtype)
        for piece in pieces.slices(start, stop, x.shape[1]):
            b = _counted_from(origin, z[piece])
            a = b if x is z else x[piece]
            total[0] += np.ones(len(a), x.dtype) @ a
            total[1] += np.einsum("ij,ij->j", a, b)

    shares = share(work, len(x), smallest=max(1, pieces.SHARE // x.shape[1]))
    return sum(parts[part] for part in range(shares)).reshape(2, -1, C).sum(axis=1)


def column_sums(x):
    """x.sum(axis=0) of x (n, C)."""
    n, C = x.shape
    rows = x.reshape(-1, width(x.size, C))
    return (np.ones(len(rows), x.dtype) @ rows).reshape(-1, C).sum(axis=0)
