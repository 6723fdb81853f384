"""The microcircuit's steady state: silence without a teacher, feedback alignment with one.

The theorem: with D_N = phi(u_N) - phi(v_N), the changes of the hidden weights are those of a stock
backward pass that starts at D_N, but for a relative error that falls as the square of the mixing
factors.
"""

import copy
import math

import numpy as np
import pytest
from oracles import assert_close, assert_same, normal

from nnref import models
from nnref.backend import to_device, to_host, xp
from nnref.data.imageset import ImageSet
from nnref.errors import InputError
from nnref.feedback import Backprop, FeedbackAlignment, KolenPollack, SignSymmetry
from nnref.layers import Linear, ReLU, Residual, Sequential, Sigmoid, Tanh
from nnref.losses import softmax_cross_entropy
from nnref.measure import angle, delta_angles, layer_measures, weight_layers
from nnref.optim import SGD, Adam
from nnref.rules.microcircuit import Microcircuit, teaching
from nnref.rules.microcircuit_ode import Conductances
from nnref.runs import checkpoint, run
from nnref.runs.settings import Settings
from nnref.train import Progress, Training, train_step

LABELS = np.arange(20) % 4


class Uniform(FeedbackAlignment):
    """B uniform in +-1."""

    def born(self, W, scale, draw):
        self.B = to_device(self.rng.uniform(-1, 1, W.shape).astype(W.dtype))


def net(feedback=Uniform(), hidden=(6, 5), activation=Sigmoid, dtype="float64", seed=0):
    """7-6-5-4 cells whose outputs are rates; biases are not zero."""
    model = models.mlp(
        hidden, (7,), 4, activation=activation, feedback=feedback, dtype=dtype, seed=seed
    )
    model = Sequential(*model.layers, Sigmoid())
    for layer in weight_layers(model):
        layer.params["b"][:] = 0.1 + xp.arange(layer.n_out) / 10
    return model


def circuit(lam=0.05, **options):
    return Microcircuit(net(**options), lam, lam, lam)


def taught(model, x, labels=LABELS, loss=teaching):
    """The gradients of W of all layers after one pass."""
    _, delta = loss(model.forward(x), labels)
    model.backward(delta)
    return [layer.grads["W"] for layer in weight_layers(model)]


def started_at(model, x, error):
    """The gradients of W, if a stock backward pass starts with this error above the last Linear."""
    stock = Sequential(*copy.deepcopy(model).layers[:-1])
    stock.forward(x)
    stock.backward(error)
    return [layer.grads["W"] for layer in weight_layers(stock)]


def relative(a, b):
    return float(abs(a - b).max() / abs(b).max())


RULES = [Uniform(), Backprop(), SignSymmetry(), KolenPollack()]


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("activation", [Sigmoid, Tanh, ReLU])
def test_without_a_teacher_apical_dendrites_are_silent_for_any_input_and_any_B(
    rule, activation, rng
):
    model = circuit(feedback=rule, activation=activation)
    outputs = model.forward(10 * normal(rng, (20, 7)))
    model.backward(xp.zeros_like(outputs))
    assert max(float(abs(vA).max()) for vA in model.apical) < 1e-14
    for layer in weight_layers(model):
        assert abs(layer.grads["W"]).max() < 1e-10  # round-off, divided by what is left of a nudge
    assert abs(model.grads["WIP1"]).max() < 1e-9


def test_without_biases_in_the_interneurons_they_are_not_silent(rng):
    """Why an interneuron gets its partner's threshold too."""
    model = circuit()
    model.params["bIP1"][:] = 0
    model.backward(xp.zeros_like(model.forward(normal(rng, (20, 7)))))
    assert abs(model.apical[0]).max() > 0.01


def test_hidden_updates_are_feedback_alignments_and_the_error_falls_as_lambda_squared(rng):
    """Sizes 7-6-5-4, glk = .1, gB = gD = 1, gA = gsom = .08, .008, .0008."""
    x, errors = normal(rng, (20, 7)), []
    for g in (0.08, 0.008, 0.0008):
        mixing = Conductances(gA=g, gsom=g).mixing
        model = Microcircuit(net(), **mixing)
        found = taught(model, x)
        _, delta = teaching(model.forward(x), LABELS)
        v, phi, lamN = model.v[-1], Sigmoid().forward, mixing["lamN"]
        expected = started_at(model, x, (phi(v) - phi(v - lamN * 20 * delta)) / (20 * lamN))
        errors.append([relative(a, b) for a, b in zip(found, expected, strict=True)])
    coarse, fine, finest = errors
    assert coarse[0] < 0.02 and coarse[1] < 0.02
    for k in (0, 1):
        assert math.log10(coarse[k] / fine[k]) == pytest.approx(2, abs=0.2)
    assert math.log10(fine[1] / finest[1]) == pytest.approx(2, abs=0.2)
    assert finest[0] < 1e-4  # round-off: lambda is below 1e-3, and this layer divides by its cube
    assert max(e[2] for e in errors) < 1e-12  # the last layer's by construction


