"""Dale's law: signs that stand still, what that does to sign-symmetry's B, and interneurons."""

import numpy as np
import pytest

from nnref import models
from nnref.backend import to_device, to_host, xp
from nnref.errors import InputError
from nnref.experiments.network import network
from nnref.feedback import Backprop, FeedbackAlignment, FixedMagnitudes, SignedInit, SignSymmetry
from nnref.init import stream
from nnref.layers import BatchNorm, Linear
from nnref.losses import softmax_cross_entropy
from nnref.measure import delta_angles, weight_layers
from nnref.optim import SGD
from nnref.questions.dale import PIN, Interneurons, every_neuron, every_weight, interneurons
from nnref.train import train_step

LABELS = np.arange(30) % 3


def images(dtype="float32", shape=(30, 5, 1, 1)):
    return to_device(np.random.default_rng(1).normal(size=shape).astype(dtype))


def train(model, law, steps=60, lr=0.3):
    optimizer = SGD(model, lr, momentum=0.5)
    losses = []
    for _ in range(steps):
        losses.append(float(train_step(model, optimizer, images(), LABELS)))
        if law:
            law.impose()
    return losses


def signs_of(model):
    return [to_host(xp.sign(layer.params["W"])) for layer in weight_layers(model)]


def test_a_weight_that_would_cross_zero_is_held_there_and_the_others_are_left_alone():
    model = models.mlp([2], (2, 1, 1), 2)
    W = weight_layers(model)[1].params["W"]
    W[...] = to_device(np.array([[0.5, -0.5], [0.25, -0.25]], "float32"))
    law = every_weight(model)
    W -= to_device(np.array([[0.75, 0.25], [0.125, -0.5]], "float32"))
    law.impose()
    expected = np.array([[PIN, -0.75], [0.125, -PIN]], "float32")
    assert np.array_equal(to_host(W), expected)


def test_without_the_law_signs_change_and_with_it_they_do_not():
    for law, same in ((None, False), (every_weight, True)):
        model = models.mlp([12, 8], (5, 1, 1), 3, seed=1)
        before, law = signs_of(model), law and law(model)
        losses = train(model, law)
        assert losses[-1] < 0.5 * losses[0]
        assert all(map(np.array_equal, before, signs_of(model))) is same


def test_if_every_weight_keeps_its_sign_sign_symmetry_needs_no_transport():
    """SS with its present signs and with those of birth are then the same network, bit for bit."""
    weights = []
    for rule in (SignSymmetry(), SignedInit()):
        model = models.mlp([12, 8], (5, 1, 1), 3, feedback=rule)
        train(model, every_weight(model))
        weights.append([to_host(layer.params["W"]) for layer in weight_layers(model)])
    for a, b in zip(*weights, strict=True):
        assert np.array_equal(a, b)


@pytest.mark.parametrize("share", [0.8, 0.5])
def test_neurons_have_one_sign_each_in_balance_and_as_large_as_before(share):
    model, plain = (models.mlp([100, 400], (5, 1, 1), 200, seed=2) for _ in range(2))
    every_neuron(model, share, seed=0)
    for layer, before in zip(weight_layers(model)[1:], weight_layers(plain)[1:], strict=True):
        W, old = layer.params["W"], before.params["W"]
        rows = to_host(xp.sign(W).mean(axis=1))
        assert set(rows) == {-1, 1}
        assert (rows > 0).mean() == pytest.approx(share, abs=0.006)
        assert float((W**2).mean()) == pytest.approx(float((old**2).mean()), rel=0.05)
        assert abs(float(W.mean())) < 0.1 * float(abs(W).mean())
    first, old = weight_layers(model)[0].params["W"], weight_layers(plain)[0].params["W"]
    assert np.array_equal(to_host(first), to_host(old))


@pytest.mark.parametrize("share", [0, 1])
def test_neurons_of_one_kind_alone_are_as_large_as_before_too(share):
    model, plain = (models.mlp([6, 5], (5, 1, 1), 4, seed=2) for _ in range(2))
    every_neuron(model, share, seed=0)
    for layer, before in zip(weight_layers(model)[1:], weight_layers(plain)[1:], strict=True):
        expected = abs(before.params["W"]) * (1 if share else -1)
        assert np.allclose(to_host(layer.params["W"]), to_host(expected))


def test_a_neuron_of_a_convolution_is_a_channel():
    model = network((16, 16, 3), [6, 4], [5], SignSymmetry(), 0, norm=BatchNorm)
    every_neuron(model, 0.5, seed=0)
    W = to_host(weight_layers(model)[1].params["W"]).reshape(25, 6, 4)
    of_channels = np.sign(W).mean(axis=(0, 2))
    assert sorted(of_channels) == [-1, -1, -1, 1, 1, 1]


def test_the_signs_of_neurons_hold_in_training_and_gains_stay_above_zero():
    model = network((16, 16, 1), [4], [8], Backprop(), 0, norm=BatchNorm)
    law, before = every_neuron(model, 0.75, seed=0), signs_of(model)[1:]
    optimizer, x = SGD(model, 0.5), images(shape=(30, 16, 16, 1))
    gains = [layer.params["gamma"] for layer in model.walk() if isinstance(layer, BatchNorm)]
    gains[0] -= 2  # as if a step had turned them around
    for _ in range(20):
        law.impose()
        assert all(float(gain.min()) > 0 for gain in gains)
        train_step(model, optimizer, x, LABELS)
    law.impose()
    assert all(map(np.array_equal, before, signs_of(model)[1:]))


