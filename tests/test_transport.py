"""The transport ledger: counted by hand, and checked against what a change of W can do to B."""

import copy

import numpy as np
import pytest

from nnref import feedback, models
from nnref.backend import to_device, to_host
from nnref.errors import InputError
from nnref.experiments.network import network
from nnref.feedback import Backprop, Feedback, FeedbackAlignment, SignSymmetry
from nnref.layers import BatchNorm, Flatten, Linear, LocallyConnected2d, ReLU, Sequential
from nnref.measure import angle, delta_angles, deltas, weight_layers
from nnref.questions.dale import every_neuron, every_weight, interneurons
from nnref.questions.pathways import FixedConcordance, Inverted, TrackingConcordance
from nnref.questions.transport import PRICES, cut_gains, ledger, total
from nnref.rules import mirror
from nnref.rules.known import KNOWN

SIZES = 20 * 10 + 10 * 3  # synapses of layers 2 and 3 in `of`; the first layer's B is not used


def of(rule, last=None):
    return models.mlp([20, 10], (5, 1, 1), 3, feedback=rule, last_feedback=last)


@pytest.mark.parametrize("rule, every_step, at_birth", [
    (Backprop(), 32 * SIZES, 0),
    (SignSymmetry(), SIZES, 0),
    (feedback.SignedInit(), 0, SIZES),
    (FeedbackAlignment(), 0, 0),
    (TrackingConcordance(0.5), SIZES, 0),
    (Inverted(FixedConcordance(0)), 0, SIZES),
])  # fmt: skip
def test_the_price_of_a_rule(rule, every_step, at_birth):
    assert total(ledger(of(rule))) == (every_step, at_birth)


def test_backprop_in_the_last_layer_is_paid_for_there():
    assert [e.every_step for e in ledger(of(SignSymmetry(), Backprop()))] == [0, 200, 32 * 30]


def test_dales_law_makes_sign_symmetry_free_after_birth():
    for law, at_birth in ((every_weight, SIZES), (lambda m: every_neuron(m, 0.8, 0), 20 + 10)):
        model = of(SignSymmetry())
        assert total(ledger(model, law(model))) == (0, at_birth)
        model = of(feedback.SignedInit())  # the signs from before the law, a bit for each synapse
        assert total(ledger(model, law(model))) == (0, SIZES)
        model = of(Backprop())
        assert total(ledger(model, law(model))) == (32 * SIZES, 0)


def test_interneurons_are_told_by_the_weights_they_inhibit_with():
    model = of(SignSymmetry())
    entries = ledger(model, interneurons(model, 0.1, 0))
    assert total(entries) == (SIZES + 32 * (1 * 10 + 1 * 3), 0)


def test_a_lambda_that_follows_the_rms_of_W_costs_a_float_a_layer():
    rms = SignSymmetry("rms")
    assert [e.every_step for e in ledger(of(rms))] == [0, 200 + 32, 30 + 32]
    model = of(rms)
    assert total(ledger(model, every_weight(model))) == (2 * 32, SIZES)  # signs stand still


@pytest.mark.parametrize("rates, bits", [
    (mirror.SYMMETRIC, 32), (mirror.ACTIVATION, 32), (mirror.MIRROR, 0), (mirror.INFORMATION, 0),
])  # fmt: skip
def test_alignment_is_free_where_its_losses_are_local(rates, bits):
    rule = mirror.Alignment(rates)
    assert total(ledger(of(rule))) == (bits * SIZES, 0)
    assert {known.bits for known in KNOWN.values() if getattr(known.rule, "rates", 0) == rates} <= {
        (bits, 0)
    }


@pytest.mark.parametrize("rule, weights", [(Backprop(), 32), (FeedbackAlignment(), 0)])
def test_gains_are_counted_under_every_rule_until_they_are_cut(rule, weights):
    model = network((8, 8, 1), [4], [6], rule, 0, norm=BatchNorm)
    of_weights = weights * (2 * 2 * 4 * 6 + 6 * 10)
    assert total(ledger(model)) == (of_weights + 32 * (4 + 6), 0)
    cut_gains(model)
    assert total(ledger(model)) == (of_weights, 0)


