"""The losses: their definitions, exact gradients, and labels that cannot be."""

import math

import numpy as np
import pytest
from oracles import assert_same, frozen, normal

from nnref.backend import xp
from nnref.errors import InputError
from nnref.losses import (
    mean_squared_error,
    sigmoid_cross_entropy,
    softmax_cross_entropy,
    squared_error,
)


def numeric_slope(loss, z, direction, h=1e-6):
    return float(loss(z + h * direction)[0] - loss(z - h * direction)[0]) / (2 * h)


def test_cross_entropy_is_minus_the_log_of_the_softmax_of_the_label():
    z, labels = xp.asarray([[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]]), np.array([0, 2])
    first = -math.log(math.exp(1) / (math.exp(1) + math.exp(2) + math.exp(3)))
    loss, _ = softmax_cross_entropy(z, labels)
    assert float(loss) == pytest.approx((first + math.log(3)) / 2)


def test_sigmoid_cross_entropy_asks_yes_or_no_of_every_class():
    z, labels = xp.asarray([[2.0, -1.0], [0.0, 0.0]]), np.array([0, 1])
    first = math.log(1 + math.exp(-2)) + math.log(1 + math.exp(-1))
    loss, _ = sigmoid_cross_entropy(z, labels)
    assert float(loss) == pytest.approx((first + 2 * math.log(2)) / 2)


def test_squared_error_is_the_mean_squared_error_to_one_hot_labels(rng):
    z, labels = normal(rng, (3, 4)), np.array([1, 0, 3])
    ours, theirs = squared_error(z, labels), mean_squared_error(z, xp.asarray(np.eye(4)[labels]))
    assert float(ours[0]) == float(theirs[0])
    assert_same(ours[1], theirs[1])


def test_all_gradients_are_exact(rng):
    z, direction, labels = *normal(rng, (2, 6, 4)), rng.integers(0, 4, 6)
    target = normal(rng, (6, 4))
    for loss in (
        lambda z: softmax_cross_entropy(z, labels),
        lambda z: sigmoid_cross_entropy(z, labels),
        lambda z: squared_error(z, labels),
        lambda z: mean_squared_error(z, target),
    ):
        exact = float((loss(z)[1] * direction).sum())
        assert numeric_slope(loss, z, direction) == pytest.approx(exact, rel=1e-7)


def test_cross_entropy_survives_huge_logits_and_its_delta_rows_sum_to_zero():
    with np.errstate(all="raise", under="ignore"):
        loss, delta = softmax_cross_entropy(xp.asarray([[1e4, 0.0, -1e4]]), np.array([1]))
        assert loss == 1e4
        assert delta.tolist() == [[1, -1, 0]]
        loss, delta = sigmoid_cross_entropy(xp.asarray([[1e4, 0.0, -1e4]]), np.array([2]))
        assert float(loss) == pytest.approx(2e4 + math.log(2))
        assert delta.tolist() == [[1, 0.5, -1]]


def test_sigmoid_cross_entropy_keeps_the_digits_of_a_small_loss():
    loss, _ = sigmoid_cross_entropy(xp.asarray([[20.0, -20.0]], "float32"), np.array([0]))
    assert float(loss) == pytest.approx(2 * math.exp(-20), rel=1e-5)


def test_mean_squared_error_is_half_the_squared_length_per_sample():
    loss, delta = mean_squared_error(xp.asarray([[1.0, 2.0], [3.0, 4.0]]), xp.zeros((2, 2)))
    assert loss == (0.5 * 5 + 0.5 * 25) / 2
    assert delta.tolist() == [[0.5, 1], [1.5, 2]]


def test_no_argument_is_written_into(rng):
    z, target = normal(rng, (2, 3, 4))
    logits, goal = frozen(z), frozen(target)
    softmax_cross_entropy(logits, frozen(np.array([0, 1, 2])))
    mean_squared_error(logits, goal)
    assert_same(logits, z)
    assert_same(goal, target)


@pytest.mark.parametrize("loss", [softmax_cross_entropy, sigmoid_cross_entropy, squared_error])
@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.array([0, 4, 1]), "labels: expected 0 to 3, found 4 at position 1"),
        (np.array([0, 1, -1]), "labels: expected 0 to 3, found -1 at position 2"),
        (np.array([0, 1]), "labels: expected shape (3,), one per sample, found (2,)"),
        (np.zeros((3, 4), int), "labels: expected shape (3,), one per sample, found (3, 4)"),
        (np.array([0.0, 1, 2]), "labels: expected a NumPy array of integers, found float64"),
        ([0, 1, 2], "labels: expected a NumPy array of integers, found list"),
    ],
)
def test_labels_that_cannot_be_are_one_line(loss, labels, message):
    with pytest.raises(InputError) as caught:
        loss(xp.zeros((3, 4)), labels)
    assert str(caught.value) == message


def test_a_target_of_another_shape_is_one_line():
    for target in (xp.zeros((3, 1)), xp.zeros((3, 4), "float32")):
        with pytest.raises(InputError, match=r"target of shape \(3, 4\) and dtype float64, found"):
            mean_squared_error(xp.zeros((3, 4)), target)


@pytest.mark.parametrize("loss", [softmax_cross_entropy, sigmoid_cross_entropy, squared_error])
def test_logits_that_are_no_array_are_one_line(loss):
    for logits in ([[0.0, 1.0]], None):
        with pytest.raises(InputError, match=r"^logits: expected an array of .*, found builtins"):
            loss(logits, np.array([0]))


def test_a_target_that_is_no_array_and_outputs_that_are_no_matrix_are_one_line():
    for output, target in (([[0.0]], xp.zeros((1, 1))), (xp.zeros((1, 1)), [[0.0]])):
        with pytest.raises(InputError, match=r"^mean_squared_error: expected an array of"):
            mean_squared_error(output, target)
    with pytest.raises(InputError, match=r"^output: expected shape \(N, n_out\), found \(3,\)"):
        mean_squared_error(xp.zeros(3), xp.zeros(3))


@pytest.mark.parametrize("shape", [(3, 2, 2, 4), (4,), (0, 4)])
def test_logits_of_another_shape_are_one_line(shape):
    with pytest.raises(InputError, match=r"logits: expected shape \(N, n_out\), found"):
        softmax_cross_entropy(xp.zeros(shape), np.zeros(shape[:1], int))
