"""The cheat sheet and the plan for a class: their numbers and words are true."""

import math
import re

import numpy as np
import pytest
from test_house import ROOT

from nnref import measure, models
from nnref.backend import xp
from nnref.data import mnist
from nnref.feedback import (
    Backprop,
    Feedback,
    FeedbackAlignment,
    NoFeedback,
    SignedInit,
    SignSymmetry,
)
from nnref.init import glorot_uniform
from nnref.layers import Linear, ReLU, Sequential
from nnref.losses import softmax_cross_entropy
from nnref.optim import SGD
from nnref.rules.known import KNOWN
from nnref.tools import gradcheck
from nnref.train import fit

TUTORIALS = ROOT / "tutorials"
SHEET = (TUTORIALS / "cheatsheet.md").read_text()
PLAN = (TUTORIALS / "teaching.md").read_text()

pytestmark = pytest.mark.skipif(xp is not np, reason="the pages are written for NumPy")


def degrees(cosine):
    return math.degrees(math.acos(cosine))


def test_each_of_the_four_angles_is_what_its_row_says(rng):
    rows = dict(re.findall(r"^\| (\d+) \| (.*?) \|", SHEET.partition("## Four angles")[2], re.M))
    W, lam = rng.normal(size=(300, 200)), 0.1
    uniform = glorot_uniform(rng, (300, 200), 300, 200)
    random = rng.normal(size=W.shape)
    pairs = {"0": (W, 3 * W), "37": (W, lam * np.sign(W)), "90": (W, random)}
    pairs["30"] = uniform, lam * np.sign(uniform)
    assert set(rows) == set(pairs)
    for angle, pair in pairs.items():
        assert round(measure.angle(*pair)) == int(angle)
    assert round(measure.angle(W, -lam * np.sign(W))) == 143
    assert "`" not in rows["30"] and "uniform" in rows["30"] and "Gaussian" in rows["37"]


def test_the_cosine_of_unrelated_matrices_scatters_as_the_sheet_says(rng):
    pairs = rng.normal(size=(2000, 2, 20 * 15))
    lengths = np.linalg.norm(pairs, axis=2).prod(axis=1)
    cosines = (pairs[:, 0] * pairs[:, 1]).sum(axis=1) / lengths
    assert cosines.std() == pytest.approx(1 / math.sqrt(20 * 15), rel=0.05)
    assert "$1/\\sqrt{n_{in} n_{out}}$" in SHEET
    assert round(math.degrees(1 / math.sqrt(1000)), 1) == 1.8 and "90 ± 1.8 degrees" in PLAN


def test_the_numbers_of_the_laws_are_right():
    down = [math.floor(degrees((2 / math.pi) ** (k / 2)) + 0.5) for k in (1, 2, 3, 4)]
    assert ", ".join(map(str, down)) + " degrees (SS, Gaussian" in SHEET and down[1] == 50
    q = np.linspace(0.1, 10, 10_000)
    assert round(1 / q[((1 - np.exp(-q)) ** 2 / q).argmax()], 1) == 0.8
    assert (round(math.sqrt(2 / math.pi), 2), round(math.sqrt(math.pi / 2), 2)) == (0.80, 1.25)
    for number in ("0.80^k", "0.8 T", "0.80 \\rho", "1.25 \\rho", "\\sqrt{3}/2 = 0.87"):
        assert number in SHEET
    assert round(math.sqrt(3) / 2, 2) == 0.87
    assert round(math.cos(math.radians(80)), 2) == 0.17 and "80 degrees is 0.17" in PLAN


def test_the_bits_on_the_sheet_are_those_of_the_rules():
    names = {
        "backpropagation (BP)": "backprop",
        "sign-symmetry (SS)": "sign-symmetry",
        "random magnitudes (frSF)": "fixed-magnitudes",
        "feedback alignment (FA)": "feedback-alignment",
        "Kolen-Pollack": "kolen-pollack",
        "weight mirror": "weight-mirror",
        "last layer only": "last-layer-only",
    }
    rows = dict(re.findall(r"^\| ([\w -]+(?: \(\w+\))?) \| .* \| (\d+)", SHEET, re.M))
    for shown, name in names.items():
        assert int(rows[shown]) == KNOWN[name].bits[0], shown


def test_every_tutorial_with_symbols_or_laws_is_on_the_sheet():
    numbers = {f"T{n}" for n in range(1, 10)}
    laws = SHEET.partition("## The laws")[2]
    assert set(re.findall(r"T\d", laws)) == numbers
    assert set(re.findall(r"^\| (T\d) \|", SHEET.partition("## The rules")[0], re.M)) == (
        numbers - {"T1", "T2", "T5"}
    )


def test_the_map_leads_to_every_tutorial_and_the_sheet_fits_a_page():
    pages = {page.name for page in TUTORIALS.glob("0*.md")}
    assert pages <= set(re.findall(r"\]\(([^)]+)\)", PLAN.partition("## Ninety")[0]))
    assert len(SHEET.splitlines()) <= 125


