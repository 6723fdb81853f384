"""Target propagation: its identities, one step by hand, and what every layer learns in it."""

import copy
from functools import partial

import numpy as np
import pytest
from oracles import assert_close, assert_same, normal

from nnref import models
from nnref.backend import to_device, to_host, xp
from nnref.errors import InputError
from nnref.feedback import Backprop, FeedbackAlignment, SignSymmetry
from nnref.init import stream
from nnref.layers import Flatten, Layer, Linear, ReLU, Sequential, Sigmoid, Tanh
from nnref.losses import softmax_cross_entropy
from nnref.measure import delta_angles, layer_measures, weight_angles, weight_layers
from nnref.optim import SGD, Adam
from nnref.questions.transport import ledger, total
from nnref.rules.inverse import (
    AugmentedInverse,
    Inverse,
    denoising,
    difference_reconstruction,
)
from nnref.rules.targets import AtOutput, BelowOutput, TargetPropagation, difference, plain
from nnref.runs import checkpoint
from nnref.train import Progress, train_step

N, CLASSES = 12, 4


class LeakyReLU(ReLU):
    """An activation that has an inverse."""

    def forward(self, sigma):
        self.sigma = sigma
        return xp.where(sigma > 0, sigma, 0.3 * sigma)

    def backward(self, error):
        return xp.where(self.sigma > 0, error, 0.3 * error)


class Exact(Layer):
    """The inverse of a layer: h = (f^-1(y) - b) W^-1."""

    def __init__(self, linear, leaky):
        super().__init__()
        self.W, self.b, self.leaky = linear.params["W"], linear.params["b"], leaky

    def forward(self, y):
        sigma = xp.where(y > 0, y, y / 0.3) if self.leaky else y
        return (sigma - self.b) @ to_device(np.linalg.inv(to_host(self.W)))


class Kept:
    """A way to send targets that keeps (h, target) of every layer it came through, top first."""

    def __init__(self, send=difference):
        self.send, self.pairs = send, []

    def __call__(self, g, below, h, target):
        self.pairs.append((h, target))
        sent = self.send(g, below, h, target)
        self.lowest = below, sent
        return sent

    @property
    def all(self):
        """(h, target) from the highest layer to the lowest, on the host."""
        return [tuple(map(to_host, pair)) for pair in [*self.pairs, self.lowest]]


def network(activation, inverse=Inverse(), last=None, sizes=(7, 6, 6, 5), dtype="float64", seed=0):
    """A network with random weights and biases."""
    options = {"activation": activation, "feedback": inverse, "last_feedback": last}
    n_in, *hidden = sizes
    model = models.mlp(hidden, (n_in,), CLASSES, **options, dtype=dtype, seed=seed)
    rng = np.random.default_rng(seed)
    for layer in weight_layers(model):
        layer.params["b"][...] = 0.1 * normal(rng, layer.params["b"].shape, dtype)
    return model


def batch(rng, n_in=7, dtype="float64"):
    return normal(rng, (N, n_in), dtype), np.arange(N) % CLASSES


def passed(model, x, labels):
    """The model after a forward and a backward pass."""
    _, delta = softmax_cross_entropy(model.forward(x), labels)
    model.backward(delta)
    return model


def make_linear(model):
    """Let every inverse be linear, with B = W and c = 0."""
    for linear in model.inverses:
        linear.feedback.g.fb = Sequential()
        linear.feedback.B[...] = linear.params["W"]


def test_with_exact_inverses_differences_change_nothing_and_targets_are_hit(rng):
    """Square W, an f that has an inverse: DTP = TP, and f_{L-1}(... f_{l+1}(t_l)) = t_{L-1}."""
    found = []
    x, labels = batch(rng)
    for send in (plain, difference):
        kept = Kept(send)
        model = TargetPropagation(
            network(LeakyReLU, sizes=(7, 6, 6, 6, 6)), BelowOutput(0.2), kept, parallel=False
        )
        for linear in model.inverses:
            linear.feedback.g = Exact(linear, leaky=True)
        passed(model, x, labels)
        found.append(kept.all)
    for (h, tp), (_, dtp) in zip(*found, strict=True):
        np.testing.assert_allclose(tp, dtp, atol=1e-11)
        assert abs(h - tp).max() > 1e-4
    reached = to_device(found[1][-1][1])  # t_1
    for linear, (_, target) in zip(model.inverses, reversed(found[1][:-1]), strict=True):
        reached = LeakyReLU().forward(reached @ linear.params["W"] + linear.params["b"])
        assert_close(reached, target, atol=1e-11)


