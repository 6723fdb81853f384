"""The rules: what B is, when it changes, and the substitution test that holds for every one."""

import copy
import math

import numpy as np
import pytest
from oracles import assert_close, assert_same, normal

from nnref import init, measure, models
from nnref.backend import plainly, to_device, to_host, xp
from nnref.data.imageset import ImageSet
from nnref.errors import InputError
from nnref.feedback import (
    Backprop,
    Feedback,
    FeedbackAlignment,
    FixedMagnitudes,
    KolenPollack,
    NoFeedback,
    RedrawnMagnitudes,
    Sham,
    SignedInit,
    SignSymmetry,
)
from nnref.init import stream
from nnref.layers import (
    BatchNorm,
    Conv2d,
    Flatten,
    Linear,
    LocallyConnected2d,
    MaxPool2d,
    ReLU,
    Sequential,
)
from nnref.layers.base import rule_of_a_layer
from nnref.losses import softmax_cross_entropy
from nnref.measure import angle, weight_layers
from nnref.optim import SGD, Adam, BatchManhattan
from nnref.train import fit, train_step


class Opposite(Feedback):
    """A rule of a user's own."""

    def born(self, W, scale, draw):
        self.scale = scale

    def __call__(self, W):
        return -self.scale * xp.sign(W)


RULES = {
    "backprop": Backprop(),
    "sham": Sham(),
    "sign-symmetry": SignSymmetry(),
    "sign-symmetry-scaled": SignSymmetry(scale=0.3),
    "sign-symmetry-rms": SignSymmetry(scale="rms"),
    "fixed-magnitudes": FixedMagnitudes(),
    "redrawn-magnitudes": RedrawnMagnitudes(),
    "signed-init": SignedInit(),
    "feedback-alignment": FeedbackAlignment(),
    "kolen-pollack": KolenPollack(),
    "no-feedback": NoFeedback(),
    "user": Opposite(),
}
KINDS = {
    "linear": (
        lambda rule: Linear(6, 4, stream(3, "init"), feedback=rule, dtype="float64"),
        (5, 6),
    ),
    "conv": (
        lambda rule: Conv2d(
            2, 3, 3, stream(3, "init"), stride=2, padding=1, feedback=rule, dtype="float64"
        ),
        (2, 5, 6, 2),
    ),
    "local": (
        lambda rule: LocallyConnected2d(
            (5, 6, 2), 3, 3, stream(3, "init"), stride=2, feedback=rule, dtype="float64"
        ),
        (2, 5, 6, 2),
    ),
}
LAMBDA = {
    "linear": 1 / np.sqrt(6),
    "conv": np.sqrt(2 / (3 * 3 * 3)),
    "local": np.sqrt(2 / (3 * 3 * 3)),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rule", RULES)
def test_substitution_the_error_is_that_of_a_bp_twin_whose_W_is_B(rule, kind, rng):
    make, shape = KINDS[kind]
    layer, twin = make(RULES[rule]), make(Backprop())
    B = copy.deepcopy(layer).feedback(layer.params["W"])  # a copy, since asking may draw numbers
    twin.params["W"][...] = B
    x = normal(rng, shape)
    delta = normal(rng, layer.forward(x).shape)
    twin.forward(x)
    assert_same(layer.backward(delta), twin.backward(delta))
    for name in ("W", "b"):  # a layer's own B is not in its own gradients
        assert_same(layer.grads[name], twin.grads[name])


@pytest.mark.parametrize("kind", KINDS)
def test_the_authors_scale_is_the_default_and_can_be_set(kind):
    make, _ = KINDS[kind]
    layer = make(SignSymmetry())
    W = layer.params["W"]
    assert_close(layer.feedback(W), LAMBDA[kind] * xp.sign(W), rtol=1e-15)
    B = make(SignSymmetry(scale=0.5)).feedback(W)
    assert np.unique(to_host(abs(B))).tolist() == [0.5]


def sent_below(rule, factor, eps, rng):
    """What a layer in front of BatchNorm sends down, if its W is scaled by a factor after birth."""
    layer = Linear(6, 7, stream(3, "init"), bias=False, feedback=rule, dtype="float64")
    layer.params["W"] *= factor
    norm = BatchNorm(7, "float64")
    norm.eps = eps
    x, delta = normal(rng, (20, 6)), normal(rng, (20, 7))
    norm.forward(layer.forward(x))
    return layer.backward(norm.backward(delta))


@pytest.mark.parametrize("factor", [0.25, 3.0])
def test_in_front_of_batch_norm_only_a_lambda_that_follows_W_is_blind_to_its_scale(factor):
    """There the network computes the same for c W, and BP's error below is the same. A fixed lambda
    sends 1 / c of it. Exact but for BatchNorm's eps, a share eps / variance of the error.
    """
    for rule, kept in ((Backprop(), 1), (SignSymmetry("rms"), 1), (SignSymmetry(), 1 / factor)):
        for eps, tolerance in ((0.0, 1e-13), (1e-5, 1e-3)):
            one, other = (sent_below(rule, c, eps, np.random.default_rng(0)) for c in (1.0, factor))
            assert_close(other, kept * one, rtol=tolerance, atol=tolerance * float(abs(one).max()))


def test_lambda_is_the_rms_of_the_present_W_with_and_without_its_twin(rng):
    W = normal(rng, (600, 500), "float32")  # large enough for the twin
    rule = rule_of_a_layer(SignSymmetry("rms"), W, 0.1, None, stream(0, "init"))
    for factor in (1, 3):
        W *= factor
        B = rule(W)
        assert B.dtype == "float32"
        assert measure.norm_ratio(W, B) == pytest.approx(1, abs=1e-6)
        with plainly():
            assert_close(rule(W), B, rtol=1e-6)


@pytest.mark.parametrize(
    "rule", [SignSymmetry(), FixedMagnitudes(), RedrawnMagnitudes(), SignedInit()]
)
def test_a_weight_of_zero_has_no_sign(rule):
    def some_zeros(rng, shape, fan_in, fan_out):
        return np.arange(math.prod(shape)).reshape(shape) % 3 - 1.0

    layer = Linear(6, 4, stream(3, "init"), feedback=rule, init=some_zeros, dtype="float64")
    W = layer.params["W"]
    assert_same(xp.sign(layer.feedback(W)), W)


def test_random_feedback_follows_the_authors_laws():
    """U(-lambda, lambda) in Linear: rms lambda / sqrt(3). N(0, lambda) in Conv2d: rms lambda."""
    linear = Linear(400, 300, stream(0, "init"), feedback=FeedbackAlignment())
    B = linear.feedback(linear.params["W"])
    assert abs(B).max() <= 1 / 20
    assert measure.kurtosis(B) == pytest.approx(1.8, abs=0.05)
    assert math.sqrt((B**2).mean()) == pytest.approx(1 / 20 / np.sqrt(3), rel=0.01)
    conv = Conv2d(40, 50, 5, stream(0, "init"), feedback=FeedbackAlignment())
    B = conv.feedback(conv.params["W"])
    assert measure.kurtosis(B) == pytest.approx(3, abs=0.1)
    assert math.sqrt((B**2).mean()) == pytest.approx(np.sqrt(2 / (25 * 50)), rel=0.02)


def test_which_rules_follow_W_and_which_stay(rng):
    """W is negated: B of a tracking rule is negated too, a fixed B stays; brSF is redrawn."""
    for name, rule in RULES.items():
        layer = KINDS["linear"][0](rule)
        W = layer.params["W"]
        before = to_host(layer.feedback(W)).copy()
        W *= -1
        after = to_host(layer.feedback(W))
        if name == "redrawn-magnitudes":
            assert_same(np.sign(after), -np.sign(before))
            assert not np.isin(abs(after), abs(before)).any()
        else:
            fixed = ("signed-init", "feedback-alignment", "kolen-pollack", "no-feedback")
            sign = 1 if name in fixed else -1
            assert_same(after, sign * before)


def test_each_layer_has_its_own_random_feedback_and_the_users_object_stays_as_it_was():
    rule = FeedbackAlignment()
    first, second = (
        layer.feedback
        for layer in weight_layers(models.mlp([9], input_shape=(9,), classes=9, feedback=rule))
    )
    assert not np.isin(to_host(first.B), to_host(second.B)).any()
    assert not hasattr(rule, "B")


LAWS = {
    "uniform": (init.uniform, 30.00, 41.41),
    "gaussian": (init.normal, 37.07, 50.46),
    "laplace": (lambda rng, shape, scale: rng.laplace(0, scale, shape), 45.00, 60.00),
}


@pytest.mark.parametrize("law", LAWS)
def test_the_angle_between_W_and_B_is_the_one_that_its_law_predicts(law):
    """From the law alone: cos = E|w| / sqrt(E w^2) if all magnitudes of B are equal, and
    (E|w|)^2 / E w^2 if they are random and of the same law as W's.
    """
    sample, unit_magnitudes, random_magnitudes = LAWS[law]
    W = to_device(sample(np.random.default_rng(1), (600, 500), 0.1))
    expected = {
        SignSymmetry: unit_magnitudes,
        SignedInit: unit_magnitudes,
        FixedMagnitudes: random_magnitudes,
        RedrawnMagnitudes: random_magnitudes,
        FeedbackAlignment: 90,
        Backprop: 0,
    }
    for rule, degrees in expected.items():
        B = rule_of_a_layer(rule(), W, 0.1, sample, np.random.default_rng(2))(W)
        assert angle(W, B) == pytest.approx(degrees, abs=0.5)


@pytest.fixture(scope="module")
def sixty_four(digits):
    train, _ = digits
    return ImageSet(train.images[:64], train.labels[:64])


def train_under(rule, data, epochs=2, dtype="float32"):
    """A small network after some training, from the same seed every time."""
    model = models.mlp([20, 15], feedback=rule, seed=5, dtype=dtype)
    fit(model, SGD(model, 0.1), data, epochs=epochs, batch_size=16, seed=5)
    return model


def test_sham_equals_backprop_bit_for_bit(sixty_four):
    exact, sham = (train_under(rule, sixty_four) for rule in (Backprop(), Sham()))
    for a, b in zip(weight_layers(exact), weight_layers(sham), strict=True):
        assert_same(a.params["W"], b.params["W"])


LEARNING = [name for name in RULES if name not in ("no-feedback", "user")]


def memorize_with_mlp(rule, data):
    """The last entry of the history of an MLP that trains on 64 digits."""
    model = models.mlp([50, 50], feedback=rule, seed=0)
    return fit(model, SGD(model, 0.05), data, data, epochs=60, batch_size=16)[-1]


def memorize_with_convolutions(rule, data):
    """The same with a convolutional network whose last layer sees only 32 numbers."""
    rng = stream(0, "init")
    model = Sequential(
        Conv2d(1, 8, 5, rng, stride=2, feedback=rule),
        ReLU(),
        Conv2d(8, 8, 3, rng, stride=2, padding=1, feedback=rule),
        BatchNorm(8),
        ReLU(),
        MaxPool2d(3),
        Flatten(),
        Linear(2 * 2 * 8, 10, rng, feedback=rule),
    )
    return fit(model, Adam(model, 0.01), data, data, epochs=40, batch_size=16)[-1]


MEMORIZE = memorize_with_mlp, memorize_with_convolutions


@pytest.fixture(scope="module")
def alone(sixty_four):
    """What the last layer alone reaches, in each of the networks."""
    return {memorize: memorize(NoFeedback(), sixty_four) for memorize in MEMORIZE}


@pytest.mark.parametrize("memorize", MEMORIZE)
@pytest.mark.parametrize("name", LEARNING)
def test_a_network_learns_under_every_rule(memorize, name, sixty_four, alone):
    """It memorizes 64 digits, which the last layer alone, under NoFeedback, does not."""
    last = memorize(RULES[name], sixty_four)
    assert last["held_out_accuracy"] == 1 > alone[memorize]["held_out_accuracy"]
    assert last["train_loss"] < alone[memorize]["train_loss"] / 3


def test_without_feedback_only_the_last_layer_learns(sixty_four):
    before = models.mlp([20, 15], seed=5)
    after = train_under(NoFeedback(), sixty_four)
    changed = [
        bool((a.params["W"] != b.params["W"]).any())
        for a, b in zip(weight_layers(before), weight_layers(after), strict=True)
    ]
    assert changed == [False, False, True]


@pytest.mark.parametrize("norm", [False, True])
def test_halving_lambda_scales_each_delta_by_a_power_of_two_exactly(norm, rng):
    """Sign-symmetry: the delta of layer l of L scales by 2^-(L - l), with BatchNorm too."""
    x, labels = normal(rng, (8, 12)), rng.integers(0, 4, 8)

    def deltas(scale):
        draws, layers = stream(0, "init"), []
        for n_in, n_out in ((12, 9), (9, 8), (8, 7), (7, 4)):
            layers += [Linear(n_in, n_out, draws, feedback=SignSymmetry(scale), dtype="float64")]
            layers += [BatchNorm(n_out, "float64")] if norm else []
            layers += [ReLU()]
        return measure.deltas(Sequential(*layers[:-1]), x, labels)

    for depth, (a, b) in enumerate(zip(deltas(0.5)[::-1], deltas(0.25)[::-1], strict=True)):
        assert_same(a, b * 2**depth)
        assert abs(a).max() > 0


def test_the_gradient_of_the_last_layer_is_exact_under_every_rule(rng):
    x, labels = normal(rng, (8, 12)), rng.integers(0, 4, 8)
    tops = []
    for rule in RULES.values():
        model = models.mlp([9], input_shape=(12,), classes=4, feedback=rule, dtype="float64")
        _, delta = softmax_cross_entropy(model.forward(x), labels)
        model.backward(delta)
        tops.append(weight_layers(model)[-1].grads["W"])
    for top in tops[1:]:
        assert_same(top, tops[0])


def test_the_feedback_of_the_first_layer_is_never_asked(rng):
    class Refuses(Backprop):
        def __call__(self, W):
            raise AssertionError("asked")

    model = models.mlp([9], input_shape=(12,), classes=4, dtype="float64")
    first, second = weight_layers(model)
    model.forward(normal(rng, (3, 12)))
    first.feedback = Refuses()
    model.backward(normal(rng, (3, 4)))
    second.feedback = Refuses()
    with pytest.raises(AssertionError, match="asked"):
        model.backward(normal(rng, (3, 4)))


def test_dale_trap_signs_per_neuron_give_rank_one_and_no_error_below_softmax(rng):
    """If every input keeps one sign for all its targets, each row of sign(W) is constant. So B has
    rank one, and e_i = +-lambda sum_j delta_j = 0 behind a softmax.
    """
    layer = Linear(7, 5, stream(0, "init"), feedback=SignSymmetry(), dtype="float64")
    W = layer.params["W"]
    W[...] = abs(W) * to_device(np.where(rng.random((7, 1)) < 0.5, -1, 1))
    assert np.linalg.matrix_rank(to_host(layer.feedback(W))) == 1
    _, delta = softmax_cross_entropy(layer.forward(normal(rng, (6, 7))), np.arange(6) % 5)
    assert_close(layer.backward(delta), 0, atol=1e-16)


@pytest.mark.parametrize("optimizer", [SGD, BatchManhattan, Adam])
def test_kolen_pollack_changes_B_exactly_as_W(optimizer, rng):
    """Without decay W - B stays; the decay of one step shrinks it by the same factor as W."""
    model = Sequential(*(Linear(6, 6, stream(3, "init"), feedback=KolenPollack()) for _ in "ab"))
    layer, step = model.layers[1], optimizer(model, 0.01)
    before = layer.params["W"] - layer.feedback.B
    for _ in range(5):
        train_step(model, step, normal(rng, (8, 6), "float32"), np.arange(8) % 6)
    assert_close(layer.params["W"] - layer.feedback.B, before, atol=1e-6)
    assert angle(layer.params["W"], before + layer.feedback.B) < 0.1


def test_weight_decay_makes_kolen_pollacks_B_equal_W(rng):
    model = Sequential(*(Linear(6, 6, stream(3, "init"), feedback=KolenPollack()) for _ in "ab"))
    layer, step = model.layers[1], SGD(model, 0.1, momentum=0, weight_decay=0.1)
    before = layer.params["W"] - layer.feedback.B
    for _ in range(100):
        train_step(model, step, normal(rng, (8, 6), "float32"), np.arange(8) % 6)
    assert_close(layer.params["W"] - layer.feedback.B, before * 0.99**100, atol=1e-6)


def test_a_rule_that_does_not_say_what_B_is():
    with pytest.raises(NotImplementedError, match="Feedback does not define B in __call__"):
        Feedback()(xp.ones((2, 2)))


def test_a_numpy_scale_does_not_turn_float32_into_float64():
    layer = Linear(4, 3, stream(0, "init"), feedback=SignSymmetry(scale=np.sqrt(0.5)))
    assert layer.feedback(layer.params["W"]).dtype == "float32"


def test_a_rule_taken_from_one_layer_takes_the_scale_of_the_next():
    first = Linear(4, 3, stream(0, "init"), feedback=SignSymmetry())
    second = Linear(100, 3, stream(0, "init"), feedback=first.feedback)
    assert float(abs(second.feedback(second.params["W"])).max()) == pytest.approx(0.1)


class Transposed(Feedback):
    def __call__(self, W):
        return W.T


class Double(Feedback):
    def __call__(self, W):
        return W.astype("float64")


@pytest.mark.parametrize(
    ("rule", "found"), [(Transposed(), "(3, 4) and float32"), (Double(), "(4, 3) and float64")]
)
def test_a_rule_that_gives_another_shape_or_dtype_is_one_line_that_names_both(rule, found):
    with pytest.raises(InputError) as caught:
        Linear(4, 3, stream(0, "init"), feedback=rule)
    assert str(caught.value) == (
        f"Linear(4, 3): expected {type(rule).__name__} to give a B of shape (4, 3) and "
        f"dtype float32, found {found}"
    )


class Remembers(Backprop):
    """A rule that keeps a list of its own."""

    def __init__(self):
        self.seen = []

    def __call__(self, W):
        self.seen.append(W.shape)
        return W


def test_layers_share_nothing_of_a_rule():
    rule = Remembers()
    model = models.mlp([8], (2, 2, 1), 3, feedback=rule)
    model.forward(to_device(np.zeros((1, 2, 2, 1), "float32")))
    model.backward(to_device(np.zeros((1, 3), "float32")))
    lower, upper = measure.weight_layers(model)
    assert (rule.seen, lower.feedback.seen, upper.feedback.seen) == ([], [], [(8, 3)])


class Half(Feedback):
    def __call__(self, W):
        return 0.5


class Forgetful(Backprop):
    learns = True


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (Half(), "Linear(4, 3): expected Half to give an array as B, found 0.5"),
        (Forgetful(), "Linear(4, 3): expected Forgetful, which learns, to set B in born"),
    ],
)
def test_a_rule_without_a_usable_B_is_one_line(rule, words):
    with pytest.raises(InputError) as caught:
        models.mlp([], (2, 2, 1), 3, feedback=rule)
    assert str(caught.value).startswith(words)


@pytest.mark.parametrize("scale", ["rmss", "", [1], (0.1, 0.2), 1j, {}, np.ones(2)], ids=str)
def test_a_lambda_that_is_no_number_is_one_line(scale):
    with pytest.raises(InputError, match=r"^SignSymmetry: scale: expected one of None, 'rms', a"):
        SignSymmetry(scale)
    assert SignSymmetry("0.5").scale == SignSymmetry(np.float32(0.5)).scale == 0.5
