"""Slow, obvious versions of what nnref computes, and the checks that several test files share."""

import itertools

import numpy as np

from nnref.backend import to_device, to_host


def normal(rng, shape, dtype="float64"):
    """Standard normal numbers, drawn by NumPy, where the network computes."""
    return to_device(rng.standard_normal(shape).astype(dtype))


def assert_close(found, expected, **tolerance):
    """np.testing.assert_allclose for arrays of either side."""
    np.testing.assert_allclose(to_host(found), to_host(expected), **tolerance)


def assert_same(found, expected):
    """np.testing.assert_array_equal for arrays of either side."""
    np.testing.assert_array_equal(to_host(found), to_host(expected))


def naive_conv(x, W, b, k, stride, padding):
    """The convolution as seven nested loops, straight from the definition; on the host."""
    x, W, b = map(to_host, (x, W, b))
    N, H, W_in, C_in = x.shape
    C_out = W.shape[1]
    kernel = W.reshape(k, k, C_in, C_out)
    OH, OW = (H + 2 * padding - k) // stride + 1, (W_in + 2 * padding - k) // stride + 1
    y = np.zeros((N, OH, OW, C_out))
    for n, r, c, o in itertools.product(range(N), range(OH), range(OW), range(C_out)):
        y[n, r, c, o] = b[o]
        for i, j, m in itertools.product(range(k), range(k), range(C_in)):
            row, column = r * stride + i - padding, c * stride + j - padding
            if 0 <= row < H and 0 <= column < W_in:
                y[n, r, c, o] += x[n, row, column, m] * kernel[i, j, m, o]
    return y


def naive_pool(x, k, stride, padding, reduce, outside):
    """Pooling window by window; `outside` is the value of the padding; on the host."""
    x = to_host(x)
    N, H, W, C = x.shape
    OH, OW = (H + 2 * padding - k) // stride + 1, (W + 2 * padding - k) // stride + 1
    y = np.zeros((N, OH, OW, C))
    for n, r, c, m in itertools.product(range(N), range(OH), range(OW), range(C)):
        window = []
        for i, j in itertools.product(range(k), range(k)):
            row, column = r * stride + i - padding, c * stride + j - padding
            inside = 0 <= row < H and 0 <= column < W
            window.append(x[n, row, column, m] if inside else outside)
        y[n, r, c, m] = reduce(window)
    return y


def naive_batch_norm(x, gamma, beta, eps):
    """Batch normalization channel by channel, in training mode; on the host."""
    x, gamma, beta = map(to_host, (x, gamma, beta))
    y = np.zeros_like(x)
    for channel in range(x.shape[-1]):
        values = x[..., channel].ravel()
        mean = sum(values) / len(values)
        variance = sum((v - mean) ** 2 for v in values) / len(values)
        normalized = (x[..., channel] - mean) / np.sqrt(variance + eps)
        y[..., channel] = gamma[channel] * normalized + beta[channel]
    return y


def randomize(model, rng):
    """Move every parameter off its trivial value (biases from 0, gains from 1)."""
    for layer in model.walk():
        for param in layer.params.values():
            param += 0.3 * normal(rng, param.shape, param.dtype)


def frozen(array):
    """A read-only copy: a `backward` that wrote into it would raise (GPUs know no such thing)."""
    array = array.copy()
    host = getattr(array, "_host", array)  # that of the stand-in
    if isinstance(host, np.ndarray):
        host.flags.writeable = False
    return array


def gradient_errors(model, x, rng, h=1e-6):
    """Relative errors of the model's gradients along random directions, over x and each parameter.

    For E = <forward(x), r> with r random, `backward(r)` must give dE/dx and dE/d(parameter). Each
    is compared with (E(+h) - E(-h)) / 2h along one random direction: an inner product.
    """
    r = normal(rng, model.forward(x).shape)
    error = model.backward(r)
    places = [(x, error)] if error is not None else []
    for layer in model.walk():
        for name, param in layer.params.items():
            assert layer.grads[name].shape == param.shape
            places.append((param, layer.grads[name]))
    errors = []
    for array, gradient in places:
        direction = normal(rng, array.shape)
        kept = array.copy()
        values = []
        for sign in (1, -1):
            array[...] = kept + sign * h * direction
            values.append(float((model.forward(x) * r).sum()))
        array[...] = kept
        numeric, exact = (values[0] - values[1]) / (2 * h), float((gradient * direction).sum())
        errors.append(abs(numeric - exact) / max(abs(numeric), abs(exact), 1e-3))
    return errors