def test_linear_with_B_equal_to_W_it_is_backpropagation_times_alpha(rng):
    x, labels = batch(rng)
    deep = Sequential(*(layer for layer in network(Tanh).layers if not isinstance(layer, Tanh)))
    exact = copy.deepcopy(deep)
    for layer in weight_layers(exact):
        layer.feedback = Backprop()
    model = TargetPropagation(deep, BelowOutput(0.23))
    make_linear(model)
    *hidden, last = weight_layers(passed(model, x, labels))
    *exact_hidden, exact_last = weight_layers(passed(exact, x, labels))
    for ours, theirs in zip(hidden, exact_hidden, strict=True):
        for name in "Wb":
            assert_close(ours.grads[name], 0.23 * theirs.grads[name], atol=1e-14)
    assert_same(last.grads["W"], exact_last.grads["W"])


def test_linear_inverses_send_differences_as_B_sends_errors_but_without_f(rng):
    """tanh, linear g, B = W: h_{l-1} - t_{l-1} = (h_l - t_l) W^T, and f' of layer l is missing."""
    kept = Kept()
    model = TargetPropagation(network(Tanh), BelowOutput(0.3), kept)
    make_linear(model)
    passed(model, *batch(rng))
    pairs = kept.all
    for linear, (h, t), (below, sent) in zip(
        reversed(model.inverses), pairs[:-1], pairs[1:], strict=True
    ):
        W = to_host(linear.params["W"])
        np.testing.assert_allclose(below - sent, (h - t) @ W.T, atol=1e-14)
        assert abs((below - sent) - ((1 - h**2) * (h - t)) @ W.T).max() > 1e-4
    # the lowest layer's own delta has its f', but not those of the layers above
    h, t = pairs[-1]
    assert_close(
        weight_layers(model)[0].grads["b"], ((1 - h**2) * (h - t)).mean(axis=0), atol=1e-14
    )


@pytest.mark.parametrize("first", [BelowOutput(0.0), AtOutput(0.0)])
def test_where_the_output_is_on_target_all_layers_are_but_only_with_differences(first, rng):
    x, labels = batch(rng)
    largest = {}
    for send in (difference, plain):
        kept = Kept(send)
        *hidden, _ = weight_layers(passed(TargetPropagation(network(Tanh), first, kept), x, labels))
        largest[send] = max(abs(h - t).max() for h, t in kept.all)
        gradients = [float(abs(layer.grads["W"]).max()) for layer in hidden]
        assert (max(gradients) < 1e-15) == (send is difference)
    assert largest[difference] < 1e-15
    assert largest[plain] > 0.1


def test_the_targets_of_sdtp_say_no_more_than_the_class(rng):
    """g_L(one-hot) has as many values as there are classes."""
    kept = Kept()
    model = TargetPropagation(network(Tanh, sizes=(7, 9, 9)), AtOutput(), kept)
    x, labels = batch(rng)
    passed(model, x, labels)
    (h, one_hot), (below, sent) = kept.all[:2]
    np.testing.assert_allclose(one_hot, np.eye(CLASSES)[labels], atol=1e-15)
    np.testing.assert_allclose(h.sum(axis=1), 1, atol=1e-15)  # probabilities, not logits
    g = to_host(model.last.feedback.g.forward(to_device(h)))
    said = sent - below + g
    assert np.linalg.matrix_rank(said, tol=1e-12) <= CLASSES
    assert len(np.unique(said.round(12), axis=0)) == CLASSES


def test_features_let_targets_say_more_than_the_class(rng):
    kept = Kept()
    last = AugmentedInverse(8)
    model = TargetPropagation(network(Tanh, sizes=(7, 9, 9), last=last), AtOutput(), kept)
    passed(model, *batch(rng))
    (h, target), (below, sent) = kept.all[:2]
    assert h.shape == (N, CLASSES + 8)
    np.testing.assert_array_equal(h[:, CLASSES:], target[:, CLASSES:])
    said = sent - below + to_host(model.last.feedback.g.forward(to_device(h)))
    assert np.linalg.matrix_rank(said, tol=1e-9) > CLASSES


