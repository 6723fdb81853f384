"""The measures at inputs where the answer is known exactly."""

import copy
import math

import numpy as np
import pytest
from oracles import assert_same, normal

from nnref import measure, models
from nnref.backend import to_device, to_host, xp
from nnref.data.imageset import ImageSet
from nnref.errors import InputError
from nnref.feedback import Backprop, FeedbackAlignment, NoFeedback, RedrawnMagnitudes, SignSymmetry
from nnref.layers import Layer, Linear, Sequential, Tanh
from nnref.layers.base import WeightLayer
from nnref.losses import softmax_cross_entropy
from nnref.optim import SGD
from nnref.train import fit


def test_angles_that_everybody_knows():
    a = to_device(np.array([[1.0, 0.0], [0.0, 0.0]]))
    assert measure.angle(a, 3 * a) == 0
    assert measure.angle(a, -a) == 180
    assert measure.angle(a, a.T[::-1]) == 90
    assert measure.angle(a, to_device(np.array([[1.0, 1.0], [0.0, 0.0]]))) == pytest.approx(45)
    for undefined in (0 * a, a + math.inf, a * math.nan):
        assert math.isnan(measure.angle(a, undefined))
        assert math.isnan(measure.angle(undefined, a))


def test_the_angle_of_an_array_to_itself_is_zero_in_float32_too(rng):
    W = normal(rng, (300, 200), "float32")
    assert measure.angle(W, W.copy()) < 1e-5


@pytest.mark.parametrize(
    ("p", "degrees"),
    [(1, 37.1), (0.9, 50.3), (0.75, 66.5), (0.6, 80.8), (0.5, 90), (0.25, 113.5), (0, 142.9)],
)
def test_sign_concordance_sets_the_angle(p, degrees, rng):
    """Gaussian W, B of one magnitude: cos = (2p - 1) sqrt(2 / pi)."""
    W = normal(rng, (1000, 1000))
    B = xp.sign(W) * to_device(np.where(rng.random(W.shape) < p, 1, -1))
    assert measure.sign_concordance(W, B) == pytest.approx(p, abs=0.002)
    assert measure.angle(W, B) == pytest.approx(degrees, abs=0.5)


@pytest.mark.parametrize(
    ("law", "kurtosis", "degrees"), [("uniform", 1.8, 30), ("normal", 3, 37.07), ("laplace", 6, 45)]
)
def test_kurtosis_and_the_predicted_angle_of_known_laws(law, kurtosis, degrees, rng):
    drawn = rng.uniform(-1, 1, 10**6) if law == "uniform" else getattr(rng, law)(0, 1, 10**6)
    W = to_device(drawn)
    assert measure.kurtosis(W + 5) == pytest.approx(kurtosis, rel=0.02)
    assert measure.predicted_sign_angle(W) == pytest.approx(degrees, abs=0.1)
    assert measure.angle(W, xp.sign(W)) == pytest.approx(measure.predicted_sign_angle(W), abs=1e-6)


def test_weights_that_have_no_angle_or_an_extreme_one():
    for undefined in (0, math.inf, math.nan):
        assert math.isnan(measure.predicted_sign_angle(xp.full((3, 2), undefined)))
    for value in np.linspace(0.1, 1, 200):  # all magnitudes equal: rounding must not pass cos = 1
        assert measure.predicted_sign_angle(xp.full((3, 3), value)) == pytest.approx(0, abs=1e-5)
    sparse = to_device(np.array([[0.0, 0.0], [1.0, 2.0]]))  # sign(0) = 0
    angle = measure.angle(sparse, xp.sign(sparse))
    assert measure.predicted_sign_angle(sparse) == pytest.approx(angle, abs=1e-6)


def test_a_feedback_of_zero_agrees_with_no_sign():
    assert measure.sign_concordance(to_device(np.array([1.0, -1.0])), xp.zeros(2)) == 0


def test_norm_ratio(rng):
    W = normal(rng, (5, 4), "float32")
    assert measure.norm_ratio(W, -2 * W) == pytest.approx(2)
    assert math.isnan(measure.norm_ratio(0 * W, W))


def test_sizes_are_computed_in_float64(rng):
    """So that squares and fourth powers of float32 neither overflow nor vanish, nor lose digits."""
    W = rng.laplace(size=(500, 400))
    for move, factor in ((0, 1e-30), (0, 1e30), (100, 1)):
        moved = to_device((factor * (W + move)).astype("float32"))
        assert measure.kurtosis(moved) == pytest.approx(measure.kurtosis(to_device(W)), rel=1e-3)
        assert measure.norm_ratio(moved, moved) == 1
    assert math.isnan(measure.kurtosis(xp.ones((4, 3), "float32")))


@pytest.fixture(scope="module")
def trained(digits):
    """(model, x, labels) under sign-symmetry after 100 steps on real digits."""
    train, _ = digits
    model = models.mlp([60, 40], feedback=SignSymmetry(), seed=2)
    fit(model, SGD(model, 0.05), ImageSet(train.images[:3200], train.labels[:3200]))
    return model, to_device(train.images[:200]), train.labels[:200]


