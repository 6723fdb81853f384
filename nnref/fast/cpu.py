"""The twins for NumPy: each computes what the method of its name spells out, and keeps the same.

Two ideas make them fast. The cores share the work, each on its part of the batch, with BLAS held to
one thread. And every part goes through all its operations a piece at a time, in memory that is
reused, so that numbers are still in the cache when the next operation wants them.
"""

import functools

import numpy as np

from nnref.fast import conv, local, winograd
from nnref.fast.memory import empty, scratch, width
from nnref.fast.threads import share
from nnref.layers.base import check_image, check_input

PIECE = 512 * 1024  # numbers at a time: some still fit the cache, and calls are few (the GIL)
SMALL = 64 * 1024  # numbers; smaller arrays are left to the reference
SHARE = 128 * 1024  # numbers that a thread should have at least, as waking it up costs too
WORK = 8_000_000  # multiplications below which a product is not shared out


def linear_forward(layer, x):
    """Linear.forward: x W + b."""
    W = layer.params["W"]
    check_input(layer, x, (None, layer.n_in), W.dtype)
    if len(x) * W.size < WORK:
        return NotImplemented
    layer.x = x
    sigma = product(x, W)
    if "b" in layer.params:
        np.add(sigma, layer.params["b"], out=sigma)
    return sigma


def linear_backward(layer, delta):
    """Linear.backward: x^T delta, the sum of delta, and delta B^T."""
    W = layer.params["W"]
    if len(delta) * W.size < WORK:
        return NotImplemented
    layer.grads = {}  # so that the last step's memory can serve again
    layer.grads["W"] = product(layer.x.T, delta)
    if "b" in layer.params:
        layer.grads["b"] = delta.sum(axis=0)
    if not layer.sends_error:
        return None
    return product(delta, layer.feedback(W).T)


def product(a, b):
    """a @ b, every core computing some columns of it, or some rows if there are more of these."""
    y = empty((a.shape[0], b.shape[1]), a.dtype)

    def columns(start, stop, _):
        np.matmul(a, b[:, start:stop], out=y[:, start:stop])

    def rows(start, stop, _):
        np.matmul(a[start:stop], b, out=y[start:stop])

    share(rows if len(a) > b.shape[1] else columns, max(y.shape), smallest=16)
    return y


def conv_forward(layer, x):
    """Conv2d.forward: Eq. 1 on every patch."""
    W = layer.params["W"]
    check_image(layer, x, layer.C_in, W.dtype)
    if x.size * layer.k**2 < SMALL:  # numbers in all patches
        return NotImplemented
    layer.x = x
    k, stride, padding = layer.k, layer.stride, layer.padding
    OH = (x.shape[1] + 2 * padding - k) // stride + 1
    OW = (x.shape[2] + 2 * padding - k) // stride + 1
    sigma = empty((len(x), OH, OW, layer.C_out), x.dtype)
    if _fewer_multiplications(layer) and "b" not in layer.params:
        winograd.convolve(x, W, sigma)
    else:
        conv.convolve(x, W, layer.params.get("b"), k, stride, padding, sigma)
    return sigma


def conv_backward(layer, delta):
    """Conv2d.backward: dE/dW, dE/db, and Eq. 2 back from every patch."""
    x, W = layer.x, layer.params["W"]
    if x.size * layer.k**2 < SMALL:  # numbers in all patches
        return NotImplemented
    k, stride, padding = layer.k, layer.stride, layer.padding
    delta = np.ascontiguousarray(delta)
    fewer = _fewer_multiplications(layer)
    layer.grads = {}  # so that the last step's memory can serve again
    if fewer:
        layer.grads["W"] = winograd.weight_gradient(x, delta)
    else:
        layer.grads["W"] = conv.weight_gradient(x, delta, k, stride, padding)
    if "b" in layer.params:
        layer.grads["b"] = column_sums(delta.reshape(-1, layer.C_out))
    if not layer.sends_error:
        return None
    B = layer.feedback(W)
    if fewer:
        error = empty(x.shape, x.dtype)
        winograd.convolve(delta, B, error, turned=True)
        return error
    return conv.input_error(delta, B, x.shape, k, stride, padding)


def _fewer_multiplications(layer):
    """Does winograd.py do this layer, and faster?"""
    plain = layer.k == 3 and layer.stride == 1 and layer.padding == 1
    return plain and min(layer.C_in, layer.C_out) >= conv.MANY


def local_forward(layer, x):
    """LocallyConnected2d.forward: Eq. 1 for each place."""
    check_input(layer, x, (None, *layer.input_shape), layer.params["W"].dtype)
    if x.size * layer.k**2 < SMALL:
        return NotImplemented
    layer.x = x
    return local.products(layer)


def local_backward(layer, delta):
    """LocallyConnected2d.backward: dE/dW, dE/db, and Eq. 2 back from each place."""
    if layer.x.size * layer.k**2 < SMALL:
        return NotImplemented
    layer.grads = {}  # so that the last step's memory can serve again
    B = layer.feedback(layer.params["W"]) if layer.sends_error else None
    layer.grads["W"], error = local.gradient_and_error(layer, delta, B)
    if "b" in layer.params:
        layer.grads["b"] = delta.sum(axis=0).reshape(-1, layer.C_out)
    return error


