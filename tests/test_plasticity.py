"""LTP and LTD: the rule against its equation, the drift against its integral, opponent pairs."""

import math
from statistics import NormalDist

import numpy as np
import pytest
from oracles import assert_close, assert_same, normal

from nnref import layers, models
from nnref.backend import to_device, to_host, xp
from nnref.errors import InputError
from nnref.feedback import KolenPollack
from nnref.init import stream
from nnref.losses import softmax_cross_entropy
from nnref.optim import SGD, BatchManhattan
from nnref.questions.plasticity import (
    ManhattanPlasticity,
    OpponentPairs,
    Plasticity,
    StrengthPlasticity,
    mean_change,
    mean_manhattan_change,
    resting_gradient,
    weights_at_rest,
)
from nnref.train import train_step


def linear(n_in=4, n_out=3):
    return layers.Linear(n_in, n_out, stream(0, "init"), dtype="float64")


def gradients(rng, layer, steps=5):
    """Gradients for W and b of a layer, for each step."""
    shapes = {name: param.shape for name, param in layer.params.items()}
    return [{name: normal(rng, shape) for name, shape in shapes.items()} for _ in range(steps)]


def learn(optimizer, layer, steps):
    """The layer's weights after one step of the optimizer for every dictionary of gradients."""
    for grads in steps:
        layer.grads = grads
        optimizer.step()
    return layer.params["W"]


# --- one population: the decomposition, bounds, regions and cell types


def test_every_synapse_follows_the_equation(rng):
    """LTP in proportion to bound - w, depression to w + bound; as SGD has it at w = 0."""
    layer, bound, plus, minus = linear(), 2.0, 1.5, 0.25
    steps, expected = gradients(rng, layer), to_host(layer.params["W"]).copy()
    for grads in steps:
        for place, gradient in np.ndenumerate(to_host(grads["W"])):
            w, u = expected[place], -gradient
            if u > 0:
                expected[place] = w + 0.1 * plus * u * (bound - w) / bound
            else:
                expected[place] = w + 0.1 * minus * u * (w + bound) / bound
    found = learn(Plasticity(layer, 0.1, [(plus, minus)], bound), layer, steps)
    assert_close(found, expected, rtol=1e-12)


def test_an_imbalance_is_sgd_and_a_drift_that_is_blind_to_the_sign(rng):
    """plus max(u, 0) + minus min(u, 0) = (plus + minus)/2 u + (plus - minus)/2 |u|."""
    layer, (grads,) = linear(), gradients(rng, linear(), steps=1)
    before, u = layer.params["W"].copy(), -grads["W"]
    after = learn(Plasticity(layer, 0.1, [(1.4, 0.6)]), layer, [grads])
    assert_close(after - before, 0.1 * (1.0 * u + 0.4 * abs(u)), rtol=1e-12)


@pytest.mark.parametrize("ours, theirs", [(Plasticity, SGD), (ManhattanPlasticity, BatchManhattan)])
def test_equal_strengths_are_the_ordinary_optimizer(ours, theirs, rng):
    one, two = linear(), linear()
    steps = gradients(rng, one)
    found = learn(ours(one, 0.1, [(1, 1)]), one, steps)
    assert_close(found, learn(theirs(two, 0.1, momentum=0), two, steps), rtol=1e-12)


def test_ltp_only_and_ltd_only_go_one_way(rng):
    for strengths, sign in (((1, 0), 1), ((0, 1), -1)):
        layer = linear()
        before = layer.params["W"].copy()
        (grads,) = gradients(rng, layer, steps=1)
        change = sign * (learn(Plasticity(layer, 0.1, [strengths]), layer, [grads]) - before)
        assert bool((change >= 0).all())
        assert_same(change > 0, -sign * grads["W"] > 0)


