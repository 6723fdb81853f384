"""Errors that come late: exact pairings, filters, and the training loop without them."""

import itertools
import math

import numpy as np
import pytest

from nnref import models
from nnref.backend import to_device, to_host
from nnref.data.imageset import ImageSet
from nnref.errors import InputError
from nnref.experiments.network import network
from nnref.feedback import Backprop, FeedbackAlignment, SignSymmetry
from nnref.init import stream
from nnref.layers import Linear, Residual, Sequential
from nnref.losses import softmax_cross_entropy
from nnref.measure import deltas, weight_layers
from nnref.optim import SGD
from nnref.questions import late
from nnref.questions.late import (
    Clock,
    LateErrors,
    LowPass,
    learning_strengths,
    overlap,
    show,
    summed_gradient,
)
from nnref.train import Training, evaluate, train_step

CLOCKS = [Clock(4), Clock(4, 1), Clock(4, 3, 2.0), Clock(5, 2, 0, 3.0), Clock(3, 7, 1.5, 4.0)]


def digits(count, dtype="float64"):
    rng = np.random.default_rng(0)
    images = to_device(rng.normal(size=(count, 3, 2, 1)).astype(dtype))
    return images, np.arange(count) * 7 % 4


def net(rule=Backprop(), dtype="float64", seed=0):
    return models.mlp([6, 5], (3, 2, 1), 4, feedback=rule, dtype=dtype, seed=seed)


@pytest.mark.parametrize("hold, delay", [*itertools.product([1, 4, 10], [0, 1, 3, 4, 9, 10, 25])])
def test_without_filters_the_strength_is_1_minus_d_over_t(hold, delay):
    assert overlap(Clock(hold, delay)) == pytest.approx(max(0, 1 - delay / hold), abs=1e-12)
    # the rest of the error meets the next image, or the one after it
    lag = delay // hold
    assert overlap(Clock(hold, delay), lag + 1) == pytest.approx(delay / hold - lag, abs=1e-12)


@pytest.mark.parametrize("clock", CLOCKS)
def test_what_the_right_pairing_loses_false_ones_win(clock):
    assert sum(overlap(clock, lag) for lag in range(-60, 60)) == pytest.approx(1)


def test_a_trace_that_outlasts_its_image_meets_the_error_of_the_next_one():
    clock = Clock(60, 0, 0, 2.0)
    q = math.exp(-1 / 2)
    after = sum((1 - q**60) * q ** (t + 1) for t in range(60)) / 60
    assert overlap(clock, -1) == pytest.approx(after)
    assert overlap(clock) + overlap(clock, -1) == pytest.approx(1)


@pytest.mark.parametrize("hold, delay, trace", [(10, 0, 5.0), (10, 4, 10.0), (4, 9, 20.0)])
def test_the_strength_with_a_trace_is_that_of_a_rise_and_a_decay(hold, delay, trace):
    """z = 1 - q^(t+1) while the image is shown, then (1 - q^T) q^(t+1-T); q = exp(-1 / trace)."""
    q = math.exp(-1 / trace)

    def z(t):
        return 1 - q ** (t + 1) if t < hold else (1 - q**hold) * q ** (t + 1 - hold)

    expected = sum(z(t) for t in range(delay, delay + hold)) / hold
    assert overlap(Clock(hold, delay, 0, trace)) == pytest.approx(expected)


def test_a_low_pass_follows_its_equation():
    """tau dy/dt = 1 - y from y = 0 is 1 - exp(-t / tau), whatever the size of the steps."""
    filtered = LowPass(7.0)
    for t in range(1, 30):
        assert filtered(1.0) == pytest.approx(1 - math.exp(-t / 7))
    assert LowPass(0)(3.0) == 3.0