def relu_forward(layer, sigma):
    """ReLU.forward: max(sigma, 0)."""
    if sigma.size < SMALL or not sigma.flags.c_contiguous:
        return NotImplemented
    layer.sigma = sigma
    y = empty(sigma.shape, sigma.dtype)
    zeros = _zeros(sigma.dtype)  # an array, because NumPy is slower with a number here

    def work(s, out):
        np.maximum(s, zeros[: len(s)], out=out)

    _in_pieces(work, sigma, y)
    return y


@functools.cache
def _zeros(dtype):
    """A piece of zeros, made once."""
    return np.zeros(PIECE, dtype)


def relu_backward(layer, error):
    """ReLU.backward: the error where sigma is above zero."""
    sigma = layer.sigma
    if sigma.size < SMALL or not sigma.flags.c_contiguous:
        return NotImplemented
    delta = empty(sigma.shape, sigma.dtype)
    zero = sigma.dtype.type(0)

    def work(s, e, out):
        open_ = scratch("mask", s.shape, bool)
        np.greater(s, zero, out=open_)
        np.multiply(e, open_, out=out)

    _in_pieces(work, sigma, np.ascontiguousarray(error), delta)
    return delta


def add(layer, a, b):
    """Residual.add: a + b."""
    if a.size < SMALL or not a.flags.c_contiguous or not b.flags.c_contiguous:
        return NotImplemented
    y = empty(a.shape, a.dtype)
    _in_pieces(lambda p, q, out: np.add(p, q, out=out), a, b, y)
    return y


def sign_symmetry(rule, W):
    """SignSymmetry.__call__: lambda sign(W)."""
    if W.size < SMALL or not W.flags.c_contiguous:
        return NotImplemented
    B = empty(W.shape, W.dtype)

    def work(w, out):
        np.sign(w, out=out)
        np.multiply(out, rule.lam, out=out)

    _in_pieces(work, W, B)
    return B


