"""The twins of BatchNorm: sums over the batch in one pass, then one pass that scales and shifts."""

import numpy as np

from nnref.fast import pieces
from nnref.fast.memory import empty, repeated, scratch, width
from nnref.fast.threads import share
from nnref.layers.checks import check_input


def norm_forward(layer, x):
    """BatchNorm.forward: y = a x + c for every channel, with a = gamma / std, c = beta - a mean."""
    gamma, beta = layer.params["gamma"], layer.params["beta"]
    check_input(layer, x, (..., layer.C), gamma.dtype)
    if x.size < pieces.SMALL or not x.flags.c_contiguous:
        return NotImplemented
    mean, var = layer.running_mean, layer.running_var
    if layer.training:
        mean, var = moments(x.reshape(-1, layer.C))
        n = x.size // layer.C
        layer.running_mean += layer.momentum * (mean - layer.running_mean)
        layer.running_var += layer.momentum * (var * (n / (n - 1)) - layer.running_var)
    layer.x, layer.mean, layer.inv_std = x, mean, 1 / np.sqrt(var + layer.eps)
    y = empty(x.shape, x.dtype)
    wide = width(x.size, layer.C)
    a = gamma * layer.inv_std
    a, c = repeated("gain", a, wide), repeated("shift", beta - a * mean, wide)

    def work(x, y):
        np.multiply(x, a, out=y)
        np.add(y, c, out=y)

    pieces.run_rows(work, x.reshape(-1, wide), y.reshape(-1, wide))
    return y


def norm_backward(layer, delta):
    """BatchNorm.backward in training: an error a delta + b x + c, for every channel."""
    x, mean, inv_std, C = layer.x, layer.mean, layer.inv_std, layer.C
    if not layer.training or delta.size < pieces.SMALL or not x.flags.c_contiguous:
        return NotImplemented
    delta, n, wide = np.ascontiguousarray(delta), delta.size // C, width(delta.size, C)
    of_delta, of_both = _sums(delta.reshape(-1, wide), x.reshape(-1, wide), C)
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
        np.multiply(x, b, out=other)
        np.add(other, c, out=other)
        np.multiply(delta, a, out=error)
        np.add(error, other, out=error)

    pieces.run_rows(work, *(v.reshape(-1, wide) for v in (delta, x, error)))
    return error


def moments(x):
    """Mean and variance of every column of x (n, C), in one pass: from the sums of x and of x^2.

    Two passes where the mean is so large that E x^2 - mean^2 would be inexact.
    """
    n, C = x.shape
    wide = width(x.size, C)
    rows = x.reshape(-1, wide)
    sums, squares = _sums(rows, rows, C)
    mean = sums / n
    var = squares / n - mean**2
    if (mean**2 > 100 * var).any():
        return mean, x.var(axis=0)
    return mean, var


def _sums(x, z, C):
    """The sums of x and of x z for each of C channels; a row of x and z holds several samples."""
    parts = {}

    def work(start, stop, part):
        total = parts[part] = np.zeros((2, x.shape[1]), x.dtype)
        for piece in pieces.slices(start, stop, x.shape[1]):
            total[0] += np.ones(len(x[piece]), x.dtype) @ x[piece]
            total[1] += np.einsum("ij,ij->j", x[piece], z[piece])

    shares = share(work, len(x), smallest=max(1, pieces.SHARE // x.shape[1]))
    return sum(parts[part] for part in range(shares)).reshape(2, -1, C).sum(axis=1)


def column_sums(x):
    """x.sum(axis=0) of x (n, C)."""
    n, C = x.shape
    rows = x.reshape(-1, width(x.size, C))
    return (np.ones(len(rows), x.dtype) @ rows).reshape(-1, C).sum(axis=0)
