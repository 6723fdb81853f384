"""Every layer: exact gradients, naive loops, dtypes, untouched arguments, one-line errors."""

import itertools
import math

import numpy as np
import pytest
from oracles import (
    assert_close,
    assert_same,
    frozen,
    gradient_errors,
    naive_batch_norm,
    naive_conv,
    naive_pool,
    normal,
    randomize,
)

from nnref import layers, models
from nnref.backend import to_host, xp
from nnref.errors import InputError
from nnref.feedback import SignSymmetry
from nnref.init import glorot_uniform, stream
from nnref.layers.checks import check_input, shown
from nnref.optim import SGD


def f64(**kwargs):
    return {"rng": stream(0, "init"), "dtype": "float64", **kwargs}


LAYERS = {
    "linear": (lambda: layers.Linear(5, 4, **f64()), (3, 5)),
    "conv": (lambda: layers.Conv2d(2, 3, 3, padding=1, **f64()), (2, 5, 4, 2)),
    "linear-without-bias": (lambda: layers.Linear(5, 4, bias=False, **f64()), (3, 5)),
    "conv-without-bias": (lambda: layers.Conv2d(2, 3, 3, bias=False, **f64()), (2, 5, 4, 2)),
    "local": (
        lambda: layers.LocallyConnected2d((5, 4, 2), 3, 3, padding=1, **f64()),
        (2, 5, 4, 2),
    ),
    "local-stride": (
        lambda: layers.LocallyConnected2d((6, 5, 2), 3, 3, stride=2, bias=False, **f64()),
        (3, 6, 5, 2),
    ),
    "conv-stride": (lambda: layers.Conv2d(2, 3, 2, stride=2, **f64()), (2, 5, 7, 2)),
    "conv-1x1": (lambda: layers.Conv2d(3, 2, 1, stride=2, **f64()), (1, 4, 3, 3)),
    "relu": (layers.ReLU, (4, 6)),
    "tanh": (layers.Tanh, (4, 6)),
    "sigmoid": (layers.Sigmoid, (4, 6)),
    "batch-norm": (lambda: layers.BatchNorm(5, "float64"), (7, 5)),
    "batch-norm-image": (lambda: layers.BatchNorm(3, "float64"), (2, 3, 4, 3)),
    "max-pool": (lambda: layers.MaxPool2d(2), (2, 4, 6, 3)),
    "max-pool-overlap": (lambda: layers.MaxPool2d(3, stride=2, padding=1), (2, 5, 6, 2)),
    "avg-pool": (lambda: layers.AvgPool2d(2), (2, 4, 5, 3)),
    "avg-pool-overlap": (lambda: layers.AvgPool2d(3, stride=2, padding=1), (2, 5, 6, 2)),
    "global-avg-pool": (layers.GlobalAvgPool, (2, 3, 4, 5)),
    "flatten": (layers.Flatten, (2, 3, 4, 5)),
    "sequential": (
        lambda: layers.Sequential(layers.Linear(5, 4, **f64()), layers.Linear(4, 3, **f64())),
        (3, 5),
    ),
    "identity": (layers.Sequential, (3, 5)),
    "residual": (
        lambda: layers.Residual(layers.Sequential(layers.Linear(5, 5, **f64()), layers.Tanh())),
        (3, 5),
    ),
    "residual-shortcut": (
        lambda: layers.Residual(layers.Linear(5, 4, **f64()), layers.Linear(5, 4, **f64())),
        (3, 5),
    ),
}


@pytest.mark.parametrize("name", LAYERS)
def test_gradients_are_exact(name, rng):
    make, shape = LAYERS[name]
    layer = make()
    randomize(layer, rng)
    assert max(gradient_errors(layer, normal(rng, shape), rng)) < 1e-6


def test_batch_norm_gradient_in_evaluation_is_exact(rng):
    layer = layers.BatchNorm(4, "float64")
    randomize(layer, rng)
    layer.forward(normal(rng, (9, 4)))
    layer.training = False
    assert max(gradient_errors(layer, normal(rng, (3, 4)), rng)) < 1e-6


