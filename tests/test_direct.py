"""Direct feedback alignment: its identities, where the errors enter, and what it cannot do."""

import copy
import math

import numpy as np
import pytest
from oracles import assert_close, assert_same, frozen, naive_pool, normal, randomize

from nnref import measure, models
from nnref.backend import to_device, to_host, xp
from nnref.data.imageset import ImageSet
from nnref.errors import InputError
from nnref.experiments.network import network
from nnref.feedback import Backprop, FeedbackAlignment, NoFeedback
from nnref.init import stream
from nnref.layers import (
    BatchNorm,
    Flatten,
    Linear,
    LocallyConnected2d,
    MaxPool2d,
    ReLU,
    Residual,
    Sequential,
    Sigmoid,
    Tanh,
)
from nnref.losses import softmax_cross_entropy
from nnref.measure import deltas, weight_layers
from nnref.optim import SGD, Adam
from nnref.questions.transport import ledger, total
from nnref.rules.direct import Direct, DirectFeedback
from nnref.rules.known import KNOWN
from nnref.runs import checkpoint
from nnref.train import Progress, evaluate, fit, train_step

CLASSES = 4
LABELS = np.arange(12) * 7 % CLASSES


def linear(rule=Backprop(), sizes=(6, 9, 8, 7), dtype="float64"):
    """Layers without a nonlinearity between them."""
    rng = stream(0, "init")
    pairs = zip(sizes, (*sizes[1:], CLASSES), strict=True)
    layers = [Linear(n, m, rng, feedback=rule, dtype=dtype) for n, m in pairs]
    model = Sequential(*layers)
    model.send_no_error_below()
    return model


def mlp(rule=Backprop(), hidden=(9, 8), activation=Tanh, dtype="float64", seed=0):
    shape = (6, 1, 1)
    return models.mlp(hidden, shape, CLASSES, activation=activation, feedback=rule, dtype=dtype,
                      seed=seed)  # fmt: skip


def conv(rule=Backprop(), dtype="float64", norm=None):
    """16 x 16 pixels, two convolutions with pools, a hidden layer."""
    model = network((16, 16, 1), [3, 5], [7], rule, 0, norm=norm)
    for layer in model.walk():
        layer.params = {name: p.astype(dtype) for name, p in layer.params.items()}
        for name in layer.keeps:
            setattr(layer, name, getattr(layer, name).astype(dtype))
    return model


def images(rng, count=12, dtype="float64"):
    return normal(rng, (count, 16, 16, 1), dtype)


def gradients(model, x, labels, loss=softmax_cross_entropy):
    """Every layer's gradients after a pass over a batch, and delta_L."""
    _, top = loss(model.forward(x), labels)
    assert model.backward(frozen(top)) is None  # nothing below could use an error
    return [layer.grads for layer in weight_layers(model)], top


def relative(found, expected):
    """The largest difference, as a share of the largest expected number."""
    return float(abs(found - expected).max()) / float(abs(expected).max())


@pytest.mark.parametrize("optimizer", [SGD, Adam])
@pytest.mark.parametrize("activation", [Tanh, ReLU, Sigmoid])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_with_one_hidden_layer_it_is_feedback_alignment_bit_for_bit(
    dtype, activation, optimizer, rng
):
    x = normal(rng, (12, 6, 1, 1), dtype)
    fa = mlp(FeedbackAlignment(), [9], activation, dtype)
    dfa = DirectFeedback(mlp(Direct(), [9], activation, dtype), x)
    above = weight_layers(dfa)[1].feedback
    above.D = weight_layers(fa)[1].feedback.B.copy()  # D_1 = B_2, (n_1, n_2)
    steps = optimizer(fa, 0.05), optimizer(dfa, 0.05)
    for _ in range(5):
        for model, step in zip((fa, dfa), steps, strict=True):
            train_step(model, step, x, LABELS)
    for a, b in zip(weight_layers(fa), weight_layers(dfa), strict=True):
        for name in a.params:
            assert_same(b.params[name], a.params[name])


def products(matrices):
    """For every matrix but the first: the product of it and all above it."""
    found = [matrices[-1]]
    for matrix in reversed(matrices[1:-1]):
        found.insert(0, matrix @ found[0])
    return found


