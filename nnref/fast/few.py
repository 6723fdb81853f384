"""Convolutions of few channels, such as the gray or colored images below a first layer.

The patches of a row of pixels are copied k times, moved by one pixel each, not k*k times: a patch
is the same in k rows, one after the other in memory (Cho & Brand 2017, arXiv 1706.06873). Images
are innermost, so that NumPy's loops are long although channels are few.
"""

import numpy as np

from nnref.fast.memory import as_items, scratch

CHANNELS = 4  # the layers below use this path with fewer; with more, conv.py copies as fast
CHUNK = 256 * 2**10  # bytes of patches at a time


def products(x, start, stop, W, k, stride, padding, y):
    """Eq. 1 without b on every patch of images start to stop: writes these of y."""
    _, OH, OW, C_out = y.shape
    for images, patches in _patches(x, start, stop, k, stride, padding, OH, OW):
        sigma = scratch("rows", (OH, OW, images.stop - images.start, C_out), x.dtype)
        np.matmul(patches.swapaxes(1, 2), W, out=sigma.reshape(OH, -1, C_out))
        np.copyto(as_items(y[images]), as_items(sigma).transpose(2, 0, 1))


def gradient(x, start, stop, delta, k, stride, padding, total):
    """dE/dW of images start to stop, written to `total`."""
    _, OH, OW, C_out = delta.shape
    parts = scratch("products", (OH, *total.shape), x.dtype)
    total.fill(0)
    for images, patches in _patches(x, start, stop, k, stride, padding, OH, OW):
        rows = images_innermost(delta[images])
        np.matmul(patches, rows.reshape(OH, -1, C_out), out=parts)
        np.add(total, parts.sum(axis=0), out=total)


def images_innermost(delta):
    """delta (n, OH, OW, C_out) as (OH, OW, n, C_out), in this thread's scratch memory."""
    n, OH, OW, C_out = delta.shape
    rows = scratch("rows", (OH, OW, n, C_out), delta.dtype)
    np.copyto(as_items(rows), as_items(delta).transpose(1, 2, 0))
    return rows


def add_up(errors, error, k, stride, padding):
    """Write `error` (n, H, W, C): the sums of the patches' errors (k, k, C, OH, OW, n)."""
    n, H, W, C = error.shape
    OH, OW = errors.shape[3:5]
    planes = scratch("planes", (C, H + 2 * padding, W + 2 * padding, n), error.dtype)
    planes.fill(0)
    for i in range(k):
        for j in range(k):
            window = planes[:, i : i + stride * OH : stride, j : j + stride * OW : stride]
            np.add(window, errors[i, j], out=window)
    inner = planes[:, padding : padding + H, padding : padding + W]
    np.copyto(error, inner.transpose(3, 1, 2, 0))


def _patches(x, start, stop, k, stride, padding, OH, OW):
    """Images start to stop, some at a time, and their patches by columns: (OH, k*k*C, OW*n)."""
    _, H, W, C = x.shape
    height, width = H + 2 * padding, W + 2 * padding
    group = max(1, CHUNK // (height * k * C * OW * x.itemsize * 8)) * 8
    for first in range(start, stop, group):
        images = slice(first, min(first + group, stop))
        n = images.stop - first
        planes = scratch("planes", (height, C, width, n), x.dtype)
        planes.fill(0)
        inner = planes[padding : padding + H, :, padding : padding + W]
        np.copyto(inner, x[images].transpose(1, 3, 2, 0))
        moved = scratch("patches", (height, k, C, OW, n), x.dtype)
        for j in range(k):
            np.copyto(moved[:, j], planes[:, :, j : j + stride * OW : stride])
        row, one = moved.strides[0], x.itemsize
        strides = (stride * row, OW * n * one, one)
        yield images, np.ndarray((OH, k * k * C, OW * n), x.dtype, moved, strides=strides)
