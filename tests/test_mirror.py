"""Mirrors: what B learns on average, where it comes to rest, and what is left untouched."""

import math

import numpy as np
import pytest
from oracles import assert_close, assert_same, normal

from nnref import measure, models
from nnref.backend import to_device, to_host, xp
from nnref.errors import InputError
from nnref.feedback import Backprop, FeedbackAlignment
from nnref.init import stream
from nnref.layers import Conv2d, Linear, LocallyConnected2d, ReLU, Sigmoid
from nnref.losses import softmax_cross_entropy
from nnref.optim import SGD
from nnref.patches import im2col
from nnref.rules import mirror
from nnref.rules.known import RULES
from nnref.rules.mirror import Alignment, WeightMirror
from nnref.runs import checkpoint
from nnref.train import Progress, train_step

KINDS = {
    "linear": (lambda **kw: Linear(6, 4, stream(3, "init"), **kw), (5, 6)),
    "conv": (lambda **kw: Conv2d(2, 3, 3, stream(3, "init"), padding=1, **kw), (5, 4, 6, 2)),
    "conv-stride": (lambda **kw: Conv2d(2, 3, 3, stream(3, "init"), stride=2, **kw), (5, 5, 7, 2)),
    "local": (lambda **kw: LocallyConnected2d((4, 5, 2), 3, 3, stream(3, "init"), **kw),
              (5, 4, 5, 2)),
}  # fmt: skip


def made(kind, rule, rng, dtype="float64", biases=1.0):
    """A layer of a kind with an input; its biases are not zero."""
    make, shape = KINDS[kind]
    layer = make(feedback=rule, dtype=dtype)
    layer.params["b"][...] = biases * normal(rng, layer.params["b"].shape, dtype)
    layer.forward(normal(rng, shape, dtype))
    return layer


class EveryInput(WeightMirror):
    """Noise with covariance sigma^2 exactly: +-sigma sqrt(n) at one input and one pixel at a time.

    A step with it is the mean of all steps, and n + 1 rows in place of n make its divisor n.
    """

    def noise(self, shape):
        _, *rest = shape
        n = math.prod(rest)
        eye = self.sigma * math.sqrt(n) * np.eye(n)
        return np.concatenate([eye, -eye]).reshape(2 * n, *rest)

    def on_step(self, layer):
        self.rows = 2 * math.prod(layer.x.shape[1:]) + 1
        super().on_step(layer)


def valid(layer):
    """Of every weight of a convolution: the share of places at which its pixel is in the image."""
    ones = xp.ones((1, *layer.x.shape[1:]))
    probe = Conv2d(
        layer.C_in, 1, layer.k, stream(0, "init"), stride=layer.stride, padding=layer.padding,
        dtype="float64",
    )  # fmt: skip
    y = probe.forward(ones)
    probe.backward(xp.ones_like(y))
    return probe.grads["W"] / y.size


@pytest.mark.parametrize("kind", KINDS)
def test_on_average_a_linear_mirror_adds_eta_sigma_squared_W(kind, rng):
    """But in a padded convolution a tap at the border sees noise at the valid places alone."""
    layer = made(kind, EveryInput(sigma=0.7, eta=0.1, decay=0), rng)
    W, before = layer.params["W"], layer.feedback.B.copy()
    layer.feedback.on_step(layer)
    share = valid(layer) if kind.startswith("conv") else 1
    assert_close(layer.feedback.B - before, 0.1 * 0.49 * share * W, rtol=1e-11, atol=1e-13)


def test_the_border_taps_of_a_padded_convolution_have_the_factors_counted_by_hand(rng):
    """3 x 3 on 4 x 6 pixels: a row of taps above sees 3 of 4 rows, a column to the left 5 of 6."""
    rows, columns = np.array([3 / 4, 1, 3 / 4]), np.array([5 / 6, 1, 5 / 6])
    factor = np.repeat(np.outer(rows, columns).ravel(), 2)[:, None]  # two channels
    assert_close(valid(made("conv", Backprop(), rng)), factor, rtol=1e-14)