def test_a_linear_network_learns_as_under_feedback_alignment_with_the_products_of_b(rng):
    x = normal(rng, (12, 6))
    fa, dfa = linear(FeedbackAlignment()), DirectFeedback(linear(), x)
    Ds = products([layer.feedback.B for layer in weight_layers(fa)])
    for layer, D in zip(weight_layers(dfa)[1:], Ds, strict=True):
        assert layer.feedback.D.shape == D.shape
        layer.feedback.D = D
    steps = SGD(fa, 0.05), SGD(dfa, 0.05)
    for _ in range(5):
        for model, step in zip((fa, dfa), steps, strict=True):
            train_step(model, step, x, LABELS)
    for a, b in zip(weight_layers(fa), weight_layers(dfa), strict=True):
        assert relative(b.params["W"], a.params["W"]) < 1e-13
        assert relative(b.params["b"], a.params["b"]) < 1e-13


def test_a_linear_network_has_the_exact_gradient_where_d_is_the_product_of_w(rng):
    x = normal(rng, (12, 6))
    bp, dfa = linear(), DirectFeedback(linear(), x)
    Ds = products([layer.params["W"] for layer in weight_layers(bp)])
    for layer, D in zip(weight_layers(dfa)[1:], Ds, strict=True):
        layer.feedback.D = D
    _, top = softmax_cross_entropy(bp.forward(x), LABELS)
    bp.backward(top)
    found, _ = gradients(dfa, x, LABELS)
    for layer, grads in zip(weight_layers(bp), found, strict=True):
        assert relative(grads["W"], layer.grads["W"]) < 1e-14
        assert relative(grads["b"], layer.grads["b"]) < 1e-14
    assert measure.delta_angles(dfa, x, LABELS) == pytest.approx([0] * 4, abs=1e-5)


def from_zero(model, x, optimizer, steps=40):
    """This network after some steps from weights of zero, as its weights on the host."""
    for layer in weight_layers(model):
        layer.params["W"][...] = 0
    for _ in range(steps):
        train_step(model, optimizer, x, LABELS)
    return [to_host(layer.params["W"]) for layer in weight_layers(model)]


def rank(W):
    """How many singular values are not zero, up to rounding."""
    values = np.linalg.svd(W, compute_uv=False)
    return int((values > 1e-12 * values[0]).sum())


@pytest.mark.parametrize("momentum", [0, 0.9])
def test_linear_hidden_weights_that_start_from_zero_have_the_rank_of_the_outputs(momentum, rng):
    """W_l = D_{l-1} A D_l^T; and one less with softmax, since each row of its delta sums to 0."""
    x = normal(rng, (12, 6))
    model = DirectFeedback(linear(), x)
    Ws = from_zero(model, x, SGD(model, 0.5, momentum, weight_decay=1e-3))
    D = [to_host(layer.feedback.D) for layer in weight_layers(model)[1:]]
    assert [rank(W) for W in Ws] == [CLASSES - 1] * 4
    for below, above, W in zip(D, D[1:], Ws[1:], strict=False):
        A = np.linalg.pinv(below) @ W @ np.linalg.pinv(above.T)
        assert A.shape == (CLASSES, CLASSES)
        assert relative(below @ A @ above.T, W) < 1e-13


def test_from_any_start_linear_hidden_weights_change_by_no_more_than_that_rank(rng):
    x = normal(rng, (12, 6))
    model = DirectFeedback(linear(), x)
    before = [to_host(layer.params["W"].copy()) for layer in weight_layers(model)]
    optimizer = SGD(model, 0.1)
    for _ in range(40):
        train_step(model, optimizer, x, LABELS)
    changes = [
        to_host(a.params["W"]) - b for a, b in zip(weight_layers(model), before, strict=True)
    ]
    assert max(map(rank, changes)) == CLASSES - 1 < min(map(rank, before))


def test_a_nonlinearity_or_adam_lifts_the_limit_of_the_rank(rng):
    """f' differs from sample to sample, and Adam divides entry by entry."""
    x = normal(rng, (12, 6, 1, 1))
    model = DirectFeedback(mlp(), x)
    _, middle, _ = from_zero(model, x, SGD(model, 0.5))
    assert rank(middle) == 8
    model = DirectFeedback(linear(), x[:, :, 0, 0])
    assert rank(from_zero(model, x[:, :, 0, 0], Adam(model, 0.01))[1]) > CLASSES


def test_under_any_nonlinearity_the_errors_of_a_batch_have_the_rank_of_the_outputs(rng):
    model = DirectFeedback(mlp(activation=ReLU), x := normal(rng, (12, 6, 1, 1)))
    _, top = gradients(model, x, LABELS)
    for layer in weight_layers(model)[1:]:
        assert rank(to_host(top @ layer.feedback.D.T)) == CLASSES - 1 < layer.n_in