@pytest.mark.parametrize("rule", [Backprop(), Uniform(), SignSymmetry()])
def test_for_small_lambda_it_is_the_stock_backward_pass_of_the_same_loss(rule, rng):
    """With B = W backpropagation, with random B feedback alignment; to first order in lambda."""
    x, errors = normal(rng, (20, 7)), []
    for lam in (1e-2, 1e-3):
        found, expected = taught(circuit(lam, feedback=rule), x), taught(net(rule), x)
        errors.append([relative(a, b) for a, b in zip(found, expected, strict=True)])
    coarse, fine = np.array(errors)
    assert (coarse < 0.1).all()
    assert (fine < 0.15 * coarse).all()


def test_with_linear_outputs_the_last_layer_has_the_gradient_of_the_cross_entropy(rng):
    model = models.mlp([6, 5], (7,), 4, feedback=Uniform(), dtype="float64")
    x, made = normal(rng, (20, 7)), Microcircuit(copy.deepcopy(model), 0.4, 0.2, 0.3)
    found = taught(made, x, loss=softmax_cross_entropy)
    expected = taught(model, x, loss=softmax_cross_entropy)
    assert_close(found[2], expected[2], rtol=1e-12, atol=1e-15)
    assert angle(found[1], expected[1]) < 10
    assert angle(found[0], expected[0]) < 10


def test_the_backward_pass_is_the_loop_of_the_paper(rng):
    """Written out with u, v, uI and vI, for one hidden population and W before attenuation."""
    g = Conductances(gA=0.5, gsom=0.3)
    model = Microcircuit(net(hidden=(5,)), **g.mixing)
    x = normal(rng, (20, 7))
    found = taught(model, x)
    phi, (first, last) = Sigmoid().forward, weight_layers(model)
    vB1 = (x @ first.params["W"] + first.params["b"]) / g.basal(True)  # the paper's W
    r1 = phi(vB1 * g.basal(True))
    vB2 = (r1 @ last.params["W"] + last.params["b"]) / g.basal(False)
    u_trgt = math.log(0.1 / 0.9) + xp.zeros((20, 4))
    u_trgt[xp.arange(20), to_device(LABELS)] = math.log(0.8 / 0.2)
    total = g.glk + g.gB + g.gsom
    u2 = (g.gB * vB2 + g.gsom * u_trgt) / total
    vI = (r1 @ model.params["WIP1"] + model.params["bIP1"]) * (g.glk + g.gD) / g.gD
    uI = (g.gD * vI + g.gsom * u2) / (g.glk + g.gD + g.gsom)
    vA = phi(u2) @ last.feedback.B.T - phi(uI) @ last.feedback.B.T
    u1 = (g.gB * vB1 + g.gA * vA) / (g.glk + g.gB + g.gA)
    lam, lamI, lamN = g.mixing.values()
    change2 = r1.T @ (phi(u2) - phi(vB2 * g.basal(False))) / 20
    change1 = x.T @ (phi(u1) - phi(vB1 * g.basal(True))) / 20
    assert_close(found[1], -change2 / lamN, rtol=1e-10, atol=1e-14)
    assert_close(found[0], -change1 / (lamN * lam * (1 - lamI)), rtol=1e-10, atol=1e-14)
    change = r1.T @ (phi(uI) - phi(vI * g.gD / (g.glk + g.gD))) / 20
    assert_close(model.grads["WIP1"], -change / (lamN * lamI), rtol=1e-10, atol=1e-14)
    assert_close(model.apical[0], vA, rtol=1e-10, atol=1e-14)


def test_interneurons_are_as_many_as_the_cells_above_them():
    shapes = {name: p.shape for name, p in circuit().params.items()}
    assert shapes == {"WIP1": (6, 5), "bIP1": (5,), "WIP2": (5, 4), "bIP2": (4,)}
    free = Microcircuit(net(), self_predicting=False).params
    assert (free["WPI1"].shape, free["WPI2"].shape) == ((5, 6), (4, 5))
    bare = models.mlp([6], (7,), 4)
    bare.layers[-1].params.pop("b")
    assert list(Microcircuit(bare).params) == ["WIP1"]