def test_regions_and_cell_types_have_their_own_strengths(rng):
    """A pair for each layer, bottom first; an array holds a strength for every unit."""
    model = models.mlp([4], (3, 1, 1), 2, dtype="float64")
    below, above = model.layers[1], model.layers[3]
    ltp = to_device(np.array([1, 0, 1, 0]))
    optimizer = Plasticity(model, 0.1, [(ltp, 1 - ltp), (0, 1)])
    before = {layer: {k: p.copy() for k, p in layer.params.items()} for layer in (below, above)}
    for layer in (below, above):
        (layer.grads,) = gradients(rng, layer, steps=1)
    optimizer.step()
    for name in ("W", "b"):
        change = below.params[name] - before[below][name]
        up, down = xp.maximum(-below.grads[name], 0), xp.minimum(-below.grads[name], 0)
        assert_close(change, 0.1 * (ltp * up + (1 - ltp) * down), rtol=1e-12, atol=1e-15)
        change = above.params[name] - before[above][name]
        assert_close(change, 0.1 * xp.minimum(-above.grads[name], 0), rtol=1e-12, atol=1e-15)


def test_batchnorm_learns_by_sgd_whatever_the_synapses_do(rng):
    norm = layers.BatchNorm(3, "float64")
    model = layers.Sequential(linear(), norm)
    model.backward(normal(rng, model.forward(normal(rng, (6, 4))).shape))
    Plasticity(model, 0.1, [(1, 0)], bound=1).step()
    assert_close(norm.params["gamma"], 1 - 0.1 * norm.grads["gamma"], rtol=1e-12)
    assert_close(norm.params["beta"], -0.1 * norm.grads["beta"], rtol=1e-12)


def test_soft_bounds_are_sgd_and_a_decay_as_strong_as_the_gradient(rng):
    """With equal strengths the change is lr (u - |u| w / bound)."""
    layer, (grads,) = linear(), gradients(rng, linear(), steps=1)
    w, u = layer.params["W"].copy(), -grads["W"]
    after = learn(Plasticity(layer, 0.1, [(1, 1)], bound=3), layer, [grads])
    assert_close(after, w + 0.1 * (u - abs(u) * w / 3), rtol=1e-12)


def test_soft_bounds_hold_and_noise_settles_where_both_strengths_cancel(rng):
    """Without a mean gradient w goes to bound (plus - minus) / (plus + minus)."""
    layer = linear(40, 50)
    optimizer = Plasticity(layer, 0.01, [(1.5, 0.5)], bound=0.8)
    learn(optimizer, layer, gradients(rng, layer, steps=600))
    W = layer.params["W"]
    assert float(abs(W).max()) < 0.8
    assert float(W.mean()) == pytest.approx(0.4, abs=0.005)


def test_a_feedback_that_learns_undergoes_what_its_weights_do(rng):
    """Kolen & Pollack's W - B stays constant under any strengths: both have the same u."""
    layer = layers.Linear(4, 3, stream(0, "init"), feedback=KolenPollack(), dtype="float64")
    before = layer.params["W"] - layer.feedback.B
    learn(Plasticity(layer, 0.1, [(1.7, 0.3)]), layer, gradients(rng, layer))
    assert_close(layer.params["W"] - layer.feedback.B, before, atol=1e-14)


def test_by_strength_the_drift_points_away_from_zero(rng):
    """The change is lr ((plus + minus)/2 u + (plus - minus)/2 |u| sign(w)); at 0 all is growth."""
    layer, (grads,) = linear(), gradients(rng, linear(), steps=1)
    before, u = layer.params["W"].copy(), -grads["W"]
    after = learn(StrengthPlasticity(layer, 0.1, [(1.4, 0.6)]), layer, [grads])
    assert_close(after - before, 0.1 * (u + 0.4 * abs(u) * xp.sign(before)), rtol=1e-12)
    assert_close(layer.params["b"], -0.1 * 1.4 * grads["b"], rtol=1e-12)


