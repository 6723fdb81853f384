"""Akrout et al. 2019: the claims in made-up worlds, the numbers in table and figures."""

import pytest
from made_up import result, rows, trial, verdicts

from nnref.experiments.papers import akrout2019
from nnref.experiments.result import Result
from nnref.plots.experiments import STYLES

ANGLES = {1: 42, 10: 26, 400: 35}


PUBLISHED = {"BP": (97.1, 98.5), "FA": (93.3, 97.8), "KP": (97.0, 98.47)}


def world(exchange=lambda rule: rule, angles=ANGLES, **others):
    """The logs of Akrout et al., as far as they are published: a long training of every rule.

    others    rule -> other accuracies after 30 and after 400 epochs
    """

    def entry(epoch, short, long):
        angle = {"delta_angle_deg": [angles[epoch]]} if epoch in angles else {}
        accuracy = short if epoch <= 30 else long
        return {"epoch": epoch, "held_out_accuracy": accuracy / 100} | angle

    return [
        trial(long, rule=exchange(rule), history=[entry(e, short, long) for e in range(401)])
        for rule, (short, long) in (PUBLISHED | others).items()
    ]


def test_the_published_numbers_reproduce_the_claims():
    assert verdicts(akrout2019, world()) == dict.fromkeys(
        ("thirty epochs", "in the end", "turn"), "reproduced"
    )


@pytest.mark.parametrize("pair", ["BP FA", "KP FA"])
def test_two_rules_exchanged_do_not(pair):
    one, two = pair.split()
    other = {one: two, two: one}
    found = verdicts(akrout2019, world(lambda rule: other.get(rule, rule)))
    assert found["in the end"] in ("not", "partly")
    assert found["thirty epochs"] != "reproduced"


@pytest.mark.parametrize(
    "name, others",
    [
        ("thirty epochs", {"BP": (96.3, 98.5)}),
        ("thirty epochs", {"FA": (95.0, 97.8)}),
        ("in the end", {"KP": (97.0, 98.2)}),
        ("in the end", {"FA": (93.3, 98.3)}),
        ("in the end", {"FA": (93.3, 96.9)}),
    ],
)
def test_one_number_that_is_too_far_off_leaves_the_other_condition(name, others):
    assert verdicts(akrout2019, world(**others))[name] == "partly"


def test_a_delta_that_never_turns_is_no_alignment():
    assert verdicts(akrout2019, world(angles={1: 90, 10: 90, 400: 90}))["turn"] == "not"
    assert verdicts(akrout2019, world(angles={1: 42, 10: 26, 400: 20}))["turn"] == "partly"


@pytest.mark.parametrize("record", [None, {"tier": "small", "trials": []}])
def test_what_was_left_out_is_not_run_yet(record):
    assert {claim.verdict for claim in akrout2019.claims(Result(record))} == {"not run yet"}


def few():
    """FA from two seeds, one of them for 400 epochs, its best in epoch 200; KP for two epochs.

    Every tenth epoch a trial has its accuracy, in between 1 point less.
    """

    def history(epochs, accuracy, best=None):
        accuracies = [accuracy - (e % 10 > 0) for e in range(epochs + 1)]
        if best:
            accuracies[200] = best
        return [
            {"epoch": e, "held_out_accuracy": a / 100, "delta_angle_deg": [50 + e, 0]}
            for e, a in enumerate(accuracies)
        ]

    return [
        trial(92, 1, rule="FA", history=history(30, 92)),
        trial(90, 0, rule="FA", history=history(400, 90, best=95)),
        trial(80, 0, rule="KP", history=history(2, 80)),
    ]


def test_the_table_has_every_mean_in_its_place():
    heads, *found = rows(akrout2019.table(result(few())))
    assert heads == ["30 epochs", "published", "400 epochs", "best", "published"]
    assert found[:4] == [
        ["BP", "-", "97.1", "-", "-", "98.5"],
        ["FA", "91.0 ± 1.4", "93.3", "90.0", "95.0", "97.8"],
        ["KP", "-", "-", "-", "-", "98.47"],
        ["last layer only", "-", "-", "-", "-", "-"],
    ]


def points(axes, rule, marker="None"):
    """Every line of a rule, as x -> y."""
    lines = [line for line in axes.lines if line.get_color() == STYLES[rule][0]]
    return [
        dict(map(tuple, line.get_xydata().tolist()))
        for line in lines
        if line.get_marker() == marker
    ]


def test_the_error_figure_shows_every_seed_their_mean_and_the_published_errors():
    (axes,) = akrout2019.figures(result(few()))["error"].axes
    first, second, middle = points(axes, "FA")
    assert first == pytest.approx({e: 8 + (e % 10 > 0) for e in range(1, 31)})
    assert second == pytest.approx({e: 5 if e == 200 else 10 + (e % 10 > 0) for e in range(1, 401)})
    assert middle == pytest.approx({e: 9 + (e % 10 > 0) for e in range(1, 31)})
    assert points(axes, "KP") == [pytest.approx({1: 21, 2: 21})]
    (stars,) = points(axes, "BP", "*")
    assert stars == pytest.approx({30: 2.9, 400: 1.5})
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")


def test_the_angle_figure_shows_the_hidden_layer_over_the_epochs():
    (axes,) = akrout2019.figures(result(few()))["angle"].axes
    assert points(axes, "FA")[1] == {e: 50 + e for e in range(1, 401)}
    assert points(axes, "KP") == [{1: 51, 2: 52}]
    assert points(axes, "FA", "*") == [ANGLES]
