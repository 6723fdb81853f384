"""Training in turns: first an epoch of the inverses alone, then one of the layers alone."""

import copy

import numpy as np
import pytest
from oracles import assert_same

from nnref import models
from nnref.backend import to_host
from nnref.data.imageset import ImageSet
from nnref.errors import InputError
from nnref.layers import Tanh
from nnref.measure import weight_layers
from nnref.optim import Adam
from nnref.rules.alternating import AlternatingTraining
from nnref.rules.inverse import Inverse, denoising
from nnref.rules.targets import AtOutput, TargetPropagation
from nnref.runs import checkpoint
from nnref.train import Training, evaluate


def images(count):
    rng = np.random.default_rng(0)
    return ImageSet(rng.normal(size=(count, 3, 2, 1)).astype("float32"), np.arange(count) % 4)


def made(kind=AlternatingTraining, parallel=False, rule=Inverse(denoising), seed=0, **options):
    model = models.mlp([6, 5], (3, 2, 1), 4, activation=Tanh, feedback=rule, seed=seed)
    model = TargetPropagation(model, AtOutput(), parallel=parallel)
    options = {"epochs": 2, "batch_size": 8, "seed": 3} | options
    return kind(model, Adam(model, 0.01), images(36), images(8), **options)


def state(model):
    """(all W and b, all B and c that learn)."""
    layers = weight_layers(model)
    weights = [to_host(p).copy() for layer in layers for p in layer.params.values()]
    rules = [layer.feedback for layer in layers[1:]]
    return weights, [to_host(p).copy() for rule in rules for p in (rule.B, rule.c)]


def test_inverses_and_layers_take_turns():
    """All steps of the inverses of an epoch come before the first step of a layer."""
    events, states = [], []
    training = made(on_step=lambda t: note("layers"))
    model, learn = training.model, training.model.learn_inverses

    def note(who):
        events.append(who)
        states.append(state(model))

    def learn_inverses(x):
        learn(x)
        note("inverses")

    model.learn_inverses = learn_inverses
    start = state(model)
    training.run()
    steps = 5  # the last of 4 images
    assert events == 2 * (steps * ["inverses"] + steps * ["layers"])
    for who, before, after in zip(events, [start, *states], states, strict=False):
        changed = [
            [(a != b).any() for a, b in zip(*pair, strict=True)]
            for pair in zip(before, after, strict=True)
        ]
        assert {all(kind) for kind in changed} == {any(kind) for kind in changed}
        assert all(changed[0]) == (who == "layers")
        assert all(changed[1]) == (who == "inverses")


def test_both_turns_see_the_same_images_in_the_same_order():
    seen = {"inverses": [], "layers": []}
    training = made()
    model, learn, backward = training.model, training.model.learn_inverses, training.model.backward

    def learn_inverses(x):
        learn(x)
        seen["inverses"].append(to_host(x))

    def backward_noted(delta):
        backward(delta)
        seen["layers"].append(to_host(model.layers[1].x).reshape(-1, 3, 2, 1))

    model.learn_inverses, model.backward = learn_inverses, backward_noted
    training.run()
    for one, two in zip(*seen.values(), strict=True):
        np.testing.assert_array_equal(one, two)


def test_with_inverses_that_do_not_learn_it_is_a_parallel_training():
    fixed = Inverse(optimizer=None)
    one, two = made(rule=fixed), made(Training, parallel=True, rule=fixed)
    histories = [training.run() for training in (one, two)]
    for a, b in zip(*(weight_layers(t.model) for t in (one, two)), strict=True):
        assert_same(a.params["W"], b.params["W"])
        assert_same(a.feedback.B, b.feedback.B)
    assert histories[0][-1]["held_out_loss"] == histories[1][-1]["held_out_loss"]


@pytest.mark.parametrize("at", [1, 3, 5, 6])  # of 5 steps an epoch: after one, in between, the last
def test_a_training_that_stops_goes_on_bit_for_bit(at, tmp_path):
    whole = made()
    whole.run()

    class Stop(Exception):
        pass

    stopped, steps = made(), []

    def stop(t):
        steps.append(t)
        if len(steps) == at:
            facts = stopped.model, stopped.optimizer, stopped.progress, {}
            checkpoint.save(tmp_path / "a.npz", *facts)
            raise Stop

    stopped.on_step = stop
    with pytest.raises(Stop):
        stopped.run()
    other = made(seed=1)
    contents = checkpoint.read(tmp_path / "a.npz")
    other.progress = checkpoint.restore(contents, other.model, other.optimizer)
    other.progress.loss_sum = other.progress.loss_sum[()]
    history = other.run()
    for ours, theirs in zip(state(other.model), state(whole.model), strict=True):
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(a, b)
    assert history[-1]["held_out_loss"] == evaluate(whole.model, images(8))[0]


def test_another_network_is_refused():
    plain = made()
    plain.model = models.mlp([6], (3, 2, 1), 4)
    parallel = made(parallel=True)
    for training, found in ((plain, "Sequential"), (parallel, "TargetPropagation")):
        before = copy.deepcopy(training.model)
        with pytest.raises(InputError, match=rf"parallel=False, found {found}"):
            training.run()
        layers = zip(weight_layers(before), weight_layers(training.model), strict=True)
        for a, b in layers:
            assert_same(a.params["W"], b.params["W"])