@pytest.mark.parametrize("kind", [Plasticity, StrengthPlasticity])
def test_a_layer_without_synapses_learns_by_sgd(kind, rng):
    norm = layers.BatchNorm(20, "float64")
    model = layers.Sequential(linear(4, 20), norm)
    before = {name: param.copy() for name, param in norm.params.items()}
    optimizer = kind(model, 0.1, [(2, 0.5)])
    model.layers[0].grads, norm.grads = (gradients(rng, one, 1)[0] for one in model.layers)
    optimizer.step()
    for name, param in norm.params.items():
        assert_close(param, before[name] - 0.1 * norm.grads[name], rtol=1e-12)


def test_behind_a_softmax_the_rows_of_the_last_layer_move_by_the_drift_alone(rng):
    """Their gradients add up to 0 over the classes, so nothing but the drift changes their sum."""
    model = models.mlp([6], (4, 1, 1), 3, dtype="float64")
    x, labels, last = normal(rng, (20, 4, 1, 1)), np.arange(20) % 3, model.layers[-1]
    for strengths in ((1, 1), (1.3, 0.7)):
        before = last.params["W"].sum(axis=1)
        train_step(model, Plasticity(model, 0.1, [strengths] * 2), x, labels)
        rho = (strengths[0] - strengths[1]) / 2
        drift = 0.1 * rho * abs(last.grads["W"]).sum(axis=1)
        assert_close(last.params["W"].sum(axis=1) - before, drift, atol=1e-15)


@pytest.mark.parametrize("strengths, bound, words", [
    ([(1, 1)], math.inf, r"Plasticity: expected strengths \(plus, minus\) for each of 2"),
    ([(1, 1)] * 2, 0, "Plasticity: expected a bound above 0, found 0"),
    ([(1, 1)] * 2, math.nan, "Plasticity: expected a bound above 0, found nan"),
])  # fmt: skip
def test_settings_that_cannot_be(strengths, bound, words):
    with pytest.raises(InputError, match=words):
        Plasticity(models.mlp([4], (3, 1, 1), 2), 0.1, strengths, bound)


# --- the drift: against the integral over Gaussian gradients, and against synapses at rest


@pytest.mark.parametrize("mean, noise", [(0, 1), (0.3, 1), (-0.8, 0.5), (2, 0.1), (1e-3, 4)])
@pytest.mark.parametrize("plus, minus", [(1, 1), (1.5, 0.5), (0.2, 1), (1, 0)])
def test_mean_changes_are_the_integrals_over_gaussian_gradients(plus, minus, mean, noise):
    u = mean + noise * (np.arange(-80_000, 80_000) + 0.5) / 1e4  # midpoints, to 8 deviations
    weight = np.exp(-(((u - mean) / noise) ** 2) / 2)
    weight /= weight.sum()
    rule = np.where(u > 0, plus, minus)
    assert mean_change(plus, minus, mean, noise) == pytest.approx((weight * rule * u).sum(), 1e-4)
    found = mean_manhattan_change(plus, minus, mean, noise)
    # the midpoints know the place of the sign's jump to a step: 1e-4 deviations, times a density
    assert found == pytest.approx((weight * rule * np.sign(u)).sum(), abs=1e-4)


def test_without_noise_synapses_at_zero_rest_there(rng):
    pairs = [(1, 1), (1, 0.5), (0.2, 1)]
    assert weights_at_rest(Plasticity, pairs, 0.0, rng, 0.1, count=4, steps=3) == [0, 0, 0]


def test_synapses_rest_where_the_sign_that_is_stronger_comes_as_much_more_seldom(rng):
    """LTP and LTD cancel out if u > 0 with probability minus / (plus + minus)."""
    pairs = [(1, 1), (1, 0.5), (0.5, 1)]
    found = weights_at_rest(ManhattanPlasticity, pairs, 2.0, rng, 0.1, count=400, steps=300)
    expected = [2 * NormalDist().inv_cdf(plus / (plus + minus)) for plus, minus in pairs]
    assert found == pytest.approx(expected, abs=0.05)