@pytest.mark.parametrize("training", [True, False])
def test_a_gain_that_is_not_sent_multiplies_no_error_and_still_learns(training, rng):
    """Forward and gradients stay; the error is that of a twin whose gamma is 1."""
    layer, twin = layers.BatchNorm(16, "float64"), layers.BatchNorm(16, "float64")
    randomize(layer, rng)
    layer.sends_gain = False
    x, delta = normal(rng, (4000, 16)), normal(rng, (4000, 16))
    for one in (layer, twin):
        one.forward(x)
        one.training = training
        one.forward(x)
    error, exact = layer.backward(delta), twin.backward(delta)
    assert_close(error, exact, rtol=1e-10)
    for name in ("gamma", "beta"):
        assert_close(layer.grads[name], twin.grads[name], rtol=1e-10)
    layer.sends_gain = True
    assert_close(layer.backward(delta), layer.params["gamma"] * exact, rtol=1e-10)


@pytest.mark.parametrize("name", LAYERS)
def test_forward_and_backward_write_into_no_argument(name, rng):
    make, shape = LAYERS[name]
    layer = make()
    x = normal(rng, shape)
    seen = frozen(x)
    delta = normal(rng, layer.forward(seen).shape)
    sent = frozen(delta)
    layer.backward(sent)
    assert_same(seen, x)
    assert_same(sent, delta)


@pytest.mark.parametrize("name", LAYERS)
def test_backward_assigns_gradients_and_does_not_add_them(name, rng):
    make, shape = LAYERS[name]
    layer = make()
    delta = normal(rng, layer.forward(normal(rng, shape)).shape)
    layer.backward(delta)
    first = [grad.copy() for inner in layer.walk() for grad in inner.grads.values()]
    layer.backward(delta)
    again = [grad for inner in layer.walk() for grad in inner.grads.values()]
    for a, b in zip(first, again, strict=True):
        assert_same(a, b)


CONVS = list(itertools.product([(5, 5), (4, 7)], [1, 2, 3], [1, 2], [0, 1], [1, 3]))


@pytest.mark.parametrize(("size", "k", "stride", "padding", "channels"), CONVS)
def test_convolution_equals_naive_loops(size, k, stride, padding, channels, rng):
    layer = layers.Conv2d(channels, 2, k, stride=stride, padding=padding, **f64())
    randomize(layer, rng)
    x = normal(rng, (2, *size, channels))
    expected = naive_conv(x, layer.params["W"], layer.params["b"], k, stride, padding)
    assert_close(layer.forward(x), expected, atol=1e-12)


@pytest.mark.parametrize(("size", "k", "stride", "padding", "channels"), CONVS)
def test_convolution_backward_is_the_adjoint_of_forward_through_B(
    size, k, stride, padding, channels, rng
):
    """<conv(x; B), y> = <x, conv^T(y; B)>, for a B that is not W."""
    layer = layers.Conv2d(
        channels, 2, k, stride=stride, padding=padding, feedback=SignSymmetry(), **f64()
    )
    W, b = layer.params["W"], layer.params["b"]
    B = layer.feedback(W)
    x = normal(rng, (2, *size, channels))
    y = normal(rng, layer.forward(x).shape)
    forward_through_B = naive_conv(x, B, b * 0, k, stride, padding)
    right = float((x * layer.backward(y)).sum())
    assert (forward_through_B * to_host(y)).sum() == pytest.approx(right, abs=1e-10)


@pytest.mark.parametrize(("size", "k", "stride", "padding", "channels"), CONVS)
def test_a_locally_connected_layer_is_a_convolution_of_its_own_at_every_place(
    size, k, stride, padding, channels, rng
):
    layer = layers.LocallyConnected2d(
        (*size, channels), 2, k, stride=stride, padding=padding, **f64()
    )
    randomize(layer, rng)
    x = normal(rng, (2, *size, channels))
    y = to_host(layer.forward(x))
    for place, (row, column) in enumerate(itertools.product(range(layer.OH), range(layer.OW))):
        W, b = layer.params["W"][place], layer.params["b"][place]
        everywhere = naive_conv(x, W, b, k, stride, padding)
        assert_close(y[:, row, column], everywhere[:, row, column], atol=1e-12)


