"""Kunin et al. 2020: the claims in made-up worlds, the predictions, the numbers in the table."""

import math
from itertools import product

import numpy as np
import pytest
from made_up import dots, lines, result, rows, searches, trial, verdicts

from nnref.experiments.images import Sources, load
from nnref.experiments.papers import kunin2020
from nnref.experiments.papers.kunin2020 import GRID, LOCAL, NOISE, TRAINED, LayerPart, point
from nnref.experiments.result import Result
from nnref.layers import Linear
from nnref.plots.looks import LOOKS
from nnref.rules.mirror import Alignment, WeightMirror

CONDITIONS = (1, 10, 100)
AT_REST = {
    "SA": (0, 0, 0), "AA": (0, 0, 0.5), "WM": (1, 33, 49), "IA": (33, 45, 55), NOISE: (3, 3, 3),
}  # fmt: skip
PREDICTED = AT_REST | {"WM": (0, 33, 49.5)}
ACCURACY = dict(zip(TRAINED, (97, 90, 97, 96.8, 92, 94, 96.9, 80), strict=True))
ANGLES = {"WM": 60, NOISE: 4}
CLAIMS = ("not white", "information", "symmetric", "gap", "sensitive", "noise")


def world(rest=None, accuracy=None, angles=None, spread=None, half=96.0):
    """The layer, the trainings and the grids, as expected or with other numbers.

    spread    rule -> points between the best and the worst point of its grid
    """
    rest, accuracy = AT_REST | (rest or {}), ACCURACY | (accuracy or {})
    angles, spread = ANGLES | (angles or {}), {"WM": 20, "IA": 4} | (spread or {})
    trials = []
    for i, condition in enumerate(CONDITIONS):
        entry = {
            "angle": {rule: degrees[i] for rule, degrees in rest.items()},
            "predicted": {rule: degrees[i] for rule, degrees in PREDICTED.items()},
        }
        trials.append({"task": "layer", "condition": condition, "seed": 0, "history": [entry]})
    for rule, seed in product(TRAINED, range(2)):
        entry = {"weight_angle_deg": [90, *[angles.get(rule, 0)] * 3]}
        facts = {"data": "mnist", "task": "training", "rule": rule, "epochs": 6}
        trials.append(trial(accuracy[rule], seed, history=[entry], **facts))
    facts = {"data": "mnist", "task": "training", "rule": "BP", "epochs": 3, "curve": True}
    trials.append(trial(half, **facts))
    for rule, (i, times) in product(LOCAL, enumerate(product(*GRID.values()))):
        found = 90 - spread[rule] * i / 8
        trials += [trial(found, seed, data="mnist", **point(rule, *times)) for seed in range(2)]
    return trials


def test_what_is_expected_reproduces_the_claims():
    assert verdicts(kunin2020, world()) == dict.fromkeys(CLAIMS, "reproduced")


@pytest.mark.parametrize(
    ("name", "changed", "verdict"),
    [
        ("not white", {"rest": {"WM": (1, 36, 49)}}, "partly"),
        ("not white", {"rest": {"WM": (0, 0, 0)}}, "partly"),
        ("not white", {"rest": {"AA": (0, 0, 2)}}, "partly"),
        ("not white", {"rest": {NOISE: (3, 3, 6)}}, "partly"),
        ("information", {"rest": {"IA": (33, 45, 58)}}, "partly"),
        ("information", {"rest": {"IA": (50, 50, 50)}}, "not"),
        ("symmetric", {"accuracy": {"AA": 96}}, "partly"),
        ("symmetric", {"accuracy": {"AA": 96, "SA": 96}}, "not"),
        ("symmetric", {"accuracy": {"last layer only": 95}}, "partly"),
        ("symmetric", {"half": 90}, "not tested at this scale"),
        ("gap", {"accuracy": {"IA": 96.8}}, "partly"),
        ("gap", {"accuracy": {"IA": 97, "WM": 97}}, "not"),
        ("sensitive", {"spread": {"WM": 6}}, "partly"),
        ("sensitive", {"spread": {"WM": 4, "IA": 3}}, "not"),
        ("noise", {"angles": {NOISE: 25}}, "partly"),
        ("noise", {"angles": {"WM": 30}}, "partly"),
        ("noise", {"accuracy": {NOISE: 96}}, "partly"),
        ("noise", {"accuracy": {"WM": 97}}, "partly"),
    ],
)
def test_a_number_that_is_off_shows_in_its_claim(name, changed, verdict):
    assert verdicts(kunin2020, world(**changed))[name] == verdict


