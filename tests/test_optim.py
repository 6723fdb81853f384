"""The optimizers, step by step against their formulas, and the schedules at known times."""

import contextlib
import math
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from oracles import assert_close, assert_same, normal

from nnref import layers
from nnref.backend import plainly, xp
from nnref.errors import InputError
from nnref.feedback import Backprop
from nnref.init import stream
from nnref.optim import SGD, Adam, BatchManhattan, cosine, step_decay


@pytest.fixture(params=["as it is", "as it is written"], autouse=True)
def written(request):
    """Every test runs twice: with the twins of nnref/fast, and with what they stand for."""
    with contextlib.nullcontext() if request.param == "as it is" else plainly():
        yield


@pytest.fixture
def layer():
    return layers.Linear(3, 2, stream(0, "init"), dtype="float64")


def after(optimizer, layer, gradients):
    """W after one step for each gradient of W (b gets zeros)."""
    for grad in gradients:
        layer.grads = {"W": grad, "b": xp.zeros(2)}
        optimizer.step()
    return layer.params["W"]


@pytest.mark.parametrize("optimizer", [SGD, Adam])
def test_weights_that_lie_in_memory_column_by_column_are_changed_like_others(optimizer, rng):
    """As those of an initial distribution that returns the transpose of an array."""
    steps = [normal(rng, (3, 2), "float32") for _ in range(3)]
    found = []
    for order in "CF":

        def drawn(rng, shape, order=order, **fans):
            return np.array(rng.normal(size=shape), order=order)

        layer = layers.Linear(3, 2, stream(0, "init"), init=drawn)
        its_optimizer = optimizer(layer, 0.1)
        for step in steps:
            layer.grads = {"W": step, "b": xp.zeros(2, "float32")}
            its_optimizer.step()
        found.append(layer.params["W"])
    assert_close(found[0], found[1], atol=1e-5)


@pytest.mark.parametrize("optimizer", [SGD, Adam, BatchManhattan])
def test_after_every_step_each_rule_is_told(optimizer):
    """With its own layer, when W has changed."""
    told = []

    class Watching(Backprop):
        def on_step(self, layer):
            told.append((layer, layer.params["W"].copy()))

    model = layers.Sequential(
        *(layers.Linear(3, 3, stream(0, "init"), feedback=Watching()) for _ in "ab")
    )
    optimizer = optimizer(model, 0.1)
    for count in (1, 2):
        for layer in model.layers:
            layer.grads = {"W": xp.ones((3, 3), "float32"), "b": xp.ones(3, "float32")}
        optimizer.step()
        assert [layer for layer, _ in told] == list(model.layers) * count
    for layer, W in told[2:]:
        assert_same(W, layer.params["W"])
    assert not (told[0][1] == told[2][1]).all()


def test_sgd_follows_its_formula(layer, rng):
    w, v = layer.params["W"].copy(), 0
    gradients = normal(rng, (4, 3, 2))
    for g in gradients:
        v = 0.9 * v + g + 0.01 * w
        w = w - 0.1 * v
    result = after(SGD(layer, 0.1, momentum=0.9, weight_decay=0.01), layer, gradients)
    assert_close(result, w, rtol=1e-13)


def test_batch_manhattan_takes_the_sign_before_decay_and_momentum(layer, rng):
    w, v = layer.params["W"].copy(), 0
    gradients = normal(rng, (4, 3, 2))
    for g in gradients:
        v = 0.9 * v + xp.sign(g) + 0.01 * w
        w = w - 0.1 * v
    result = after(BatchManhattan(layer, 0.1, weight_decay=0.01), layer, gradients)
    assert_close(result, w, rtol=1e-13)


def test_adam_follows_its_formula(layer, rng):
    w, m, v = layer.params["W"].copy(), 0, 0
    gradients = normal(rng, (5, 3, 2))
    for t, g in enumerate(gradients, start=1):
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        w = w - 0.01 * (m / (1 - 0.9**t)) / (xp.sqrt(v / (1 - 0.999**t)) + 1e-8)
    assert_close(after(Adam(layer, 0.01), layer, gradients), w, rtol=1e-12)


def test_adams_first_step_has_the_length_of_the_learning_rate(layer):
    before = layer.params["W"].copy()
    change = after(Adam(layer, 0.01), layer, [xp.full((3, 2), -123.0)]) - before
    assert_close(change, 0.01, rtol=1e-6)


@pytest.mark.parametrize("optimizer", [SGD, BatchManhattan, Adam])
def test_parameters_change_in_place_and_gradients_stay(optimizer, layer, rng):
    W, grad = layer.params["W"], normal(rng, (3, 2))
    before, kept = W.copy(), grad.copy()
    after(optimizer(layer, 0.1), layer, [grad])
    assert layer.params["W"] is W
    assert (before != W).any()
    assert_same(grad, kept)