def test_a_locally_connected_layer_with_equal_weights_everywhere_is_the_convolution(rng):
    """Forward, the error through B, and the gradient of the kernel: the sum over all places."""
    conv = layers.Conv2d(3, 4, 3, stride=2, padding=1, feedback=SignSymmetry(), **f64())
    local = layers.LocallyConnected2d(
        (7, 6, 3), 4, 3, stride=2, padding=1, feedback=SignSymmetry(), **f64()
    )
    randomize(conv, rng)
    for name in ("W", "b"):
        local.params[name][...] = conv.params[name]
    x = normal(rng, (2, 7, 6, 3))
    y = conv.forward(x)
    assert_close(local.forward(x), y, atol=1e-12)
    delta = normal(rng, y.shape)
    assert_close(local.backward(delta), conv.backward(delta), atol=1e-12)
    for name in ("W", "b"):
        assert_close(local.grads[name].sum(axis=0), conv.grads[name], atol=1e-12)


def test_a_layer_without_bias_has_no_such_parameter_and_no_optimizer_looks_for_it(rng):
    for layer, shape in (
        (layers.Linear(5, 4, bias=False, **f64()), (3, 5)),
        (layers.Conv2d(2, 3, 3, bias=False, **f64()), (2, 5, 4, 2)),
    ):
        layer.backward(layer.forward(normal(rng, shape)))
        assert list(layer.params) == ["W"]
        assert [name for _, _, name in SGD(layer, 0.1).places] == ["W"]


@pytest.mark.parametrize(
    ("make", "shape", "fans"),
    [
        (lambda init: layers.Linear(7, 4, init=init, **f64()), (7, 4), (7, 4)),
        (lambda init: layers.Conv2d(5, 4, 3, init=init, **f64()), (45, 4), (45, 36)),
        (
            lambda init: layers.LocallyConnected2d((6, 7, 5), 4, 3, init=init, **f64()),
            (20, 45, 4),
            (45, 36),
        ),
    ],
)
def test_fans_count_the_connections_of_a_unit(make, shape, fans):
    seen = []

    def note(rng, shape, fan_in, fan_out):
        seen.append((shape, (fan_in, fan_out)))
        return np.zeros(shape)

    make(note)
    assert seen == [(shape, fans)]


POOLS = list(itertools.product([(6, 6), (5, 8)], [1, 2, 3], [1, 2, 3], [0, 1]))


@pytest.mark.parametrize(("size", "k", "stride", "padding"), POOLS)
def test_pooling_equals_naive_loops(size, k, stride, padding, rng):
    if padding >= k:
        padding = 0  # a window that lies in the padding alone has no maximum
    x = normal(rng, (2, *size, 3))
    largest = naive_pool(x, k, stride, padding, max, -math.inf)
    mean = naive_pool(x, k, stride, padding, lambda window: sum(window) / len(window), 0.0)
    assert_same(layers.MaxPool2d(k, stride, padding).forward(x), largest)
    assert_close(layers.AvgPool2d(k, stride, padding).forward(x), mean, atol=1e-14)


def test_max_pool_sends_the_error_to_the_first_of_a_tie():
    pool = layers.MaxPool2d(2)
    pool.forward(xp.ones((1, 2, 2, 1)))
    error = pool.backward(xp.full((1, 1, 1, 1), 5.0))
    assert error[0, :, :, 0].tolist() == [[5, 0], [0, 0]]


@pytest.mark.parametrize("shape", [(7, 3), (2, 3, 4, 3), (2, 5, 3)])
def test_batch_norm_equals_naive_loops(shape, rng):
    layer = layers.BatchNorm(3, "float64")
    randomize(layer, rng)
    x = 5 + 2 * normal(rng, shape)
    expected = naive_batch_norm(x, layer.params["gamma"], layer.params["beta"], layer.eps)
    assert_close(layer.forward(x), expected, atol=1e-12)


def test_batch_norm_evaluates_with_its_running_averages(rng):
    layer = layers.BatchNorm(2, "float64")
    x = 3 + 2 * normal(rng, (50, 2))
    for _ in range(200):  # 0.9^200 of the initial values is left
        layer.forward(x)
    layer.training = False
    point = xp.asarray([[1.0, 2.0]])
    expected = (point - x.mean(axis=0)) / xp.sqrt(x.var(axis=0, ddof=1) + layer.eps)
    assert_close(layer.forward(point), expected, rtol=1e-7)
    before = layer.running_mean.copy()
    layer.forward(x)
    assert_same(layer.running_mean, before)


