"""Convolutions: one matrix product at a time, of as many patches as fit the cache."""

import numpy as np

from nnref.fast import few
from nnref.fast.memory import empty, repeated, scratch, width
from nnref.fast.threads import share, summed

CHUNK = 2 * 2**20  # bytes of patches at a time: more leave the cache, fewer need more calls
FEW = 16  # channels; with fewer, errors are added up with images innermost
LARGE = 2**20  # bytes of weights; above, threads split the gradient instead of summing parts
MANY = 128  # channels; from there on, winograd.py is faster


def convolve(x, W, b, k, stride, padding, y):
    """Eq. 1 on every patch of x (N, H, W, C): writes y (N, OH, OW, C_out)."""
    C_out = y.shape[3]
    products = few.products if x.shape[3] < few.CHANNELS else _products

    def work(start, stop, _):
        products(x, start, stop, W, k, stride, padding, y)
        if b is not None:
            wide = width(y[start:stop].size, C_out)
            rows = y[start:stop].reshape(-1, wide)
            np.add(rows, repeated("shift", b, wide), out=rows)

    share(work, len(x))


def _products(x, start, stop, W, k, stride, padding, y):
    """Eq. 1 without b on every patch of images start to stop: writes these of y."""
    _, OH, OW, C_out = y.shape
    for images, rows, patches in _patches(x, start, stop, k, stride, padding, OH, OW):
        np.matmul(patches, W, out=y[images, rows].reshape(-1, C_out))


def weight_gradient(x, delta, k, stride, padding):
    """dE/dW (k*k*C, C_out): the sum over all patches of x of patch times delta."""
    N, OH, OW, C_out = delta.shape
    C = x.shape[3]
    if k * k * C * C_out * x.itemsize > LARGE and N * OH * OW <= 4096 and C >= FEW:
        return _split_gradient(x, delta, k, stride, padding)
    gradient = few.gradient if C < few.CHANNELS else _gradient

    def work(start, stop):
        total = empty((k * k * C, C_out), x.dtype)
        gradient(x, start, stop, delta, k, stride, padding, total)
        return total

    return summed(work, N)


def _gradient(x, start, stop, delta, k, stride, padding, total):
    """dE/dW of images start to stop, written to `total`."""
    _, OH, OW, C_out = delta.shape
    out = total
    for images, rows, patches in _patches(x, start, stop, k, stride, padding, OH, OW):
        np.matmul(patches.T, delta[images, rows].reshape(-1, C_out), out=out)
        if out is not total:
            np.add(total, out, out=total)
        out = scratch("gradient", total.shape, x.dtype)


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


def turns(x, delta, k, stride, padding):
    """Whether `gradient_and_error` can compute a layer's backward pass, and faster."""
    C, C_out = x.shape[3], delta.shape[3]
    small = k * k * C * C_out * x.itemsize <= LARGE
    return k > 1 and stride == 1 and padding < k and small and FEW <= C_out <= 2 * C


def gradient_and_error(x, delta, B, k, padding):
    """dE/dW and, by Eq. 2, the error of the layer below, from the same patches of delta.

    Every pixel of x sums over the patches that hold it: a convolution of delta with B turned by
    180 degrees. And dE/dW sums a pixel times all delta of these patches, turned likewise.
    """
    N, H, W, C = x.shape
    C_out = delta.shape[3]
    error = empty(x.shape, x.dtype)
    turned = _turned(B, k, C, C_out)

    def work(start, stop):
        total = out = empty(turned.shape, x.dtype)
        for images, rows, patches in _patches(delta, start, stop, k, 1, k - 1 - padding, H, W):
            np.matmul(patches, turned, out=error[images, rows].reshape(-1, C))
            np.matmul(patches.T, x[images, rows].reshape(-1, C), out=out)
            if out is not total:
                np.add(total, out, out=total)
            out = scratch("gradient", total.shape, x.dtype)
        return total

    return _turned(summed(work, N), k, C_out, C), error


def _turned(W, k, A, B):
    """The kernels W (k*k*A, B) turned by 180 degrees, inputs and outputs swapped: (k*k*B, A)."""
    turned = empty((k, k, B, A), W.dtype)
    np.copyto(turned, W.reshape(k, k, A, B)[::-1, ::-1].transpose(0, 1, 3, 2))
    return turned.reshape(-1, A)


def input_error(delta, B, x_shape, k, stride, padding):
    """Eq. 2 back from every patch: the error (N, H, W, C) of the layer below."""
    error = empty(x_shape, delta.dtype)
    if k == 1 and stride == 1 and padding == 0:
        convolve(delta, B.T, None, 1, 1, 0, error)
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
    """`_scatter_error` for few channels, with images innermost."""
    N, OH, OW, C_out = delta.shape
    group = max(1, CHUNK // (OH * OW * len(B) * delta.itemsize))

    def work(start, stop, _):
        for n in range(start, stop, group):
            images = slice(n, min(n + group, stop))
            rows = few.images_innermost(delta[images])
            errors = scratch("patches", (k, k, error.shape[3], *rows.shape[:3]), delta.dtype)
            np.matmul(B, rows.reshape(-1, C_out).T, out=errors.reshape(len(B), -1))
            few.add_up(errors, error[images], k, stride, padding)

    share(work, N)


def _patches(x, start, stop, k, stride, padding, OH, OW):
    """The patches of images start to stop, some at a time: (images, rows, (patches, k*k*C))."""
    C = x.shape[3]
    item = np.dtype((np.void, k * C * x.itemsize))  # k pixels side by side are copied as one thing
    at_once = max(1, CHUNK // (k * item.itemsize))  # patches
    group, height = max(1, at_once // (OH * OW)), min(OH, max(1, at_once // OW))
    for n in range(start, stop, group):
        images = slice(n, min(n + group, stop))
        padded = _pad(x[images], padding)
        image, down, across, _ = padded.strides
        strides = (image, down * stride, across * stride, down)
        view = np.ndarray((len(padded), OH, OW, k), item, padded, strides=strides)
        for r in range(0, OH, height):
            rows = slice(r, r + height)
            patches = scratch("patches", view[:, rows].shape, item)
            np.copyto(patches, view[:, rows])
            yield images, rows, patches.view(x.dtype).reshape(-1, k * k * C)


def _pad(x, padding):
    """These images with zeros around them, contiguous, in this thread's scratch memory."""
    if padding == 0 and x.flags.c_contiguous:
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