def test_the_estimate_has_no_bias_and_the_spread_of_its_rows(rng):
    """Of few rows: the mean was taken from the same rows, which costs one of them. The estimate of
    W_ij has variance (|W_j|^2 + W_ij^2) sigma^4 / (rows - 1) for Gaussian noise.
    """
    layer, steps, rows = made("linear", WeightMirror(3, sigma=0.5, eta=1.0, decay=0), rng), 4000, 3
    layer.feedback.B[...] = 0
    for _ in range(steps):
        layer.feedback.on_step(layer)
    W = layer.params["W"]
    error = xp.sqrt(((W**2).sum(axis=0) + W**2) / (rows - 1) / steps)
    z = (layer.feedback.B / steps / 0.25 - W) / error
    assert float(abs(z).max()) < 4.5
    assert math.sqrt(float((z**2).mean())) == pytest.approx(1, abs=0.5)  # of 24 numbers


def test_behind_relu_every_column_has_a_positive_factor_of_its_own():
    """Stein: E x relu(x W_j + b_j) = sigma^2 W_j P(unit j is active). So all of B is at an angle
    to W, and each of its columns is not.
    """
    rng = np.random.default_rng(0)
    layer = Linear(
        10, 8, stream(0, "init"), feedback=WeightMirror(400_000, 1, 1, 0, ReLU), dtype="float64"
    )
    layer.params["b"][...] = normal(rng, (8,)) * 3
    layer.feedback.B[...] = 0
    layer.x = xp.zeros((1, 10))
    layer.feedback.on_step(layer)
    W, b, B = (to_host(a) for a in (layer.params["W"], layer.params["b"], layer.feedback.B))
    active = [0.5 * math.erfc(-t / math.sqrt(2)) for t in b / np.sqrt((W**2).sum(axis=0))]
    # standard error of an entry: at most |y_j| / sqrt(rows), y_j of the order |W_j| + |b_j|
    spread = (np.sqrt((W**2).sum(axis=0)) + abs(b)) / math.sqrt(400_000)
    assert (abs(B - W * active) < 5 * spread).all()
    assert measure.angle(layer.params["W"], layer.feedback.B) > 15
    columns = [measure.angle(xp.asarray(W[:, j]), xp.asarray(B[:, j])) for j in range(8)]
    assert max(angle for angle, share in zip(columns, active, strict=True) if share > 0.05) < 3


def test_a_unit_that_no_noise_wakes_is_never_seen(rng):
    layer = made("linear", WeightMirror(64, 1, 1, 0, ReLU), rng)
    layer.params["b"][1] = -1e3
    before = layer.feedback.B.copy()
    layer.feedback.on_step(layer)
    changed = to_host((before != layer.feedback.B).any(axis=0))
    assert changed.tolist() == [True, False, True, True]


def test_a_constant_output_adds_nothing_to_the_noise(rng):
    """Without centering, a bias of 1000 would drown W."""
    found = []
    for biases in (0, 1000):
        layer = made("linear", WeightMirror(decay=0), rng, biases=biases)
        layer.feedback.on_step(layer)
        found.append(layer.feedback.B)
    assert_close(*found, atol=1e-12)


@pytest.mark.parametrize("decay, rest", [(None, 1), (0.98, 0.5), (0.245, 2)])
def test_with_decay_B_comes_to_rest_and_without_it_grows_for_ever(decay, rest, rng):
    """At sigma^2 / decay W; a linear growth without decay (Akrout et al.'s code bounds it by a
    division that changes nothing, as it is written).
    """
    layer = made("linear", EveryInput(sigma=0.7, eta=0.5, decay=decay), rng)
    for _ in range(400):
        layer.feedback.on_step(layer)
    assert_close(layer.feedback.B, rest * layer.params["W"], rtol=1e-12)
    layer = made("linear", EveryInput(sigma=0.7, eta=0.5, decay=0), rng)
    start = layer.feedback.B.copy()
    for _ in range(400):
        layer.feedback.on_step(layer)
    assert_close(layer.feedback.B - start, 400 * 0.5 * 0.49 * layer.params["W"], rtol=1e-11)


ALIGNMENTS = mirror.SYMMETRIC, mirror.ACTIVATION, mirror.MIRROR, mirror.INFORMATION