def test_the_mean_of_a_large_image_keeps_its_digits(rng):
    x = 100 + normal(rng, (1, 300, 200, 2), "float32")
    exact = x.astype("float64").mean(axis=(1, 2))
    assert_close(layers.GlobalAvgPool().forward(x), exact, rtol=2e-7)


def test_sigmoid_and_its_gradient_survive_large_inputs():
    layer = layers.Sigmoid()
    with np.errstate(all="raise"):
        y = layer.forward(xp.asarray([[-1000.0, 0.0, 1000.0]]))
        error = layer.backward(xp.ones((1, 3)))
    assert y.tolist() == [[0, 0.5, 1]]
    assert error.tolist() == [[0, 0.25, 0]]


def test_the_first_layer_with_weights_computes_no_error_but_the_same_gradients(rng):
    model = models.mlp([5], input_shape=(6,), classes=4, seed=1, dtype="float64")
    x, delta = normal(rng, (3, 6)), normal(rng, (3, 4))
    model.forward(x)
    assert model.backward(delta) is None
    skipped = [grad.copy() for layer in model.walk() for grad in layer.grads.values()]
    for layer in model.walk():
        layer.sends_error = True
    assert model.backward(delta).shape == (3, 6)
    full = [grad for layer in model.walk() for grad in layer.grads.values()]
    for a, b in zip(skipped, full, strict=True):
        assert_same(a, b)


def test_only_the_first_layer_with_weights_is_told_to_send_no_error():
    inner = layers.Sequential(layers.ReLU(), layers.Linear(4, 3, **f64()))
    network = layers.Sequential(layers.Flatten(), inner, layers.Linear(3, 2, **f64()))
    network.send_no_error_below()
    assert [layer.sends_error for layer in network.walk() if layer.params] == [False, True]


def test_a_residual_block_at_the_bottom_still_sends_its_error():
    block = layers.Residual(layers.Linear(4, 4, **f64()))
    network = layers.Sequential(block, layers.Linear(4, 2, **f64()))
    network.send_no_error_below()
    network.forward(xp.ones((1, 4)))
    assert network.backward(xp.ones((1, 2))).shape == (1, 4)


def test_a_layer_object_stands_once_in_a_network():
    shared = layers.Linear(4, 4, **f64())
    with pytest.raises(InputError, match=r"Sequential: .*, found Linear\(4, 4\) twice"):
        layers.Sequential(shared, layers.ReLU(), shared)
    with pytest.raises(InputError, match=r"Residual: .*, found Linear\(4, 4\) twice"):
        layers.Residual(shared, shared)


BAD_INPUTS = [
    ("linear", (3, 6), "float64", "Linear(5, 4): expected input of shape (any, 5), found (3, 6)"),
    ("linear", (5,), "float64", "Linear(5, 4): expected input of shape (any, 5), found (5,)"),
    ("linear", (3, 5), "float32", "Linear(5, 4): expected input of dtype float64, found float32"),
    ("linear", (3, 5), "int64", "Linear(5, 4): expected input of dtype float64, found int64"),
    (
        "conv",
        (2, 5, 4, 3),
        "float64",
        "Conv2d(2, 3, k=3, stride=1, padding=1): "
        "expected input of shape (any, any, any, 2), found (2, 5, 4, 3)",
    ),
    (
        "conv-stride",
        (2, 1, 4, 2),
        "float64",
        "Conv2d(2, 3, k=2, stride=2, padding=0): "
        "expected images of at least 2 x 2 pixels (padding counted), found 1 x 4",
    ),
    (
        "batch-norm",
        (7, 4),
        "float64",
        "BatchNorm(5): expected input of shape (..., 5), found (7, 4)",
    ),
    (
        "max-pool",
        (2, 4, 6),
        "float64",
        "MaxPool2d(2, stride=2, padding=0): "
        "expected input of shape (any, any, any, any), found (2, 4, 6)",
    ),
    (
        "global-avg-pool",
        (2, 4),
        "float64",
        "GlobalAvgPool(): expected input of shape (any, any, any, any), found (2, 4)",
    ),
]


@pytest.mark.parametrize(("name", "shape", "dtype", "message"), BAD_INPUTS)
def test_a_wrong_input_is_one_line_that_names_the_layer(name, shape, dtype, message):
    with pytest.raises(InputError) as caught:
        LAYERS[name][0]().forward(xp.ones(shape, dtype))
    assert str(caught.value) == message