@pytest.mark.parametrize("first", [BelowOutput(0.2), AtOutput(0.7)])
def test_targets_of_an_image_do_not_depend_on_the_size_of_the_batch(first, rng):
    """Alpha acts on the error of an image, not on that of the mean over N images."""
    x, labels = batch(rng)
    found = []
    for times in (1, 3):
        kept = Kept()
        model = TargetPropagation(network(Tanh), first, kept, parallel=False)
        passed(model, xp.concatenate([x] * times), np.tile(labels, times))
        found.append((kept.all, [to_host(layer.grads["W"]) for layer in weight_layers(model)]))
    for (_, one), (_, three) in zip(*(targets for targets, _ in found), strict=True):
        np.testing.assert_allclose(three[:N], one, atol=1e-14)
    for one, three in zip(*(gradients for _, gradients in found), strict=True):
        np.testing.assert_allclose(three, one, atol=1e-14)


def one_step_by_hand(model, x, labels, lr, rate):
    """All arrays after one parallel step of SGD, W and b, B and c, in NumPy alone."""
    layers = [(f"W{i}", layer) for i, layer in enumerate(weight_layers(model))]
    p = {name: to_host(layer.params["W"]).copy() for name, layer in layers}
    p |= {f"b{i}": to_host(layer.params["b"]).copy() for i, (_, layer) in enumerate(layers)}
    rules = {i: layer.feedback for i, (_, layer) in enumerate(layers)}
    for i, rule in rules.items():
        if isinstance(rule, Inverse):
            p |= {f"B{i}": to_host(rule.B).copy(), f"c{i}": to_host(rule.c).copy()}
    top, sdtp = len(layers) - 1, isinstance(model.first, AtOutput)

    def f(i, h):
        sigma = h @ p[f"W{i}"] + p[f"b{i}"]
        exps = np.exp(sigma)
        return exps / exps.sum(axis=1, keepdims=True) if i == top else np.tanh(sigma)

    def g(i, y):
        return np.tanh(y @ p[f"B{i}"].T + p[f"c{i}"])

    h = {-1: to_host(x)}  # h[i]: the output of layer i
    for i in range(top + 1):
        h[i] = f(i, h[i - 1])
    wrong = h[top] - np.eye(CLASSES)[labels]
    if sdtp:
        t = {top - 1: h[top - 1] - g(top, h[top]) + g(top, h[top] - model.first.beta * wrong)}
    else:
        t = {top - 1: h[top - 1] - model.first.alpha * wrong @ p[f"W{top}"].T}
    for i in range(top - 1, 0, -1):
        t[i - 1] = h[i - 1] - g(i, h[i]) + g(i, t[i])
    new = dict(p)
    for i in range(top + 1):
        d = wrong / N if i == top else (1 - h[i] ** 2) * (h[i] - t[i]) / N
        new[f"W{i}"], new[f"b{i}"] = p[f"W{i}"] - lr * h[i - 1].T @ d, p[f"b{i}"] - lr * d.sum(0)
    for i in range(1, top + 1 if sdtp else top):
        rng = copy.deepcopy(rules[i].rng)
        noisy = h[i - 1] + rng.normal(0, rules[i].sigma, h[i - 1].shape)
        y = f(i, noisy)
        r = g(i, y)
        q = (1 - r**2) * 2 / N * (r - (h[i - 1] if rules[i].loss is denoising else noisy))
        new[f"B{i}"], new[f"c{i}"] = p[f"B{i}"] - rate * q.T @ y, p[f"c{i}"] - rate * q.sum(0)
    return new


