"""Budget curves: how much longer a rule takes, and when BP is flat enough to compare with."""

import math

import pytest

from nnref.experiments import budget
from nnref.experiments.numbers import Number
from nnref.experiments.result import Result


def result(curve: dict, rule="BP", seeds=1) -> Result:
    """Accuracies in % after trainings of some epochs; the longest has all seeds."""
    trials = [
        {"rule": rule, "epochs": epochs, "seed": seed, "test": {"accuracy": accuracy / 100}}
        | ({} if epochs == max(curve) else {"curve": True})
        for epochs, accuracy in curve.items()
        for seed in range(seeds if epochs == max(curve) else 1)
    ]
    return Result({"trials": trials})


@pytest.mark.parametrize(
    ("curve", "holds"),
    [
        ({4: 97.0, 8: 100.0}, True),
        ({4: 96.9, 8: 100.0}, False),
        ({2: 1.0, 8: 100.0}, None),  # half of it was not trained
        ({8: 100.0}, None),
        ({}, None),
    ],
)
def test_bp_is_flat_if_half_the_longest_training_costs_it_little(curve, holds):
    ((words, found),) = budget.flat(result(curve), rule="BP")
    assert words == "half the epochs cost BP at most 3 % of its accuracy"
    assert found is holds


@pytest.mark.parametrize(
    ("error", "times", "holds"), [(3, 1.5, True), (3.1, 1.5, False), (4, 2, True), (4.1, 2, False)]
)
def test_bp_is_near_its_published_error_within_a_factor(error, times, holds):
    ((words, found),) = budget.near(Number(error), 2, times)
    assert words == f"BP's error at most {times} times the published 2 %"
    assert found is holds


def test_the_error_of_a_single_seed_leaves_nearness_undecided():
    ((_, found),) = budget.near(Number(3.1, 0.2), 2)
    assert repr(found) == "undecided"


def test_the_errors_of_single_seeds_leave_flatness_undecided():
    trials = [
        {"epochs": epochs, "seed": 0, "test": {"accuracy": accuracy, "images": 10_000}}
        for epochs, accuracy in ((4, 0.728), (8, 0.75))  # 0.9707 +- 0.008
    ]
    ((_, found),) = budget.flat(Result({"trials": trials}))
    assert repr(found) == "undecided"


def test_a_rule_on_bps_curve_with_twice_the_epochs_is_shifted_by_two():
    bp = result({1: 40, 2: 50, 4: 60, 8: 65}).curve(rule="BP")
    slow = result({2: 40, 4: 50, 8: 60}, "SS").curve(rule="SS")
    assert budget.shifts(slow, bp) == pytest.approx({2: 2, 4: 2, 8: 2})
    assert budget.mean_shift(slow, bp) == pytest.approx(2)
    assert list(budget.shares(slow, bp).values()) == [40 / 50, 50 / 60, 60 / 65]
    assert budget.half_budget(bp) == pytest.approx({2: 40 / 50, 4: 50 / 60, 8: 60 / 65})


def test_between_two_budgets_bp_grows_with_the_logarithm_of_the_epochs():
    bp = result({1: 40, 4: 60}).curve(rule="BP")
    assert budget.shifts({4: 50}, bp) == pytest.approx({4: 2})  # BP has 50 at sqrt(1 * 4)
    assert budget.shifts({4: 45}, bp) == pytest.approx({4: 4 / 4**0.25})


def test_an_accuracy_outside_bps_curve_has_no_shift():
    bp = result({1: 40, 4: 60}).curve(rule="BP")
    assert budget.shifts({1: 39, 4: 61}, bp) == {}
    assert math.isnan(budget.mean_shift({1: 39}, bp))


def test_a_curve_is_of_seed_0_alone():
    found = result({4: 50, 8: 60}, seeds=3)
    found.record["trials"][-1]["test"] = {"accuracy": 0.1}
    assert found.curve(rule="BP") == {4: 50, 8: 60}
    assert len(found.accuracies(rule="BP")) == 3
