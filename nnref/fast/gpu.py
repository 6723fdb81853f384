"""The twins for CuPy: kernels that combine several operations.

CuPy has no cuDNN, so a convolution is patches and a product here too, some images at a time within
PATCHES bytes. The kernels are in kernels.cu; they are compiled at their first use.
"""

import functools
import math
from pathlib import Path

import cupyx
import numpy as np

from nnref.backend import to_device, xp
from nnref.errors import InputError
from nnref.layers.checks import check_array, check_image, check_input, check_labels
from nnref.patches import output_size

SOURCE = Path(__file__).with_name("kernels.cu")
PATCHES = 256 * 2**20  # bytes of patches in memory at a time; their errors take as many
THREADS = 256  # per block
LARGEST = 2**31 - 2**10  # numbers in an array: the kernels count with 32 bits
CLASSES = 128  # one thread computes the softmax of one sample; with more classes it takes too long
SHARES = 2**16  # threads that add up the columns of a matrix, at most
TYPES = {"f": "float", "d": "double"}  # by the character of an array's type: its name is slow
WORDS = {16: "float4", 8: "float2", 4: "float", 2: "short", 1: "char"}  # what a thread can copy


def conv_forward(layer, x):
    """Conv2d.forward: Eq. 1 on every patch."""
    W = layer.params["W"]
    check_image(layer, x, layer.C_in, W.dtype)
    OH, OW = (output_size(n, layer.k, layer.stride, layer.padding) for n in x.shape[1:3])
    sigma = xp.empty((len(x), OH, OW, layer.C_out), x.dtype)
    if not _fits(x, sigma):
        return NotImplemented
    layer.x = x
    for images, patches in _patches(layer, OH, OW):
        xp.matmul(patches, W, out=sigma[images].reshape(-1, layer.C_out))
        del patches  # so that the next ones can take its memory
    if "b" in layer.params:
        sigma += layer.params["b"]
    return sigma


def conv_backward(layer, delta):
    """Conv2d.backward: dE/dW, dE/db, and Eq. 2 back from every patch."""
    W, C_out = layer.params["W"], layer.C_out
    if not _fits(layer.x, delta, W):
        return NotImplemented
    delta = xp.ascontiguousarray(delta)
    _, OH, OW, _ = delta.shape
    B = layer.feedback(W) if layer.sends_error else None
    if B is not None and B.dtype != W.dtype:
        raise InputError(f"{layer}: expected a B of dtype {W.dtype}, found {B.dtype}")
    error = xp.empty(layer.x.shape, layer.x.dtype) if layer.sends_error else None
    gradient = None
    for images, patches in _patches(layer, OH, OW):
        rows = delta[images].reshape(-1, C_out)
        product = patches.T @ rows
        gradient = product if gradient is None else gradient + product
        del patches  # so that the errors, or the next patches, can take its memory
        if B is None:
            continue
        if _is_plain(layer):
            xp.matmul(rows, B.T, out=error[images].reshape(-1, layer.C_in))
        else:
            _gather(layer, rows @ B.T, OH, OW, error[images])
    layer.grads = {"W": xp.zeros_like(W) if gradient is None else gradient}  # None: no images
    if "b" in layer.params:
        layer.grads["b"] = delta.reshape(-1, C_out).sum(axis=0)
    return error


def _is_plain(layer):
    """Whether the patches of this layer are the pixels themselves."""
    return layer.k == 1 and layer.stride == 1 and layer.padding == 0


