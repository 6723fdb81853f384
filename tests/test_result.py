"""Results, asked by facts; verdicts: each of the four, and what counts as measured."""

import math

import pytest

from nnref.experiments.result import (
    NOT_MEASURED,
    UNDECIDED,
    Claim,
    Number,
    Result,
    Table,
    average,
    equal,
    every,
    largest,
    listed,
    measured,
    spread,
)
from nnref.experiments.result import claim as claim_of


def claim(conditions, guards=()):
    return Claim("name", "text", "1", "setting", "2", conditions, guards)


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        ([True, True], "reproduced"),
        ([True, False], "partly"),
        ([False, False], "not"),
        ([True, None], "incomplete"),
        ([False, None], "incomplete"),
        ([], "incomplete"),
        ([True, UNDECIDED], "undecided"),
        ([False, UNDECIDED], "undecided"),
    ],
)
def test_the_verdict_follows_from_the_conditions(found, verdict):
    assert claim(("words", holds) for holds in found).verdict == verdict


def test_a_guard_is_needed_for_reproduced_but_does_not_make_a_not_into_a_partly():
    def verdict(holds, guarded):
        return claim([("it", holds)], [("BP learns", guarded)]).verdict

    assert verdict(True, True) == "reproduced"
    assert verdict(True, False) == "partly"
    assert verdict(False, True) == "not"
    assert verdict(True, None) == "incomplete"


@pytest.mark.parametrize("found", [True, False, UNDECIDED])
def test_a_setting_that_is_too_short_does_not_test_a_claim(found):
    def verdict(holds):
        return Claim("", "", "", "", "", [("it", found)], [], [("BP is flat", holds)]).verdict

    assert verdict(False) == verdict(UNDECIDED) == "not tested at this scale"
    assert verdict(True) == claim([("it", found)]).verdict
    assert verdict(None) == "incomplete"


COMPARISONS = [
    lambda a, b: a < b,
    lambda a, b: a <= b,
    lambda a, b: a > b,
    lambda a, b: a >= b,
    lambda a, b: a <= b - 5,
    lambda a, b: 5 + b >= a,
    lambda a, b: abs(a - b) <= 2,
    lambda a, b: a / 2 < 3 * b,
    lambda a, b: 100 - a > b * 3,
    lambda a, b: a > b > 1,
    lambda a, b: 1 < a < b,
    lambda a, b: -a < b - 6,
    lambda a, b: 12 / a < b,
]


@pytest.mark.parametrize("compare", COMPARISONS)
def test_a_condition_on_numbers_is_that_of_floats_and_none_where_one_is_not_measured(compare):
    for a, b in ((3.0, 4.0), (4.0, 3.0), (3.0, 3.0), (9.0, 2.0)):
        holds = compare(a, b)
        assert compare(Number(a), Number(b)) is holds
        assert compare(Number(a), b) is holds
        assert compare(a, Number(b)) is holds
    assert compare(NOT_MEASURED, Number(3)) is None
    assert compare(Number(3), NOT_MEASURED) is None
    assert compare(NOT_MEASURED, NOT_MEASURED) is None


def test_a_share_of_nothing_is_not_measured():
    assert math.isnan(Number(3) / Number(0)) and (Number(3) / Number(0) < 1) is None


def test_what_is_taken_over_several_is_not_measured_if_one_of_them_is_not():
    assert (average([1, 2]), largest([Number(1), Number(2)])) == (1.5, 2)
    assert average([Number(1, 0.3), Number(2, 0.4), 3]).error == pytest.approx(0.5 / 3)
    assert largest([Number(1, 0.3), Number(2, 0.4), Number(0, 0.5)]).error == 0.4
    for nothing in (average([]), largest([]), largest([Number(1), NOT_MEASURED])):
        assert math.isnan(nothing)
    assert every([True, True]) is True
    assert every([True, False]) is False
    assert every([False, None]) is None
    assert every([True, UNDECIDED]) is UNDECIDED and every([False, UNDECIDED]) is False
    assert (equal([1], [1]), equal([1], [2]), equal([], []), equal([1], [])) == (
        True, False, None, None,
    )  # fmt: skip


def trial(rule, accuracy=None, **facts):
    outcome = {"diverged": "..."} if accuracy is None else {"test": {"accuracy": accuracy}}
    return {"rule": rule} | outcome | facts


def search(rule, lr, accuracy=0.5, seed=0):
    history = [{"epoch": 1, "held_out_accuracy": accuracy}]
    return {"rule": rule, "search": True, "lr": lr, "seed": seed, "history": history, "test": None}


