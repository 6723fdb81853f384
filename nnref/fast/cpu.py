"""The twins for NumPy: each computes the same as the method it replaces, and stores the same.

Two ideas make them fast. Each core works on its own part of the batch, with BLAS limited to one
thread. And a part goes through all operations piece by piece, in memory that is reused, so that
its numbers are still in the cache when the next operation reads them.
"""

import numpy as np

from nnref.fast import conv, local, pieces, winograd
from nnref.fast.memory import empty, scratch
from nnref.fast.norm import column_sums, norm_backward, norm_forward
from nnref.fast.pool import pool_backward, pool_forward
from nnref.fast.steps import adam_update, sgd_update
from nnref.fast.threads import share
from nnref.layers.checks import check_image, check_input
from nnref.patches import output_size

WORK = 8_000_000  # multiplications; smaller products are left to the reference


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
    """a @ b; every core computes some columns of it, or some rows if there are more rows."""
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
    if x.size * layer.k**2 < pieces.SMALL:  # numbers in all patches
        return NotImplemented
    layer.x = x
    k, stride, padding = layer.k, layer.stride, layer.padding
    OH, OW = (output_size(size, k, stride, padding) for size in x.shape[1:3])
    sigma = empty((len(x), OH, OW, layer.C_out), x.dtype)
    if _fewer_multiplications(layer) and "b" not in layer.params:
        winograd.convolve(x, W, sigma)
    else:
        conv.convolve(x, W, layer.params.get("b"), k, stride, padding, sigma)
    return sigma


def conv_backward(layer, delta):
    """Conv2d.backward: dE/dW, dE/db, and Eq. 2 back from every patch."""
    x, W = layer.x, layer.params["W"]
    if x.size * layer.k**2 < pieces.SMALL:  # numbers in all patches
        return NotImplemented
    k, stride, padding = layer.k, layer.stride, layer.padding
    delta = np.ascontiguousarray(delta)
    layer.grads = {}  # so that the last step's memory can serve again
    if "b" in layer.params:
        layer.grads["b"] = column_sums(delta.reshape(-1, layer.C_out))
    fewer = _fewer_multiplications(layer)
    B = layer.feedback(W) if layer.sends_error else None
    if B is not None and not fewer and conv.turns(x, delta, k, stride, padding):
        layer.grads["W"], error = conv.gradient_and_error(x, delta, B, k, padding)
        return error
    if fewer:
        layer.grads["W"] = winograd.weight_gradient(x, delta)
    else:
        layer.grads["W"] = conv.weight_gradient(x, delta, k, stride, padding)
    if B is None:
        return None
    if fewer:
        error = empty(x.shape, x.dtype)
        winograd.convolve(delta, B, error, turned=True)
        return error
    return conv.input_error(delta, B, x.shape, k, stride, padding)


def _fewer_multiplications(layer):
    """Whether winograd.py can compute this layer, and faster."""
    plain = layer.k == 3 and layer.stride == 1 and layer.padding == 1
    return plain and min(layer.C_in, layer.C_out) >= conv.MANY


def local_forward(layer, x):
    """LocallyConnected2d.forward: Eq. 1 for each place."""
    check_input(layer, x, (None, *layer.input_shape), layer.params["W"].dtype)
    if x.size * layer.k**2 < pieces.SMALL:
        return NotImplemented
    layer.x = x
    return local.products(layer)


def local_backward(layer, delta):
    """LocallyConnected2d.backward: dE/dW, dE/db, and Eq. 2 back from each place."""
    if layer.x.size * layer.k**2 < pieces.SMALL:
        return NotImplemented
    layer.grads = {}  # so that the last step's memory can serve again
    B = layer.feedback(layer.params["W"]) if layer.sends_error else None
    layer.grads["W"], error = local.gradient_and_error(layer, delta, B)
    if "b" in layer.params:
        layer.grads["b"] = delta.sum(axis=0).reshape(-1, layer.C_out)
    return error


def relu_forward(layer, sigma):
    """ReLU.forward: max(sigma, 0)."""
    if sigma.size < pieces.SMALL or not sigma.flags.c_contiguous:
        return NotImplemented
    layer.sigma = sigma
    y = empty(sigma.shape, sigma.dtype)
    zero = pieces.zeros(sigma.dtype)  # an array, because NumPy is slower with a number here

    def work(s, out):
        np.maximum(s, zero[: len(s)], out=out)

    pieces.run(work, sigma, y)
    return y


def relu_backward(layer, error):
    """ReLU.backward: the error where sigma is above zero."""
    sigma = layer.sigma
    if sigma.size < pieces.SMALL or not sigma.flags.c_contiguous:
        return NotImplemented
    delta = empty(sigma.shape, sigma.dtype)
    zero = sigma.dtype.type(0)

    def work(s, e, out):
        open_ = scratch("mask", s.shape, bool)
        np.greater(s, zero, out=open_)
        np.multiply(e, open_, out=out)

    pieces.run(work, sigma, np.ascontiguousarray(error), delta)
    return delta


def add(layer, a, b):
    """Residual.add: a + b."""
    if a.size < pieces.SMALL or not a.flags.c_contiguous or not b.flags.c_contiguous:
        return NotImplemented
    y = empty(a.shape, a.dtype)
    pieces.run(lambda p, q, out: np.add(p, q, out=out), a, b, y)
    return y


def sign_symmetry(rule, W):
    """SignSymmetry.__call__: lambda sign(W)."""
    if W.size < pieces.SMALL or not W.flags.c_contiguous:
        return NotImplemented
    B, lam = empty(W.shape, W.dtype), rule.strength(W)

    def work(w, out):
        np.sign(w, out=out)
        np.multiply(out, lam, out=out)

    pieces.run(work, W, B)
    return B


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
    "SGD.update": sgd_update,
    "Adam.update": adam_update,
}
