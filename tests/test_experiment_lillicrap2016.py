"""Lillicrap et al. 2016: the claims in made-up worlds, the numbers in table and figure."""

import pytest
from made_up import lines, result, rows, searches, trial, verdicts

from nnref.experiments.papers import lillicrap2016
from nnref.experiments.result import Result

TIMES = range(0, 5001, 100)


def linear(rule, seed=0, **quantities):
    """A trial of the linear task; a quantity is a function of the number of examples."""
    history = [{"examples": t} | {name: q(t) for name, q in quantities.items()} for t in TIMES]
    return {"task": "linear", "rule": rule, "seed": seed, "history": history, "seconds": 0}


def turning(start, end):
    """Degrees that fall from one angle to another within 300 examples."""
    return lambda t: end + (start - end) * max(0, 1 - t / 300)


def world(delta_to_bp=30, delta_to_pinv=20, errors=(2.4, 2.1)):
    """FA learns as BP does; degrees in the end, and errors of BP and FA on MNIST in %."""
    angles = {
        "delta_to_bp": turning(90, delta_to_bp), "delta_to_pinv": turning(90, delta_to_pinv),
        "bp_to_pinv": turning(40, 35), "W_to_B": turning(90, 30),
    }  # fmt: skip
    return [
        linear("BP", error=lambda t: 0.8 if t < 5000 else 0.0),
        linear("FA", error=lambda t: 0.1 if t < 5000 else 0.001, **angles),
        *(
            trial(100 - error, task="mnist", rule=rule, hidden=20)
            for rule, error in zip(("BP", "FA"), errors, strict=True)
        ),
    ]


def test_fa_that_aligns_and_learns_reproduces_every_claim():
    assert verdicts(lillicrap2016, world()) == dict.fromkeys(
        ("turn", "alignment", "pseudo inverse", "mnist"), "reproduced"
    )


def test_a_delta_that_never_turns_does_not():
    found = verdicts(lillicrap2016, world(delta_to_bp=90, delta_to_pinv=90))
    assert (found["turn"], found["pseudo inverse"]) == ("not", "not")
    assert found["alignment"] == "reproduced"
    found = verdicts(lillicrap2016, world(delta_to_pinv=40))  # W's transpose's: 35
    assert found["pseudo inverse"] == "partly"


def test_more_errors_on_mnist_do_not():
    assert verdicts(lillicrap2016, world(errors=(2.1, 2.4)))["mnist"] == "partly"
    assert verdicts(lillicrap2016, world(errors=(2.1, 2.6)))["mnist"] == "not"


@pytest.mark.parametrize("record", [None, {"tier": "small", "trials": []}])
def test_what_was_left_out_is_incomplete(record):
    assert {claim.verdict for claim in lillicrap2016.claims(Result(record))} == {"incomplete"}


def test_a_claim_says_what_was_run():
    setting = lillicrap2016.claims(result(world()))[-1].setting
    assert setting == "MNIST, 784-20-10, 90 images, batches of 32, 3 epochs"


def few():
    """BP once, FA twice; W and B have no angle at first. On MNIST BP twice, FA once."""
    quantities = {
        "delta_to_bp": lambda t: 80 - t / 100, "delta_to_pinv": lambda t: 70 - t / 100,
        "bp_to_pinv": lambda t: 60.0, "W_to_B": lambda t: 50.0 if t else None,
    }  # fmt: skip
    bp, fa = {"task": "mnist", "rule": "BP"}, {"task": "mnist", "rule": "FA"}
    return [
        linear("BP", error=lambda t: 1 - t / 5000),
        linear("FA", 0, error=lambda t: 0.5, **quantities),
        linear("FA", 1, error=lambda t: 0.3, **quantities),
        *searches(0.01, 0.1, **bp),
        *searches(0.01, 0.1, 1, **fa),
        trial(97, 0, **bp),
        trial(95, 1, **bp),
        trial(98, 0, **fa),
    ]


def test_the_table_has_every_mean_in_its_place():
    first, *found = rows(lillicrap2016.table(result(few())))
    assert first == ["linear 30-20-10, after examples", "0", "300", "500", "1000", "2500", "5000"]
    assert found[:6] == [
        ["BP error", "100.0", "94.0", "90.0", "80.0", "50.0", "0.0"],
        ["FA error"] + ["40.0 ± 14.1"] * 6,
        ["FA delta_to_bp"] + [f"{v} ± 0.0" for v in (80.0, 77.0, 75.0, 70.0, 55.0, 30.0)],
        ["FA delta_to_pinv"] + [f"{v} ± 0.0" for v in (70.0, 67.0, 65.0, 60.0, 45.0, 20.0)],
        ["FA bp_to_pinv"] + ["60.0 ± 0.0"] * 6,
        ["FA W_to_B", "-"] + ["50.0 ± 0.0"] * 5,
    ]
    assert found[7:11] == [
        ["MNIST, 784-1000-10, test error", "learning rate"],
        ["BP", "4.0 ± 1.4", "0.1*"],  # the largest that was tried
        ["FA", "2.0", "0.1"],
        ["last layer only", "-", "-"],
    ]


def test_the_figure_shows_errors_and_angles_over_the_examples():
    error, angle = lillicrap2016.figures(result(few()))["linear"].axes
    assert {name: dict(line) for name, line in lines(error).items()} == {
        "BP": pytest.approx({t: 100 - t / 50 for t in TIMES}),
        "FA": pytest.approx(dict.fromkeys(TIMES, 40)),
    }
    assert {name: dict(line) for name, line in lines(angle).items()} == {
        "FA's delta\nand BP's": pytest.approx({t: 80 - t / 100 for t in TIMES}),
        "FA's delta and the\npseudo-inverse's": pytest.approx({t: 70 - t / 100 for t in TIMES}),
        "BP's delta and the\npseudo-inverse's": dict.fromkeys(TIMES, 60),
        "W and B": dict.fromkeys(TIMES[1:], 50),
    }


def test_without_a_trial_there_is_no_figure():
    assert lillicrap2016.figures(result([])) == {}