def test_a_section_that_the_plan_names_is_in_its_tutorial():
    named = re.findall(r"\| \d+ \| T(\d): (.*?) \|", PLAN)
    assert len(named) == 4
    for number, sections in named:
        (page,) = TUTORIALS.glob(f"0{number}-*.md")
        for section in re.findall(r'"(.*?)"', sections):
            assert re.search(f"^## {section}$", page.read_text(), re.M), section
    (after,) = re.findall(r'second session begins with T3, "(.*?)"', PLAN)
    (page,) = TUTORIALS.glob("03-*.md")
    assert f"\n## {after}\n" in page.read_text()


def test_a_silent_relu_has_no_delta_but_gets_an_error():
    layer = ReLU()
    layer.forward(np.array([[-1.0]]))
    assert layer.backward(np.array([[5.0]])) == 0


def test_a_square_layer_does_not_notice_a_missing_transpose(rng):
    W, delta = rng.normal(size=(200, 200)), rng.normal(size=(4, 200))
    assert (delta @ W).shape == (delta @ W.T).shape
    assert measure.angle(W, W.T) == pytest.approx(90, abs=1.5)
    with pytest.raises(ValueError):
        rng.normal(size=(4, 2)) @ rng.normal(size=(3, 2))

    class Untransposed(Linear):
        def backward(self, delta):
            super().backward(delta)
            return delta @ self.params["W"]

    network = Sequential(Untransposed(6, 6, rng), Linear(6, 4, rng))
    with pytest.raises(AssertionError, match=r"^Linear\(6, 6\): the error that backward returns"):
        gradcheck.check(network, rng.normal(size=(8, 6)), np.arange(8) % 4)


class OfOneLayer(Feedback):
    """B = W, but another B in layers with 784 inputs."""

    def __call__(self, W):
        return -7 * W if len(W) == 784 else W


def test_the_first_B_changes_nothing(digits):
    train, test = digits
    weights = []
    for rule in (Backprop(), OfOneLayer()):
        model = models.mlp([20], feedback=rule)
        few = train._replace(images=train.images[:500], labels=train.labels[:500])
        fit(model, SGD(model, lr=0.03), few)
        weights.append([layer.params["W"] for layer in measure.weight_layers(model)])
    assert all(np.array_equal(a, b) for a, b in zip(*weights, strict=True))


@pytest.mark.parametrize("scale", [0.1, 0.05])
def test_lambda_is_in_no_angle_but_in_the_size_of_every_delta(scale, digits):
    x, labels = digits[0].images[:100], digits[0].labels[:100]
    networks = [models.mlp([50] * 3, feedback=SignSymmetry(scale=s)) for s in (0.2, scale)]
    angles = [measure.delta_angles(network, x, labels) for network in networks]
    np.testing.assert_allclose(*angles, atol=0.1)
    deltas = [measure.deltas(network, x, labels) for network in networks]
    for k, (large, small) in enumerate(zip(*map(reversed, deltas), strict=True)):
        np.testing.assert_allclose(small, large * (scale / 0.2) ** k, rtol=1e-3, atol=1e-9)


def test_with_lambda_one_the_error_grows_tenfold_in_layers_of_100(rng):
    delta = rng.normal(size=(500, 100))
    layer = Linear(100, 100, rng, feedback=SignSymmetry(scale=1), dtype="float64")
    layer.forward(delta)
    growth = np.sqrt((layer.backward(delta) ** 2).mean() / (delta**2).mean())
    assert growth == pytest.approx(10, rel=0.05)


def test_behind_a_softmax_the_deltas_add_up_to_zero(rng):
    _, delta = softmax_cross_entropy(rng.normal(size=(5, 10)), np.arange(5))
    np.testing.assert_allclose(delta.sum(axis=1), 0, atol=1e-15)


@pytest.mark.slow
def test_the_accuracies_of_five_seeds_are_what_the_plan_shows():
    train, test = mnist.load_subset()
    rules = [Backprop(), SignSymmetry(), SignedInit(), FeedbackAlignment(), NoFeedback()]
    rows = re.findall(r"^\| [\w -]+ ((?:\| \d\d\.\d ){5})\| ([\d.]+) ± ([\d.]+) \|$", PLAN, re.M)
    found = []
    for rule, (cells, mean, spread) in zip(rules, rows, strict=True):
        shown = [float(cell) for cell in re.findall(r"[\d.]+", cells)]
        assert (round(np.mean(shown), 1), round(np.std(shown, ddof=1), 1)) == pytest.approx(
            (float(mean), float(spread)), abs=0.11
        )
        for seed, accuracy in enumerate(shown):
            model = models.mlp([100], feedback=rule, seed=seed)
            history = fit(model, SGD(model, lr=0.03), train, test, epochs=3, seed=seed)
            found.append(abs(100 * history[-1]["held_out_accuracy"] - accuracy))
    assert max(found) <= 1.5 and np.mean(found) <= 0.5