def test_from_zero_it_learns_where_no_error_of_backpropagation_arrives(rng):
    x = normal(rng, (12, 6, 1, 1))
    dfa, bp = DirectFeedback(mlp(), x), mlp()
    learned, stuck = (from_zero(model, x, SGD(model, 0.5)) for model in (dfa, bp))
    assert all(W.any() for W in learned) and not any(W.any() for W in stuck)


def test_the_layers_can_learn_in_any_order(rng):
    """Each part from one h to the next has all it needs once delta_L is known."""
    x = images(rng)
    model = DirectFeedback(conv(norm=BatchNorm), x)
    found, top = gradients(model, x, LABELS)
    found = copy.deepcopy(found)
    parts, part = [], []
    for layer in model.layers:
        if "W" in layer.params and weight_layers(Sequential(*part)):
            parts.append(part)
            part = []
        part.append(layer)
    ends = [layer.x for layer in weight_layers(model)[1:]]
    Ds = [layer.feedback.D for layer in weight_layers(model)[1:]]
    errors = [(top @ D.T).reshape(h.shape) for D, h in zip(Ds, ends, strict=True)] + [top]
    parts.append(part)
    for i in (2, 0, 3, 1):
        delta = errors[i]
        for layer in reversed(parts[i]):
            delta = layer.backward(delta)
            if delta is None:
                break
    for layer, grads in zip(weight_layers(model), found, strict=True):
        assert_same(layer.grads["W"], grads["W"])


def test_the_last_layer_gets_the_exact_gradient_and_has_no_d_above_it(rng):
    x = normal(rng, (12, 6, 1, 1))
    bp, dfa = mlp(), DirectFeedback(mlp(), x)
    found, top = gradients(dfa, x, LABELS)
    bp.forward(x)
    bp.backward(top)
    assert_same(found[-1]["W"], weight_layers(bp)[-1].grads["W"])
    shapes = [getattr(layer.feedback, "D", xp.empty(0)).shape for layer in weight_layers(dfa)]
    assert shapes == [(0,), (9, CLASSES), (8, CLASSES)]  # kept above h_1 and h_2


def test_the_error_enters_below_the_next_layer_and_passes_pool_norm_and_nonlinearity(rng):
    """By hand: through the pool, ReLU' and BatchNorm of layer l, with D_l for every position."""
    x = images(rng, 5)
    model = DirectFeedback(conv(norm=BatchNorm), x)
    randomize(model, rng)
    used = deltas(model, x, LABELS[:5])
    _, top = gradients(model, x, LABELS[:5])
    first, second, hidden, _ = weight_layers(model)
    D = second.feedback.D
    assert D.shape == (4 * 4 * 3, 10) and second.x.shape == (5, 4, 4, 3)
    error = to_host(top @ D.T).reshape(5, 4, 4, 3)
    _, norm, relu, pool = model.layers[:4]
    sigma = to_host(relu.sigma)
    y = np.maximum(sigma, 0)
    won = y == naive_pool(y, 2, 2, 0, max, -math.inf).repeat(2, 1).repeat(2, 2)
    delta = error.repeat(2, 1).repeat(2, 2) * won * (sigma > 0)
    normalized = to_host((norm.x - norm.mean) * norm.inv_std)
    n = delta.size // 3
    down = delta - delta.sum((0, 1, 2)) / n - normalized * (delta * normalized).sum((0, 1, 2)) / n
    assert_close(used[0], to_host(norm.params["gamma"] * norm.inv_std) * down, atol=1e-13)
    assert hidden.feedback.D.shape == (2 * 2 * 5, 10)


def test_a_convolution_gets_an_error_of_its_own_at_every_position(rng):
    """In contrast to a kernel that repeats it, which would be the same all over the image."""
    x = images(rng)
    model = DirectFeedback(conv(), x)
    _, top = gradients(model, x, LABELS)
    D = to_host(weight_layers(model)[1].feedback.D)
    assert len(np.unique(D)) == D.size
    errors = to_host(top @ to_device(D).T).reshape(12, 16, 3)
    assert errors.std(axis=1).min() > 0.1 * errors.std()


