"""Inverses: the gradients of their losses, and where a linear layer's inverse comes to rest."""

import numpy as np
import pytest
from oracles import assert_close, assert_same, normal

from nnref import layers, models
from nnref.backend import to_device, to_host
from nnref.errors import InputError
from nnref.init import stream
from nnref.optim import SGD
from nnref.rules.inverse import (
    AugmentedInverse,
    Inverse,
    denoising,
    difference_reconstruction,
    noise_preserving,
)

LOSSES = [noise_preserving, denoising, difference_reconstruction]


def well_conditioned(rng, shape, **fans):
    """A random matrix with singular values from 1/2 to 2, so that rounding is not amplified."""
    U, _, V = np.linalg.svd(rng.normal(size=shape), full_matrices=False)
    return U * np.linspace(0.5, 2, len(V)) @ V


def linear_layer(inverse, n_in=5, n_out=4, dtype="float64"):
    """A Linear layer with an inverse, both without an activation."""
    options = {"init": well_conditioned, "feedback": inverse, "dtype": dtype}
    layer = layers.Linear(n_in, n_out, stream(0, "init"), **options)
    layer.feedback.stand_between(layers.Sequential().forward, layers.Sequential())
    return layer


def uncorrelated(rng, count, sigma):
    """h (60, count), not white, and `sigma`-noise of two kinds: all exactly uncorrelated."""
    basis, _ = np.linalg.qr(rng.normal(size=(60, 3 * count)))
    basis *= np.sqrt(60)  # now each column has a mean square of 1
    mixed = basis[:, :count] @ well_conditioned(rng, (count, count))
    return mixed, sigma * basis[:, count : 2 * count], sigma * basis[:, 2 * count :]


def gradient(layer, h, *noises):
    """The gradient of B at the noises that are given."""
    drawn = iter(noises)
    layer.feedback.noise = lambda like: to_device(next(drawn))
    layer.forward(to_device(h))
    layer.feedback.compare(layer)
    return to_host(layer.feedback.g.grads["B"])


def loss_of(loss, layer, h, rng):
    """The loss itself, mean over rows, by its formula; noise drawn as the rule draws it."""
    W, b = (to_host(layer.params[name]) for name in "Wb")
    B, c = to_host(layer.feedback.B), to_host(layer.feedback.c)

    def f(h):
        return np.tanh(h @ W + b)

    def g(y):
        return np.tanh(y @ B.T + c)

    eps = rng.normal(0, layer.feedback.sigma, h.shape)
    if loss is difference_reconstruction:
        y = f(h)
        d = g(y + rng.normal(0, layer.feedback.sigma, y.shape)) - g(y)
        rows = (-2 * eps * (g(f(h + eps)) - g(y)) + 0 * h).sum() + (d**2).sum()
    else:
        rows = ((g(f(h + eps)) - (h + eps if loss is noise_preserving else h)) ** 2).sum()
    return rows / len(h)


@pytest.mark.parametrize("loss", LOSSES)
def test_the_gradient_of_each_inverse_loss_is_its_derivative_by_B_and_c(loss, rng):
    """h, the noise and y are constant: central differences of the formula."""
    layer = linear_layer(Inverse(loss, sigma=0.4))
    rule, h = layer.feedback, rng.normal(size=(7, 5))
    layer.params["b"][...] = normal(rng, 4)
    rule.c[...] = normal(rng, 5)
    rule.stand_between(layers.Tanh().forward, layers.Tanh())
    rule.rng = np.random.default_rng(3)
    layer.forward(to_device(h))
    rule.compare(layer)
    for name, array in (("B", rule.B), ("c", rule.c)):
        found = to_host(rule.g.grads[name])
        for index in np.ndindex(found.shape):
            values = []
            for step in (1e-5, -2e-5):
                array[index] += step
                values.append(loss_of(loss, layer, h, np.random.default_rng(3)))
            array[index] += 1e-5
            assert found[index] == pytest.approx((values[0] - values[1]) / 2e-5, abs=1e-8)


@pytest.mark.parametrize("loss", LOSSES)
def test_only_the_inverse_learns_from_its_loss(loss, rng):
    layer = linear_layer(Inverse(loss))
    before = {name: array.copy() for name, array in layer.params.items()}
    layer.forward(normal(rng, (6, 5)))
    x = layer.x
    layer.feedback.compare(layer)
    B, c = layer.feedback.B.copy(), layer.feedback.c.copy()
    layer.feedback.on_step(layer)
    assert layer.x is x
    assert not layer.grads
    for name, array in before.items():
        assert_same(layer.params[name], array)
    assert (to_host(layer.feedback.B) != to_host(B)).all()
    assert (to_host(layer.feedback.c) != to_host(c)).all() or loss is difference_reconstruction


def test_the_noise_preserving_inverse_of_a_linear_layer_is_the_regression_on_its_outputs(rng):
    """B = S W (W^T S W)^-1, S the mean of h~^T h~; there the gradient is zero."""
    layer = linear_layer(Inverse(noise_preserving))
    h, noise, _ = uncorrelated(rng, 5, 0.3)
    W = to_host(layer.params["W"])
    S = (h + noise).T @ (h + noise) / 60
    layer.feedback.B[...] = to_device(S @ W @ np.linalg.inv(W.T @ S @ W))
    assert abs(gradient(layer, h, noise)).max() < 1e-12
    layer.feedback.B[0, 0] += 0.01
    assert abs(gradient(layer, h, noise)).max() > 1e-4