def norm_forward(layer, x):
    """BatchNorm.forward: y = a x + c for every channel, with a = gamma / std, c = beta - a mean."""
    gamma, beta = layer.params["gamma"], layer.params["beta"]
    check_input(layer, x, (..., layer.C), gamma.dtype)
    if x.size < SMALL or not x.flags.c_contiguous:
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
    a, c = (np.tile(v, wide // layer.C) for v in (a, beta - a * mean))

    def work(x, y):
        np.multiply(x, a, out=y)
        np.add(y, c, out=y)

    _in_pieces_of_rows(work, x.reshape(-1, wide), y.reshape(-1, wide))
    return y


def norm_backward(layer, delta):
    """BatchNorm.backward in training: an error a delta + b x + c, for every channel."""
    x, mean, inv_std, C = layer.x, layer.mean, layer.inv_std, layer.C
    if not layer.training or delta.size < SMALL or not x.flags.c_contiguous:
        return NotImplemented
    delta, n, wide = np.ascontiguousarray(delta), delta.size // C, width(delta.size, C)
    of_delta, of_both = _sums(delta.reshape(-1, wide), x.reshape(-1, wide), C)
    grad_gamma = inv_std * (of_both - mean * of_delta)  # the sum of delta (x - mean) / std
    layer.grads = {"gamma": grad_gamma, "beta": of_delta}
    a = layer.gain_of_errors() * inv_std
    b = -a * inv_std * grad_gamma / n
    c = -a * of_delta / n - b * mean
    a, b, c = (np.tile(v, wide // C) for v in (a, b, c))
    error = empty(delta.shape, delta.dtype)

    def work(delta, x, error):
        other = scratch("other", x.shape, x.dtype)
        np.multiply(x, b, out=other)
        np.add(other, c, out=other)
        np.multiply(delta, a, out=error)
        np.add(error, other, out=error)

    _in_pieces_of_rows(work, *(v.reshape(-1, wide) for v in (delta, x, error)))
    return error


def moments(x):
    """Mean and variance of every column of x (n, C), in one pass: from the sums of x and of x^2.

    Where the mean is so large that the difference of squares would be inexact, in two passes.
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
    """The sums of x, and of x z, for each of C channels; x and z have several rows side by side."""
    parts = {}

    def work(start, stop, part):
        total = parts[part] = np.zeros((2, x.shape[1]), x.dtype)
        for piece in _pieces(start, stop, x.shape[1]):
            total[0] += np.ones(len(x[piece]), x.dtype) @ x[piece]
            total[1] += np.einsum("ij,ij->j", x[piece], z[piece])

    shares = share(work, len(x), smallest=max(1, SHARE // x.shape[1]))
    return sum(parts[part] for part in range(shares)).reshape(2, -1, C).sum(axis=1)


def column_sums(x):
    """x.sum(axis=0) of x (n, C)."""
    n, C = x.shape
    rows = x.reshape(-1, width(x.size, C))
    return (np.ones(len(rows), x.dtype) @ rows).reshape(-1, C).sum(axis=0)


def pool_forward(layer, x):
    """MaxPool2d.forward: the largest number of each window, and where it stood."""
    check_image(layer, x, None, None)
    if x.size < SMALL or layer.padding:
        return NotImplemented
    k, stride = layer.k, layer.stride
    N, H, W, C = layer.x_shape = x.shape
    OH, OW = (H - k) // stride + 1, (W - k) // stride + 1
    y = empty((N, OH, OW, C), x.dtype)
    layer.winner = empty((N, OH, OW, C), np.uint8)

    def work(start, stop, _):
        for images in _pieces(start, stop, H * W * C):
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
    """MaxPool2d.backward: every error goes to where the largest number stood."""
    if layer.winner.dtype != np.uint8:  # the reference did the forward pass
        return NotImplemented
    N, OH, OW, C = delta.shape
    k, stride = layer.k, layer.stride
    error = empty(layer.x_shape, delta.dtype)
    apart = stride >= k  # every pixel is in one window at most

    def work(start, stop, _):
        for images in _pieces(start, stop, error[0].size):
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


def sgd_step(optimizer):
    """SGD.step: decay, momentum and the step itself, a piece of the parameters at a time."""
    momentum, decay, lr = optimizer.momentum, optimizer.weight_decay, optimizer.lr

    def work(param, grad, velocity):
        change = scratch("other", param.shape, param.dtype)
        np.multiply(velocity, momentum, out=velocity)
        np.add(velocity, optimizer.direction(grad), out=velocity)
        if decay:
            np.multiply(param, decay, out=change)
            np.add(velocity, change, out=velocity)
        np.multiply(velocity, lr, out=change)
        np.subtract(param, change, out=param)

    return _for_all_parameters(work, optimizer, optimizer.velocities)


def adam_step(optimizer):
    """Adam.step, a piece of the parameters at a time."""
    beta1, beta2, eps = optimizer.beta1, optimizer.beta2, optimizer.eps
    t = optimizer.t + 1
    lr, correction = optimizer.lr / (1 - beta1**t), 1 - beta2**t

    def work(param, grad, m, v):
        change = scratch("other", param.shape, param.dtype)
        np.multiply(m, beta1, out=m)
        np.multiply(grad, 1 - beta1, out=change)
        np.add(m, change, out=m)
        np.multiply(v, beta2, out=v)
        np.multiply(grad, grad, out=change)
        np.multiply(change, 1 - beta2, out=change)
        np.add(v, change, out=v)
        np.multiply(v, 1 / correction, out=change)
        np.sqrt(change, out=change)
        np.add(change, eps, out=change)
        np.divide(m, change, out=change)
        np.multiply(change, lr, out=change)
        np.subtract(param, change, out=param)

    done = _for_all_parameters(work, optimizer, optimizer.ms, optimizer.vs)
    if done is not NotImplemented:
        optimizer.t = t
    return done


def _for_all_parameters(work, optimizer, *states):
    """work(parameter, gradient, *state) on pieces of all of them, shared out among the cores."""
    jobs = []
    for (param, layer, name), *state in zip(optimizer.places, *states, strict=True):
        arrays = [param, layer.grads[name], *state]
        if not all(array.flags.c_contiguous for array in arrays):
            return NotImplemented
        flat = [array.reshape(-1) for array in arrays]
        jobs += [[a[i : i + PIECE] for a in flat] for i in range(0, flat[0].size, PIECE)]

    def run(start, stop, _):
        for job in jobs[start:stop]:
            work(*job)

    share(run, len(jobs))


def _in_pieces(work, *arrays):
    """work(*pieces) on matching flat pieces of contiguous arrays, shared out among the cores."""
    flat = [array.reshape(-1) for array in arrays]

    def run(start, stop, _):
        for i in range(start, stop, PIECE):
            work(*(a[i : min(i + PIECE, stop)] for a in flat))

    share(run, flat[0].size, smallest=SHARE)


def _in_pieces_of_rows(work, *arrays):
    """The same on whole rows of matrices."""
    wide = arrays[0].shape[1]

    def run(start, stop, _):
        for piece in _pieces(start, stop, wide):
            work(*(a[piece] for a in arrays))

    share(run, len(arrays[0]), smallest=max(1, SHARE // wide))


def _pieces(start, stop, wide):
    """Slices of rows, about PIECE numbers each."""
    step = max(1, PIECE // wide)
    for i in range(start, stop, step):
        yield slice(i, min(i + step, stop))


TWINS = {
    "Linear.forward": linear_forward,
    "Linear.backward": linear_backward,
    "Conv2d.forward": conv_forward,
    "Conv2d.backward": conv_backward,
    "LocallyConnected2d.forward": local_forward,
    "LocallyConnected2d.backward": local_backward,
    "ReLU.forward": relu_forward,
    "ReLU.backward": relu_backward,
    "BatchNorm.forward": norm_forward,
    "BatchNorm.backward": norm_backward,
    "MaxPool2d.forward": pool_forward,
    "MaxPool2d.backward": pool_backward,
    "Residual.add": add,
    "SignSymmetry.__call__": sign_symmetry,
    "SGD.step": sgd_step,
    "Adam.step": adam_step,
}