def test_without_a_hidden_layer_there_is_a_teacher_and_no_interneuron(rng):
    model, x = circuit(hidden=()), normal(rng, (20, 7))
    (change,) = taught(model, x)
    assert (model.params, model.apical) == ({}, [])
    assert angle(change, taught(net(hidden=()), x)[0]) < 3


def away_from_self_prediction(model, x):
    """rms of the interneurons' vI around the v of their partners."""
    model.forward(x)
    mismatches = [
        cell.x @ model.params[f"WIP{k}"] + model.params[f"bIP{k}"] - model.v[k]
        for k, cell in enumerate(model.linears)
        if k
    ]
    return math.sqrt(float(sum((m**2).mean() for m in mismatches)))


@pytest.mark.parametrize("momentum", [0, 0.9])
def test_interneurons_follow_what_they_predict_while_it_learns(momentum, rng):
    """After 100 steps they are off by a share of the way of v that is of the order of lambda."""
    x, shares = normal(rng, (20, 7)), []
    for lam in (0.02, 0.002):
        model = circuit(lam)
        before = model.forward(x)
        optimizer = SGD(model, (1 - momentum) * lam**2, momentum)
        for _ in range(100):
            train_step(model, optimizer, x, LABELS, teaching)
        moved = model.forward(x) - before
        shares.append(away_from_self_prediction(model, x) / float(abs(moved).max()))
    assert shares[0] < 0.2
    assert shares[1] < 0.2 * shares[0]


def test_a_random_start_learns_to_silence_the_apical_dendrites_without_a_teacher(rng):
    """Only on the rates that occur: rI (WPI + B^T) goes to zero, the matrices need not agree."""
    model = Microcircuit(net(hidden=(9,)), 0.4, 0.4, 0.4, self_predicting=False)
    x = 3 * normal(rng, (3, 7))  # three patterns leave a direction of four rates free
    loud = None
    for _ in range(1500):
        model.backward(xp.zeros_like(model.forward(x)))
        loud = loud or [float(abs(vA).max()) for vA in model.apical]
        for name, param in model.params.items():
            param -= (0.3 if name.startswith("WPI") else 0.05) * model.grads[name]
    for k, vA in enumerate(model.apical, 1):
        assert abs(vA).max() < 0.01 * loud[k - 1]
        B, phi = model.linears[k].feedback.B, Sigmoid().forward
        product = phi(model.v[k]) @ (model.params[f"WPI{k}"] + B.T)
        assert abs(product).max() < 0.01 * loud[k - 1]
        assert abs(model.params[f"WPI{k}"] + B.T).max() > 0.1


def digits():
    """64 inputs of 7 numbers, whose class is the largest of four of them."""
    x = np.random.default_rng(1).normal(size=(64, 7)).astype("float32")
    return x, x[:, :4].argmax(axis=1)


def test_it_learns_in_float32_and_a_frozen_hidden_layer_leaves_the_others_learning():
    x, labels = digits()
    for frozen in (False, True):
        model = Microcircuit(net(hidden=(20, 10), dtype="float32"), 0.4, 0.1, 0.4)
        optimizer = SGD(model, 0.02, 0.9)
        W = model.linears[1].params["W"]
        start = W.copy()
        losses = []
        for _ in range(100):
            losses.append(float(teaching(model.forward(to_device(x)), labels)[0]))
            taught(model, to_device(x), labels)
            if frozen:
                model.linears[1].grads = {name: 0 * g for name, g in model.linears[1].grads.items()}
            optimizer.step()
        assert losses[-1] < 0.5 * losses[0]
        assert (abs(W - start).max() == 0) == frozen
        assert {p.dtype.name for layer in model.walk() for p in layer.params.values()} == {
            "float32"
        }


def test_teaching_is_the_divergence_whose_derivative_is_a_difference_of_potentials(rng):
    r = to_device(rng.uniform(0.05, 0.95, (20, 4)))
    loss, delta = teaching(r, LABELS)
    v, step = np.log(to_host(r) / (1 - to_host(r))), normal(rng, (20, 4))
    u_trgt = np.where(np.eye(4)[LABELS] > 0, 1.3862943611, -2.1972245773)  # log 4, -log 9
    assert_close(20 * delta, v - u_trgt, rtol=1e-8)
    ahead, behind = (teaching(r + h * step, LABELS)[0] for h in (1e-6, -1e-6))
    slope = (float(ahead) - float(behind)) / 2e-6
    assert slope == pytest.approx(float((delta * step).sum()), rel=1e-5)
    at_target = to_device(np.where(np.eye(4)[LABELS] > 0, 0.8, 0.1))
    assert float(teaching(at_target, LABELS)[0]) == pytest.approx(0, abs=1e-15)
    assert float(loss) > 0