def test_a_channel_counts_once_in_a_convolution_under_the_law_of_neurons():
    model = network((8, 8, 1), [4, 3], [], SignSymmetry(), 0)
    law = every_neuron(model, 0.5, 0)
    assert [entry.at_birth for entry in ledger(model, law)] == [0, 4, 1 * 1 * 3]


def test_a_locally_connected_layer_has_the_channels_of_a_convolution():
    rng = np.random.default_rng(0)
    sizes = {"rng": rng, "feedback": SignSymmetry()}
    model = Sequential(
        LocallyConnected2d((6, 6, 1), 4, 3, **sizes), ReLU(),
        LocallyConnected2d((4, 4, 4), 3, 3, **sizes), Flatten(), Linear(2 * 2 * 3, 5, **sizes),
    )  # fmt: skip
    model.send_no_error_below()
    synapses = 2 * 2 * (3 * 3 * 4 * 3), 2 * 2 * 3 * 5
    assert total(ledger(model, every_weight(model))) == (0, sum(synapses))
    law = every_neuron(model, 0.5, 0)
    assert [entry.at_birth for entry in ledger(model, law)] == [0, 4, 2 * 2 * 3]


def test_every_rule_has_a_price():
    rules = {rule for rule in vars(feedback).values() if isinstance(rule, type)}
    rules = {rule for rule in rules if issubclass(rule, Feedback)} - {Feedback}
    assert rules | {TrackingConcordance, FixedConcordance} <= set(PRICES)


def changed(rule, change):
    """The deltas below the last layer, before and after `change` of its weights."""
    model = network((4, 4, 1), [], [8], rule, 0, norm=BatchNorm)
    x = to_device(np.random.default_rng(0).normal(size=(20, 4, 4, 1)).astype("float32"))
    labels = np.arange(20) % 10
    found = []
    for act in (lambda model: None, change):
        act(model)
        twin = copy.deepcopy(model)
        logits = twin.forward(x)
        probe = to_device(np.random.default_rng(1).normal(size=logits.shape).astype("float32"))
        found.append(to_host(deltas(twin, x, labels, loss=lambda *_, d=probe: (0, d))[0]))
    return found


def resize(model):
    """Other strengths, the same signs: 31 of 32 bits."""
    weight_layers(model)[-1].params["W"][...] *= 3


def regain(model):
    """Other gains of BatchNorm. The bias keeps the same units active."""
    for layer in model.layers:
        if isinstance(layer, BatchNorm):
            layer.params["gamma"][...] = 2


def test_what_is_not_sent_cannot_be_noticed_below():
    before, after = changed(Backprop(), resize)
    assert np.allclose(3 * before, after, rtol=1e-4, atol=1e-6)
    before, after = changed(SignSymmetry(), resize)
    assert np.array_equal(before, after)


@pytest.mark.parametrize("rule", [SignSymmetry(), FeedbackAlignment()])
def test_a_gain_leaks_under_every_rule_and_no_more_once_it_is_cut(rule):
    before, after = changed(rule, regain)
    assert np.allclose(2 * before, after, rtol=1e-4, atol=1e-6)

    def cut_and_regain(model):
        cut_gains(model)
        regain(model)

    before, after = changed(rule, cut_and_regain)  # before, the gain was 1
    assert np.allclose(before, after, rtol=1e-4, atol=1e-6)


def test_cut_gains_are_a_part_of_the_rule_and_not_of_backpropagation():
    model = network((8, 8, 1), [4], [6], Backprop(), 0, norm=BatchNorm)
    for layer in model.walk():
        if isinstance(layer, BatchNorm):
            layer.params["gamma"][...] = to_device(np.linspace(0.3, 1.7, layer.C))
    rng = np.random.default_rng(0)
    x, labels = to_device(rng.normal(size=(6, 8, 8, 1)).astype("float32")), np.arange(6)
    exact = deltas(model, x, labels)
    cut_gains(model)
    found = delta_angles(model, x, labels)
    expected = [angle(a, b) for a, b in zip(deltas(model, x, labels), exact, strict=True)]
    assert found == expected
    assert max(found) > 5


def test_a_rule_without_a_price_is_refused():
    class Mine(Backprop):
        """A rule of one's own."""

    with pytest.raises(InputError, match=r"ledger: expected a rule of Backprop, .*, found Mine"):
        ledger(of(Mine()))