def _patches(layer, OH, OW):
    """The patches of layer.x, some images at a time: (images, (patches, k*k*C_in))."""
    x, k = xp.ascontiguousarray(layer.x), layer.k
    N, H, W, C = x.shape
    if _is_plain(layer):
        yield slice(0, N), x.reshape(-1, C)
        return
    at_once = max(1, PATCHES // (OH * OW * k * k * C * x.itemsize))
    for start in range(0, N, at_once):
        images = slice(start, min(start + at_once, N))
        yield images, _im2col(layer, x[images], OH, OW)  # under no name here: the caller's alone


def _im2col(layer, x, OH, OW):
    """patches.im2col: the patches (patches, k*k*C_in) of these images."""
    (N, H, W, C), k = x.shape, layer.k
    word = next(w for w in WORDS if C * x.itemsize % w == 0 and x.data.ptr % w == 0)
    words = C * x.itemsize // word  # per pixel
    patches = xp.empty((N * OH * OW, k * k * C), x.dtype)
    count, shape = patches.nbytes // word, (H, W, words, OH, OW, k, layer.stride, layer.padding)
    _launch("im2col", x.dtype, count, x, patches, *shape, word=WORDS[word])
    return patches


def _gather(layer, errors, OH, OW, images):
    """patches.col2im: add up the errors of the patches in `images`."""
    _, H, W, C = images.shape
    shape = (H, W, C, OH, OW, layer.k, layer.stride, layer.padding)
    _launch("col2im", images.dtype, images.size, errors, images, *shape)


def norm_forward(layer, x):
    """BatchNorm.forward: y = a (x - mean) + beta for every channel, with a = gamma / std."""
    gamma, beta, C = layer.params["gamma"], layer.params["beta"], layer.C
    check_input(layer, x, (..., C), gamma.dtype)
    if not _fits(x, beta, layer.running_mean, layer.running_var) or x.size <= C:
        return NotImplemented
    x, zeros = xp.ascontiguousarray(x), _zeros(C, x.dtype.char)
    if not layer.training:
        mean, inv_std = layer.running_mean, 1 / xp.sqrt(layer.running_var + layer.eps)
        a = gamma * inv_std
    else:
        n, near = x.size // C, xp.empty_like(gamma)
        sums, parts = _sums(x, x, zeros, zeros)
        _launch("column_means", x.dtype, C, sums, parts, near, float(n))
        # again, around the mean, since E x^2 - mean^2 is inexact
        sums, parts = _sums(x, x, near, near)
        mean, inv_std, a = found = xp.empty((3, C), x.dtype)
        arrays = near, gamma, layer.running_mean, layer.running_var, found
        settings = map(float, (n, n / (n - 1), layer.momentum, layer.eps))
        _launch("norm_statistics", x.dtype, C, sums, parts, *arrays, *settings)
    layer.x, layer.mean, layer.inv_std = x, mean, inv_std
    return _affine(x, x, mean, zeros, a, beta)


def norm_backward(layer, delta):
    """BatchNorm.backward in training: an error a delta + b (x - mean) + c, for every channel."""
    x, mean, inv_std = layer.x, layer.mean, layer.inv_std
    if not layer.training or not _fits(delta, x, mean) or delta.shape != x.shape:
        return NotImplemented
    delta, x, C = xp.ascontiguousarray(delta), xp.ascontiguousarray(x), layer.C
    sums, parts = _sums(delta, x, _zeros(C, x.dtype.char), mean)
    grad_gamma, grad_beta, a, b, c = found = xp.empty((5, C), x.dtype)
    arrays = layer.gain_of_errors(), inv_std, found
    _launch("norm_error", x.dtype, C, sums, parts, *arrays, float(x.size // C))
    layer.grads = {"gamma": grad_gamma, "beta": grad_beta}
    return _affine(delta, x, mean, a, b, c)


@functools.cache
def _zeros(C, dtype):
    """Zeros for the channels (C,), which nothing may write to."""
    return xp.zeros(C, dtype)


def _sums(x, z, p, q):
    """Of x - p, and of (x - p)(z - q): (sums of parts of the rows (2, parts, C), parts).

    x and z (..., C) are contiguous. The next kernel adds up the parts; so that both kernels have
    little to add, there are about as many parts as rows in each.
    """
    C = len(p)
    rows = x.size // C
    parts = min(math.isqrt(rows - 1) + 1, max(1, SHARES // C))
    sums = xp.empty((2, parts, C), x.dtype)
    _launch("column_sums", x.dtype, parts * C, x, z, p, q, sums, rows, C, parts)
    return sums, parts


def _affine(x, z, q, a, b, c):
    """a x + b (z - q) + c, the coefficients and q for each channel."""
    y = xp.empty(x.shape, x.dtype)
    _launch("affine", x.dtype, x.size, x, z, q, a, b, c, y, len(a))
    return y


def relu_backward(layer, error):
    """ReLU.backward: the error where sigma is above zero."""
    if not _fits(layer.sigma, error) or error.shape != layer.sigma.shape:
        return NotImplemented
    sigma, error = xp.ascontiguousarray(layer.sigma), xp.ascontiguousarray(error)
    delta = xp.empty(sigma.shape, sigma.dtype)
    _launch("relu_backward", sigma.dtype, sigma.size, sigma, error, delta)
    return delta


def pool_forward(layer, x):
    """MaxPool2d.forward: the largest number of each window, and its position."""
    check_image(layer, x, None, None)
    if not _fits(x) or layer.k > 16:  # the place in a window is kept in one byte
        return NotImplemented
    N, H, W, C = layer.x_shape = x.shape
    OH, OW = (output_size(n, layer.k, layer.stride, layer.padding) for n in (H, W))
    x, y = xp.ascontiguousarray(x), xp.empty((N, OH, OW, C), x.dtype)
    layer.winner = xp.empty(y.shape, "uint8")
    shape = (H, W, C, OH, OW, layer.k, layer.stride, layer.padding)
    _launch("pool_forward", x.dtype, y.size, x, y, layer.winner, *shape)
    return y


def pool_backward(layer, delta):
    """MaxPool2d.backward: every pixel sums the errors of the windows whose largest it is."""
    if layer.winner.dtype != "uint8" or not _fits(delta):  # the reference did the forward pass
        return NotImplemented
    (_, OH, OW, C), (_, H, W, _) = delta.shape, layer.x_shape
    delta, error = xp.ascontiguousarray(delta), xp.empty(layer.x_shape, delta.dtype)
    shape = (H, W, C, OH, OW, layer.k, layer.stride, layer.padding)
    _launch("pool_backward", delta.dtype, error.size, delta, layer.winner, error, *shape)
    return error


def cross_entropy(logits, labels):
    """losses.softmax_cross_entropy, a thread for each sample."""
    check_array("logits", logits)
    if logits.ndim != 2 or 0 in logits.shape or logits.shape[1] > CLASSES or not _fits(logits):
        return NotImplemented
    N, classes = logits.shape
    check_labels(labels, N, classes)
    logits, labels = xp.ascontiguousarray(logits), to_device(labels.astype("int64"))
    losses, delta = xp.empty(N, logits.dtype), xp.empty(logits.shape, logits.dtype)
    _launch("softmax_cross_entropy", logits.dtype, N, logits, labels, losses, delta, classes)
    return losses.mean(), delta


def sgd_update(optimizer):
    """SGD.update on all parameters at once."""
    grads = [optimizer.direction(layer.grads[name]) for _, layer, name in optimizer.places]
    settings = optimizer.lr, optimizer.momentum, optimizer.weight_decay
    return _on_all_parameters("sgd", optimizer.places, grads, [optimizer.velocities], settings)


def adam_update(optimizer):
    """Adam.update on all parameters at once."""
    grads = [layer.grads[name] for _, layer, name in optimizer.places]
    t, beta1, beta2 = optimizer.t + 1, optimizer.beta1, optimizer.beta2
    settings = optimizer.lr / (1 - beta1**t), beta1, beta2, 1 - beta2**t, optimizer.eps
    states = [optimizer.ms, optimizer.vs]
    done = _on_all_parameters("adam", optimizer.places, grads, states, settings)
    if done is not NotImplemented:
        optimizer.t = t
    return done


def _on_all_parameters(name, places, grads, states, settings):
    """Launch the kernel `name` once, on the addresses of all (parameter, gradient, *states)."""
    params = [param for param, _, _ in places]
    grads = [xp.ascontiguousarray(grad) for grad in grads]
    starts = np.cumsum([0, *(param.size for param in params)])
    alike = len({array.dtype for arrays in (params, grads, *states) for array in arrays}) == 1
    alike &= all(a.shape == b.shape for a, b in zip(params, grads, strict=True))
    in_rows = all(array.flags.c_contiguous for arrays in (params, *states) for array in arrays)
    if not alike or not in_rows or not _fits(params[0]) or starts[-1] > LARGEST:
        return NotImplemented
    rows = zip(params, grads, *states, strict=True)
    addresses = np.array([[array.data.ptr for array in row] for row in rows], "int64")
    # gradients may lie elsewhere in the next step, so this small table goes along with each
    table, starts_there = to_device(addresses), to_device(starts.astype("int32"))
    settings = map(float, settings)
    dtype, count = params[0].dtype, int(starts[-1])
    return _launch(name, dtype, count, table, starts_there, len(params), *settings)


def staged(ready):
    """imageset.staged: copy the next batch to the GPU while this one is computed."""
    crossing, slots, waiting = xp.cuda.Stream(non_blocking=True), [None, None], None
    try:
        for number, (images, labels) in enumerate(ready):
            images = np.ascontiguousarray(images)
            slot = slots[number % 2]
            if slot is not None:
                slot[1].synchronize()  # until its batch is copied and its host memory is free
            pinned = cupyx.empty_like_pinned(images)
            pinned[...] = images
            x = xp.empty(images.shape, images.dtype)
            # x may be memory that earlier steps still use: copy when they are done
            crossing.wait_event(xp.cuda.get_current_stream().record())
            x.set(pinned, stream=crossing)
            slots[number % 2] = pinned, crossing.record()
            if waiting is not None:
                yield _arrived(*waiting)
            waiting = x, labels, slots[number % 2][1]
        if waiting is not None:
            yield _arrived(*waiting)
    finally:
        # a reader may stop early: no copy may still be under way when its memory, here or on the
        # GPU, goes to others
        crossing.synchronize()


def _arrived(x, labels, crossed):
    """(x, labels); computations from now on wait until x is copied."""
    xp.cuda.get_current_stream().wait_event(crossed)
    return x, labels


def _fits(*arrays):
    """Whether the kernels can index these arrays and compute with their type, the same of all."""
    alike = len({a.dtype for a in arrays}) == 1
    return alike and arrays[0].dtype.char in TYPES and all(a.size <= LARGEST for a in arrays)


def _launch(name, dtype, count, *arguments, word="float"):
    """Run a kernel with `count` threads on arrays and numbers."""
    kinds = {int: np.int32, float: dtype.type}
    arguments = [kinds[type(a)](a) if type(a) in kinds else a for a in (count, *arguments)]
    _kernel(name, dtype.char, word)((-(-count // THREADS),), (THREADS,), tuple(arguments))


@functools.cache
def _kernel(name, dtype, word):
    return _module(dtype, word).get_function(name)


@functools.cache
def _module(dtype, word):
    """kernels.cu, compiled for numbers of this type; takes some seconds, once per machine."""
    options = ("-std=c++14", f"-DREAL={TYPES[dtype]}", f"-DWORD={word}")
    return xp.RawModule(code=SOURCE.read_text(), options=options)


TWINS = {
    "Conv2d.forward": conv_forward,
    "Conv2d.backward": conv_backward,
    "BatchNorm.forward": norm_forward,
    "BatchNorm.backward": norm_backward,
    "ReLU.backward": relu_backward,
    "MaxPool2d.forward": pool_forward,
    "MaxPool2d.backward": pool_backward,
    "softmax_cross_entropy": cross_entropy,
    "SGD.update": sgd_update,
    "Adam.update": adam_update,
    "staged": staged,
}