@pytest.mark.parametrize("optimizer", [SGD, BatchManhattan, Adam])
def test_every_parameter_of_a_nested_model_moves(optimizer, rng):
    def linear():
        return layers.Linear(4, 4, stream(0, "init"), dtype="float64")

    model = layers.Sequential(
        linear(), layers.Residual(layers.Sequential(linear(), layers.BatchNorm(4, "float64")))
    )
    before = [p.copy() for layer in model.walk() for p in layer.params.values()]
    model.backward(normal(rng, model.forward(normal(rng, (6, 4))).shape))
    optimizer(model, 0.1).step()
    params = [p for layer in model.walk() for p in layer.params.values()]
    assert len(params) == 6
    # the bias in front of a BatchNorm has no gradient but for rounding, so it may stay
    assert sum(bool((p != b).any()) for p, b in zip(params, before, strict=True)) >= 5


def test_schedules_at_known_times():
    steps = step_decay(0.1, every=10)
    assert [steps(t) for t in (0, 9.99)] == [0.1, 0.1]
    assert [steps(t) for t in (10, 25)] == pytest.approx([0.01, 0.001])
    half = cosine(0.2, epochs=8)
    assert [half(t) for t in (0, 4, 8, 9)] == pytest.approx([0.2, 0.1, 0, 0])
    assert half(2) == pytest.approx(0.1 * (1 + math.sqrt(0.5)))


@pytest.mark.parametrize("optimizer", [SGD, BatchManhattan, Adam])
@pytest.mark.parametrize(
    "lr",
    [
        *(0, -0.1, math.nan, math.inf, 10**400, "0.1", b"1", None, [0.1], 1j, Decimal("nan")),
        *(True, np.ones((40, 40)), "long " * 100),
    ],
    ids=lambda lr: str(lr)[:9],
)
def test_a_learning_rate_that_cannot_be(lr, optimizer, layer):
    with pytest.raises(
        InputError, match=rf"^{optimizer.__name__}: expected a learning rate above 0, found"
    ) as caught:
        optimizer(layer, lr)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 150


@pytest.mark.parametrize("name", ["momentum", "weight_decay", "beta1", "beta2"])
@pytest.mark.parametrize("value", [-0.1, math.nan, math.inf, "0.1", None, [0.5]])
@pytest.mark.parametrize("kind", [SGD, BatchManhattan])
def test_a_setting_that_cannot_be(kind, name, value, layer):
    optimizer = Adam if name.startswith("beta") else kind
    with pytest.raises(InputError, match=rf"^{optimizer.__name__}: {name}: expected .*0.*, found"):
        optimizer(layer, 0.1, **{name: value})


def test_shares_end_below_one_and_a_decay_may_be_large(layer):
    for refused in (lambda: SGD(layer, 0.1, momentum=1), lambda: Adam(layer, 0.1, beta2=1)):
        with pytest.raises(InputError, match="expected a number from 0 to below 1, found 1"):
            refused()
    assert SGD(layer, 0.1, weight_decay=1.5).weight_decay == 1.5


def test_defaults_are_those_of_the_papers(layer):
    sgd, adam = SGD(layer, 0.1), Adam(layer, 0.1)
    assert (sgd.momentum, sgd.weight_decay) == (0.9, 0)
    assert (adam.beta1, adam.beta2, adam.eps, adam.t) == (0.9, 0.999, 1e-8, 0)


@pytest.mark.parametrize("kind", [np.float64, np.longdouble, Decimal, Fraction, np.array])
def test_a_number_of_another_type_is_kept_as_pythons_own(kind, layer):
    """So that float32 stays float32 in a step; also a number that is set later."""
    optimizer = SGD(layer, kind(0.25), momentum=kind(0.5))
    assert (optimizer.lr, optimizer.momentum) == (0.25, 0.5)
    optimizer.lr = kind(0.125)
    assert optimizer.lr == 0.125
    assert {type(n) for n in (optimizer.lr, optimizer.momentum)} == {float}


def test_what_is_no_number_is_kept_as_it_is(layer):
    optimizer = SGD(layer, 0.1)
    optimizer.flag, optimizer.words, optimizer.count = True, "fast", np.int64(3)
    assert (optimizer.flag, optimizer.words) == (True, "fast")
    assert [type(v) for v in (optimizer.flag, optimizer.count)] == [bool, int]


@pytest.mark.parametrize("schedule", [step_decay, cosine])
@pytest.mark.parametrize("value", [0, -1, math.nan, "x", None, [1]])
def test_a_schedule_that_cannot_be(schedule, value):
    for arguments in ((value, 3), (0.1, value)):
        with pytest.raises(InputError, match=rf"^{schedule.__name__}: .* a number above 0, found"):
            schedule(*arguments)


@pytest.mark.parametrize("optimizer", [SGD, Adam])
def test_a_step_before_the_backward_pass_is_one_line(optimizer, layer):
    with pytest.raises(InputError, match=r"^grads\['W'\]: not there: no backward pass yet"):
        optimizer(layer, 0.1).step()


@pytest.mark.parametrize("model", [None, [], layers.ReLU, "mlp"])
def test_what_is_no_network_has_no_optimizer(model):
    with pytest.raises(InputError, match=r"^SGD: expected a network such as models\.mlp"):
        SGD(model, 0.1)
