"""Results, asked by facts; tables."""

import math

import pytest

from nnref.experiments.numbers import UNDECIDED, Number
from nnref.experiments.result import Result, Table


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
    assert result.measured(rule="FA") == "50.0 ± 35.4 (2)"
    assert result.error_cell(rule="FA") == "50.0 ± 35.4 "
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
    result = Result({"trials": [*TRIALS[:4], *TRIALS[5:]]})
    assert result.cell(rule="BP") == "50.0*"
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


def test_a_table_has_names_and_cells_of_one_width_and_says_what_they_mean():
    table, result = Table(5, 12), Result({"trials": TRIALS})
    table.row("", ["lr 0.4"])
    rules = {rule: {"rule": rule} for rule in ("BP", "KP")}
    table.grid(result, rules, {"lr 0.4": {"lr": 0.4}, "lr 0.2": {"lr": 0.2}})
    assert table.lines == [
        "  " + 5 * " " + "      lr 0.4",
        "  BP   " + "25.0 ± 35.4~" + "          - ",
        "  KP   " + "          - " + "          - ",
    ]
    assert table.text().splitlines() == [*table.lines, *Table.foot]
    table.headline({"data": "mnist", "network": "9-9", "images": 90, "epochs": 3})
    assert table.lines[-1] == "mnist, 9-9, 90 images, 3 epochs"


def test_a_record_that_was_not_tested_is_no_accuracy():
    """Measurements without training have no test; only a trial that diverged counts as 0."""
    trials = [{"rule": "BP", "task": "strength", "history": []}, trial("BP", 0.9)]
    assert Result({"trials": trials}).accuracies(rule="BP") == [90]
