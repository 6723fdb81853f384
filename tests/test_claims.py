"""Verdicts: each of the four, and what counts as measured."""

import pytest

from nnref.replicate.claims import Claim, accuracies, chosen, holds


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