def test_with_white_inputs_it_is_the_pseudo_inverse_and_of_a_square_W_the_inverse(rng):
    for n_out in (4, 5):
        layer = linear_layer(Inverse(noise_preserving), 5, n_out)
        _, h, noise = uncorrelated(rng, 5, 1.0)
        layer.feedback.B[...] = to_device(np.linalg.pinv(to_host(layer.params["W"])).T)
        assert abs(gradient(layer, h, 0.3 * noise)).max() < 1e-12
    layer.feedback.B[...] = to_device(np.linalg.inv(to_host(layer.params["W"])).T)
    h, noise, _ = uncorrelated(rng, 5, 0.3)  # a square one: of any inputs
    assert abs(gradient(layer, h, noise)).max() < 1e-10


def test_the_denoising_inverse_is_the_same_but_shrunk(rng):
    """B = S W (W^T (S + sigma^2 I) W)^-1, S without the noise."""
    layer = linear_layer(Inverse(denoising))
    h, noise, _ = uncorrelated(rng, 5, 0.3)
    W, S = to_host(layer.params["W"]), h.T @ h / 60
    shrunk = S @ W @ np.linalg.inv(W.T @ (S + 0.09 * np.eye(5)) @ W)
    layer.feedback.B[...] = to_device(shrunk)
    assert abs(gradient(layer, h, noise)).max() < 1e-12
    clean = S @ W @ np.linalg.inv(W.T @ S @ W)
    assert np.linalg.norm(shrunk @ W.T) < np.linalg.norm(clean @ W.T)


def test_difference_reconstruction_draws_a_linear_B_to_W_itself(rng):
    """The mean gradient is 2 sigma^2 (B - W): here exact, since the noise is exactly white."""
    layer = linear_layer(Inverse(difference_reconstruction))
    h, eps, eta = uncorrelated(rng, 5, 0.3)
    expected = 2 * 0.09 * to_host(layer.feedback.B - layer.params["W"])
    assert_close(gradient(layer, h, eps, eta[:, :4]), expected, atol=1e-13)


@pytest.mark.parametrize("loss", LOSSES)
def test_by_its_loss_an_inverse_comes_closer(loss, rng):
    layer = linear_layer(Inverse(loss, 0.5, lambda g: SGD(g, 0.05)), 5, 5)
    W = to_host(layer.params["W"])
    rest = W if loss is difference_reconstruction else np.linalg.inv(W).T

    def angle():
        B = to_host(layer.feedback.B)
        return (B * rest).sum() / np.linalg.norm(B) / np.linalg.norm(rest)

    before = angle()
    for _ in range(300):
        layer.forward(normal(rng, (50, 5)))
        layer.feedback.compare(layer)
        layer.feedback.on_step(layer)
    assert angle() > max(0.6, before)


def test_without_an_optimizer_B_and_c_stay(rng):
    layer = linear_layer(Inverse(optimizer=None))
    B = layer.feedback.B.copy()
    layer.forward(normal(rng, (6, 5)))
    layer.feedback.compare(layer)
    layer.feedback.on_step(layer)
    assert_same(layer.feedback.B, B)
    assert (to_host(layer.feedback.c) == 0).all()


def test_in_a_plain_network_an_inverse_is_random_and_fixed(rng):
    """Also in layers whose inverse is of no use: convolutions, places of their own."""
    x = normal(rng, (4, 32, 32, 3), "float32")
    model = models.locally_connected(feedback=Inverse(), width=0.05)
    B = [layer.feedback.B.copy() for layer in model.layers if "W" in layer.params]
    optimizer = SGD(model, 0.1)
    model.backward(model.forward(x))
    optimizer.step()
    for layer, before in zip(optimizer.weight_layers, B, strict=True):
        assert_same(layer.feedback.B, before)


def test_features_are_further_outputs_that_nobody_changes(rng):
    layer = linear_layer(AugmentedInverse(6, loss=denoising), 5, 3)
    rule = layer.feedback
    W, A = to_host(layer.params["W"]), to_host(rule.A)
    assert rule.B.shape == (5, 9)
    assert_same(rule(layer.params["W"]), rule.B[:, :3])
    h = rng.normal(size=(7, 5))
    assert_close(rule.up(layer, to_device(h)), np.hstack([h @ W, np.tanh(h @ A)]), rtol=1e-12)
    before = rule.B.copy()
    layer.forward(to_device(h))
    rule.compare(layer)
    rule.on_step(layer)
    assert (to_host(rule.B) != to_host(before)).all()
    assert_same(rule.A, A)


def test_the_width_of_a_float_is_kept(rng):
    layer = linear_layer(Inverse(difference_reconstruction), dtype="float32")
    layer.forward(normal(rng, (6, 5), "float32"))
    layer.feedback.compare(layer)
    layer.feedback.on_step(layer)
    rule = layer.feedback
    arrays = [rule.B, rule.c, *rule.g.params.values(), *rule.learner.ms]
    assert {array.dtype.name for array in arrays} == {"float32"}


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Inverse("denoising"), "expected loss to be a function, found 'denoising'"),
        (lambda: Inverse(None), "expected loss to be a function, found None"),
        (lambda: Inverse(sigma=0), "sigma: expected a number above 0, found 0"),
        (lambda: Inverse(optimizer=0.1), "expected optimizer to be a function, found 0.1"),
        (lambda: AugmentedInverse(0), "expected features to be a whole number of at least 1"),
    ],
)
def test_what_cannot_be_is_refused(make, words):
    with pytest.raises(InputError, match=words):
        make()


def test_the_rule_says_nothing_of_W():
    """B and c of two layers with other weights are the same: they are born without a look at W."""
    one, two = (
        layers.Linear(5, 4, stream(0, "init"), init=init, feedback=Inverse())
        for init in (lambda rng, shape, **_: rng.normal(size=shape),
                     lambda rng, shape, **_: -rng.normal(size=shape))
    )  # fmt: skip
    assert_same(one.feedback.B, two.feedback.B)
    assert not (one.params["W"] == two.params["W"]).any()
