"""The fast twins: each equals its reference over many shapes, on the backend of this process."""

import contextlib
import copy

import numpy as np
import pytest
from oracles import assert_close, assert_same, frozen, normal

from nnref import backend, feedback, layers, losses, models, optim
from nnref.backend import to_device, to_host, xp
from nnref.data import imageset
from nnref.errors import InputError
from nnref.feedback import Backprop, SignSymmetry
from nnref.init import stream
from nnref.layers.base import rule_of_a_layer
from nnref.losses import softmax_cross_entropy

on_cpu = xp is np
only_cpu = pytest.mark.skipif(not on_cpu, reason="about a path of nnref/fast/cpu.py")
fast = pytest.importorskip(
    f"nnref.fast.{'cpu' if on_cpu else 'gpu'}", reason="the folder nnref/fast is gone"
)
if on_cpu:
    from nnref.fast import conv, few, pieces, threads, winograd

TOLERANCE = {"float32": 3e-5, "float64": 1e-12}


@pytest.fixture(autouse=True)
def even_small_arrays(monkeypatch):
    """The twins take arrays of any size, in pieces small enough that there are several."""
    monkeypatch.setattr(backend, "twins", lambda: fast.TWINS)
    if not on_cpu:
        monkeypatch.setattr(fast, "PATCHES", 3000)
        monkeypatch.setattr(fast, "SHARES", 20)
        yield
        return
    for name, value in (("SMALL", 1), ("SHARE", 1), ("PIECE", 100)):
        monkeypatch.setattr(pieces, name, value)
    monkeypatch.setattr(fast, "WORK", 1)
    monkeypatch.setattr(conv, "CHUNK", 3000)
    monkeypatch.setattr(few, "CHUNK", 1)
    monkeypatch.setattr(winograd, "CHUNK", 3000)
    pieces.zeros.cache_clear()
    yield
    pieces.zeros.cache_clear()


@pytest.fixture
def reference():
    """Calling it turns all twins off from then on."""
    with contextlib.ExitStack() as stack:
        yield lambda: stack.enter_context(backend.plainly())


def close(fast_array, slow_array, dtype):
    scale = float(abs(slow_array).max()) + 1e-30
    assert fast_array.dtype == slow_array.dtype == dtype
    assert_close(fast_array / scale, slow_array / scale, atol=TOLERANCE[dtype])


def same_as_reference(layer, x, dtype, rng, reference):
    """Output, error, gradients and running averages of a layer, with its twins and without."""
    for name in layer.keeps:  # not from their first values, from which a wrong sign looks right
        getattr(layer, name)[...] = 0.5 + abs(normal(rng, getattr(layer, name).shape, dtype))
    plain = copy.deepcopy(layer)
    y = layer.forward(x)
    delta = frozen(normal(rng, y.shape, dtype))
    error = layer.backward(delta)
    reference()
    close(y, plain.forward(x), dtype)
    slow_error = plain.backward(delta)
    assert (error is None) == (slow_error is None)
    if error is not None:
        close(error, slow_error, dtype)
    for name in layer.params:  # the reference computes the gradient of a missing bias too
        close(layer.grads[name], plain.grads[name], dtype)
    for name in layer.keeps:
        close(getattr(layer, name), getattr(plain, name), dtype)


def options(dtype, rule=None):
    return {"rng": stream(0, "init"), "feedback": rule or Backprop(), "dtype": dtype}


CONVS = [  # N, H, W, C_in, C_out, k, stride, padding
    (5, 8, 8, 16, 16, 3, 1, 1),
    (4, 7, 9, 16, 5, 3, 1, 1),
    (1, 6, 6, 16, 20, 3, 1, 0),
    (3, 9, 8, 20, 16, 3, 2, 1),
    (3, 6, 7, 3, 4, 3, 1, 1),
    (2, 11, 12, 3, 8, 7, 2, 3),
    (4, 12, 11, 1, 6, 5, 1, 2),
    (4, 9, 9, 6, 16, 5, 1, 0),
    (3, 8, 8, 16, 24, 1, 1, 0),
    (3, 8, 7, 16, 24, 1, 2, 0),
    (2, 5, 5, 16, 4, 3, 1, 2),
    (3, 5, 6, 16, 16, 3, 1, 2),
    (19, 6, 5, 2, 3, 3, 2, 1),
    (7, 3, 3, 17, 33, 3, 3, 0),
    (1, 1, 1, 16, 16, 1, 1, 0),
]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("shape", CONVS, ids=str)
def test_convolutions(shape, dtype, bias, rng, reference):
    N, H, W, C_in, C_out, k, stride, padding = shape
    layer = layers.Conv2d(
        C_in, C_out, k, stride=stride, padding=padding, bias=bias, **options(dtype, SignSymmetry())
    )
    if bias:
        layer.params["b"][...] = normal(rng, (C_out,), dtype)
    same_as_reference(layer, frozen(normal(rng, (N, H, W, C_in), dtype)), dtype, rng, reference)


