"""Locally connected layers: one row of places at a time, with one product for each place."""

import numpy as np
from numpy.lib.stride_tricks import as_strided

from nnref.fast.conv import fill_padded, padded_shape
from nnref.fast.memory import empty, scratch
from nnref.fast.threads import share


def products(layer):
    """Eq. 1 for each place: sigma (N, OH, OW, C_out); the cores divide the rows of places."""
    x, W, b = layer.x, layer.params["W"], layer.params.get("b")
    view = _places(layer)
    sigma = empty((len(x), layer.OH, layer.OW, layer.C_out), x.dtype)

    def work(start, stop, _):
        for row in range(start, stop):
            places = slice(row * layer.OW, (row + 1) * layer.OW)
            y = scratch("products", (layer.OW, len(x), layer.C_out), x.dtype)
            np.matmul(_patches(view, row), W[places], out=y)
            if b is not None:
                np.add(y, b[places, None], out=y)
            np.copyto(sigma[:, row], y.swapaxes(0, 1))

    share(work, layer.OH)
    return sigma


def gradient_and_error(layer, delta, B):
    """dE/dW, of W's shape, and by Eq. 2 the error of the layer below, or None if B is None."""
    W, N = layer.params["W"], len(delta)
    gradient, view = empty(W.shape, W.dtype), _places(layer)
    errors = None if B is None else empty((layer.OH, layer.OW, N, W.shape[1]), W.dtype)

    def work(start, stop, _):
        for row in range(start, stop):
            places = slice(row * layer.OW, (row + 1) * layer.OW)
            deltas = scratch("deltas", (layer.OW, N, layer.C_out), W.dtype)
            np.copyto(deltas, delta[:, row].swapaxes(0, 1))
            np.matmul(_patches(view, row).swapaxes(1, 2), deltas, out=gradient[places])
            if B is not None:
                np.matmul(deltas, B[places].swapaxes(1, 2), out=errors[row])

    share(work, layer.OH)
    return gradient, None if B is None else _to_pixels(layer, errors)


def _places(layer):
    """A view of all patches of layer.x, by place: (OH, OW, N, k, k*C)."""
    x, k, stride = layer.x, layer.k, layer.stride
    padded = empty(padded_shape(x, layer.padding), x.dtype)
    fill_padded(padded, x, layer.padding)
    n, down, across, one = padded.strides
    shape = (layer.OH, layer.OW, len(x), k, k * x.shape[3])
    return as_strided(padded, shape, (down * stride, across * stride, n, down, one))


def _patches(view, row):
    """The patches of one row of places: (OW, N, k*k*C)."""
    patches = scratch("patches", view.shape[1:], view.dtype)
    np.copyto(patches, view[row])
    return patches.reshape(*view.shape[1:3], -1)


def _to_pixels(layer, errors):
    """Add up the errors of the patches (OH, OW, N, k*k*C); the cores divide the images."""
    k, stride, padding = layer.k, layer.stride, layer.padding
    N, (H, W, C) = len(layer.x), layer.input_shape
    error = empty(layer.x.shape, errors.dtype)
    errors = errors.reshape(layer.OH, layer.OW, N, k, k, C)

    def work(start, stop, _):
        padded = scratch("padded", (stop - start, *padded_shape(error, padding)[1:]), errors.dtype)
        padded.fill(0)
        by_place = padded.transpose(1, 2, 0, 3)
        for i in range(k):
            for j in range(k):
                rows = slice(i, i + stride * layer.OH, stride)
                window = by_place[rows, j : j + stride * layer.OW : stride]
                np.add(window, errors[:, :, start:stop, i, j], out=window)
        np.copyto(error[start:stop], padded[:, padding : padding + H, padding : padding + W])

    share(work, N)
    return error
