"""Late errors: what is trained, the claims in made-up worlds, the numbers in table and figures."""

import numpy as np
import pytest
from made_up import lines, result, rows, searches, trial, verdicts

from nnref.data.imageset import ImageSet
from nnref.experiments.images import Images
from nnref.experiments.questions import late_error
from nnref.experiments.result import Result
from nnref.questions.late import Clock, overlap

(PART,) = late_error.TIERS["small"]
STRENGTH = {"task": "strength", "data": "mnist", "seed": 0}


def entry(delay, trace, strength, of_all=None):
    """Strengths of three layers; none of them is the mean."""
    return {"delay": delay, "trace": trace, "predicted": 0} | {
        kind: [value - 0.25, value, value + 0.25]
        for kind, value in (("images", strength), ("all", strength if of_all is None else of_all))
    }


def world(strength, accuracy, part=PART):
    """From a function of a clock each."""
    made = []
    for rule in late_error.THREE:
        entries = [
            entry(delay, trace, strength(Clock(part.hold, delay, 0, trace)))
            for delay in part.delays
            for trace in (0, part.hold)
        ]
        made.append(STRENGTH | {"rule": rule, "history": entries})
        for clock in late_error.clocks(part):
            made.append(trial(accuracy(clock), rule=rule, data="mnist", **clock._asdict()))
    return made


def learned(clock):
    """Chance where no image meets its error, nearly all where some do."""
    return 10 + 80 * overlap(clock) ** 0.08 if overlap(clock) > 1e-9 else 10


@pytest.mark.parametrize("tier", ["small", "full"])
def test_late_errors_as_predicted_fulfill_every_claim(tier):
    """T is 10 in the small tier, 20 in the full one."""
    (part,) = late_error.TIERS[tier]
    made = Result({"tier": tier, "data": [], "trials": world(overlap, learned, part)})
    claims = late_error.claims(made)
    assert {claim.verdict for claim in claims} == {"reproduced"}
    assert all(f"T = {part.hold} steps" in claim.setting for claim in claims)


def test_where_time_has_no_effect_the_claims_about_it_fail():
    assert verdicts(late_error, world(lambda clock: 1.0, lambda clock: 90.0)) == {
        "linear": "not",
        "late": "partly",
        "bridge": "reproduced",
        "long trace": "not",
        "alike": "reproduced",
    }


def test_one_rule_that_suffers_more_is_not_alike():
    made = world(overlap, learned)
    for one in made:
        if one["rule"] == "FA" and one.get("delay") == 5 and one["trace"] == 0:
            one["test"] = {"accuracy": one["test"]["accuracy"] - 0.045}
    found = verdicts(late_error, made)
    assert found["alike"] == "partly"  # with a trace they still are
    assert found["bridge"] == "reproduced"


@pytest.mark.parametrize("record", [None, {"tier": "small", "trials": []}])
def test_what_was_left_out_is_incomplete(record):
    assert {claim.verdict for claim in late_error.claims(Result(record))} == {"incomplete"}


def test_ours_gives_the_points_that_were_lost_and_the_largest_deviation():
    made = world(lambda clock: 0.5, lambda clock: 90 - clock.delay + clock.trace / 2)
    claims = {claim.name: claim for claim in late_error.claims(result(made))}
    assert claims["alike"].ours.endswith("BP 5.0, 5.0, SS 5.0, 5.0, FA 5.0, 5.0")
    assert claims["linear"].ours.endswith("BP 0.50 (0.50), SS 0.50 (0.50), FA 0.50 (0.50)")
    assert claims["bridge"].ours.startswith("BP without delay 90.0 (1), d = T 80.0 (1), and a")


def test_the_plan_has_every_clock_once():
    """6 delays, 6 with a trace, 4 traces of which one is among these, 2 smoothings."""
    clocks = late_error.clocks(PART)
    assert len(clocks) == len(set(clocks)) == 6 + 6 + 3 + 2
    settings = list(late_error.plan(PART))
    assert len(settings) == 3 + 3 * len(clocks) + 1
    assert [s.facts["rule"] for s in settings if not s.rates] == ["BP", "SS", "FA"]
    assert settings[-1].facts == {
        "data": "mnist", "network": "100-100", "rule": "last layer only",
        "hold": 10.0, "delay": 0.0, "smooth": 0.0, "trace": 0.0,
    }  # fmt: skip