@pytest.mark.parametrize(
    ("first", "loss"), [(BelowOutput(0.3), None), (AtOutput(), denoising), (AtOutput(0.5), None)]
)
def test_a_parallel_step_is_that_of_the_equations_all_from_the_same_weights(first, loss, rng):
    """Every W, b, B and c changes, but for B and c of the first layer, and in DTP of the last."""
    own_sgd = partial(SGD, lr=0.5, momentum=0)
    rule = Inverse(optimizer=own_sgd) if loss is None else Inverse(loss, optimizer=own_sgd)
    model = TargetPropagation(network(Tanh, rule), first)
    x, labels = batch(rng)
    before = copy.deepcopy(model)
    expected = one_step_by_hand(model, x, labels, 0.1, 0.5)
    train_step(model, SGD(model, 0.1, momentum=0), x, labels)
    layers, old = weight_layers(model), weight_layers(before)
    for i, layer in enumerate(layers):
        for name in "Wb":
            assert_close(layer.params[name], expected[f"{name}{i}"], atol=1e-14)
            assert (to_host(layer.params[name]) != to_host(old[i].params[name])).any()
        if f"B{i}" in expected:
            assert_close(layer.feedback.B, expected[f"B{i}"], atol=1e-14)
            assert_close(layer.feedback.c, expected[f"c{i}"], atol=1e-14)
            learned = (to_host(layer.feedback.B) != to_host(old[i].feedback.B)).all()
            assert learned == (i > 0)
    last = layers[-1].feedback
    assert type(last) is (Inverse if isinstance(first, AtOutput) else Backprop)


def test_a_step_brings_a_layer_nearer_to_its_target(rng):
    kept = Kept()
    model = TargetPropagation(network(Tanh), BelowOutput(0.2), kept, parallel=False)
    x, labels = batch(rng)
    passed(model, x, labels)
    for (linear, _), (h, t) in zip(reversed(model.hidden), kept.all, strict=True):
        W, b = (to_host(linear.params[n]) - 0.1 * to_host(linear.grads[n]) for n in "Wb")
        moved = np.tanh(to_host(linear.x) @ W + b)
        assert ((moved - t) ** 2).sum() < ((h - t) ** 2).sum()


@pytest.mark.parametrize(
    ("rule", "first"),
    [(Inverse(), BelowOutput()), (Inverse(denoising), AtOutput()),
     (Inverse(optimizer=None), BelowOutput()), (Inverse(difference_reconstruction), AtOutput(0.7))],
)  # fmt: skip
def test_a_network_learns_by_targets(rule, first, rng):
    model = TargetPropagation(network(Tanh, rule, sizes=(7, 20, 20), dtype="float32"), first)
    x, labels = batch(rng, dtype="float32")
    hidden = weight_layers(model)[0].params["W"].copy()
    optimizer = Adam(model, 0.003)
    losses = [float(train_step(model, optimizer, x, labels)) for _ in range(200)]
    assert losses[-1] < 0.3 * losses[0]
    assert not (hidden == weight_layers(model)[0].params["W"]).any()
    for layer in weight_layers(model):
        assert {a.dtype.name for a in (*layer.params.values(), *layer.grads.values())} == {
            "float32"
        }


def test_angles_show_how_an_inverse_turns_and_measuring_changes_nothing(rng):
    """L-DRL's B turns to W; the last layer's delta is exact."""
    rule = Inverse(difference_reconstruction, 0.1, partial(Adam, lr=0.02))
    model = TargetPropagation(network(Tanh, rule), AtOutput(0.5))
    x, labels = batch(rng)
    x = 0.3 * x  # where tanh is nearly linear
    _, *before = weight_angles(model)
    optimizer = SGD(model, 1e-12)
    for _ in range(200):
        train_step(model, optimizer, x, labels)
    _, *after = weight_angles(model)
    assert min(before) > 80
    assert max(after) < 50
    state = copy.deepcopy(model.last.feedback.rng.bit_generator.state)
    measures = layer_measures(model, x, labels)
    assert measures["weight_angle_deg"][1:] == pytest.approx(after)
    assert measures["delta_angle_deg"][-1] == pytest.approx(0, abs=1e-5)
    assert all(0 < angle < 90 for angle in measures["delta_angle_deg"][:-1])
    assert model.last.feedback.rng.bit_generator.state == state


CHOICES = [
    (Inverse(), None, BelowOutput()),
    (Inverse(denoising), AugmentedInverse(6), AtOutput()),
    (Inverse(optimizer=None), None, BelowOutput()),
]