def test_in_a_trained_network_the_angle_is_what_the_histogram_predicts(trained):
    model, _, _ = trained
    predicted = [measure.predicted_sign_angle(w.params["W"]) for w in measure.weight_layers(model)]
    assert measure.weight_angles(model) == pytest.approx(predicted, abs=1e-3)


def test_delta_angles_are_those_of_gradients_taken_by_hand(trained):
    """Eq. 2 by hand for this network, with B and with W."""
    model, x, labels = trained
    lower, middle, top = measure.weight_layers(model)
    logits = to_host(model.forward(x))
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    delta = (p / p.sum(axis=1, keepdims=True) - np.eye(10)[labels]) / len(x)
    expected = [0.0]
    used = exact = delta
    for layer, below in ((top, middle), (middle, lower)):
        W = layer.params["W"]
        B, W, active = map(to_host, (layer.feedback(W), W, layer.x > 0))
        used, exact = used @ B.T * active, exact @ W.T * active
        cosine = (used * exact).sum() / np.linalg.norm(used) / np.linalg.norm(exact)
        expected.insert(0, math.degrees(math.acos(cosine)))
        assert below.params["W"].shape[1] == used.shape[1]
    assert measure.delta_angles(model, x, labels) == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize("rule", [Backprop(), RedrawnMagnitudes(), FeedbackAlignment()])
def test_measuring_changes_nothing(rule, digits):
    train, _ = digits
    model = models.mlp([12], feedback=rule)
    model.forward(to_device(train.images[:20]))
    model.backward(xp.ones((20, 10), "float32"))
    twin = copy.deepcopy(model)
    measure.weight_angles(model)
    measure.delta_angles(model, to_device(train.images[20:50]), train.labels[20:50])
    for a, b in zip(measure.weight_layers(model), measure.weight_layers(twin), strict=True):
        for name in ("W", "b"):
            assert_same(a.params[name], b.params[name])
            assert_same(a.grads[name], b.grads[name])
        assert_same(a.x, b.x)
        W = a.params["W"]
        assert_same(a.feedback(W), b.feedback(W))  # the same random numbers next


def test_deltas_are_listed_bottom_first_in_a_residual_network(rng):
    from test_models import small_conv_net

    model = small_conv_net(SignSymmetry())
    x, labels = normal(rng, (4, 9, 8, 2)), np.array([0, 1, 2, 0])
    shapes = [delta.shape[-1] for delta in measure.deltas(model, x, labels)]
    assert shapes == [layer.params["W"].shape[1] for layer in measure.weight_layers(model)]
    assert measure.delta_angles(model, x, labels)[-1] == 0


def test_without_feedback_there_is_no_angle(digits):
    train, _ = digits
    model = models.mlp([12], feedback=NoFeedback())
    angles = measure.delta_angles(model, to_device(train.images[:20]), train.labels[:20])
    assert math.isnan(angles[0])
    assert angles[1] == 0


class DirectFeedback(Sequential):
    """A network that sends the output's error straight to every hidden layer (Nokland 2016)."""

    def backward(self, delta):
        self.layers[-1].backward(delta)
        for linear, activation in zip(self.layers[-3::-2], self.layers[-2::-2], strict=False):
            D = np.random.default_rng(linear.n_out).normal(size=(linear.n_out, delta.shape[1]))
            linear.backward(activation.backward(delta @ to_device(D).T))


def direct_feedback(rng):
    """784-20-15-10, tanh, with that backward pass; and some digits in float64."""
    stock = models.mlp([20, 15], (28, 28, 1), activation=Tanh, dtype="float64")
    return DirectFeedback(*stock.layers), normal(rng, (30, 28, 28, 1)), np.arange(30) % 10


def test_delta_angles_of_a_network_with_a_backward_pass_of_its_own_are_the_true_ones(rng):
    """By hand: the loss's gradient for the pre-activations, against what the layers were given."""
    model, x, labels = direct_feedback(rng)
    used = measure.deltas(model, x, labels)
    _, delta = softmax_cross_entropy(model.forward(x), labels)
    _, lower, tanh, middle, tanh_above, top = model.layers
    exact = [delta]
    for linear, activation in ((top, tanh_above), (middle, tanh)):
        exact.insert(0, exact[0] @ linear.params["W"].T * (1 - activation.y**2))
    expected = [measure.angle(a, b) for a, b in zip(used, exact, strict=True)]
    found = measure.delta_angles(model, x, labels)
    assert found == pytest.approx(expected, abs=1e-4)
    assert found[-1] == 0 and min(found[:-1]) > 30


def test_a_layer_whose_own_backward_is_another_one_is_compared_with_the_stock_layer(rng):
    class Noisy(Linear):
        def backward(self, delta):
            return super().backward(delta) + 1.0

    model = models.mlp([20, 15], (28, 28, 1), dtype="float64")
    model.layers[-1].__class__ = Noisy
    x, labels = normal(rng, (30, 28, 28, 1)), np.arange(30) % 10
    assert min(measure.delta_angles(model, x, labels)[:-1]) > 5


