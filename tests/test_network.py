"""The network of several replications."""

import pytest

from nnref.experiments.network import network
from nnref.feedback import Backprop, SignSymmetry
from nnref.layers import BatchNorm, Conv2d, Linear


@pytest.mark.parametrize("norm", [BatchNorm, None])
def test_batchnorm_stands_in_for_the_bias_of_all_layers_but_the_last(norm):
    model = network(
        (32, 32, 3), [4, 6], [5], SignSymmetry(), 0, last_feedback=Backprop(), norm=norm
    )
    weighted = [layer for layer in model.layers if isinstance(layer, Linear | Conv2d)]
    assert sum(isinstance(layer, BatchNorm) for layer in model.layers) == (3 if norm else 0)
    assert ["b" in layer.params for layer in weighted] == [norm is None] * 3 + [True]
    assert weighted[2].params["W"].shape == (4 * 4 * 6, 5)
    rules = [type(layer.feedback) for layer in weighted]
    assert rules == [SignSymmetry] * 3 + [Backprop]
    assert not weighted[0].sends_error
