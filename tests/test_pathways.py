"""Pathways that agree with W in a share of their signs: the share, the angle, the identities."""

import math

import numpy as np
import pytest

from nnref import models
from nnref.backend import to_device, to_host, xp
from nnref.errors import InputError
from nnref.feedback import KolenPollack, SignedInit, SignSymmetry
from nnref.init import stream
from nnref.layers.base import rule_of_a_layer
from nnref.measure import angle, sign_concordance
from nnref.optim import SGD
from nnref.questions.pathways import (
    FixedConcordance,
    Inverted,
    TrackingConcordance,
    predicted_angle,
)
from nnref.rules.mirror import WeightMirror, mirror
from nnref.train import train_step

KINDS = [TrackingConcordance, FixedConcordance]


def born(rule, W, seed=0):
    return rule_of_a_layer(rule, W, 0.1, "uniform", stream(seed, "rule"))


def normal(*shape):
    return to_device(np.random.default_rng(0).normal(size=shape))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("p", [1, 0.9, 0.75, 0.5, 0.25, 0])
def test_a_share_p_of_the_signs_agrees_and_the_angle_follows(kind, p):
    """cos(angle) = (2p - 1) sqrt(2 / pi) for normal weights."""
    W = normal(500, 400)
    B = born(kind(p), W)(W)
    assert sign_concordance(W, B) == pytest.approx(p, abs=0.005)
    expected = math.degrees(math.acos((2 * p - 1) * math.sqrt(2 / math.pi)))
    assert angle(B, W) == pytest.approx(expected, abs=0.5)
    assert predicted_angle(W, p) == pytest.approx(expected, abs=0.5)
    assert set(np.unique(to_host(abs(B)))) == {0.1}


def test_a_tracking_pathway_follows_weights_that_change_sign_and_a_fixed_one_does_not():
    W = normal(30, 20)
    tracking, fixed = (born(kind(0.75), W) for kind in KINDS)
    assert np.array_equal(to_host(tracking(W)), to_host(fixed(W)))
    assert np.array_equal(to_host(tracking(-W)), -to_host(tracking(W)))
    assert np.array_equal(to_host(fixed(-W)), to_host(fixed(W)))


@pytest.mark.parametrize("kind", KINDS)
def test_an_interneuron_turns_concordance_p_into_1_minus_p(kind):
    W = normal(200, 100)
    for p in (1, 0.75, 0.25, 0):
        inverted = born(Inverted(kind(p)), W)
        assert np.array_equal(to_host(inverted(W)), -to_host(born(kind(p), W)(W)))
        assert sign_concordance(W, inverted(W)) == pytest.approx(1 - p, abs=0.02)


def trained(rule):
    """All weights of a small network after some steps."""
    model = models.mlp([12, 8], (5, 1, 1), 3, feedback=rule)
    x = normal(30, 5, 1, 1).astype("float32")
    optimizer = SGD(model, 0.1)
    for _ in range(20):
        train_step(model, optimizer, x, np.arange(30) % 3)
    return [to_host(layer.params["W"]) for layer in model.layers if layer.params]


@pytest.mark.parametrize("ours, theirs", [
    (TrackingConcordance(1), SignSymmetry()),
    (FixedConcordance(1), SignedInit()),
    (Inverted(TrackingConcordance(0)), SignSymmetry()),
    (Inverted(FixedConcordance(0)), SignedInit()),
])  # fmt: skip
def test_the_ends_of_the_dial_are_rules_that_have_names(ours, theirs):
    """Antiparallel pathways with an inverting interneuron are sign-symmetry, bit for bit."""
    for a, b in zip(trained(ours), trained(theirs), strict=True):
        assert np.array_equal(a, b)


def test_every_layer_has_a_mask_of_its_own_and_the_weights_of_birth_stay_as_they_were():
    model = models.mlp([8], (8, 1, 1), 8, feedback=Inverted(FixedConcordance(0.5)))
    plain = models.mlp([8], (8, 1, 1), 8)
    ours, others = ([layer for layer in m.layers if layer.params] for m in (model, plain))
    for a, b in zip(ours, others, strict=True):
        assert np.array_equal(to_host(a.params["W"]), to_host(b.params["W"]))
    first, second = (layer.feedback(layer.params["W"]) for layer in ours)
    assert bool((xp.sign(first) != xp.sign(second)).any())


def test_a_pathway_that_learns_cannot_be_inverted():
    with pytest.raises(InputError, match="whose B does not learn, found KolenPollack"):
        Inverted(KolenPollack())


def test_a_share_outside_0_to_1_is_refused():
    with pytest.raises(
        InputError, match=r"TrackingConcordance: expected p from 0 to 1, found 1\.5"
    ):
        TrackingConcordance(1.5)


def test_a_pathway_that_learns_by_itself_learns_behind_an_interneuron_too():
    x = to_device(np.random.default_rng(0).normal(size=(20, 8, 1, 1)).astype("float32"))
    model = models.mlp([6], (8, 1, 1), 4, feedback=Inverted(WeightMirror(eta=0.1)))
    top = model.layers[-1]
    W = top.params["W"]
    before = angle(top.feedback(W), -W)
    mirror(model, x, 200)
    assert angle(top.feedback(W), -W) < 30 < before