@pytest.mark.parametrize(("rule", "last", "first"), CHOICES)
def test_a_checkpoint_goes_on_bit_for_bit(rule, last, first, tmp_path, rng):
    def fresh(seed):
        model = network(Tanh, rule, last, dtype="float32", seed=seed)
        model = TargetPropagation(model, first)
        return model, Adam(model, 0.01)

    def go_on(model, optimizer, batches):
        for x, labels in batches:
            train_step(model, optimizer, x, labels)

    (model, optimizer), (other, restored) = fresh(0), fresh(1)
    before, later = ([batch(rng, dtype="float32") for _ in range(3)] for _ in range(2))
    go_on(model, optimizer, before)
    checkpoint.save(tmp_path / "a.npz", model, optimizer, Progress(), {})
    checkpoint.restore(checkpoint.read(tmp_path / "a.npz"), other, restored)
    go_on(model, optimizer, later)
    go_on(other, restored, later)
    for ours, theirs in zip(weight_layers(other), weight_layers(model), strict=True):
        assert_same(ours.params["W"], theirs.params["W"])
        if isinstance(theirs.feedback, Inverse):
            assert_same(ours.feedback.B, theirs.feedback.B)
            assert_same(ours.feedback.c, theirs.feedback.c)
        if isinstance(theirs.feedback, AugmentedInverse):
            assert_same(ours.feedback.A, theirs.feedback.A)


def test_only_the_first_target_of_dtp_asks_for_weights():
    dtp = TargetPropagation(network(Tanh), BelowOutput())
    assert total(ledger(dtp)) == (32 * 5 * CLASSES, 0)
    sdtp = TargetPropagation(network(Tanh, last=AugmentedInverse(3)), AtOutput())
    assert total(ledger(sdtp)) == (0, 0)
    signs = TargetPropagation(network(Tanh, last=SignSymmetry()), BelowOutput())
    assert total(ledger(signs)) == (5 * CLASSES, 0)


def test_the_last_layers_own_rule_may_send_the_first_target(rng):
    kept = Kept()
    model = network(Tanh, last=FeedbackAlignment())
    model = TargetPropagation(model, BelowOutput(0.4), kept)
    x, labels = batch(rng)
    loss, delta = softmax_cross_entropy(model.forward(x), labels)
    model.backward(delta)
    h, target = kept.all[0]
    B = to_host(model.last.feedback.B)
    np.testing.assert_allclose(h - target, 0.4 * N * to_host(delta) @ B.T, atol=1e-14)


def test_an_activation_may_stand_between_any_two_layers_or_none(rng):
    options = {"rng": stream(0, "init"), "feedback": Inverse(), "dtype": "float64"}
    layers = [Linear(7, 6, **options), Sigmoid(), Linear(6, 5, **options), Linear(5, 4, **options)]
    model = TargetPropagation(Sequential(Flatten(), *layers), AtOutput())
    x, labels = batch(rng)
    passed(model, x.reshape(N, 7, 1), labels)
    assert model.inverses == layers[2:]
    one, two = (linear.feedback.g.fb.layers for linear in model.inverses)
    assert [type(fb) for fb in one] == [Sigmoid]
    assert two == ()


def relu(feedback=Inverse(), **options):
    return models.mlp([5, 5], (4,), 3, feedback=feedback, **options)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: models.lenet(feedback=Inverse()), "expected hidden layers as in .*found Conv2d"),
        (lambda: models.mlp([], feedback=Inverse()), "found .Linear.784, 10"),
        (lambda: Sequential(*relu().layers, ReLU()), "a Linear layer on top, found .ReLU"),
        (lambda: Sequential(relu()), "expected hidden layers as in models.mlp, .*Sequential"),
        (lambda: Sequential(), "expected hidden layers as in models.mlp"),
        (lambda: relu().layers[1], "targets: expected hidden layers.*Linear"),
        (lambda: relu, "targets: expected a network such as"),
        (lambda: relu(FeedbackAlignment()),
         "expected an Inverse in Linear.5, 5., found FeedbackAlignment"),
        (lambda: relu(last_feedback=Backprop()),
         "expected an Inverse in Linear.5, 3., found Backprop"),
    ],
)  # fmt: skip
def test_a_network_that_it_cannot_teach_is_refused(make, words):
    with pytest.raises(InputError, match=words) as caught:
        TargetPropagation(make(), AtOutput())
    assert "\n" not in str(caught.value)


def test_delta_angles_know_the_network_as_one_of_its_layers(rng):
    """With B = W and linear f and g, every delta points as backpropagation's."""
    deep = Sequential(*(layer for layer in network(Tanh).layers if not isinstance(layer, Tanh)))
    model = TargetPropagation(deep, BelowOutput(0.1))
    make_linear(model)
    assert delta_angles(model, *batch(rng)) == pytest.approx([0] * 4, abs=1e-5)