@pytest.mark.parametrize("rule", [WeightMirror(), *map(Alignment, ALIGNMENTS)])
@pytest.mark.parametrize("kind", KINDS)
def test_a_step_changes_B_and_nothing_else(kind, rule, rng):
    layer = made(kind, rule, rng)
    layer.backward(normal(rng, layer.made[0]))
    kept = {"x": layer.x, "made": layer.made, **layer.grads, **layer.params}
    copies = {name: value.copy() for name, value in kept.items() if name != "made"}
    params, grads, sends, B = layer.params, layer.grads, layer.sends_error, layer.feedback.B
    before = B.copy()
    layer.feedback.on_step(layer)
    assert layer.feedback.B is B and (before != B).any() and B.dtype == "float64"
    assert (layer.params, layer.grads, layer.sends_error) == (params, grads, sends)
    assert layer.params is params and layer.grads is grads and layer.x is kept["x"]
    assert layer.made == kept["made"]
    for name, value in copies.items():
        assert_same(kept[name], value)


@pytest.mark.parametrize("kind", KINDS)
def test_noise_is_the_same_whatever_the_batch_so_that_all_ranks_have_one_B(kind, rng):
    first, second = (made(kind, WeightMirror(), rng) for _ in range(2))
    second.params["b"][...] = first.params["b"]
    second.forward(normal(rng, (2, *first.x.shape[1:])))
    for layer in (first, second):
        layer.feedback.on_step(layer)
    assert_same(first.feedback.B, second.feedback.B)


@pytest.mark.parametrize("name", ["weight-mirror", "information-alignment"])
def test_a_float32_layer_keeps_a_float32_B(name, rng):
    layer = made("linear", RULES[name], rng, "float32")
    layer.feedback.on_step(layer)
    assert layer.feedback.B.dtype == "float32"


def rates(a, b, c=None):
    """SA, AA, the mirror and IA with these rates, and with which of them B comes to rest."""
    return {
        "symmetric": {"decay": a, "self": b},
        "activation": {"sparse": a, "amp": b},
        "mirror": {"decay": a, "amp": b},
        "information": {"amp": b, "null": a, "decay": c or a},
    }


def rest(rule, a, b, W, S, c):
    """Where B comes to rest, by the table of mirror.py."""
    if rule == "information":
        return b * S @ W @ np.linalg.inv(2 * a * W.T @ S @ W + 2 * c * np.eye(W.shape[1]))
    return b / (2 * a) * (S @ W if rule == "mirror" else W)


def settled(rule, x, steps, W=None):
    """(B, W, S) of a linear layer after steps on the same inputs, on the host."""
    layer = Linear(6, 4, stream(3, "init"), feedback=Alignment(rule), dtype="float64")
    if W is not None:
        layer.params["W"][...] = W
    layer.params["b"][...] = 3  # must not matter
    layer.forward(x)
    for _ in range(steps):
        layer.feedback.on_step(layer)
    host = to_host(x)
    return to_host(layer.feedback.B), to_host(layer.params["W"]), host.T @ host / len(host)


@pytest.mark.parametrize("name", rates(1, 1))
def test_all_rules_come_to_rest_where_kunins_losses_have_their_minimum(name, rng):
    x = normal(rng, (200, 6)) * to_device(np.array([0.5, 0.7, 1, 1.2, 1.5, 2])) + 0.3
    a, b, c = 0.05, 0.15, 0.02
    B, W, S = settled(rates(a, b, c)[name], x, 2000)
    assert_close(B, rest(name, a, b, W, S, c), atol=1e-12)


def test_the_shipped_rates_bring_symmetric_alignment_to_W_itself(rng):
    """As in Kunin et al.'s code: self = 2 decay; activation alignment likewise."""
    B, W, _ = settled(mirror.SYMMETRIC, normal(rng, (5, 6)), 400)
    assert_close(B, W, atol=1e-12)
    assert mirror.ACTIVATION["amp"] == 2 * mirror.ACTIVATION["sparse"]


def test_white_activities_and_little_decay_make_information_alignment_a_pseudo_inverse(rng):
    """B -> W (W^T W)^-1, the transposed pseudo-inverse, as c -> 0; the rest is of order c."""
    q, _ = np.linalg.qr(rng.standard_normal((50, 6)))
    x = to_device(q * math.sqrt(50))  # S = 1
    B, W, S = settled({"amp": 0.2, "null": 0.1, "decay": 1e-7}, x, 4000)
    assert_close(S, np.eye(6), atol=1e-12)
    assert_close(B, np.linalg.pinv(W).T, rtol=1e-5, atol=1e-5)


