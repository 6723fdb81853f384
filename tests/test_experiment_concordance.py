"""Parallel and antiparallel pathways: claims in made-up worlds, numbers in table and figures."""

import pytest
from made_up import lines, result, rows, searches, trial, verdicts

from nnref.experiments.questions import concordance
from nnref.experiments.questions.concordance import pathway
from nnref.experiments.result import Result

TRACKING = {1: 90, 0.9: 85, 0.75: 80, 0.5: 50, 0.25: 30, 0.1: 20, 0: 10}
FIXED = {1: 88, 0.9: 86, 0.75: 84, 0.5: 80, 0.25: 76, 0.1: 72, 0: 70}


def angles(birth, end, predicted):
    """A history with these angles in the layers above the first, in which B is not used."""
    first = {"weight_angle_deg": [0, birth], "predicted_angle_deg": [0, 45.0]}
    return [first, {"weight_angle_deg": [0, end], "predicted_angle_deg": [0, predicted]}]


def world(tracking=TRACKING, fixed=FIXED, turned=100.0):
    """Accuracies by p; `turned` is the angle at which fixed pathways end, from 142 at birth."""
    ends = {"tracking": 142.0, "fixed": turned}
    made = []
    for data in concordance.BOTH:
        for rule, accuracy in {"BP": 92, "SS": tracking[1], "last layer only": 40}.items():
            made.append(trial(accuracy, data=data, **pathway(rule)))
        for kind, by_p in {"tracking": tracking, "fixed": fixed}.items():
            for p, accuracy in by_p.items():
                for last in ("all", "BP last"):
                    more = 40 if last == "BP last" and kind == "tracking" else 0
                    facts = {"data": data, "history": angles(142.0, ends[kind], 142.0)}
                    mirrored, inverted = by_p[round(1 - p, 6)], f"{kind}, inverted"
                    made.append(trial(accuracy + more, **facts, **pathway(kind, p, last)))
                    made.append(trial(mirrored, **facts, **pathway(inverted, p, last)))
    return made


def test_pathways_as_predicted_fulfill_every_claim():
    assert set(verdicts(concordance, world()).values()) == {"reproduced"}


def test_exchanged_pathways_fulfill_none_of_the_main_claims():
    exchanged = verdicts(concordance, world(FIXED, TRACKING, turned=142.0))
    assert exchanged["fixed"] == "not"
    assert exchanged["antiparallel"] == "partly"  # it falls, but teaches still
    assert exchanged["angle"] == "partly"  # as predicted, but a fixed B has not turned
    assert exchanged["mirror"] == exchanged["interneuron"] == "reproduced"


def test_an_interneuron_is_exact_and_a_mirror_is_not():
    made = world()
    for one in made:
        if one["kind"] == "tracking, inverted":
            one["test"] = {"accuracy": one["test"]["accuracy"] + 0.01}
    found = verdicts(concordance, made)
    assert (found["interneuron"], found["mirror"]) == ("not", "reproduced")


@pytest.mark.parametrize("p", [0.75, 0.5, 0.25, 0])
def test_accuracy_must_fall_at_every_p(p):
    higher = {0.75: 95, 0.5: 85, 0.25: 55, 0: 55}  # than at the p before it, or than at 0.5
    claim = concordance.claims(result(world(TRACKING | {p: higher[p]})))[0]
    assert (claim.name, claim.conditions[0][1]) == ("antiparallel", False)


def test_a_claim_about_five_p_needs_all_of_them():
    made = [one for one in world() if one["p"] != 0.25]
    found = verdicts(concordance, made)
    assert found["antiparallel"] == "incomplete"
    assert found["fixed"] == "reproduced"


@pytest.mark.parametrize("record", [None, {"tier": "small", "trials": []}])
def test_what_was_left_out_is_incomplete(record):
    assert {claim.verdict for claim in concordance.claims(Result(record))} == {"incomplete"}


def test_ours_gives_the_largest_differences():
    claims = {claim.name: claim for claim in concordance.claims(result(world(turned=100.0)))}
    assert claims["mirror"].ours.endswith("points: MNIST 0.0, CIFAR-10 0.0")
    assert "fixed at p = 0 from 142.0 to 100.0" in claims["angle"].ours
    assert claims["rescue"].ours.startswith("MNIST tracking p = 1: 130.0 (1), p = 0.5: 90.0 (1)")


def few():
    """A rule without p and two pathways, at two p, on one data set."""
    mnist = {"data": "mnist"}
    return [
        *searches(0.01, 0.1, **mnist, **pathway("SS")),
        *searches(0.01, 0.1, 1, **mnist, **pathway("BP")),
        *searches(0.1, 1, **mnist, **pathway("tracking", 1, "BP last")),
        trial(92, **mnist, **pathway("BP")),
        trial(91, **mnist, **pathway("SS")),
        trial(90, **mnist, **pathway("tracking", 1), history=angles(30, 40, 41)),
        trial(92, 1, **mnist, **pathway("tracking", 1), history=angles(32, 42, 45)),
        trial(10, **mnist, **pathway("tracking", 0), history=angles(140, 150, 151)),
        trial(95, **mnist, **pathway("tracking", 1, "BP last"), history=angles(1, 2, 3)),
        trial(70, **mnist, **pathway("fixed", 0), history=angles(142, 100, 160)),
    ]


def test_the_table_has_every_mean_in_its_place():
    found = rows(concordance.table(result(few())))
    assert found[:2] == [["mnist, 9-9, 90 images, 3 epochs"], ["p", "1", "0"]]
    cells = {name: values for name, *values in found[2:]}
    assert cells["tracking"] == ["91.0 ± 1.4", "10.0"]
    assert cells["tracking, BP last"] == ["95.0*", "-"]  # at the smallest rate that was tried
    assert cells["fixed"] == ["-", "70.0"]
    assert cells["fixed, inverted"] == ["-", "-"]
    assert ["BP 92.0; SS 91.0*; FA -; last layer only -"] in found
    assert cells["tracking, at birth"] == ["31.0 ± 1.4", "140.0"]
    assert cells["tracking, after training"] == ["41.0 ± 1.4", "150.0"]
    assert cells["tracking, then predicted"] == ["43.0 ± 2.8", "151.0"]
    assert cells["fixed, at birth"] == ["-", "142.0"]
    assert cells["fixed, after training"] == ["-", "100.0"]


def test_the_figures_show_the_means_against_p():
    figures = concordance.figures(result(few()))
    alike, last = figures["accuracy"].axes
    assert (alike.get_title(), last.get_title()) == ("MNIST, all layers", "MNIST, BP in the last")
    assert alike.get_ylabel() == "accuracy on MNIST (%)" and alike.get_ylim() == last.get_ylim()
    shown = lines(alike)
    assert shown["tracking"] == [(1, pytest.approx(91)), (0, pytest.approx(10))]
    assert shown["fixed"] == [(0, pytest.approx(70))]
    assert shown["BP"] == [(1, pytest.approx(92)), (0, pytest.approx(92))]
    assert lines(last)["tracking"] == [(1, pytest.approx(95))]
    (axes,) = figures["angle"].axes
    shown = lines(axes)
    assert shown["tracking, at birth"] == [(1, 31), (0, 140)]
    assert shown["tracking, after training"] == [(1, 41), (0, 150)]
    assert shown["tracking, predicted then"] == [(1, 43), (0, 151)]
    assert (shown["fixed, at birth"], shown["fixed, after training"]) == ([(0, 142)], [(0, 100)])
    assert "fixed, predicted then" not in shown


def test_without_a_trial_there_is_no_figure():
    assert concordance.figures(result([])) == {}