def of_dale(rule, dtype="float64"):
    """The last layer of a network under the law of neurons, its delta, and what it sends down."""
    model = models.mlp([40], (5, 1, 1), 10, feedback=rule, dtype=dtype)
    every_neuron(model, 0.8, seed=0)
    _, delta = softmax_cross_entropy(model.forward(images(dtype)), np.arange(30) % 10)
    top = model.layers[-1]
    return top, delta, top.backward(delta)


def test_under_the_law_of_neurons_sign_symmetry_has_rank_one_and_sends_the_sum_of_delta():
    top, _, _ = of_dale(SignSymmetry())
    B = top.feedback(top.params["W"])
    assert np.linalg.matrix_rank(to_host(B)) == 1
    delta = to_device(np.random.default_rng(0).normal(size=(30, 10)))
    sent, signs = top.backward(delta), xp.sign(top.params["W"][:, 0])
    expected = top.feedback.lam * delta.sum(axis=1)[:, None] * signs
    assert np.allclose(to_host(sent), to_host(expected), rtol=1e-12, atol=1e-15)


def test_behind_softmax_that_is_nothing_and_the_ways_out_are_something():
    sizes = {}
    for rule in (SignSymmetry(), Backprop(), FixedMagnitudes(), FeedbackAlignment()):
        _, delta, sent = of_dale(rule)
        sizes[type(rule).__name__] = float(abs(sent).max() / abs(delta).max())
    assert sizes.pop("SignSymmetry") < 1e-14
    assert min(sizes.values()) > 1e-3


def test_interneurons_are_three_layers_without_a_law():
    """Forward, error and gradients, under BP, are those of three Linear layers side by side."""
    rng = stream(0, "init")
    layer = Interneurons(Linear(6, 5, rng, dtype="float64"), 0.4, rng)
    excite, to_inter, inhibit = (
        Linear(*layer.params[name].shape, rng, bias=False, dtype="float64") for name in "EPQ"
    )
    for name, part in zip("EPQ", (excite, to_inter, inhibit), strict=True):
        part.params["W"][...] = layer.params[name]
    x = to_device(np.random.default_rng(0).normal(size=(7, 6)))
    delta = to_device(np.random.default_rng(1).normal(size=(7, 5)))
    expected = excite.forward(x) - inhibit.forward(to_inter.forward(x))
    assert np.allclose(to_host(layer.forward(x)), to_host(expected))
    error = excite.backward(delta) + to_inter.backward(inhibit.backward(-delta))
    assert np.allclose(to_host(layer.backward(delta)), to_host(error))
    squares = {name: float((layer.params[name] ** 2).sum()) for name in "PQ"}
    assert layer.rates == pytest.approx({"P": 1 / squares["Q"], "Q": 1 / squares["P"]})
    for name, part in zip("EPQ", (excite, to_inter, inhibit), strict=True):
        rate = layer.rates.get(name, 1)
        assert np.allclose(to_host(layer.grads[name]), rate * to_host(part.grads["W"])), name


def test_at_birth_interneurons_balance_excitation():
    rng = stream(0, "init")
    plain = Linear(300, 200, rng)
    size = float((plain.params["W"] ** 2).mean()) ** 0.5
    layer = Interneurons(plain, 0.1, rng)
    W = plain.params["W"]
    assert len(layer.params["Q"]) == 20
    assert abs(float(W.mean())) < 0.05 * size
    assert float((W**2).mean()) ** 0.5 == pytest.approx(size, rel=0.1)
    assert np.linalg.matrix_rank(np.sign(to_host(W))) > 100  # the net effect is not of rank one


@pytest.mark.parametrize("rule", [Backprop(), SignSymmetry(), FeedbackAlignment()])
def test_a_network_of_interneurons_learns_and_no_strength_falls_below_zero(rule):
    model = models.mlp([20, 20], (5, 1, 1), 3, feedback=rule)
    law = interneurons(model, 0.1, seed=0)
    losses = train(model, law, steps=150, lr=0.1)
    assert losses[-1] < 0.7 * losses[0]
    strengths = [p for layer in model.layers if "E" in layer.params for p in layer.params.values()]
    assert len(strengths) == 6
    assert min(float(p.min()) for p in strengths) >= 0
    for layer in model.layers:
        if "E" in layer.params:
            model.forward(images())
            E, P, Q = layer.params.values()
            assert np.allclose(to_host(layer.layer.params["W"]), to_host(E - P @ Q), atol=1e-6)


@pytest.mark.parametrize("kind", [models.resnet20, models.locally_connected])
def test_interneurons_stand_in_a_row_of_layers_with_one_matrix_each(kind):
    model = kind((12, 12, 1), width=0.25)
    before = list(model.layers)
    with pytest.raises(
        InputError, match=r"^interneurons: expected a row of layers with one matrix"
    ):
        interneurons(model, 0.1, seed=0)
    assert list(model.layers) == before


def test_a_share_outside_0_to_1_is_refused():
    for share in (-0.1, 1.1):
        with pytest.raises(InputError, match=r"^every_neuron: expected excitatory from 0 to 1, f"):
            every_neuron(models.mlp([3], (5, 1, 1), 2), share, seed=0)
    with pytest.raises(InputError, match="every_neuron: expected excitatory from 0 to 1, found 80"):
        every_neuron(models.mlp(), 80, seed=0)


def test_under_backpropagation_interneurons_learn_from_the_exact_delta():
    model = models.mlp([20, 10], (5, 1, 1), 3, dtype="float64")
    interneurons(model, 0.1, seed=0)
    x = to_device(np.random.default_rng(0).normal(size=(30, 5, 1, 1)))
    assert delta_angles(model, x, np.arange(30) % 3) == pytest.approx([0, 0, 0], abs=1e-4)
