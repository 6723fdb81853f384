"""Verdicts: each of the four, and what counts as measured."""

import pytest

from nnref.experiments.result import Claim, accuracies, at_edge, chosen, errors, holds, measured


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        ([True, True], "reproduced"),
        ([True, False], "partly"),
        ([False, False], "not"),
        ([True, None], "not run yet"),
        ([False, None], "not run yet"),
        ([], "not run yet"),
    ],
)
def test_the_verdict_follows_from_the_conditions(found, verdict):
    claim = Claim("text", "1", "setting", "2", [("words", holds) for holds in found])
    assert claim.verdict == verdict


def test_a_condition_on_what_was_not_measured_is_neither_true_nor_false():
    assert holds(lambda a, b: a < b, 1, 2) is True
    assert holds(lambda a, b: a < b, 2, 1) is False
    assert holds(lambda a, b: a < b, None, 1) is None


def test_searches_are_no_results_and_a_diverged_trial_scores_nothing():
    result = {
        "trials": [
            {"rule": "BP", "search": True, "test": None},
            {"rule": "BP", "test": {"accuracy": 0.5}},
            {"rule": "BP", "diverged": "..."},
            {"rule": "FA", "test": {"accuracy": 0.25}},
        ]
    }
    assert accuracies(chosen(result, rule="BP")) == [50, 0]
    assert accuracies(chosen(result, rule="KP")) == chosen(None, rule="BP") == []
    assert errors(chosen(result, rule="FA")) == [75]


def test_a_number_is_given_with_the_count_of_its_seeds():
    assert measured([1.0, 2.0, 3.0]) == "2.0 ± 1.0 (3)"
    assert (measured([2.5]), measured([])) == ("2.5 (1)", "-")


def test_a_learning_rate_is_at_the_edge_of_those_that_were_tried_for_its_setting():
    searches = [{"rule": "BP", "search": True, "lr": lr} for lr in (0.1, 0.2, 0.4)]
    result = {"trials": [*searches, {"rule": "FA", "search": True, "lr": 0.8}]}
    edges = [at_edge(result, {"rule": "BP", "lr": lr}, "rule") for lr in (0.1, 0.2, 0.4)]
    assert edges == [True, False, True]
    assert not at_edge(result, {"rule": "FA", "lr": 0.8}, "rule")  # there was nothing to choose


def test_a_guard_is_needed_for_reproduced_but_does_not_make_a_not_into_a_partly():
    def verdict(holds, guarded):
        return Claim("", "", "", "", [("it", holds)], [("BP learns", guarded)]).verdict

    assert verdict(True, True) == "reproduced"
    assert verdict(True, False) == "partly"
    assert verdict(False, True) == "not"
    assert verdict(True, None) == "not run yet"