@only_cpu
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("size", [(4, 4), (5, 7), (1, 1), (2, 9), (1, 4), (4, 1)])
def test_convolutions_with_fewer_multiplications(size, dtype, rng, reference, monkeypatch):
    """Even and odd sizes; the kernel turned for the error."""
    monkeypatch.setattr(conv, "MANY", 1)
    layer = layers.Conv2d(6, 5, 3, padding=1, bias=False, **options(dtype, SignSymmetry()))
    assert fast._fewer_multiplications(layer)
    x = frozen(normal(rng, (3, *size, 6), dtype))
    same_as_reference(layer, x, dtype, rng, reference)


@only_cpu
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_many_weights_and_few_patches_are_split_by_weights(dtype, rng, reference, monkeypatch):
    monkeypatch.setattr(conv, "LARGE", 1)
    layer = layers.Conv2d(17, 6, 3, stride=2, padding=1, **options(dtype))
    same_as_reference(layer, frozen(normal(rng, (3, 7, 6, 17), dtype)), dtype, rng, reference)


LOCALS = [  # N, H, W, C_in, C_out, k, stride, padding
    (5, 6, 7, 3, 4, 3, 1, 1),
    (4, 8, 8, 2, 5, 5, 2, 2),
    (1, 5, 4, 1, 3, 2, 1, 0),
    (3, 3, 3, 4, 2, 3, 1, 0),
    (2, 7, 5, 3, 1, 1, 3, 1),
]


@pytest.mark.parametrize("sends_error", [True, False])
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("shape", LOCALS, ids=str)
def test_locally_connected_layers(shape, dtype, sends_error, rng, reference):
    N, H, W, C_in, C_out, k, stride, padding = shape
    layer = layers.LocallyConnected2d(
        (H, W, C_in), C_out, k, stride=stride, padding=padding, bias=sends_error,
        **options(dtype, SignSymmetry()),
    )  # fmt: skip
    layer.sends_error = sends_error
    if sends_error:
        layer.params["b"][...] = normal(rng, layer.params["b"].shape, dtype)
    same_as_reference(layer, frozen(normal(rng, (N, H, W, C_in), dtype)), dtype, rng, reference)


OTHERS = {
    "linear": (lambda dtype: layers.Linear(30, 40, **options(dtype)), (7, 30)),
    "linear-narrow": (lambda dtype: layers.Linear(50, 3, bias=False, **options(dtype)), (90, 50)),
    "relu": (lambda dtype: layers.ReLU(), (7, 5, 3, 11)),
    "batch-norm": (lambda dtype: layers.BatchNorm(6, dtype), (50, 6)),
    "batch-norm-image": (lambda dtype: layers.BatchNorm(5, dtype), (3, 7, 9, 5)),
    "max-pool": (lambda dtype: layers.MaxPool2d(2), (5, 6, 8, 3)),
    "max-pool-odd": (lambda dtype: layers.MaxPool2d(2), (5, 7, 9, 3)),
    "max-pool-overlap": (lambda dtype: layers.MaxPool2d(3, stride=2), (3, 7, 9, 4)),
    "max-pool-padding": (lambda dtype: layers.MaxPool2d(3, stride=2, padding=1), (3, 7, 9, 4)),
    "max-pool-one": (lambda dtype: layers.MaxPool2d(1, stride=2), (3, 7, 9, 4)),
    "max-pool-same": (lambda dtype: layers.MaxPool2d(3, stride=1, padding=1), (2, 5, 6, 3)),
    "max-pool-beside": (lambda dtype: layers.MaxPool2d(2, padding=1), (3, 6, 8, 4)),
    "max-pool-large": (lambda dtype: layers.MaxPool2d(3), (5, 9, 10, 2)),
    "max-pool-gaps": (lambda dtype: layers.MaxPool2d(2, stride=3), (3, 7, 9, 4)),
    "residual": (lambda dtype: layers.Residual(layers.ReLU()), (4, 5, 6, 3)),
}


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("name", OTHERS)
def test_other_layers(name, dtype, rng, reference):
    make, shape = OTHERS[name]
    layer = make(dtype)
    for param in layer.params.values():
        param += 0.3 * normal(rng, param.shape, dtype)
    x = frozen(normal(rng, shape, dtype))
    same_as_reference(layer, x, dtype, rng, reference)


