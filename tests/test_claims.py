"""Verdicts: each of them, and what counts as measured."""

import pytest

from nnref.experiments.claims import Claim, listed
from nnref.experiments.claims import claim as claim_of
from nnref.experiments.numbers import UNDECIDED
from nnref.experiments.result import Result


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


def test_claims_are_listed_in_their_order_and_named_after_their_conditions():
    trials = [("BP", 0.5), ("BP", 0.0), ("FA", 0.25), ("FA", 0.75)]
    result = Result({"trials": [{"rule": r, "test": {"accuracy": a}} for r, a in trials]})

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