TRIALS = [
    search("BP", 0.1),
    search("BP", 0.2),
    search("BP", 0.4),
    trial("BP", 0.5, lr=0.4, seed=0),
    trial("BP", lr=0.4, seed=1),
    trial("FA", 0.25, lr=0.2, seed=0, data="mnist"),
    trial("FA", 0.75, lr=0.2, seed=1, data="mnist"),
]


def test_facts_choose_trials_searches_are_no_results_and_a_diverged_trial_scores_nothing():
    result = Result({"trials": TRIALS})
    assert result.accuracies(rule="BP") == [50, 0]
    assert result.errors(rule="FA") == [75, 25]
    assert result.error(rule="FA") == 50
    assert result.accuracies(rule="FA", seed=1) == [75]
    assert result.accuracies(rule="KP") == Result(None).accuracies(rule="BP") == []
    assert [t["seed"] for t in result.finished(rule="BP")] == [0]
    assert result.mean(rule="FA") == 50 and isinstance(result.mean(rule="FA"), Number)
    assert math.isnan(result.mean(rule="KP"))
    assert result.values("rule") == ["BP", "FA"]
    assert result.values("data") == ["mnist"]
    assert result.values("seed", rule="FA") == [0, 1]


def test_a_star_marks_a_learning_rate_at_the_edge_of_those_that_were_tried():
    result = Result({"trials": TRIALS})
    assert result.cell(rule="BP") == "25.0 ± 35.4*"
    assert result.cell(rule="FA") == "50.0 ± 35.4 "  # nothing was chosen
    assert result.cell(rule="KP") == "- "
    for lr, mark in ((0.1, "*"), (0.2, ""), (0.4, "*")):
        trials = [*TRIALS[:3], trial("BP", 0.5, lr=lr, data="mnist")]
        assert Result({"trials": trials}).mark(rule="BP") == mark


def test_a_setting_of_which_every_trial_diverged_has_no_accuracy_in_words():
    result = Result({"trials": [trial("BP", None, seed=0), trial("BP", None, seed=1)]})
    assert result.cell(rule="BP") == "diverged "
    assert result.measured(rule="BP") == "diverged (2)"
    assert result.mean(rule="BP") == 0  # and counts as nothing learned


def test_a_mark_tells_of_a_search_in_which_no_rate_learned():
    data = [{"name": "mnist, files", "classes": 5}]
    for accuracy, mark in ((0.2, "!"), (0.4, "")):
        trials = [search("BP", lr, accuracy) for lr in (0.1, 0.2, 0.4)]
        trials.append(trial("BP", 0.5, lr=0.2, data="mnist"))
        assert Result({"data": data, "trials": trials}).mark(rule="BP") == mark


def test_a_mark_tells_of_a_training_that_fell():
    for accuracies, mark in (((0.3, 0.14, 0.4), "~"), ((0.3, 0.16, 0.4), "")):
        history = [{"epoch": 0}, *({"held_out_accuracy": accuracy} for accuracy in accuracies)]
        trials = [trial("FA", 0.4, lr=0.2, history=history), trial("FA", 0.4, lr=0.2, seed=1)]
        assert Result({"trials": trials}).mark(rule="FA") == mark
        searched = [search("FA", lr) for lr in (0.1, 0.2)]
        assert Result({"trials": [*searched, *trials]}).mark(rule="FA") == (mark or "*")


def test_trainings_of_other_lengths_are_points_of_a_curve_and_no_other_result():
    trials = [
        trial("BP", 0.8, seed=0, epochs=8),
        trial("BP", 0.7, seed=1, epochs=8),
        trial("BP", 0.6, seed=0, epochs=4, curve=True),
        trial("BP", 0.3, seed=0, epochs=1, curve=True),
        search("BP", 0.1),
    ]
    result = Result({"trials": trials})
    assert result.accuracies(rule="BP") == [80, 70]
    assert list(result.curve(rule="BP").items()) == [(1, 30), (4, 60), (8, 80)]


def of_images(accuracy, images, **facts):
    return {"rule": "SS", "test": {"accuracy": accuracy, "images": images}} | facts


