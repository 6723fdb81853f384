"""Convolutions: one matrix product at a time, of as many patches as fit the cache."""

import numpy as np
from numpy.lib.stride_tricks import as_strided

from nnref.fast.memory import empty, scratch, width
from nnref.fast.threads import share

CHUNK = 2 * 2**20  # bytes of patches at a time: more leave the cache, fewer need more calls
FEW = 16  # channels; with fewer, patches are laid out by column
LARGE = 2**20  # bytes of weights; above, threads split the gradient instead of summing parts
MANY = 128  # channels; from there on, winograd.py is faster


def convolve(x, W, b, k, stride, padding, y):
    """Eq. 1 on every patch of x (N, H, W, C): writes y (N, OH, OW, C_out)."""
    N, OH, OW, C_out = y.shape

    def work(start, stop, _):
        for images, rows, patches in _patches(x, start, stop, k, stride, padding, OH, OW):
            out = y[images, rows].reshape(-1, C_out)
            np.matmul(patches, W, out=out)
        if b is not None:
            wide = width(y[start:stop].size, C_out)
            rows = y[start:stop].reshape(-1, wide)
            np.add(rows, np.tile(b, wide // C_out), out=rows)

    share(work, N)


def weight_gradient(x, delta, k, stride, padding):
    """dE/dW (k*k*C, C_out): the sum over all patches of x of patch times delta."""
    N, OH, OW, C_out = delta.shape
    C = x.shape[3]
    if k * k * C * C_out * x.itemsize > LARGE and N * OH * OW <= 4096 and C >= FEW:
        return _split_gradient(x, delta, k, stride, padding)
    parts = {}

    def work(start, stop, part):
        total = parts[part] = empty((k * k * C, C_out), x.dtype)
        out = total
        for images, rows, patches in _patches(x, start, stop, k, stride, padding, OH, OW):
            np.matmul(patches.T, delta[images, rows].reshape(-1, C_out), out=out)
            if out is not total:
                np.add(total, out, out=total)
            out = scratch("gradient", total.shape, x.dtype)

    for part in range(1, share(work, N)):
        np.add(parts[0], parts[part], out=parts[0])
    return parts[0]


def _split_gradient(x, delta, k, stride, padding):
    """dE/dW for many weights and few patches: every thread computes some of its rows."""
    N, OH, OW, C_out = delta.shape
    C = x.shape[3]
    padded = empty(padded_shape(x, padding), x.dtype)
    fill_padded(padded, x, padding)
    deltas = delta.reshape(-1, C_out)
    gradient = empty((k * k, C, C_out), x.dtype)
    pieces = [(p, half) for p in range(k * k) for half in (slice(0, C // 2), slice(C // 2, C))]

    def work(start, stop, _):
        for position, channels in pieces[start:stop]:
            i, j = divmod(position, k)
            window = padded[:, i : i + stride * OH : stride, j : j + stride * OW : stride, channels]
            column = scratch("patches", window.shape, x.dtype)
            np.copyto(column, window)
            np.matmul(column.reshape(len(deltas), -1).T, deltas, out=gradient[position, channels])

    share(work, len(pieces))
    return gradient.reshape(k * k * C, C_out)


def input_error(delta, B, x_shape, k, stride, padding):
    """Eq. 2 back from every patch: the error (N, H, W, C) of the layer below."""
    N, H, W, C = x_shape
    C_out = delta.shape[3]
    error = empty(x_shape, delta.dtype)
    if k == 1 and stride == 1 and padding == 0:
        convolve(delta, B.T, None, 1, 1, 0, error)
    elif stride == 1 and padding < k and B.nbytes <= LARGE and FEW <= C_out <= 2 * C:
        # every pixel sums over the patches that hold it: a convolution with the kernel turned
        turned = B.reshape(k, k, C, C_out)[::-1, ::-1].transpose(0, 1, 3, 2)
        turned = np.ascontiguousarray(turned).reshape(-1, C)
        convolve(delta, turned, None, k, 1, k - 1 - padding, error)
    else:
        _scatter_error(delta, B, k, stride, padding, error)
    return error


def _scatter_error(delta, B, k, stride, padding, error):
    """Write the error of the layer below by adding up: every patch adds its error to its pixels."""
    N, OH, OW, C_out = delta.shape
    if error.shape[3] < FEW:
        _scatter_planes(delta, B, k, stride, padding, error)
        return
    _, H, W, C = error.shape
    group = max(1, CHUNK // (OH * OW * k * k * C * delta.itemsize))

    def work(start, stop, _):
        for n in range(start, stop, group):
            count = min(group, stop - n)
            rows = delta[n : n + count].reshape(-1, C_out)
            errors = scratch("patches", (len(rows), len(B)), delta.dtype)
            np.matmul(rows, B.T, out=errors)
            errors = errors.reshape(count, OH, OW, k, k, C)
            padded = scratch("padded", (count, H + 2 * padding, W + 2 * padding, C), delta.dtype)
            padded.fill(0)
            for i in range(k):
                for j in range(k):
                    window = padded[:, i : i + stride * OH : stride, j : j + stride * OW : stride]
                    np.add(window, errors[:, :, :, i, j], out=window)
            np.copyto(error[n : n + count], padded[:, padding : padding + H, padding : padding + W])

    share(work, N)


def _scatter_planes(delta, B, k, stride, padding, error):
    """`_scatter_error` for few channels, with a plane of its own for each."""
    N, OH, OW, C_out = delta.shape
    _, H, W, C = error.shape

    def work(start, stop, _):
        count = stop - start
        errors = scratch("patches", (len(B), count * OH * OW), delta.dtype)
        np.matmul(B, delta[start:stop].reshape(-1, C_out).T, out=errors)
        errors = errors.reshape(k, k, C, count, OH, OW)
        planes = scratch("planes", (C, count, H + 2 * padding, W + 2 * padding), delta.dtype)
        planes.fill(0)
        for i in range(k):
            for j in range(k):
                window = planes[:, :, i : i + stride * OH : stride, j : j + stride * OW : stride]
                np.add(window, errors[i, j], out=window)
        inner = planes[:, :, padding : padding + H, padding : padding + W]
        np.copyto(error[start:stop], inner.transpose(1, 2, 3, 0))

    share(work, N)


def _patches(x, start, stop, k, stride, padding, OH, OW):
    """The patches of images start to stop, some at a time: (images, rows, (patches, k*k*C))."""
    C = x.shape[3]
    view = _columns if C < FEW and k > 1 else _rows
    source, shape, transposed = view(_pad(x[start:stop], padding), k, stride, OH, OW)
    at_once = max(1, CHUNK // (k * k * C * x.itemsize))  # patches
    group, height = (
        (max(1, at_once // (OH * OW)), OH) if at_once >= OH * OW else (1, max(1, at_once // OW))
    )
    for n in range(0, stop - start, group):
        for r in range(0, OH, height):
            images, rows = slice(n, min(n + group, stop - start)), slice(r, min(r + height, OH))
            part = source[..., images, rows, :] if transposed else source[images, rows]
            patches = scratch("patches", part.shape, x.dtype)
            np.copyto(patches, part)
            patches = (
                patches.reshape(k * k * C, -1).T if transposed else patches.reshape(-1, k * k * C)
            )
            yield slice(start + images.start, start + images.stop), rows, patches


def _rows(padded, k, stride, OH, OW):
    """A view of all patches, one per row: (n, OH, OW, k, k*C)."""
    N, _, _, C = padded.shape
    n, down, across, one = padded.strides
    shape = (N, OH, OW, k, k * C)
    return as_strided(padded, shape, (n, down * stride, across * stride, down, one)), shape, False


def _columns(padded, k, stride, OH, OW):
    """A view of all patches for few channels, one per column: (k, k, C, n, OH, OW)."""
    N, H, W, C = padded.shape
    planes = scratch("planes", (C, N, H, W), padded.dtype)
    np.copyto(planes, padded.transpose(3, 0, 1, 2))
    plane, n, down, across = planes.strides
    shape = (k, k, C, N, OH, OW)
    strides = (down, across, plane, n, down * stride, across * stride)
    return as_strided(planes, shape, strides), shape, True


def _pad(x, padding):
    """These images with zeros around them, in this thread's scratch memory."""
    if padding == 0:
        return x
    padded = scratch("padded", padded_shape(x, padding), x.dtype)
    fill_padded(padded, x, padding)
    return padded


def padded_shape(x, padding):
    """The shape of these images with zeros around them."""
    N, H, W, C = x.shape
    return N, H + 2 * padding, W + 2 * padding, C


def fill_padded(padded, x, padding):
    """Write zeros on the four sides of `padded`, x inside."""
    N, H, W, C = x.shape
    if padding:
        padded[:, :padding] = padded[:, padding + H :] = 0
        padded[:, :, :padding] = padded[:, :, padding + W :] = 0
    padded[:, padding : padding + H, padding : padding + W] = x