@pytest.mark.parametrize("padding", [0, 1])
def test_ties_of_a_pool_go_to_the_first(padding, rng, reference):
    x = frozen(to_device(rng.integers(0, 2, (4, 6, 6, 3)).astype("float64")))
    same_as_reference(layers.MaxPool2d(2, padding=padding), x, "float64", rng, reference)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("mean", [30, 3e3, 1e5])
@pytest.mark.parametrize("plain", [False, True])
def test_a_mean_far_from_zero_loses_no_digits_but_those_of_the_mean_itself(
    plain, mean, training, rng, reference
):
    """Forward and backward, with the twins and without, against float64; some channels are near."""
    if plain:
        reference()
    x = mean * xp.asarray([0, 1, -1, 1e-3], "float32") + normal(rng, (32, 24, 23, 4), "float32")
    delta = normal(rng, x.shape, "float32")
    single, double = layers.BatchNorm(4), layers.BatchNorm(4, "float64")
    params = normal(rng, (2, 4), "float32")
    for layer in (single, double):
        layer.params["gamma"][...], layer.params["beta"][...] = params
        layer.running_mean[...] = x.mean(axis=(0, 1, 2))
        layer.training = training
    pairs = [
        (single.forward(frozen(x)), double.forward(x.astype("float64"))),
        (single.backward(frozen(delta)), double.backward(delta.astype("float64"))),
        (single.grads["gamma"], double.grads["gamma"]),
        (single.running_mean, double.running_mean),
        (single.running_var, double.running_var),
    ]
    for found, exact in pairs:
        rounded = 2e-7 * mean + 1e-5  # by half a unit in the last place of the mean, at most
        assert_close(found, exact, atol=rounded * float(abs(exact).max()))


def test_a_batch_norm_takes_whole_numbers_as_its_settings(rng, reference):
    layer = layers.BatchNorm(3)
    layer.momentum, layer.eps = 1, 0
    same_as_reference(layer, normal(rng, (9, 3), "float32"), "float32", rng, reference)


def test_a_convolution_of_no_images_has_a_gradient_of_zeros():
    layer = layers.Conv2d(3, 4, 3, stream(0, "init"))
    outputs = layer.forward(xp.zeros((0, 5, 5, 3), "float32"))
    layer.backward(outputs)
    assert not to_host(layer.grads["W"]).any()


@pytest.mark.parametrize(("plain", "tolerance"), [(True, 2e-7), (False, 1e-6)])
def test_the_statistics_of_a_large_batch_are_as_exact_as_those_of_a_small_one(
    plain, tolerance, rng, reference, monkeypatch
):
    """700,000 numbers of float32, added one after the other, would lose four digits."""
    if not on_cpu:  # fewer sums, as other tests want them, would be less exact
        monkeypatch.setattr(fast, "SHARES", 2**16)
    if plain:
        reference()
    x = 5 + normal(rng, (64, 104, 105, 2), "float32")
    layer = layers.BatchNorm(2)
    layer.forward(x)
    host = to_host(x).astype("float64")
    assert_close(layer.mean, host.mean(axis=(0, 1, 2)), rtol=tolerance)
    assert_close(layer.running_var, 0.9 + 0.1 * host.var(axis=(0, 1, 2)), rtol=5 * tolerance)


def test_batch_norm_in_evaluation(rng, reference):
    layer = layers.BatchNorm(5)
    layer.running_mean += normal(rng, (5,), "float32")
    layer.running_var += abs(normal(rng, (5,), "float32"))
    layer.training = False
    x = frozen(normal(rng, (3, 4, 4, 5), "float32"))
    same_as_reference(layer, x, "float32", rng, reference)


@pytest.mark.parametrize("view", ["every-second", "transposed", "broadcast"])
def test_arrays_that_are_not_contiguous(view, rng, reference):
    """Of the input and, above GlobalAvgPool, of the delta."""
    x = normal(rng, (6, 8, 8, 16))
    x = {"every-second": x[::2], "transposed": x.swapaxes(1, 2), "broadcast": x[:1]}[view]
    x = xp.broadcast_to(x, (3, 8, 8, 16)) if view == "broadcast" else x
    for layer in (
        layers.Conv2d(16, 16, 3, padding=1, **options("float64")),
        layers.LocallyConnected2d((8, 8, 16), 4, 3, **options("float64")),
        layers.BatchNorm(16, "float64"),
        layers.ReLU(),
        layers.MaxPool2d(2),
        layers.Sequential(layers.BatchNorm(16, "float64"), layers.GlobalAvgPool()),
    ):
        twin = copy.deepcopy(layer)
        y = layer.forward(x)
        delta = xp.broadcast_to(normal(rng, y.shape[-1:]), y.shape)
        error = layer.backward(delta)
        assert_close(y, twin.forward(x.copy()), atol=1e-12)
        assert_close(error, twin.backward(delta.copy()), atol=1e-12)