def test_locally_connected_layers_work_too(rng):
    shape, options = (6, 5, 2), {"rng": stream(0, "init"), "dtype": "float64"}
    model = Sequential(
        LocallyConnected2d(shape, 3, 3, padding=1, **options), Tanh(),
        LocallyConnected2d((6, 5, 3), 2, 3, **options), Tanh(), Flatten(), Linear(24, 4, **options),
    )  # fmt: skip
    x = normal(rng, (12, *shape))
    model = DirectFeedback(model, x)
    middle, top = weight_layers(model)[1:]
    assert (middle.feedback.D.shape, top.feedback.D.shape) == ((90, 4), (24, 4))
    gradients(model, x, LABELS)
    assert all(angle < 180 for angle in measure.delta_angles(model, x, LABELS))


def test_d_has_the_range_of_nokland_and_a_stream_of_its_own():
    x = xp.zeros((1, 28, 28, 1), "float32")
    one, two, other = (
        DirectFeedback(models.mlp([400, 300, 300], seed=seed), x) for seed in (0, 0, 1)
    )
    for n, a, b, c in zip((400, 300, 300), *(weight_layers(m)[1:] for m in (one, two, other)),
                          strict=True):  # fmt: skip
        D = to_host(a.feedback.D)
        assert D.dtype == np.float32 and abs(D).max() <= np.float32(1 / math.sqrt(n))
        assert D.std() == pytest.approx(1 / math.sqrt(3 * n), rel=0.05)
        assert_same(b.feedback.D, a.feedback.D)
        assert (to_host(c.feedback.D) != D).all()
    second, third = weight_layers(one)[2:]
    assert (to_host(second.feedback.D) != to_host(third.feedback.D)).all()


def test_neither_the_initial_weights_nor_the_outputs_depend_on_it(rng):
    x = normal(rng, (12, 6, 1, 1))
    for rule in (Backprop(), Direct()):
        assert_same(DirectFeedback(mlp(rule), x).forward(x), mlp().forward(x))


def test_making_one_leaves_running_averages_alone_and_needs_a_single_image():
    x = xp.ones((1, 16, 16, 1), "float32")
    model = DirectFeedback(conv(norm=BatchNorm, dtype="float32"), x)
    norm = model.layers[1]
    assert not norm.running_mean.any() and (norm.running_var == 1).all() and norm.training


def test_a_network_without_hidden_layers_is_exact(rng):
    x = normal(rng, (12, 6, 1, 1))
    found, _ = gradients(DirectFeedback(mlp(hidden=()), x), x, LABELS)
    _, delta = softmax_cross_entropy((bp := mlp(hidden=())).forward(x), LABELS)
    bp.backward(delta)
    assert_same(found[0]["W"], weight_layers(bp)[0].grads["W"])


@pytest.mark.parametrize(
    "model, words",
    [
        (
            models.resnet20((8, 8, 1), width=0.25),
            "layers in a row, as in models.mlp, found Residual",
        ),
        (Sequential(mlp()), "layers in a row, as in models.mlp, found Sequential"),
        (Residual(mlp(), mlp()), "layers in a row, as in models.mlp, found Residual"),
        (linear().layers[0], "layers in a row, as in models.mlp, found Linear"),
        ([1, 2], "layers in a row, as in models.mlp, found list"),
        (Sequential(*mlp().layers, Sigmoid()), r"a Linear layer at the end, found Sigmoid\(\)"),
        (Sequential(), "a Linear layer at the end, found none"),
        (
            Sequential(*mlp().layers[:-1], MaxPool2d(2)),
            "a Linear layer at the end, found MaxPool2d",
        ),
        (DirectFeedback(mlp(), xp.zeros((1, 6, 1, 1))), "found DirectFeedback"),
        (
            Sequential(Flatten(), BatchNorm(64), Linear(64, 3, np.random.default_rng(0))),
            r"a layer with weights before others with parameters, found BatchNorm\(64\)",
        ),
    ],
)
def test_what_it_cannot_do_is_refused_in_one_line(model, words):
    with pytest.raises(InputError, match=f"^DirectFeedback: expected .*{words}[^\n]*$"):
        DirectFeedback(model, xp.zeros((1, 8, 8, 1), "float32"))


def test_it_may_be_made_twice_of_one_network():
    """As in a notebook whose cell is run again."""
    model, x = mlp(), xp.zeros((1, 6, 1, 1))
    first, second = DirectFeedback(model, x), DirectFeedback(model, x)
    assert first.forward(x).shape == second.forward(x).shape