@pytest.mark.parametrize("clock", CLOCKS)
@pytest.mark.parametrize("rule", [Backprop(), SignSymmetry(), FeedbackAlignment()])
def test_a_stream_sums_up_all_pairs_of_its_images_times_their_overlap(clock, rule):
    """Weights stand still; after the last image the network sees nothing until all has run out."""
    (images, labels), model = digits(6), net(rule)
    layers, shown = weight_layers(model), LateErrors(model, clock)
    sums = [0.0 for _ in layers]

    def run(x, label, loss, steps):
        for _ in range(steps):
            shown.step(x, label, loss)
            for i, layer in enumerate(layers):
                sums[i] = sums[i] + to_host(layer.grads["W"])

    xs, ds = [], []
    for k in range(6):
        x, label = images[k : k + 1], labels[k : k + 1]
        ds.append([to_host(delta) for delta in deltas(model, x, label)])
        run(x, label, softmax_cross_entropy, clock.hold)
        xs.append([to_host(layer.x) for layer in layers])
    run(0 * x, label, lambda logits, _: (0.0, 0 * logits), round(50 * sum(clock)))
    for i in range(3):
        expected = sum(
            clock.hold * overlap(clock, k - m) * xs[k][i].T @ ds[m][i]
            for k, m in itertools.product(range(6), repeat=2)
        )
        assert np.allclose(sums[i], expected, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("rule", [Backprop(), SignSymmetry(), FeedbackAlignment()])
def test_without_delay_filters_and_holding_it_is_ordinary_training(rule):
    images, labels = digits(40, "float32")
    one, two = net(rule, "float32"), net(rule, "float32")
    data = ImageSet(to_host(images), labels)
    clock = Clock(hold=1)
    optimizer = SGD(one, 0.1, 0)
    training = late.LateTraining(one, optimizer, data, data, 2, batch_size=8, seed=3, clock=clock)
    history = training.run()
    optimizer, rng = SGD(two, 0.1, 0), stream(3, "order")
    for _ in range(2):
        order = rng.permutation(40)
        for start in range(0, 40, 8):
            batch = order[start : start + 8]
            train_step(two, optimizer, images[to_device(batch)], labels[batch])
    for a, b in zip(weight_layers(one), weight_layers(two), strict=True):
        assert np.array_equal(to_host(a.params["W"]), to_host(b.params["W"]))
        assert np.array_equal(to_host(a.params["b"]), to_host(b.params["b"]))
    assert [entry["epoch"] for entry in history] == [1, 2]


def test_streams_hold_every_image_equally_long_and_do_not_change_at_once():
    images, labels = np.arange(12), np.arange(12)
    seen = np.array([now for _, now in show(to_device(images), labels, streams=3, hold=4)])
    assert seen.shape == (16, 3)
    assert sorted(seen.ravel()) == sorted(np.repeat(np.arange(12), 4))
    changes = (np.diff(seen, axis=0) != 0).sum(axis=1)
    assert set(changes) == {0, 1}
    for row in range(3):
        assert set(seen[:, row] % 3) == {row}


def test_the_gradient_of_a_stream_without_delay_is_that_of_all_images():
    images, labels = digits(20)
    model = net()
    (*_, ours) = summed_gradient(model, images, labels, Clock(5), streams=4)
    _, delta = softmax_cross_entropy(model.forward(images), labels)
    model.backward(delta)
    top = weight_layers(model)[-1]
    # each image for 5 steps, as one of 4 in a batch and not of 20
    assert np.allclose(to_host(ours), 5 * 5 * to_host(top.grads["W"]))


@pytest.mark.parametrize("clock, model, words", [
    (Clock(0), net(), "expected hold from 1 and no time below 0, found Clock"),
    (Clock(3, -1), net(), "expected hold from 1 and no time below 0, found Clock"),
    (Clock(3), network((8, 8, 1), [2], [3], Backprop(), 0), "expected a network like models.mlp"),
    (Clock(3), Residual(Linear(3, 3, stream(0, "init"))), "expected a network like models.mlp"),
    (Clock(3), Sequential(net()), "expected a network like models.mlp"),
    (Clock(3), Linear(3, 3, stream(0, "init")), "expected a network like models.mlp"),
])  # fmt: skip
def test_what_cannot_be_is_refused(clock, model, words):
    with pytest.raises(InputError, match=words):
        LateErrors(model, clock)


def test_late_training_follows_its_schedule_and_calls_on_step_at_every_step_of_time():
    images, labels = digits(16, "float32")
    model, rates, times = net(dtype="float32"), [], []
    optimizer = SGD(model, 1.0, 0)

    def on_step(epochs):
        times.append(epochs)
        rates.append(optimizer.lr)

    data = ImageSet(to_host(images), labels)
    training = late.LateTraining(
        model, optimizer, data, data, 2, batch_size=8, schedule=lambda t: 0.01 * (1 + t),
        on_step=on_step, clock=Clock(hold=2),
    )  # fmt: skip
    history = training.run()
    assert times == pytest.approx([0.25, 0.5, 0.75, 1, 1.25, 1.5, 1.75, 2])
    assert rates == pytest.approx([0.01 * (1 + t - 0.125) for t in times])
    loss, accuracy = evaluate(model, data)
    assert (history[-1]["held_out_loss"], history[-1]["held_out_accuracy"]) == (loss, accuracy)


def test_the_training_loss_of_constant_weights_is_that_of_the_images():
    images, labels = digits(16, "float32")
    model = net(dtype="float32")
    data = ImageSet(to_host(images), labels)
    optimizer = SGD(model, 1e-30, 0)
    training = late.LateTraining(model, optimizer, data, batch_size=8, clock=Clock(hold=3))
    assert training.run()[0]["train_loss"] == pytest.approx(evaluate(model, data)[0], rel=1e-5)


@pytest.mark.filterwarnings("ignore")
def test_late_training_that_diverges_says_where():
    images, labels = digits(16, "float32")
    model = net(dtype="float32")
    data = ImageSet(to_host(images), labels)
    training = late.LateTraining(
        model, SGD(model, 1e30, 0), data, batch_size=8, epochs=3, clock=Clock(hold=2)
    )
    with np.errstate(all="ignore"), pytest.raises(FloatingPointError, match="diverged in step"):
        training.run()


def test_late_training_alone_is_not_resumed_within_an_epoch():
    """Errors that are under way are not saved."""
    assert (Training.resumable, late.LateTraining.resumable) == (True, False)


def test_learning_strengths_are_projections_on_what_is_taught_without_delay():
    """One stream of 6 images, each held 4 steps; at a delay of 4 an error meets the next image."""
    (images, labels), model = digits(6), net()
    clocks = [Clock(4), Clock(4, 4), Clock(4, 24)]
    on_time, late_by_one, never = learning_strengths(model, images, labels, clocks, streams=1)
    assert on_time == {"all": [1.0] * 3, "images": [1.0] * 3}
    assert never["all"] == [0.0] * 3

    errors = [6 * to_host(delta) for delta in deltas(model, images, labels)]  # of single images
    model.forward(images)
    for i, layer in enumerate(weight_layers(model)):
        x, d = to_host(layer.x), errors[i]
        now, late = x.T @ d, x[1:].T @ d[:-1]
        mean = 6 * np.outer(x.mean(axis=0), d.mean(axis=0))
        for kind, off in (("all", 0), ("images", mean)):
            expected = ((late - off) * (now - off)).sum() / ((now - off) ** 2).sum()
            assert late_by_one[kind][i] == pytest.approx(expected)
