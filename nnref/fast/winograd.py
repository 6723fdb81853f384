"""Convolutions of 3 x 3 kernels with fewer multiplications (Winograd 1980; Lavin & Gray 2016).

Two neighboring outputs of a kernel of three, y = (d0 g0 + d1 g1 + d2 g2, d1 g0 + d2 g1 + d3 g2),
need six multiplications. Four are enough:

    m = (G g) * (B^T d),  y = A^T m      with    B^T d = (d0 - d2, d1 + d2, d2 - d1, d1 - d3)
                                                 G g   = (g0, (g0+g1+g2)/2, (g0-g1+g2)/2, g2)
                                                 A^T m = (m0 + m1 + m2, m1 - m2 - m3)

In two dimensions a tile of 2 x 2 outputs takes 16 instead of 36, and for all channels at once these
are 16 matrix products. Sums cost time too, but they run along whole rows of images.
"""

import numpy as np

from nnref.fast.memory import empty, scratch
from nnref.fast.threads import share, summed

CHUNK = 4 * 2**20  # bytes of transformed tiles at a time


def convolve(x, W, y, turned=False):
    """y (N, H, W, C_out) = the convolution of x (N, H, W, C) with padding 1.

    With `turned`, W is (9*C_out, C) and the kernel is turned by 180 degrees, for Eq. 2.
    """
    N, H, width, C = x.shape
    C_out = y.shape[3]
    U = _kernel(W, turned)
    down, across = -(-H // 2), -(-width // 2)
    group = max(1, CHUNK // (16 * down * across * max(C, C_out) * x.itemsize))

    def work(start, stop, _):
        for n in range(start, stop, group):
            V = _input(x[n : min(n + group, stop)], down, across)
            count = V.shape[2]
            M = scratch("products", (16, count * down * across, C_out), x.dtype)
            np.matmul(V.reshape(16, -1, C), U, out=M)
            _output(M.reshape(4, 4, count, down, across, C_out), y[n : n + count])

    share(work, N)


def weight_gradient(x, delta):
    """dE/dW (9*C, C_out), from the same tiles: the adjoint of `convolve` for its kernel."""
    N, H, width, C = x.shape
    C_out = delta.shape[3]
    down, across = -(-H // 2), -(-width // 2)
    group = max(1, CHUNK // (16 * down * across * max(C, C_out) * x.itemsize))

    def work(start, stop):
        total = empty((16, C, C_out), x.dtype)
        for n in range(start, stop, group):
            last = min(n + group, stop)
            V = _input(x[n:last], down, across).reshape(16, -1, C)
            Z = _delta(delta[n:last], down, across).reshape(16, -1, C_out)
            out = total if n == start else scratch("gradient", total.shape, x.dtype)
            np.matmul(V.swapaxes(1, 2), Z, out=out)
            if n > start:
                np.add(total, out, out=total)
        return total

    u = summed(work, N).reshape(4, 4, C, C_out)
    rows = empty((3, 4, C, C_out), x.dtype)
    _adjoint_of_G(u, rows)
    gradient = empty((3, 3, C, C_out), x.dtype)
    _adjoint_of_G(rows.swapaxes(0, 1), gradient.swapaxes(0, 1))
    return gradient.reshape(9 * C, C_out)


def _kernel(W, turned):
    """G g G^T of every pair of channels: (16, C, C_out)."""
    g = W.reshape(3, 3, -1, W.shape[1])
    if turned:
        g = g[::-1, ::-1]
    A, B = g.shape[2:]
    U = empty((4, 4, A, B), W.dtype)

    def work(start, stop, _):
        part = slice(start, stop)
        rows = scratch("kernel", (4, 3, stop - start, B), W.dtype)
        _G(g[:, :, part], rows)
        _G(rows.swapaxes(0, 1), U[:, :, part].swapaxes(0, 1))

    share(work, A, smallest=32)
    U = U.reshape(16, A, B)
    return U.swapaxes(1, 2) if turned else U


def _G(g, out):
    """(g0, (g0 + g1 + g2) / 2, (g0 - g1 + g2) / 2, g2) along the first axis."""
    np.copyto(out[0], g[0])
    np.copyto(out[3], g[2])
    np.add(g[0], g[2], out=out[1])
    np.subtract(out[1], g[1], out=out[2])
    np.add(out[1], g[1], out=out[1])
    np.multiply(out[1:3], 0.5, out=out[1:3])


def _adjoint_of_G(u, out):
    """(u0 + (u1 + u2) / 2, (u1 - u2) / 2, (u1 + u2) / 2 + u3) along the first axis."""
    np.add(u[1], u[2], out=out[0])
    np.multiply(out[0], 0.5, out=out[0])
    np.add(out[0], u[3], out=out[2])
    np.add(out[0], u[0], out=out[0])
    np.subtract(u[1], u[2], out=out[1])
    np.multiply(out[1], 0.5, out=out[1])


def _input(x, down, across):
    """B^T d B of every 4 x 4 tile: (4, 4, count, down, across, C)."""
    count, H, width, C = x.shape
    # rows and columns by pairs, so that every sum below runs along contiguous memory
    pairs = scratch("pairs", (count, down + 1, 2, 2, across + 1, C), x.dtype)
    pairs.fill(0)
    for i in (0, 1):
        for j in (0, 1):
            source = x[:, 1 - i :: 2, 1 - j :: 2]
            a, b = source.shape[1:3]
            pairs[:, 1 - i : 1 - i + a, i, j, 1 - j : 1 - j + b] = source
    even, odd = pairs[:, :, 0], pairs[:, :, 1]
    rows = scratch("rows", (4, count, down, 2, across + 1, C), x.dtype)
    np.subtract(even[:, :-1], even[:, 1:], out=rows[0])
    np.add(odd[:, :-1], even[:, 1:], out=rows[1])
    np.subtract(even[:, 1:], odd[:, :-1], out=rows[2])
    np.subtract(odd[:, :-1], odd[:, 1:], out=rows[3])
    even, odd = rows[:, :, :, 0], rows[:, :, :, 1]
    V = scratch("tiles", (4, 4, count, down, across, C), x.dtype)
    np.subtract(even[:, :, :, :-1], even[:, :, :, 1:], out=V[:, 0])
    np.add(odd[:, :, :, :-1], even[:, :, :, 1:], out=V[:, 1])
    np.subtract(even[:, :, :, 1:], odd[:, :, :, :-1], out=V[:, 2])
    np.subtract(odd[:, :, :, :-1], odd[:, :, :, 1:], out=V[:, 3])
    return V


def _output(M, y):
    """A^T m A of every tile, written to its 2 x 2 pixels of y (count, H, W, C_out)."""
    rows = scratch("sums", (2, *M.shape[1:]), M.dtype)
    np.add(M[1], M[2], out=rows[0])
    np.add(rows[0], M[0], out=rows[0])
    np.subtract(M[1], M[2], out=rows[1])
    np.subtract(rows[1], M[3], out=rows[1])
    for i in (0, 1):
        row = rows[i]
        half = M[i, 0]  # no longer needed, so it is overwritten
        a, b = y[:, i::2].shape[1], y[:, :, 1::2].shape[2]
        np.subtract(row[1], row[2], out=half)
        np.subtract(half[:, :a, :b], row[3][:, :a, :b], out=y[:, i::2, 1::2])
        b = y[:, :, 0::2].shape[2]
        np.add(row[1], row[2], out=half)
        np.add(half[:, :a, :b], row[0][:, :a, :b], out=y[:, i::2, 0::2])


def _delta(delta, down, across):
    """A d A^T of every 2 x 2 tile of delta: (4, 4, count, down, across, C_out)."""
    count, H, width, C = delta.shape
    pairs = scratch("pairs", (2, 2, count, down, across, C), delta.dtype)
    if H % 2 or width % 2:
        pairs.fill(0)
    for i in (0, 1):
        for j in (0, 1):
            source = delta[:, i::2, j::2]
            pairs[i, j, :, : source.shape[1], : source.shape[2]] = source
    rows = scratch("rows", (4, 2, count, down, across, C), delta.dtype)
    _A(pairs, rows)
    Z = scratch("deltas", (4, 4, count, down, across, C), delta.dtype)
    _A(rows.swapaxes(0, 1), Z.swapaxes(0, 1))
    return Z


def _A(d, out):
    """(d0, d0 + d1, d0 - d1, -d1) along the first axis."""
    np.copyto(out[0], d[0])
    np.add(d[0], d[1], out=out[1])
    np.subtract(d[0], d[1], out=out[2])
    np.negative(d[1], out=out[3])