@pytest.mark.parametrize("record", [None, {"tier": "small", "trials": []}])
def test_what_was_left_out_is_incomplete(record):
    assert {claim.verdict for claim in kunin2020.claims(Result(record))} == {"incomplete"}


@pytest.mark.parametrize("condition", [1, 10, 100])
def test_the_condition_number_sets_the_angle_of_S_W(condition):
    """For a W drawn at random: cos = E lambda / sqrt(E lambda^2), lambda being S's eigenvalues.
    By the integrals of a logarithmic scale from 1 to 1 / c, with log c = t: E lambda = (1 - 1/c) /
    t and E lambda^2 = (1 - 1/c^2) / (2 t).
    """
    part, t = LayerPart(steps=1), math.log(condition)
    found = kunin2020.measure(part, {"condition": condition, "seed": 0}, None)[0]
    assert found["predicted"]["SA"] == found["predicted"][NOISE] == 0
    cos = (1 - 1 / condition) / t / math.sqrt((1 - condition**-2) / (2 * t)) if t else 1.0
    expected = math.degrees(math.acos(cos))
    assert found["predicted"]["WM"] == pytest.approx(expected, abs=4 if t else 1e-5)
    assert abs(found["angle"]["WM"] - 90) < 10  # B is still random


def test_the_prediction_of_information_alignment_is_where_its_losses_are_in_balance():
    rng = np.random.default_rng(0)
    W, root = rng.normal(size=(6, 3)), rng.normal(size=(6, 6))
    S, rates = root @ root.T, kunin2020.AT_REST["IA"]
    B = rates["amp"] * kunin2020.resting(W, S)["IA"]
    pull = rates["null"] * W.T @ S @ W + rates["decay"] * np.eye(3)
    change = rates["amp"] * S @ W - 2 * B @ pull
    np.testing.assert_allclose(change, 0, atol=1e-14)


def test_the_points_of_the_grid_are_rates_and_the_usual_rates_are_its_middle():
    rates = kunin2020.IN_TRAINING["WM"]
    middle = kunin2020.rule_of(point("WM", 1, 1))
    assert isinstance(middle, Alignment) and middle.rates == rates
    corner = kunin2020.rule_of(point("WM", 3, 0.1)).rates
    assert corner == pytest.approx({"decay": 0.3 * rates["decay"], "amp": 3 * rates["amp"]})
    assert isinstance(kunin2020.rule_of({"rule": NOISE}), WeightMirror)
    grids = [s.facts for s in kunin2020.plan(kunin2020.TIERS["small"][2])]
    assert len(grids) == 18 and all(f["task"] == "grid" for f in grids)


def test_every_network_has_batch_norm_and_its_rule_in_all_layers():
    (_, part, _), images = kunin2020.TIERS["smoke"], load("digits", Sources(), 60)
    for rule in TRAINED:
        facts = {"rule": rule, "seed": 0, "epochs": 1, "lr": 0.1}
        model = kunin2020.parts(part, facts, images).training.model
        kinds = {type(layer.feedback) for layer in model.layers if isinstance(layer, Linear)}
        assert len(kinds) == 1


def test_the_table_has_every_number_in_its_place():
    trials = [
        *world(),
        *searches(0.02, 0.1, data="mnist", task="training", rule="IA"),
    ]
    found = rows(kunin2020.table(result(trials)))
    start = found.index(["condition number", "1", "10", "100"])
    assert found[start + 3] == ["WM", "1.0 (0.0)", "33.0 (33.0)", "49.0 (49.5)"]
    start = found.index(["accuracy", "angle of W and B"])
    after = {name: values for name, *values in found[start + 1 : start + 9]}
    assert after["WM"] == ["92.0 ± 0.0", "60.0 ± 0.0"]
    assert after["IA"] == ["94.0 ± 0.0*", "0.0 ± 0.0"]
    start = found.index(["IA, rates times", "0.33", "1", "3"])
    # the grid falls from 90 by half a point each: first along decay, then along the rates
    assert found[start + 1] == ["decay times 0.1", "90.0 ± 0.0", "88.5 ± 0.0", "87.0 ± 0.0"]


def test_the_figures_show_angles_and_accuracies():
    figures = kunin2020.figures(result(world()))
    (axes,) = figures["rest"].axes
    shown = lines(axes)
    assert shown["WM"] == [(0, 1), (1, 33), (2, 49)]
    assert shown["WM, predicted"] == [(0, 0), (1, 33), (2, 49.5)]
    (axes,) = figures["accuracy"].axes
    assert dots(axes, "WM", LOOKS["WM"].color) == pytest.approx([92, 92])
    assert kunin2020.figures(result([])) == {}