def test_inputs_that_the_network_cannot_take_are_refused_by_its_layers():
    with pytest.raises(InputError, match=r"Linear\(6, 9\): expected input of shape"):
        DirectFeedback(mlp(), xp.zeros((2, 5, 1, 1)))


def test_its_rule_in_a_network_that_sends_errors_through_b_is_noticed(rng):
    """The weights are NaN after a step, and at the next one training stops."""
    x, model = normal(rng, (12, 6, 1, 1)), mlp(Direct())
    train_step(model, SGD(model, 0.1), x, LABELS)
    assert np.isnan(to_host(model.forward(x))).all()


def test_measures_know_that_there_is_no_b_and_take_the_true_angle_of_delta(rng):
    x = normal(rng, (12, 6, 1, 1))
    model = DirectFeedback(mlp(), x)
    found = measure.layer_measures(model, x, LABELS)
    assert found["weight_angle_deg"] == found["norm_ratio"] == [None] * 3
    assert all(map(math.isnan, measure.weight_angles(model)))
    used = deltas(model, x, LABELS)
    bp = mlp()
    exact = deltas(bp, x, LABELS)
    angles = [measure.angle(a, b) for a, b in zip(used, exact, strict=True)]
    assert found["delta_angle_deg"] == pytest.approx(angles, abs=1e-5)
    assert found["delta_angle_deg"][-1] == 0 < min(found["delta_angle_deg"][:-1])


@pytest.mark.parametrize("optimizer", [SGD, Adam])
def test_a_checkpoint_holds_d_and_goes_on_bit_for_bit(optimizer, tmp_path, rng):
    """Into a network of another seed, so that every D has to come from the file."""
    x = normal(rng, (12, 6, 1, 1), "float32")
    one, two = (DirectFeedback(mlp(dtype="float32", seed=seed), x) for seed in (0, 1))
    its, others = optimizer(one, 0.05), optimizer(two, 0.05)
    train_step(one, its, x, LABELS)
    checkpoint.save(tmp_path / "a.npz", one, its, Progress(), {})
    checkpoint.restore(checkpoint.read(tmp_path / "a.npz"), two, others)
    for model, step in ((one, its), (two, others)):
        train_step(model, step, x, LABELS)
    for a, b in zip(weight_layers(one), weight_layers(two), strict=True):
        assert_same(b.params["W"], a.params["W"])
    for a, b in zip(weight_layers(one)[1:], weight_layers(two)[1:], strict=True):
        assert_same(b.feedback.D, a.feedback.D)


def test_no_bit_of_a_weight_travels_but_for_the_gains_of_batch_norm(rng):
    x = images(rng)
    assert total(ledger(DirectFeedback(mlp(), normal(rng, (2, 6, 1, 1))))) == (0, 0)
    assert total(ledger(DirectFeedback(conv(norm=BatchNorm), x))) == (32 * (3 + 5 + 7), 0)
    found = []
    for change in (1, -2):
        model = DirectFeedback(
            mlp(activation=Tanh), y := normal(np.random.default_rng(1), (3, 6, 1, 1))
        )
        top, hidden = weight_layers(model)[-1], weight_layers(model)[1]
        top.params["W"] *= change
        model.forward(y)
        model.backward(xp.ones((3, CLASSES)))
        found.append(hidden.grads["W"])
    assert_same(*found)  # what is below the last W never learns of it


def test_the_hidden_layers_learn_to_help(digits):
    """After an epoch of 2,000 digits it is far ahead of a network that trains its top alone."""
    train, test = digits
    few, some = (ImageSet(d.images[:n], d.labels[:n]) for d, n in ((train, 2000), (test, 500)))
    accuracies = {}
    for rule in (Direct(), NoFeedback()):
        model = models.mlp([40, 40], activation=Tanh, feedback=rule)
        if isinstance(rule, Direct):
            model = DirectFeedback(model, to_device(few.images[:1]))
        fit(model, SGD(model, 0.05), few, epochs=2)
        accuracies[type(rule)] = evaluate(model, some)[1]
    assert accuracies[Direct] > accuracies[NoFeedback] + 0.05


def test_its_table_entry_makes_such_a_network():
    known = KNOWN["direct-feedback"]
    model = known.network(models.lenet(feedback=known.rule), xp.zeros((1, 28, 28, 1), "float32"))
    assert isinstance(model, DirectFeedback)
    sizes = [layer.feedback.D.shape[0] for layer in weight_layers(model)[1:]]
    assert sizes == [14 * 14 * 6, 5 * 5 * 16, 120, 84]
