"""Random streams that do not disturb one another, and initial weights of the right size."""

import math

import numpy as np
import pytest
from oracles import assert_same

from nnref import models
from nnref.errors import InputError
from nnref.feedback import Backprop, FeedbackAlignment, RedrawnMagnitudes, SignSymmetry
from nnref.init import glorot_uniform, he_normal, he_normal_out, pytorch_uniform, stream
from nnref.layers import Conv2d
from nnref.measure import weight_layers


def test_streams_of_one_seed_differ_and_repeat():
    names = ("init", "order", "augment")
    draws = [stream(7, name).random(4).tolist() for name in names]
    assert draws == [stream(7, name).random(4).tolist() for name in names]
    assert len({tuple(draw) for draw in draws}) == 3
    assert stream(8, "init").random() != stream(7, "init").random()


@pytest.mark.parametrize("seed", [-1, None, 1.5, "a", [1], math.nan, True])
def test_a_seed_that_cannot_be_is_one_line(seed):
    for attempt in (lambda: stream(seed, "init"), lambda: models.lenet(seed=seed)):
        with pytest.raises(InputError, match=r"^seed: expected a whole number of at least 0, "):
            attempt()


def test_a_seed_of_numpys_is_that_of_pythons():
    assert stream(np.int32(7), "init").random() == stream(7, "init").random()


@pytest.mark.parametrize(
    ("init", "rms"),
    [
        (he_normal, math.sqrt(2 / 400)),
        (glorot_uniform, math.sqrt(2 / (400 + 300))),
        (he_normal_out, math.sqrt(2 / 300)),
        (pytorch_uniform, math.sqrt(1 / 400 / 3)),
    ],
)
def test_initial_weights_have_the_published_size(init, rms):
    W = init(stream(0, "init"), (400, 300), fan_in=400, fan_out=300)
    assert np.sqrt((W**2).mean()) == pytest.approx(rms, rel=0.01)
    assert W.mean() == pytest.approx(0, abs=4 * rms / math.sqrt(W.size))


def test_a_convolution_counts_its_fans_in_pixels_times_channels():
    seen = {}

    def note(rng, shape, fan_in, fan_out):
        seen.update(shape=shape, fan_in=fan_in, fan_out=fan_out)
        return np.zeros(shape)

    Conv2d(3, 8, 5, stream(0, "init"), init=note)
    assert seen == {"shape": (75, 8), "fan_in": 75, "fan_out": 200}


@pytest.mark.parametrize(
    "make", [models.lenet, lambda **rest: models.mlp([9, 7], input_shape=(20,), classes=5, **rest)]
)
def test_the_rule_does_not_change_the_initial_weights(make):
    reference = [layer.params["W"] for layer in weight_layers(make(feedback=Backprop(), seed=3))]
    for rule in (SignSymmetry(), FeedbackAlignment(), RedrawnMagnitudes()):
        for last in (None, Backprop(), FeedbackAlignment()):
            model = make(feedback=rule, last_feedback=last, seed=3)
            for W, layer in zip(reference, weight_layers(model), strict=True):
                assert_same(W, layer.params["W"])


def test_float32_and_float64_start_from_the_same_numbers():
    single, double = (
        models.mlp(
            [9], input_shape=(20,), classes=5, feedback=FeedbackAlignment(), seed=1, dtype=dtype
        )
        for dtype in ("float32", "float64")
    )
    for a, b in zip(weight_layers(single), weight_layers(double), strict=True):
        assert_same(a.params["W"], b.params["W"].astype("float32"))
        assert_same(a.feedback.B, b.feedback.B.astype("float32"))