def test_the_optimizers_drift_is_that_of_the_formula(rng):
    """Many synapses, Gaussian gradients of known mean and noise: within 5 standard errors."""
    for optimizer, formula in (
        (Plasticity, mean_change),
        (ManhattanPlasticity, mean_manhattan_change),
    ):
        layer = linear(300, 300)
        before, u = layer.params["W"].copy(), 0.2 + 0.7 * normal(rng, (300, 300))
        grads = {"W": -u, "b": xp.zeros(3 * 100)}
        change = learn(optimizer(layer, 1, [(1.3, 0.7)]), layer, [grads]) - before
        assert float(change.mean()) == pytest.approx(
            formula(1.3, 0.7, 0.2, 0.7), abs=5 * float(change.std()) / 300
        )


def test_near_balance_sgd_rests_0_80_and_manhattan_1_25_noises_times_the_imbalance():
    """The first terms: sqrt(2/pi) and sqrt(pi/2) times (plus - minus)/(plus + minus)."""
    rho = 0.01
    pair = 1 + rho, 1 - rho
    assert resting_gradient(mean_change, *pair, 2.0) == pytest.approx(
        2 * rho * math.sqrt(2 / math.pi), rel=1e-3
    )
    assert resting_gradient(mean_manhattan_change, *pair, 2.0) == pytest.approx(
        2 * rho * math.sqrt(math.pi / 2), rel=1e-3
    )


@pytest.mark.parametrize("change", [mean_change, mean_manhattan_change])
def test_the_resting_gradient_is_proportional_to_the_noise_and_odd_in_the_imbalance(change):
    one = resting_gradient(change, 2, 1, 0.3)
    assert one > 0
    assert resting_gradient(change, 2, 1, 1.2) == pytest.approx(4 * one)
    assert resting_gradient(change, 1, 2, 0.3) == pytest.approx(-one)
    assert resting_gradient(change, 20, 10, 0.3) == pytest.approx(one)  # no learning rate in it
    assert resting_gradient(change, 1, 1, 0.3) == pytest.approx(0, abs=1e-9)


# --- opponent pairs: what is exactly SGD, and what is not


def test_a_pair_without_bound_is_sgd_and_a_common_decay_is_weight_decay(rng):
    for decay in (0.0, 0.3):
        one, two = linear(), linear()
        steps = gradients(rng, one)
        found = learn(OpponentPairs(one, 0.1, decay=decay), one, steps)
        ordinary = SGD(two, 0.1, momentum=0, weight_decay=decay)
        assert_close(found, learn(ordinary, two, steps), rtol=1e-12)


def test_both_strengths_only_grow_and_their_sum_takes_what_sgd_does_not_see(rng):
    layer = linear()
    optimizer, total = OpponentPairs(layer, 0.1), abs(layer.params["W"])
    for grads in gradients(rng, layer):
        p, q = optimizer.ps[0].copy(), optimizer.qs[0].copy()
        learn(optimizer, layer, [grads])
        assert bool((optimizer.ps[0] >= p).all()) and bool((optimizer.qs[0] >= q).all())
        total = total + 0.1 * abs(grads["W"])
    assert_close(optimizer.ps[0] + optimizer.qs[0], total, rtol=1e-12)


def test_a_bounded_pair_is_sgd_with_a_rate_that_is_used_up_and_a_decay(rng):
    """dw = lr (u (1 - (p + q) / (2 bound)) - |u| w / (2 bound)): the last step is the smallest."""
    layer, (grads,) = linear(), gradients(rng, linear(), steps=1)
    optimizer = OpponentPairs(layer, 0.1, bound=2)
    learn(optimizer, layer, gradients(rng, layer))
    w, s, u = layer.params["W"].copy(), optimizer.ps[0] + optimizer.qs[0], -grads["W"]
    after = learn(optimizer, layer, [grads])
    assert_close(after, w + 0.1 * (u * (1 - s / 4) - abs(u) * w / 4), rtol=1e-10)


