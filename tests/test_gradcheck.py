"""Gradient checks: right gradients pass, wrong ones are told in one line, by layer."""

import numpy as np
import pytest

from nnref import models
from nnref.backend import to_device, to_host, xp
from nnref.data import mnist
from nnref.errors import InputError
from nnref.feedback import FeedbackAlignment, SignSymmetry
from nnref.layers import BatchNorm, Conv2d, Layer, Linear, ReLU, Residual, Sequential, Tanh
from nnref.runs.settings import MODELS
from nnref.tools import gradcheck


@pytest.mark.parametrize("name", ["mlp", "lenet", "cifar-cnn", "resnet20", "alexnet"])
def test_the_zoo_passes(name, capsys):
    assert gradcheck.run(name, MODELS[name]) == 0
    assert "largest relative error" in capsys.readouterr().out


def test_a_wrong_gradient_is_told(monkeypatch, capsys):
    original = Conv2d.backward

    def wrong(self, delta):
        error = original(self, delta)
        self.grads["W"] = self.grads["W"] * 1.001
        return error

    monkeypatch.setattr(Conv2d, "backward", wrong)
    assert gradcheck.run("lenet", MODELS["lenet"]) == 1
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    worst = {
        row[0].split("(")[0]: float(row[-1]) for row in rows if row[0].startswith(("Conv", "Lin"))
    }
    assert worst["Conv2d"] > 1e-4 > worst["Linear"]


@pytest.mark.parametrize("factor", [0.0, float("nan")])
@pytest.mark.parametrize("name", ["W", "b"])
def test_a_gradient_that_is_missing_or_nan_is_told(name, factor, monkeypatch):
    original = Conv2d.backward

    def wrong(self, delta):
        error = original(self, delta)
        self.grads[name] = self.grads[name] * factor
        return error

    monkeypatch.setattr(Conv2d, "backward", wrong)
    assert gradcheck.run("lenet", MODELS["lenet"]) == 1


class Gain(Layer):
    """A layer that a user may write: y = g x, with a learned g for every input."""

    def __init__(self, n):
        super().__init__()
        self.params = {"g": xp.ones(n, "float32")}

    def forward(self, x):
        self.x = x
        return self.params["g"] * x

    def backward(self, delta):
        self.grads = {"g": (self.x * delta).sum(axis=0)}
        return self.params["g"] * delta


class Silent(Gain):
    def backward(self, delta):
        super().backward(delta)


class NotSummed(Gain):
    def backward(self, delta):
        error = super().backward(delta)
        self.grads = {"g": self.x * delta}
        return error


class Forgetful(Gain):
    def backward(self, delta):
        return self.params["g"] * delta


class Doubled(Gain):
    def backward(self, delta):
        error = super().backward(delta)
        self.grads["g"] *= 2
        return error


class Leaky(Gain):
    """Its own gradient is right, the error that it sends is not."""

    def backward(self, delta):
        return 1.01 * super().backward(delta)


class Flat(Gain):
    def backward(self, delta):
        return super().backward(delta)[0]


class Overwriting(ReLU):
    def backward(self, error):
        error *= self.sigma > 0
        return error


class Noisy(Layer):
    """Random in `forward`, as dropout is."""

    rng = np.random.default_rng(0)

    def forward(self, x):
        return x + to_device(self.rng.random(x.shape))

    def backward(self, delta):
        return delta


def around(layer, feedback=FeedbackAlignment()):
    """A network 6-5-5-4 with this layer in the middle, in float32."""
    rng = np.random.default_rng(1)
    settings = {"rng": rng, "feedback": feedback}
    below, above = Linear(6, 5, **settings), Linear(5, 4, **settings)
    return Sequential(below, Tanh(), layer, above)


def batch(*shape):
    x = np.random.default_rng(2).standard_normal((8, *(shape or (6,)))).astype("float32")
    return to_device(x), np.arange(8) % 4