def test_activities_that_are_not_white_teach_a_mirror_S_W_and_noise_teaches_it_W(rng):
    """The angle to W is the angle of S W and W; activation alignment does not see S."""
    x = normal(rng, (300, 6)) * to_device(np.array([0.1, 0.2, 0.4, 1, 2, 3]))
    B, W, S = settled(rates(0.05, 0.1)["mirror"], x, 800)
    expected = measure.angle(to_device(S @ W), to_device(W))
    assert measure.angle(to_device(B), to_device(W)) == pytest.approx(expected, abs=1e-9)
    assert expected > 30
    layer = Linear(6, 4, stream(3, "init"), feedback=EveryInput(eta=0.1), dtype="float64")
    layer.forward(x)
    for _ in range(400):
        layer.feedback.on_step(layer)
    assert_close(layer.feedback.B, layer.params["W"], rtol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", mirror.UPDATES)
def test_every_update_descends_its_loss(name, kind, rng):
    """Against differences of the loss, for each kind of layer; its patches are the inputs."""
    layer = made(kind, Alignment({name: 1.0}), rng)
    B = layer.feedback.B
    W, x = to_host(layer.params["W"]), patches(layer)
    y, along = x @ W, rng.standard_normal(W.shape)

    def loss(B):
        N = x.shape[-2]
        return {
            "decay": (B**2).sum(),
            "self": -(B * W).sum(),
            "sparse": ((x @ B) ** 2).sum() / N,
            "amp": -(y * (x @ B)).sum() / N,
            "null": ((y @ np.swapaxes(B, -1, -2)) ** 2).sum() / N,
        }[name]

    before = to_host(B).copy()
    layer.feedback.on_step(layer)
    # losses are quadratic at most, so that a central difference is exact
    slope = (loss(before + along) - loss(before - along)) / 2
    assert (along * (to_host(B) - before)).sum() == pytest.approx(-slope, rel=1e-10)


def patches(layer):
    """What W multiplies, as rows; for a stack of W, a stack of them."""
    if isinstance(layer, Linear):
        return to_host(layer.x)
    rows = to_host(im2col(layer.x, layer.k, layer.stride, layer.padding))
    N, OH, OW = rows.shape[:3]
    if isinstance(layer, Conv2d):
        return rows.reshape(N * OH * OW, -1)
    return rows.reshape(N, OH * OW, -1).swapaxes(0, 1)


@pytest.mark.parametrize("decay, sparse, null", [(0, 1, 0), (1, 0, 0), (0, 0, 1), (0.5, 0.2, 0.3)])
def test_steps_diverge_where_decay_and_largest_eigenvalues_add_up_to_more_than_1(
    decay, sparse, null, rng
):
    x = normal(rng, (200, 6)) + 2
    _, W, S = settled({"decay": 1e-9}, x, 0)
    s, t = (np.linalg.eigvalsh(M).max() for M in (S, W.T @ S @ W))
    shares = {"decay": decay, "sparse": sparse / s, "null": null / t}
    for factor, grows in ((0.98, False), (1.02, True)):
        rule = {name: factor * share for name, share in shares.items() if share}
        B, _, _ = settled(rule, x, 2000)
        assert (abs(B).max() > 1e3 * abs(W).max()) == grows


def trained(rule, steps=3, sizes=(8, 6), seed=0):
    """A small network after some steps; its optimizer; the batches."""
    rng = np.random.default_rng(1)
    model = models.mlp(list(sizes), (4, 3, 1), 5, feedback=rule, seed=seed)
    optimizer = SGD(model, 0.05)
    batches = [(normal(rng, (10, 4, 3, 1), "float32"), rng.integers(0, 5, 10)) for _ in range(6)]
    for x, labels in batches[:steps]:
        train_step(model, optimizer, x, labels)
    return model, optimizer, batches


NAMES = [
    "weight-mirror", "information-alignment", "symmetric-alignment", "activation-alignment",
    "sign-symmetry-rms",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_checkpoint_goes_on_bit_for_bit(name, tmp_path):
    model, optimizer, batches = trained(RULES[name])
    checkpoint.save(tmp_path / "a.npz", model, optimizer, Progress(), {})
    other, restored, _ = trained(RULES[name], steps=1, seed=4)
    checkpoint.restore(checkpoint.read(tmp_path / "a.npz"), other, restored)
    for x, labels in batches[3:]:
        train_step(model, optimizer, x, labels)
        train_step(other, restored, x, labels)
    for a, b in zip(*map(measure.weight_layers, (model, other)), strict=True):
        assert_same(a.params["W"], b.params["W"])
        assert_same(a.feedback(a.params["W"]), b.feedback(b.params["W"]))


@pytest.mark.parametrize("name", NAMES)
def test_measuring_changes_nothing_and_finds_finite_angles(name):
    model, _, batches = trained(RULES[name])
    before = [layer.feedback(layer.params["W"]).copy() for layer in measure.weight_layers(model)]
    found = measure.layer_measures(model, *batches[0])
    for key in ("weight_angle_deg", "delta_angle_deg", "norm_ratio"):
        assert all(math.isfinite(value) for value in found[key])
    for layer, B in zip(measure.weight_layers(model), before, strict=True):
        assert_same(layer.feedback(layer.params["W"]), B)


def test_in_training_the_mirror_turns_B_to_W_and_fixed_feedback_is_left_behind():
    def angles(rule):
        model, optimizer, batches = trained(rule, steps=0)
        for _ in range(60):
            for x, labels in batches:
                train_step(model, optimizer, x, labels)
        return measure.weight_angles(model)

    assert max(angles(WeightMirror())[1:]) < 15
    assert max(angles(FeedbackAlignment())[1:]) > 60


def test_a_bias_steps_along_the_gradient_of_the_mean_loss_divided_by_the_batch_once():
    """Against differences, in the last layer, whose gradient is exact under every rule."""
    rng = np.random.default_rng(0)
    x, labels = normal(rng, (16, 4, 3, 1)), rng.integers(0, 5, 16)
    model = models.mlp([8], (4, 3, 1), 5, feedback=WeightMirror(), dtype="float64")
    b, eps, slopes = model.layers[-1].params["b"], 1e-5, []
    for j in range(5):
        sides = []
        for side in (eps, -eps):
            b[j] += side
            sides.append(float(softmax_cross_entropy(model.forward(x), labels)[0]))
            b[j] -= side
        slopes.append((sides[0] - sides[1]) / (2 * eps))
    before = to_host(b).copy()
    train_step(model, SGD(model, 0.3, momentum=0), x, labels)
    assert_close((before - to_host(b)) / 0.3, slopes, atol=1e-9)


def test_mirroring_before_training_leaves_the_network_as_it_was():
    rule = WeightMirror(eta=0.1)
    model = models.resnet20((8, 8, 1), 5, width=0.25, feedback=rule)
    layers = measure.weight_layers(model)
    before = [(layer.params["W"].copy(), layer.feedback.B.copy()) for layer in layers]
    running = [getattr(layer, n).copy() for layer in model.walk() for n in layer.keeps]
    mirror.mirror(model, xp.ones((2, 8, 8, 1), "float32"), 3)
    for layer, (W, B) in zip(layers, before, strict=True):
        assert_same(layer.params["W"], W)
        assert bool((layer.feedback.B != B).any()) == layer.sends_error  # not in the first layer
    for old, new in zip(running, [getattr(layer, n) for layer in model.walk() for n in layer.keeps],
                        strict=True):  # fmt: skip
        assert_same(old, new)


def test_a_sigmoid_mirror_learns_a_quarter_of_W_for_weak_noise(rng):
    """f' = 1/4 at 0; the next order is smaller by the variance of y."""
    rule = EveryInput(sigma=1e-3, eta=1, decay=0, activation=Sigmoid)
    layer = made("linear", rule, rng, biases=0)
    layer.feedback.B[...] = 0
    layer.feedback.on_step(layer)
    assert_close(layer.feedback.B, 1e-6 * layer.params["W"] / 4, rtol=1e-3)


@pytest.mark.parametrize("call, words", [
    (lambda: WeightMirror(rows=1), "WeightMirror: expected rows to be a whole number of at least"),
    (lambda: WeightMirror(sigma=0), "WeightMirror: sigma: expected a number above 0, found 0"),
    (lambda: WeightMirror(activation=ReLU()), "WeightMirror: expected a class such as ReLU"),
    (lambda: WeightMirror(decay=-1), "WeightMirror: decay: expected 0 or more, found -1"),
    (lambda: Alignment({}), "Alignment: expected rates of some of decay, self, sparse, amp, null"),
    (lambda: Alignment({"amps": 1}), "Alignment: expected rates of some of decay, self, sparse"),
    (lambda: Alignment({"amp": -1}), "Alignment: amp: expected a number above 0, found -1"),
])  # fmt: skip
def test_a_wrong_setting_is_one_line(call, words):
    with pytest.raises(InputError) as raised:
        call()
    assert str(raised.value).startswith(words)