@pytest.mark.parametrize("name", LAYERS)
def test_something_that_is_no_array_is_refused(name):
    make, shape = LAYERS[name]
    layer = make()
    delta = layer.forward(xp.ones(shape))
    for refused, found in ((delta.tolist(), "builtins.list"), (None, "builtins.NoneType")):
        for call in (layer.forward, layer.backward):
            with pytest.raises(
                InputError, match=rf": expected an array of {xp.__name__}, found {found}$"
            ):
                call(refused)


@pytest.mark.parametrize("name", LAYERS)
def test_a_delta_that_is_not_like_the_output_is_one_line_that_names_the_layer(name):
    """None is broadcast, reshaped or cast in silence."""
    make, shape = LAYERS[name]
    layer = make()
    with pytest.raises(InputError) as caught:
        layer.backward(xp.ones(shape))
    assert str(caught.value) == f"{layer}: expected a forward pass before the backward pass"
    y = layer.forward(xp.ones(shape))
    others = [y[:1], y[None], y.ravel(), xp.ones((*y.shape[:-1], y.shape[-1] + 1))]
    for delta in (*others, y.astype("float32"), y.astype("int64")):
        if (delta.shape, delta.dtype) == (y.shape, y.dtype):
            continue  # a batch of one
        with pytest.raises(InputError) as caught:
            layer.backward(delta)
        assert str(caught.value) == (
            f"{layer}: expected delta of shape {y.shape} and dtype float64, as the output, found "
            f"{delta.shape} and {delta.dtype}"
        )
    layer.backward(y)


CONSTRUCTIONS = [
    (
        lambda: layers.Linear(0, 3, None),
        "Linear: expected n_in to be a whole number of at least 1, found 0",
    ),
    (
        lambda: layers.Conv2d(2, 3, (3, 3), None),
        "Conv2d: expected k to be a whole number of at least 1, found (3, 3)",
    ),
    (
        lambda: layers.Conv2d(2, 3, 3, None, stride=0),
        "Conv2d: expected stride to be a whole number of at least 1, found 0",
    ),
    (
        lambda: layers.Conv2d(2, 3, 3, None, padding=-1),
        "Conv2d: expected padding to be a whole number of at least 0, found -1",
    ),
    (
        lambda: layers.MaxPool2d(1, 1, 1),
        "MaxPool2d(1, stride=1, padding=1): expected a padding of at most k // 2 = 0",
    ),
    (
        lambda: layers.Linear(3, 2, stream(0, "init"), dtype="int32"),
        "Linear(3, 2): expected a floating dtype, found int32",
    ),
    (
        lambda: layers.Linear(3, 2, stream(0, "init"), dtype="float33"),
        "Linear(3, 2): expected a floating dtype, found float33",
    ),
    (
        lambda: layers.BatchNorm(3, "complex64"),
        "BatchNorm(3): expected a floating dtype, found complex64",
    ),
    (
        lambda: layers.BatchNorm(2.5),
        "BatchNorm: expected C to be a whole number of at least 1, found 2.5",
    ),
    (
        lambda: layers.LocallyConnected2d((5, 5), 2, 3, stream(0, "init")),
        "LocallyConnected2d: expected input_shape to be (height, width, channels), found (5, 5)",
    ),
    *(
        (make, "rng: expected a generator such as stream(0, 'init'), found None")
        for make in (
            lambda: layers.Linear(3, 2, None),
            lambda: layers.Conv2d(3, 2, 1, None),
            lambda: layers.Linear(3, 2, None, init=glorot_uniform),
        )
    ),
    (
        lambda: layers.Sequential([layers.ReLU()]),
        "Sequential: expected layers such as ReLU(), found [ReLU()]",
    ),
]


@pytest.mark.parametrize(("make", "message"), CONSTRUCTIONS)
def test_a_layer_that_cannot_be_is_one_line(make, message):
    with pytest.raises(InputError) as caught:
        make()
    assert str(caught.value) == message


def test_branches_of_different_shapes_are_one_line():
    block = layers.Residual(layers.Linear(5, 1, **f64()))
    with pytest.raises(
        InputError, match=r"both branches to have the same shape, found \(3, 1\) and \(3, 5\)"
    ):
        block.forward(xp.ones((3, 5)))