def test_one_seed_or_few_test_images_leave_an_accuracy_uncertain_by_its_binomial_error():
    one = Result({"trials": [of_images(0.2, 10_000)]}).mean(rule="SS")
    assert (one, one.error) == (20, pytest.approx(0.4))  # sqrt(0.2 * 0.8 / 10,000)
    few = Result({"trials": [of_images(0.2, 400), of_images(0.2, 400, seed=1)]}).mean(rule="SS")
    assert few.error == pytest.approx(2)
    many = Result({"trials": [of_images(0.2, 10_000), of_images(0.2, 10_000, seed=1)]})
    assert many.mean(rule="SS").error == 0
    assert Result({"trials": [of_images(0.2, 10_000)]}).measured(rule="SS") == "20.0 ± 0.4 (1)"


def test_a_threshold_within_the_error_leaves_a_condition_undecided():
    a = Number(20, 0.4)
    assert [a < 20.3, a <= 20.3, a > 20.3, a >= 20.3] == [UNDECIDED] * 4
    assert (a < 20.5, a > 20.5, a < Number(20.5, 0.4)) == (True, False, UNDECIDED)
    assert not UNDECIDED and repr(UNDECIDED) == "undecided"


@pytest.mark.parametrize(
    "operation",
    [
        lambda a, b: a + b,
        lambda a, b: a - b,
        lambda a, b: a * b,
        lambda a, b: a / b,
        lambda a, b: 2 - a + b,
        lambda a, b: 100 / a - b * 3,
        lambda a, b: abs(-a) / (2 * b),
    ],
)
def test_errors_are_passed_on_to_first_order(operation):
    a, b, step = 3.0, 0.5, 1e-6
    by_a = (operation(a + step, b) - operation(a - step, b)) / (2 * step)
    by_b = (operation(a, b + step) - operation(a, b - step)) / (2 * step)
    found = operation(Number(a, 0.01), Number(b, 0.02))
    assert found == operation(a, b)
    assert found.error == pytest.approx(math.hypot(0.01 * by_a, 0.02 * by_b), rel=1e-6)


def test_a_number_is_given_with_the_count_of_its_seeds():
    assert measured([1.0, 2.0, 3.0]) == "2.0 ± 1.0 (3)"
    assert (measured([2.5]), measured([])) == ("2.5 (1)", "-")
    assert Result({"trials": TRIALS}).measured(rule="FA") == "50.0 ± 35.4 (2)"


def test_spread_is_the_mean_and_the_standard_deviation_of_a_sample():
    assert (spread([]), spread([1.25]), spread([1, 2, 3])) == ("-", "1.2", "2.0 ± 1.0")


def test_a_table_has_names_and_cells_of_one_width_and_says_what_they_mean():
    table, result = Table(5, 12), Result({"trials": TRIALS})
    table.row("", ["lr 0.4"])
    rules = {rule: {"rule": rule} for rule in ("BP", "KP")}
    table.grid(result, rules, {"lr 0.4": {"lr": 0.4}, "lr 0.2": {"lr": 0.2}})
    assert table.lines == [
        "  " + 5 * " " + "      lr 0.4",
        "  BP   " + "25.0 ± 35.4 " + "          - ",
        "  KP   " + "          - " + "          - ",
    ]
    assert table.text().splitlines() == [*table.lines, *Table.foot]
    table.headline({"data": "mnist", "network": "9-9", "images": 90, "epochs": 3})
    assert table.lines[-1] == "mnist, 9-9, 90 images, 3 epochs"


def test_claims_are_listed_in_their_order_and_named_after_their_conditions():
    result = Result({"trials": TRIALS})

    @claim_of("BP learns", "digits", lambda result: result.measured(rule="BP"))
    def _it_learns(result):
        yield "above 20", result.mean(rule="BP") > 20

    @claim_of("FA", lambda result: f"{len(result.trials())} trials", lambda result: "-", "1", _one)
    def _other(result):
        yield "above 90", result.mean(rule="FA") > 90

    first, second = listed(_it_learns, _other)(result)
    assert (first.name, first.published, first.ours) == (
        "it learns", "none in print", "25.0 ± 35.4 (2)",
    )  # fmt: skip
    assert (first.verdict, second.verdict) == ("reproduced", "not")
    assert (second.setting, second.published, second.guards) == ("4 trials", "1", [("one", True)])


def _one(result):
    yield "one", True


def test_a_record_that_was_not_tested_is_no_accuracy():
    """Measurements without training have no test; only a trial that diverged counts as 0."""
    trials = [{"rule": "BP", "task": "strength", "history": []}, trial("BP", 0.9)]
    assert Result({"trials": trials}).accuracies(rule="BP") == [90]