def test_a_bounded_pair_saturates_unless_it_decays(rng):
    """Under noise p ends at bound; with decay, where E max(u, 0) (1 - p/bound) = decay p."""
    layer = linear(30, 30)
    steps = gradients(rng, layer, steps=800)
    full = OpponentPairs(layer, 0.02, bound=0.5)
    learn(full, layer, steps)
    assert float(full.ps[0].min()) > 0.49 and float(abs(layer.params["W"]).max()) < 0.01
    alive = OpponentPairs(layer, 0.02, bound=0.5, decay=0.8)
    learn(alive, layer, steps)
    rise = 1 / math.sqrt(2 * math.pi)  # the mean of max(u, 0)
    assert float(alive.ps[0].mean()) == pytest.approx(rise / (rise / 0.5 + 0.8), rel=0.02)


def test_a_pair_of_ltd_only_is_a_pair_of_ltp_only_seen_from_the_bound(rng):
    """p <- p + min(u, 0) p/bound, q <- q + min(-u, 0) q/bound, both recovering to the bound."""
    layer, bound, decay = linear(), 2.0, 0.3
    optimizer = OpponentPairs(layer, 0.1, bound, decay)
    p, q = bound - optimizer.qs[0], bound - optimizer.ps[0]
    for grads in gradients(rng, layer):
        u = -grads["W"]
        p = p + 0.1 * (xp.minimum(u, 0) * p / bound + decay * (bound - p))
        q = q + 0.1 * (xp.minimum(-u, 0) * q / bound + decay * (bound - q))
        learn(optimizer, layer, [grads])
    assert_close(p - q, layer.params["W"], rtol=1e-10)


def test_a_pair_is_two_units_with_one_activity_and_synapses_of_opposite_sign(rng):
    """x (p - q) = [x, x] [p; -q], whose inhibitory half grows in strength by LTP where u < 0."""
    layer = linear()
    optimizer, x = OpponentPairs(layer, 0.1), normal(rng, (6, 4))
    p, q = optimizer.ps[0].copy(), optimizer.qs[0].copy()
    doubled = layers.Linear(8, 3, stream(0, "init"), dtype="float64", bias=False)
    doubled.params["W"][...] = xp.concatenate([p, -q])
    twice, delta = xp.concatenate([x, x], axis=1), normal(rng, (6, 3))
    assert_close(doubled.forward(twice), layer.forward(x), rtol=1e-12)
    layer.backward(delta)
    doubled.backward(delta)
    u = -doubled.grads["W"]
    signs = xp.concatenate([xp.ones((4, 3)), -xp.ones((4, 3))])
    doubled.params["W"] += 0.1 * signs * xp.maximum(signs * u, 0)  # LTP of a strength
    optimizer.step()
    assert_close(doubled.params["W"], xp.concatenate([optimizer.ps[0], -optimizer.qs[0]]))


def test_a_pair_cancels_any_imbalance_that_both_of_its_halves_share(rng):
    """Each half with plus and minus: the difference learns at their sum, without a drift."""
    u, plus, minus = normal(rng, (50,)), 1.3, 0.4

    def half(told):
        return plus * xp.maximum(told, 0) + minus * xp.minimum(told, 0)

    assert_close(half(u) - half(-u), (plus + minus) * u, rtol=1e-12)
    assert_close(half(u) + half(-u), (plus - minus) * abs(u), rtol=1e-12)


# --- in a network


@pytest.mark.parametrize("make", [
    lambda model: Plasticity(model, 0.1, [(1.2, 0.8)] * 2, bound=1),
    lambda model: OpponentPairs(model, 0.1, bound=1, decay=0.1),
])  # fmt: skip
def test_a_network_learns_and_its_parameters_change_in_place(make, rng):
    model = models.mlp([20], (5, 1, 1), 3)
    x = normal(rng, (30, 5, 1, 1), "float32")
    labels = np.arange(30) % 3
    params = [param for layer in model.walk() for param in layer.params.values()]
    optimizer, first = make(model), float(softmax_cross_entropy(model.forward(x), labels)[0])
    for _ in range(60):
        last = float(train_step(model, optimizer, x, labels))
    assert last < 0.8 * first
    now = [param for layer in model.walk() for param in layer.params.values()]
    assert all(a is b and a.dtype == "float32" for a, b in zip(params, now, strict=True))
