"""The zoo: shapes, parameter counts, exact gradients of whole networks, one dtype throughout."""

import numpy as np
import pytest
from oracles import gradient_errors, randomize

from nnref import layers, models
from nnref.errors import InputError
from nnref.feedback import (
    Backprop,
    FeedbackAlignment,
    FixedMagnitudes,
    RedrawnMagnitudes,
    Sham,
    SignedInit,
    SignSymmetry,
)
from nnref.init import stream
from nnref.losses import softmax_cross_entropy
from nnref.measure import weight_layers
from nnref.optim import SGD, Adam, BatchManhattan


def small_conv_net(feedback=None, dtype="float64"):
    """Every kind of layer once, on 9 x 8 images of 2 channels."""
    rng, rest = stream(0, "init"), {"feedback": feedback or Backprop(), "dtype": dtype}
    return layers.Sequential(
        layers.Conv2d(2, 3, 3, rng, padding=1, **rest),
        layers.BatchNorm(3, dtype),
        layers.Tanh(),
        layers.MaxPool2d(2),
        layers.Residual(
            layers.Sequential(
                layers.Conv2d(3, 4, 3, rng, stride=2, padding=1, **rest), layers.Sigmoid()
            ),
            layers.Conv2d(3, 4, 1, rng, stride=2, **rest),
        ),
        layers.AvgPool2d(2, stride=1),
        layers.Residual(layers.Sequential(layers.Conv2d(4, 4, 1, rng, **rest), layers.ReLU())),
        layers.GlobalAvgPool(),
        layers.Flatten(),
        layers.Linear(4, 3, rng, **rest),
    )


NETWORKS = {
    "mlp-relu": (lambda: models.mlp([7, 5], input_shape=(6,), classes=3, dtype="float64"), (4, 6)),
    "mlp-tanh": (
        lambda: models.mlp(
            [7], input_shape=(6,), classes=3, activation=layers.Tanh, dtype="float64"
        ),
        (4, 2, 3, 1),
    ),
    "lenet": (lambda: models.lenet(dtype="float64"), (2, 28, 28, 1)),
    "every-layer": (small_conv_net, (3, 9, 8, 2)),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_gradients_of_whole_networks_are_exact(name, rng):
    make, shape = NETWORKS[name]
    model = make()
    randomize(model, rng)
    for layer in model.walk():
        layer.sends_error = True  # so that dx is checked too
    assert max(gradient_errors(model, rng.standard_normal(shape), rng)) < 1e-6


RULES = (
    Backprop,
    Sham,
    SignSymmetry,
    FixedMagnitudes,
    RedrawnMagnitudes,
    SignedInit,
    FeedbackAlignment,
)


def arrays_in(thing, seen=None):
    """Every array that an object holds, however deep."""
    seen = set() if seen is None else seen
    if id(thing) in seen:
        return
    seen.add(id(thing))
    if isinstance(thing, np.ndarray):
        yield thing
    elif isinstance(thing, dict):
        for value in thing.values():
            yield from arrays_in(value, seen)
    elif isinstance(thing, list | tuple):
        for value in thing:
            yield from arrays_in(value, seen)
    elif type(thing).__module__.startswith("nnref"):
        yield from arrays_in(vars(thing), seen)


@pytest.mark.parametrize("optimizer", [SGD, BatchManhattan, Adam])
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_after_one_step_every_floating_array_has_the_dtype_asked_for(rule, optimizer, dtype, rng):
    model = small_conv_net(rule(), dtype)
    steps = optimizer(model, 0.1)
    loss, delta = softmax_cross_entropy(
        model.forward(rng.standard_normal((4, 9, 8, 2)).astype(dtype)), np.array([0, 1, 2, 0])
    )
    error = model.backward(delta)
    steps.step()
    found = [array for array in arrays_in([model, steps, error]) if array.dtype.kind == "f"]
    assert len(found) > 40
    assert {array.dtype for array in found} == {np.dtype(dtype)}
    assert loss.dtype == dtype


@pytest.mark.parametrize(
    "make",
    [lambda **rules: models.mlp([4, 3], input_shape=(5,), classes=2, **rules), models.lenet],
    ids=["mlp", "lenet"],
)
def test_every_layer_gets_the_rule_and_the_last_one_its_own_if_given(make):
    def kinds(**rules):
        return [type(layer.feedback) for layer in weight_layers(make(**rules))]

    count = len(kinds())
    assert kinds() == [Backprop] * count
    assert kinds(feedback=SignSymmetry()) == [SignSymmetry] * count
    mixed = kinds(feedback=FeedbackAlignment(), last_feedback=Backprop())
    assert mixed == [FeedbackAlignment] * (count - 1) + [Backprop]


def test_summary_prints_layers_shapes_and_lecuns_parameter_counts(capsys):
    """By hand: 156 + 2,416 + 48,120 + 10,164 + 850 = 61,706, LeNet-5 without its sparse table."""
    model = models.lenet()
    models.summary(model, (28, 28, 1))
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == "layer output parameters"
    assert lines[1] == "Conv2d(1, 6, k=5, stride=1, padding=2) (28, 28, 6) 156"
    assert lines[3] == "MaxPool2d(2, stride=2, padding=0) (14, 14, 6) 0"
    assert lines[-1] == "total 61,706"
    assert len(lines) == 1 + 12 + 1
    assert not hasattr(model.layers[0], "x")  # it looked at a copy


def test_summary_of_an_impossible_input_names_the_layer():
    with pytest.raises(InputError, match=r"^Linear\(400, 120\): expected input of shape"):
        models.summary(models.lenet(), (32, 32, 1))


def test_summary_evaluates_and_takes_a_model_without_parameters(capsys):
    models.summary(layers.Sequential(layers.Flatten(), layers.ReLU()), (2, 3, 1))
    assert capsys.readouterr().out.splitlines()[-1].split() == ["total", "0"]
    models.summary(layers.BatchNorm(4), (4,))  # one sample has no variance to train on


def test_an_activation_is_a_class():
    with pytest.raises(InputError, match=r"^mlp: expected activation to be a class such as ReLU"):
        models.mlp([4], input_shape=(5,), classes=3, activation=layers.ReLU())
