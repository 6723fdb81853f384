"""What Liao 2016 adds: feedback whose signs agree with W's in a given share, and its network."""

import math

import numpy as np
import pytest

from nnref.backend import to_device, to_host
from nnref.feedback import Backprop
from nnref.init import stream
from nnref.layers import BatchNorm, Conv2d, Linear
from nnref.measure import angle
from nnref.replicate.liao2016 import Part, PartialConcordance, network


@pytest.mark.parametrize("p", [1, 0.9, 0.75, 0.5])
def test_a_share_p_of_the_signs_agrees_and_the_angle_follows(p):
    """cos(angle) = (2p - 1) sqrt(2 / pi) for normal weights."""
    W = to_device(np.random.default_rng(0).normal(size=(500, 400)))
    B = PartialConcordance(p).for_layer(W, 0.1, "uniform", stream(0, "rule"))(W)
    agree = float((B * W > 0).mean())
    assert agree == pytest.approx(p, abs=0.005)
    expected = math.degrees(math.acos((2 * p - 1) * math.sqrt(2 / math.pi)))
    assert angle(B, W) == pytest.approx(expected, abs=0.5)


def test_the_same_synapses_agree_after_their_weights_have_changed_sign():
    W = to_device(np.random.default_rng(0).normal(size=(30, 20)))
    rule = PartialConcordance(0.75).for_layer(W, 0.1, "uniform", stream(0, "rule"))
    assert np.array_equal(to_host(rule(-W)), -to_host(rule(W)))


@pytest.mark.parametrize("norm", [True, False])
def test_batchnorm_stands_in_for_the_bias_of_all_layers_but_the_last(norm):
    part = Part("digits", [4, 6], [5], {}, (0, 0), 1, 10, 1)
    layers = network((32, 32, 3), part, norm, Backprop(), 0).layers
    weighted = [layer for layer in layers if isinstance(layer, Linear | Conv2d)]
    assert sum(isinstance(layer, BatchNorm) for layer in layers) == (3 if norm else 0)
    assert ["b" in layer.params for layer in weighted] == [not norm] * 3 + [True]
    assert weighted[2].params["W"].shape == (4 * 4 * 6, 5)
