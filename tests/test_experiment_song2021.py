"""Song et al. 2021: the claims in made-up worlds, the network's scaling, the plan's figures."""

import pytest
from made_up import verdicts

from nnref.experiments.papers import song2021
from nnref.experiments.result import Result
from nnref.feedback import Backprop
from nnref.losses import mean_squared_error
from nnref.measure import delta_angles
from nnref.optim import SGD
from nnref.train import train_step

STEPS = range(0, 4001, 100)


def trial(width, decay, error=lambda t: 10 ** (-t / 400), angle=89.0):
    """A training under FA; its error is a function of the step, its angle falls from 90."""
    history = [{"step": t, "error": error(t), "angle": 90 + (angle - 90) * t / 4000} for t in STEPS]
    facts = {"rule": "FA", "width": width, "decay": decay, "seed": 0}
    return facts | {"history": history, "seconds": 0}


def world(narrow=80, wide=89, weak=60, strong=40, error=lambda t: 10 ** (-t / 400)):
    """Angles at the end without decay (two widths), with 0.0001 and 0.001."""
    return [
        trial(256, 0, error, narrow),
        trial(4096, 0, error, wide),
        trial(4096, 1e-4, lambda t: 0.01, weak),
        trial(4096, 1e-3, lambda t: 0.2, strong),
    ]


def test_a_world_like_that_of_the_theorems_reproduces_every_claim():
    assert set(verdicts(song2021, world()).values()) == {"reproduced"}


@pytest.mark.parametrize(
    "changes, claim",
    [
        ({"wide": 70}, "without decay"),
        ({"error": lambda t: 1 / (1 + t)}, "without decay"),
        ({"strong": 88, "weak": 89}, "with decay"),
        ({"narrow": 89.5}, "width"),
    ],
)
def test_another_world_does_not(changes, claim):
    assert verdicts(song2021, world(**changes))[claim] in ("partly", "not")


def test_nothing_was_run_yet():
    assert set(verdicts(song2021, []).values()) == {"incomplete"}
    assert song2021.figures(Result({"tier": "small", "trials": []})) == {}


def test_a_step_changes_the_outputs_as_much_at_any_width():
    x, residual = song2021.points(0)
    changes = []
    for width in (64, 4096):
        model = song2021.network(width, Backprop(), 0)
        before = model.forward(x)
        assert 0.1 < float((before**2).mean()) < 2
        train_step(model, SGD(model, 1.0, momentum=0), x, before + residual, mean_squared_error)
        changes.append(float(abs(model.forward(x) - before).mean()))
    assert 0.5 < changes[0] / changes[1] < 2


def test_the_scale_passes_the_exact_error():
    model = song2021.network(16, Backprop(), 0)
    assert max(delta_angles(model, *song2021.points(0), mean_squared_error)) < 1e-3
    hidden, _, scale, top = model.layers
    x, target = (array.astype("float64") for array in song2021.points(1))
    for layer in (hidden, top):
        layer.params["W"] = layer.params["W"].astype("float64")
    W, step = hidden.params["W"], 1e-6
    _, delta = mean_squared_error(model.forward(x), target)
    model.backward(delta)
    grad = float(hidden.grads["W"][3, 5])
    losses = []
    for sign in (1, -1):
        W[3, 5] += sign * step
        losses.append(float(mean_squared_error(model.forward(x), target)[0]))
        W[3, 5] -= sign * step
    assert grad == pytest.approx((losses[0] - losses[1]) / (2 * step), rel=1e-6)