def test_rates_that_are_rounded_to_one_or_zero_give_finite_numbers():
    r = xp.tile(to_device(np.array([0, 1, 0.5, 1e-30], "float32")), (20, 1))
    loss, delta = teaching(r, LABELS)
    assert np.isfinite(float(loss)) and np.isfinite(to_host(delta)).all()
    assert delta.dtype == "float32"


def test_the_layers_stay_as_they_are_and_the_forward_pass_is_theirs(rng):
    model = net()
    made, x = Microcircuit(model), normal(rng, (20, 7))
    assert made.layers == model.layers
    assert_same(made.forward(x), model.forward(x))


def test_measures_know_it(rng):
    model, x = circuit(0.02, feedback=Backprop()), normal(rng, (20, 7))
    assert max(delta_angles(model, x, LABELS, teaching)) < 3
    found = layer_measures(circuit(0.02), x, LABELS, teaching)
    assert len(found["delta_angle_deg"]) == len(found["weight_angle_deg"]) == 3
    assert None not in found["delta_angle_deg"]


@pytest.mark.parametrize("options", [{}, {"self_predicting": False}])
def test_a_checkpoint_goes_on_bit_for_bit(options, tmp_path, rng):
    def fresh(seed):
        model = Microcircuit(net(seed=seed, dtype="float32"), **options)
        return model, Adam(model, 0.01)

    def go_on(model, optimizer, batches):
        for x in batches:
            train_step(model, optimizer, x, LABELS, teaching)

    (model, optimizer), (other, restored) = fresh(0), fresh(1)
    before, later = ([normal(rng, (20, 7), "float32") for _ in range(3)] for _ in range(2))
    go_on(model, optimizer, before)
    checkpoint.save(tmp_path / "a.npz", model, optimizer, Progress(), {})
    checkpoint.restore(checkpoint.read(tmp_path / "a.npz"), other, restored)
    go_on(model, optimizer, later)
    go_on(other, restored, later)
    for ours, theirs in zip(other.walk(), model.walk(), strict=True):
        for name, param in ours.params.items():
            assert_same(param, theirs.params[name])


def test_an_ordinary_training_runs_it():
    x, labels = digits()
    data = ImageSet(x, labels)
    model = Microcircuit(net(hidden=(8,), dtype="float32"))
    history = Training(model, SGD(model, 0.01), data, data, loss=teaching, epochs=2).run()
    assert history[1]["train_loss"] < history[0]["train_loss"]


def test_the_shell_trains_it_and_reports(tmp_path, monkeypatch, digits):
    few = tuple(part._replace(images=part.images[:n], labels=part.labels[:n]) for part, n in
                zip(digits, (600, 100), strict=True))  # fmt: skip
    monkeypatch.setitem(run.load_data.__globals__["DATA"], "mnist-subset", lambda: few)
    monkeypatch.setattr(run.report, "figures", lambda _: {})  # the page has its own
    settings = Settings(model="mlp", width=0.1, feedback="microcircuit", epochs=2)
    record = run.start(tmp_path / "a", settings)
    losses = [entry["train_loss"] for entry in record["history"][1:]]
    assert losses == sorted(losses, reverse=True)
    assert len(record["history"][-1]["delta_angle_deg"]) == 3
    assert "microcircuit" in (tmp_path / "a" / "report.html").read_text()
    with pytest.raises(InputError, match="Microcircuit: expected a network like"):
        run.start(tmp_path / "b", Settings(model="lenet", feedback="microcircuit"))


@pytest.mark.parametrize(
    "model",
    [
        models.lenet(),
        Residual(Sequential()),
        Sequential(),
        Sequential(ReLU(), Linear(3, 2, np.random.default_rng(0))),
        Sequential(*(Linear(3, 3, np.random.default_rng(0)) for _ in range(2))),
        None,
    ],
    ids=["lenet", "residual", "empty", "activation first", "no activation", "none"],
)
def test_other_networks_are_refused_in_one_line(model):
    with pytest.raises(InputError, match=r"Microcircuit: expected a network like models\.mlp"):
        Microcircuit(model)


@pytest.mark.parametrize("name", ["lam", "lamI", "lamN"])
@pytest.mark.parametrize("value", [0, 1, -0.1, math.nan, "much", None])
def test_other_shares_are_refused_in_one_line(name, value):
    with pytest.raises(InputError, match=f"Microcircuit: {name}: expected a share between 0 and 1"):
        Microcircuit(net(), **{name: value})