def test_a_trial_is_trained_by_the_clock_of_its_facts(rng):
    drawn = ImageSet(rng.normal(size=(64, 4, 4, 1)).astype("float32"), np.arange(64) % 10)
    images = Images(drawn, drawn, drawn, {})
    setting = next(s for s in late_error.plan(PART) if s.facts.get("smooth") == 20)
    facts = setting.facts | {"seed": 0, "epochs": 2, "lr": 0.03}
    made = late_error.parts(PART, facts, images)
    assert made.training.clock == made.also == Clock(10, 0, 20.0, 0)
    assert isinstance(made.training.clock.delay, int)  # a length of a line
    assert (made.training.epochs, made.training.batch_size, made.training.seed) == (2, 32, 0)


def few():
    """Strengths and trainings under BP, a strength under SS, and the last layer alone."""

    def training(accuracy, rule="BP", seed=0, **times):
        return trial(accuracy, seed, data="mnist", rule=rule, **late_error.times(**times))

    entries = [entry(0, 0, 1.0, 1.1), entry(5, 0, 0.5, 0.7), entry(5, 10, 0.4, 0.6)]
    other = [entry(0, 0, 1.0, 1.3), entry(5, 0, 0.6, 0.8), entry(5, 10, 0.2, 0.8)]
    return [
        STRENGTH | {"rule": "BP", "history": entries},
        STRENGTH | {"rule": "BP", "seed": 1, "history": other},
        STRENGTH | {"rule": "SS", "history": [entry(10, 0, 0.25, 0.75)]},
        *searches(0.1, 1, data="mnist", rule="BP", **late_error.times()),
        *searches(0.01, 0.1, 1, data="mnist", rule="BP", **late_error.times(delay=5)),
        training(90),
        training(92, seed=1),
        training(80, delay=5),
        training(85, delay=5, trace=10),
        training(20, delay=10),
        training(70, delay=10, trace=20),
        training(88, smooth=20),
        training(60, "last layer only"),
    ]


def test_the_table_has_every_mean_in_its_place():
    found = rows(late_error.table(result(few())))
    assert found[0] == ["learning strength, no weight changes: T = 10"]
    assert found[1] == ["delay / T", "0", "0.2", "0.5", "0.8", "1", "1.5"]
    strengths = {name: cells for name, *cells in found[2:16]}
    assert strengths["predicted"] == ["1.00", "0.80", "0.50", "0.20", "0.00", "0.00"]
    assert strengths["BP, images"] == ["1.00", "-", "0.55", "-", "-", "-"]
    assert strengths["BP, all"] == ["1.20", "-", "0.75", "-", "-", "-"]
    assert strengths["BP, images, trace 10"] == ["-", "-", "0.30", "-", "-", "-"]
    assert strengths["BP, all, trace 10"] == ["-", "-", "0.70", "-", "-", "-"]
    assert strengths["SS, images"] == ["-", "-", "-", "-", "0.25", "-"]
    assert strengths["FA, all"] == ["-"] * 6

    assert found[16] == ["mnist, 9-9, 90 images, 3 epochs"]
    titles = ["delay / T", "the same, trace 10", "trace / T, delay T", "smoothing / T"]
    assert [line[0] for line in found[17:33:4]] == titles
    assert found[25] == ["trace / T, delay T", "0", "0.2", "1", "2", "5"]
    assert found[29] == ["smoothing / T", "0", "0.5", "2"]
    delay, delay_with_trace, trace, smooth = (line[1:] for line in found[18:33:4])  # under BP
    assert delay == ["91.0 ± 1.4*", "-", "80.0", "-", "20.0", "-"]
    assert delay_with_trace == ["-", "-", "85.0", "-", "-", "-"]
    assert trace == ["20.0", "-", "-", "70.0", "-"]
    assert smooth == ["91.0 ± 1.4*", "-", "88.0"]
    assert ["last layer only, no delay: 60.0"] in found


def test_the_figures_show_strengths_and_accuracies_against_delay_and_trace():
    figures = late_error.figures(result(few()))
    panels = {axes.get_title(): lines(axes) for axes in figures["delay"].axes}
    near = pytest.approx
    assert panels["Constant weights, no trace"]["predicted"] == [
        (0, 1), (0.2, near(0.8)), (0.5, near(0.5)), (0.8, near(0.2)), (1, 0), (1.5, 0),
    ]  # fmt: skip
    assert panels["Constant weights, no trace"]["BP"] == [(0, near(1)), (0.5, near(0.55))]
    assert panels["Constant weights, no trace"]["SS"] == [(1, near(0.25))]
    assert panels["Constant weights, a trace of T"]["BP"] == [(0.5, near(0.3))]
    assert panels["Training, no trace"]["BP"] == [(0, near(91)), (0.5, near(80)), (1, near(20))]
    assert panels["Training, a trace of T"]["BP"] == [(0.5, near(85))]
    (axes,) = figures["trace"].axes
    assert lines(axes)["BP"] == [(0, near(20)), (2, near(70))]