class OwnWay(WeightLayer):
    """Weights of a reader's own, whose error takes a way that no rule knows."""

    def __init__(self):
        rng = np.random.default_rng(0)
        W = rng.normal(size=(20, 20))
        super().__init__(W, 0.1, None, rng, Backprop(), False, "float64")
        self.D = to_device(rng.normal(size=(20, 20)))

    def forward(self, x):
        self.x = x
        return x @ self.params["W"]

    def backward(self, delta):
        self.grads = {"W": self.x.T @ delta}
        return delta @ self.D.T


class StraightThrough(Layer):
    """An activation whose backward pass leaves its derivative out."""

    def forward(self, sigma):
        return xp.maximum(sigma, 0)

    def backward(self, error):
        return error


class Wrapped(Layer):
    """A container that is neither Sequential nor Residual."""

    def __init__(self, inner):
        super().__init__()
        self.layers = (inner,)

    def forward(self, x):
        return self.layers[0].forward(x)

    def backward(self, delta):
        return self.layers[0].backward(delta)


class Doubled(Sequential):
    """A forward pass that is not that of its layers."""

    def forward(self, x):
        return 2 * super().forward(x)


class Silent(Sequential):
    """A backward pass that leaves out the layers below the last."""

    def backward(self, delta):
        self.layers[-1].backward(delta)


def with_hidden(inner, layer):
    """A multi-layer perceptron with one more layer below its last one."""
    return Sequential(*inner.layers[:-1], layer, inner.layers[-1])


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (Wrapped, "delta_angles: expected the layers of nnref.layers, found Wrapped(): if its"),
        (
            lambda inner: with_hidden(inner, OwnWay()),
            "delta_angles: expected the layers of nnref.l",
        ),
        (lambda inner: with_hidden(inner, StraightThrough()), "delta_angles: expected the layers"),
        (
            lambda inner: Doubled(*inner.layers),
            "delta_angles: expected Doubled to compute what its",
        ),
        (lambda inner: Silent(*inner.layers), "deltas: expected a delta for every layer"),
    ],
)
def test_a_network_whose_exact_gradient_is_not_known_is_refused(make, words, rng):
    model = make(models.mlp([20], (28, 28, 1), dtype="float64"))
    with pytest.raises(InputError) as caught:
        measure.delta_angles(model, normal(rng, (5, 28, 28, 1)), np.arange(5))
    assert str(caught.value).startswith(words)


def test_a_container_that_promises_an_exact_backward_is_taken_at_its_word(rng):
    inner = models.mlp([20], (28, 28, 1), feedback=FeedbackAlignment(), dtype="float64")
    x, labels = normal(rng, (5, 28, 28, 1)), np.arange(5)
    wrapped = Wrapped(inner)
    wrapped.exact_backward = True
    assert measure.delta_angles(wrapped, x, labels) == measure.delta_angles(inner, x, labels)


def test_a_network_that_lets_no_layer_send_an_error_has_true_angles_too(rng):
    """Direct feedback needs no error of a layer, so it may turn `sends_error` off everywhere."""
    model, x, labels = direct_feedback(rng)
    expected = measure.delta_angles(model, x, labels)
    for layer in measure.weight_layers(model):
        layer.sends_error = False
    assert measure.delta_angles(model, x, labels) == expected


def test_a_layer_that_computes_something_else_forward_is_refused(rng):
    class Doubling(Linear):
        def forward(self, x):
            return 2 * super().forward(x)

    model = models.mlp([20], (28, 28, 1), dtype="float64")
    model.layers[-1].__class__ = Doubling
    with pytest.raises(InputError, match="found another output; its exact gradient is not known"):
        measure.delta_angles(model, normal(rng, (5, 28, 28, 1)), np.arange(5))


@pytest.mark.parametrize("name", ["angle", "norm_ratio", "sign_concordance"])
def test_what_compares_two_arrays_wants_two_of_one_shape(name):
    compare = getattr(measure, name)
    a = xp.ones((3, 4))
    with pytest.raises(InputError, match=rf"^{name}: expected arrays of one shape, found"):
        compare(a, a[:2])
    for pair in ((a.tolist(), a), (a, None)):
        with pytest.raises(InputError, match=rf"^{name}: expected an array of"):
            compare(*pair)


@pytest.mark.parametrize("name", ["kurtosis", "predicted_sign_angle"])
def test_what_describes_an_array_wants_an_array(name):
    with pytest.raises(InputError, match=rf"^{name}: expected an array of"):
        getattr(measure, name)([1.0, 2.0])


@pytest.mark.parametrize("name", ["weight_angles", "delta_angles", "deltas", "layer_measures"])
def test_what_is_no_network_cannot_be_measured(name):
    rest = () if name == "weight_angles" else (xp.ones((2, 3)), np.array([0, 1]))
    with pytest.raises(InputError, match=r"expected a network such as models\.mlp"):
        getattr(measure, name)(None, *rest)