@pytest.mark.parametrize("channels", [5, 2**16], ids=["few", "many"])
def test_a_batch_of_one_is_refused_before_an_average_is_changed(channels):
    layer = layers.BatchNorm(channels)
    with pytest.raises(InputError, match="expected two values or more per channel"):
        layer.forward(xp.ones((1, channels), "float32"))
    assert not layer.running_mean.any()


OPTIMIZERS = {
    "sgd": lambda model: optim.SGD(model, 0.1),
    "sgd-decay": lambda model: optim.SGD(model, 0.1, weight_decay=0.01),
    "manhattan": lambda model: optim.BatchManhattan(model, 0.01, weight_decay=0.01),
    "adam": lambda model: optim.Adam(model, 0.01),
}


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers(name, dtype, rng, reference):
    quick = models.mlp([23, 7], (11,), 5, dtype=dtype)
    plain = copy.deepcopy(quick)
    grads = [
        {k: normal(rng, p.shape, dtype) for k, p in layer.params.items()} for layer in quick.walk()
    ]
    for model in (quick, plain):
        optimizer = OPTIMIZERS[name](model)
        for layer, grad in zip(model.walk(), grads, strict=True):
            layer.grads = grad
        for _ in range(3):
            optimizer.step()
        reference()
    for a, b in zip(quick.walk(), plain.walk(), strict=True):
        for param in a.params:
            close(a.params[param], b.params[param], dtype)


def test_sign_symmetry_keeps_zeros(rng):
    W = normal(rng, (40, 30))
    W[3] = 0
    B = rule_of_a_layer(SignSymmetry(scale=0.25), W, 1, None, stream(0, "init"))(W)
    assert_same(B, 0.25 * xp.sign(W))


def step(model, x, labels):
    """One training step; returns all gradients."""
    loss, delta = softmax_cross_entropy(model.forward(x), labels)
    model.backward(delta)
    return [layer.grads[name] for layer in model.walk() for name in layer.params]


@only_cpu
@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_the_number_of_threads_changes_rounding_alone_and_repeats_bit_for_bit(
    count, rng, reference, monkeypatch
):
    model = models.resnet20((12, 12, 3), width=0.5)
    x = rng.standard_normal((5, 12, 12, 3)).astype("float32")
    labels = np.arange(5)
    monkeypatch.setattr(threads, "THREADS", count)
    first = [grad.copy() for grad in step(model, x, labels)]
    for a, b in zip(first, step(model, x, labels), strict=True):
        np.testing.assert_array_equal(a, b)
    reference()
    for a, b in zip(first, step(model, x, labels), strict=True):
        assert np.linalg.norm(a - b) <= 1e-4 * np.linalg.norm(b) + 1e-6


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("shape", [(1, 2), (5, 10), (64, 100), (3, 1), (2, 1000)])
def test_the_loss(shape, dtype, rng, reference):
    logits = frozen(50 * normal(rng, shape, dtype))
    labels = rng.integers(0, shape[1], shape[0])
    loss, delta = softmax_cross_entropy(logits, labels)
    reference()
    slow_loss, slow_delta = softmax_cross_entropy(logits, labels=labels)
    assert float(loss) == pytest.approx(float(slow_loss), rel=TOLERANCE[dtype])
    close(delta, slow_delta, dtype)


def test_a_large_batch_repeats_bit_for_bit(rng):
    model = models.resnet20((12, 12, 3), width=0.5, feedback=SignSymmetry())
    x, labels = normal(rng, (37, 12, 12, 3), "float32"), np.arange(37) % 10
    first = [grad.copy() for grad in step(model, x, labels)]
    for a, b in zip(first, step(model, x, labels), strict=True):
        assert_same(a, b)


def wrappers(function):
    """The names of a function and of all that it wraps."""
    while function is not None:
        yield function.__code__.co_name
        function = getattr(function, "__wrapped__", None)


def test_every_twin_stands_for_something_that_is_marked():
    for name in fast.TWINS:
        *kind, function = name.split(".")
        modules = [layers, optim, feedback] if kind else [losses, imageset]
        owner = next(m for m in modules if hasattr(m, (kind or [function])[0]))
        owner = getattr(owner, kind[0]) if kind else owner
        assert "dispatch" in wrappers(getattr(owner, function)), name