def test_a_right_layer_of_ones_own_passes_under_any_rule_and_the_network_stays_as_it_was(capsys):
    model = around(Gain(5), SignSymmetry())
    before = [to_host(array).copy() for layer in model.walk() for array in layer.params.values()]
    x, labels = batch()
    kept = to_host(x).copy()
    assert gradcheck.check(model, x, labels) < 1e-6
    lines = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert " ".join(lines) == ("float64, parameters Linear(6, Gain() Linear(5, (the largest")
    after = [to_host(array) for layer in model.walk() for array in layer.params.values()]
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))
    assert np.array_equal(to_host(x), kept)
    assert {array.dtype for array in after} == {np.dtype("float32")}


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (Silent(5), "expected backward to return, of shape (8, 5), found NoneType"),
        (Flat(5), "expected backward to return, of shape (8, 5), found (5,)"),
        (NotSummed(5), "expected backward to set grads['g'], of shape (5,), found (8, 5)"),
        (Forgetful(5), "expected backward to set grads['g'], of shape (5,), found NoneType"),
        (Overwriting(), "expected backward to leave delta as it was"),
        (Doubled(5), "grads['g'] is wrong: along a direction the loss has the slope "),
        (Leaky(5), "the error that backward returns is wrong: along a direction the loss has "),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Layer) else "",
)
@pytest.mark.parametrize("inside", [False, True])
def test_a_wrong_layer_is_named_in_one_line(wrong, told, inside):
    """Also within a branch, and with right layers above, below and around it."""
    wrong = Residual(Sequential(Tanh(), wrong)) if inside else wrong
    name = type(wrong.main.layers[1] if inside else wrong).__name__
    with pytest.raises(AssertionError) as raised:
        gradcheck.check(around(wrong), *batch())
    message = str(raised.value)
    assert message.startswith(f"{name}(): {told}")
    assert "\n" not in message


def test_a_container_that_sends_a_wrong_error_is_named():
    class Forgets(Residual):
        def backward(self, delta):
            return self.main.backward(delta)

    with pytest.raises(AssertionError, match=r"^Forgets\(\): the error"):
        gradcheck.check(around(Forgets(Tanh())), *batch())


def test_real_digits_with_their_ties_and_zeros_pass():
    """Equal pixels tie in a maximum, and black ones put a sum on the kink of a ReLU."""
    train, _ = mnist.load_subset()
    x, labels = to_device(train.images[:4]), train.labels[:4]
    assert gradcheck.check(models.lenet(), x, labels) < 1e-6
    assert gradcheck.check(models.lenet(), xp.zeros_like(x), labels) < 1e-6


def test_batch_normalization_passes_in_training_and_in_evaluation():
    model = around(BatchNorm(5))
    assert gradcheck.check(model, *batch()) < 1e-6
    model.layers[2].training = False
    model.layers[2].running_mean += 0.3
    assert gradcheck.check(model, *batch()) < 1e-6
    model.layers[2].sends_gain = False  # a rule, as B is: exact derivatives send it
    model.layers[2].params["gamma"] += 0.5
    assert gradcheck.check(model, *batch()) < 1e-6


def test_a_slope_of_zero_is_no_error():
    """The softmax ignores what is added to all outputs: that gradient is nothing but rounding."""

    class Shift(Layer):
        def __init__(self):
            super().__init__()
            self.params = {"c": xp.zeros(1, "float32")}

        def forward(self, x):
            return x + self.params["c"]

        def backward(self, delta):
            self.grads = {"c": delta.sum().reshape(1)}
            return delta

    model = around(Gain(5))
    assert gradcheck.check(Sequential(*model.layers, Shift()), *batch()) < 1e-4


@pytest.mark.parametrize(
    ("model", "x", "labels", "told"),
    [
        ("mlp", *batch(), "gradcheck: expected a network such as models.mlp([100]), found a str"),
        (around(Gain(5)), [[1.0] * 6], np.arange(1), "gradcheck: expected an array of"),
        (around(Gain(5)), batch()[0], [0] * 8, "labels: expected a NumPy array of integers"),
        (around(Gain(5)), batch()[0], np.full(8, 4), "labels: expected 0 to 3, found 4"),
        (around(Gain(5)), *batch(7), "Linear(6, 5): expected input of shape (any, 6), found"),
        (
            around(Noisy()),
            *batch(),
            "gradcheck: expected one batch to give one loss, found ",
        ),
    ],
    ids=["name", "list", "labels", "class", "shape", "random"],
)
def test_what_cannot_be_checked_is_refused_in_one_line(model, x, labels, told):
    with pytest.raises(InputError) as raised:
        gradcheck.check(model, x, labels)
    assert str(raised.value).startswith(told)