def test_one_value_per_channel_has_no_variance():
    layer = layers.BatchNorm(5, "float64")
    with pytest.raises(
        InputError, match=r"BatchNorm\(5\): expected two values or more per channel"
    ):
        layer.forward(xp.ones((1, 5)))
    assert layer.running_var.tolist() == [1] * 5


def test_flatten_wants_samples_first():
    with pytest.raises(
        InputError, match=r"Flatten\(\): expected input of shape \(\.\.\., any, any\)"
    ):
        layers.Flatten().forward(xp.ones(784))


def test_relu_sends_nothing_through_a_zero():
    layer = layers.ReLU()
    layer.forward(xp.asarray([[-1.0, 0.0, 1.0]]))
    assert layer.backward(xp.ones((1, 3))).tolist() == [[0, 0, 1]]


def test_batch_norm_moves_a_tenth_of_the_way_with_each_batch():
    layer = layers.BatchNorm(1, "float64")
    layer.forward(xp.asarray([[2.0], [4.0]]))  # mean 3, unbiased variance 2
    assert float(layer.running_mean[0]) == pytest.approx(0.3)
    assert float(layer.running_var[0]) == pytest.approx(0.9 + 0.2)
    layer.forward(xp.asarray([[-1.0], [1.0], [3.0]]))  # mean 1, unbiased variance 4
    assert float(layer.running_mean[0]) == pytest.approx(0.9 * 0.3 + 0.1)
    assert float(layer.running_var[0]) == pytest.approx(0.9 * 1.1 + 0.4)


def test_batch_norm_adds_a_hundred_thousandth_to_the_variance():
    """PyTorch's default."""
    layer = layers.BatchNorm(1, "float64")
    x = xp.asarray([[-1.0], [1.0]]) * math.sqrt(1e-5)  # of a variance as large
    assert_close(layer.forward(x), [[-math.sqrt(0.5)], [math.sqrt(0.5)]], rtol=1e-12)


def test_a_rule_that_is_not_an_object_is_refused():
    with pytest.raises(InputError, match=r"an object like SignSymmetry\(\), found <class"):
        layers.Linear(5, 4, feedback=SignSymmetry, **f64())


def test_check_input_takes_any_number_of_leading_axes(rng):
    check_input("x", normal(rng, (2, 3, 4)), (..., 4), np.dtype("float64"))
    check_input("x", normal(rng, 4), (..., 4), None)


class FlatReLU(layers.ReLU):
    """A class that builds on another one, with other shapes outside than inside."""

    def forward(self, x):
        return super().forward(x).reshape(len(x), -1)

    def backward(self, delta):
        return super().backward(delta.reshape(len(delta), 3, -1))


class Doubling:
    """A `forward` that comes from a class that is no layer."""

    def forward(self, x):
        return 2 * x


class Double(Doubling, layers.Layer):
    def backward(self, delta):
        return 2 * delta


class Masked(layers.Layer):
    """Takes more than x."""

    def forward(self, x, mask=1.0):
        return mask * x

    def backward(self, delta, mask=1.0):
        return mask * delta


def test_layers_of_a_users_own_may_reshape_mix_and_take_more(rng):
    x = normal(rng, (2, 3, 4))
    layer = FlatReLU()
    assert layer.forward(x).shape == (2, 12)
    assert_same(layer.backward(xp.ones((2, 12))), (x > 0).astype(float))
    with pytest.raises(InputError, match=r"FlatReLU\(\): expected delta of shape \(2, 12\)"):
        layer.backward(xp.ones((2, 3, 4)))
    assert_same(Double().backward(x), 2 * x)
    layer = Masked()
    assert_same(layer.forward(x, mask=0.5), 0.5 * x)
    assert_same(layer.backward(x, mask=0.5), 0.5 * x)


def test_a_value_in_a_message_takes_one_line_of_at_most_80_characters():
    fits = "x" * 78  # and its two quotes
    assert shown(fits) == repr(fits)
    assert shown(fits + "x") == "'" + "x" * 76 + "..."
    assert shown(np.eye(2)) == "array([[1., 0.], [0., 1.]])"  # that Python prints in two lines
