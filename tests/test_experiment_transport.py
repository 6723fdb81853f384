"""The gain of BatchNorm: the claims in made-up worlds, the numbers in table and figure."""

import pytest
from made_up import dots, result, rows, searches, trial, verdicts

from nnref.experiments.questions import transport
from nnref.experiments.result import Result
from nnref.plots.looks import LOOKS

EXPECTED = {"BP": 3, "SS": 0.5, "FA": 0.5, "last layer only": 0}


def world(spread=0.1, **cost):
    """The cut costs as expected, or so many points under some rules; two seeds."""
    cost = EXPECTED | cost
    return [
        trial(80 - (gain == "cut") * (cost[rule] + shift), seed, data=data, rule=rule, gain=gain)
        for data in transport.BOTH
        for rule, gain in transport.SETTINGS
        for seed, shift in enumerate((-spread, spread))
    ]


def test_a_cost_that_the_seeds_leave_open_is_a_condition_that_fails():
    """0.5 points, with a standard error of the mean of 0.4 and of 0.6 points."""
    found = [verdicts(transport, world(spread))["cost"] for spread in (0.4, 0.6)]
    assert found == ["reproduced", "partly"]


@pytest.mark.parametrize(
    ("cost", "found"),
    [
        ({}, {"cost": "reproduced", "more to spoil": "reproduced"}),
        ({"SS": 9, "FA": 9}, {"cost": "not", "more to spoil": "not"}),
        ({"SS": 9}, {"cost": "partly", "more to spoil": "reproduced"}),
        ({"FA": -9}, {"cost": "partly", "more to spoil": "reproduced"}),  # a gain is a difference
        ({"BP": -1}, {"cost": "reproduced", "more to spoil": "not"}),
    ],
)
def test_the_verdicts_follow_what_the_cut_costs(cost, found):
    assert verdicts(transport, world(**cost)) == found


@pytest.mark.parametrize("record", [None, {"tier": "small", "trials": []}])
def test_what_was_left_out_is_incomplete(record):
    assert {claim.verdict for claim in transport.claims(Result(record))} == {"incomplete"}


def few():
    """Two rules on one data set, one of them also with its gains cut."""

    def gains(low, high):  # after training; those at birth and of another layer are less extreme
        return [{"gains": [[1, 1], [1, 1]]}, {"gains": [[low, 1.1], [0.9, high]]}]

    sent, cut = ({"data": "mnist", "rule": "SS", "gain": gain} for gain in ("sent", "cut"))
    return [
        *searches(0.1, 1, **sent),
        *searches(0.01, 0.1, 1, **cut),
        trial(80, **sent, history=gains(0.4, 1.5)),
        trial(82, 1, **sent, history=gains(0.6, 1.7)),
        trial(79, **cut, history=gains(0, 9)),
        trial(77, 1, **cut, history=gains(0, 9)),
        trial(40, data="mnist", rule="last layer only", gain="sent", history=gains(0.8, 1.2)),
    ]


def test_the_table_has_the_accuracies_their_differences_and_the_gains():
    found = rows(transport.table(result(few(), "smoke")))
    start = found.index(["mnist, 9-9, 90 images, 3 epochs"])
    assert found[start + 1] == ["gains sent", "cut", "sent - cut", "smallest", "largest gain"]
    cells = {name: values for name, *values in found[start + 2 : start + 6]}
    # seed by seed the cut costs 1 and 5 points
    assert cells["SS"] == ["81.0 ± 1.4*", "78.0 ± 1.4", "3.0 ± 2.8", "0.5 ± 0.1", "1.6 ± 0.1"]
    assert cells["last layer only"] == ["40.0", "-", "-", "0.8", "1.2"]
    assert cells["BP"] == cells["FA"] == ["-"] * 5


def test_the_table_opens_with_the_bits_that_travel_counted_by_hand():
    """5 x 5 to 2 kernels, then 8 * 8 * 2 = 128 to 10, 10 to 10, 10 to 10; 22 gains of BatchNorm."""
    used, gains = 1280 + 100 + 100, 32 * (2 + 10 + 10)
    title, laws, *found = rows(transport.table(result([], "smoke")))
    assert title == ["bits from W to B, digits: at every step (+ once at birth)"]
    assert laws == ["free", "weights", "neurons", "DANN"]
    bits = {name: cells for name, *cells in found}
    assert bits["BP"][:3] == [f"{32 * used + gains:,}"] * 3
    assert bits["SS, or tracking p"][:3] == [
        f"{used + gains:,}", f"{gains} (+ {used:,})", f"{gains} (+ {128 + 10 + 10})",
    ]  # fmt: skip
    assert bits["SS, BP last"][0] == f"{1280 + 100 + 32 * 100 + gains:,}"
    assert bits["signed init, or fixed p"][0] == f"{gains} (+ {used:,})"
    assert bits["FA"][:3] == [f"{gains}"] * 3
    assert [f"of which through the gains of BatchNorm: {gains}"] in found


def test_the_figure_shows_every_seed_in_the_row_of_its_gains():
    (axes,) = transport.figures(result(few()))["gains"].axes
    assert axes.get_title() == "MNIST"
    assert dots(axes, "gains sent", LOOKS["SS"].color) == pytest.approx([80, 82])
    assert dots(axes, "gains cut", LOOKS["SS"].color) == pytest.approx([79, 77])
    assert dots(axes, "gains sent", LOOKS["last layer only"].color) == pytest.approx([40])


def test_without_a_trial_there_is_no_figure():
    assert transport.figures(result([])) == {}
