"""Sacramento et al. 2018: the claims in made-up worlds, the small tasks, the frozen layer."""

import numpy as np
import pytest
from made_up import lines, result, rows, searches, trial, verdicts
from small_trials import images

from nnref.experiments.images import Images
from nnref.experiments.papers import sacramento2018
from nnref.experiments.papers.sacramento2018 import FREE, FROZEN, LAST, SINGLE
from nnref.experiments.result import Result
from nnref.measure import weight_layers

PUBLISHED = {"BP": 1.53, "FA": 2.0, FREE: 1.96, FROZEN: 2.11, SINGLE: 8.4, LAST: 6.0}
TASK = {"error": {FREE: 0.03, "BP": 0.02, LAST: 0.2}, "W_to_B": {FREE: 45, "BP": 0}}


def world(half=2.0, silence=(0.3, 0.01), task=TASK, **errors):
    """As published, where that is known, but for other test errors in %; `half`: BP's, half way."""
    names = {"bp": "BP", "fa": "FA", "free": FREE, "frozen": FROZEN, "single": SINGLE, "last": LAST}
    found = PUBLISHED | {names[name]: error for name, error in errors.items()}
    mnist = [
        trial(100 - error, seed, task="mnist", rule=rule, epochs=6)
        for rule, error in found.items()
        for seed in (0, 1)
    ]
    shorter = trial(100 - half, task="mnist", rule="BP", epochs=3) | {"curve": True}
    teacher = [
        {"task": "teacher", "rule": rule, "seed": 0, "history": [
            {"presentations": t} | {q: v[rule] * (2 - t) for q, v in task.items() if rule in v}
            for t in (0, 1)
        ]}
        for rule in ("BP", FREE, LAST)
    ]  # fmt: skip
    history = [{"presentations": t, "apical": value} for t, value in enumerate(silence)]
    silent = {"task": "silence", "rule": FREE, "seed": 0, "history": history}
    return [*mnist, shorter, *teacher, silent]


NAMES = "close", "number", "single layer", "frozen", "alignment", "teacher", "silence"


def test_the_published_numbers_reproduce_the_claims():
    assert verdicts(sacramento2018, world()) == dict.fromkeys(NAMES, "reproduced")


@pytest.mark.parametrize(
    ("name", "verdict", "other"),
    [
        ("close", "not", {"free": 2.6}),
        ("close", "not", {"free": 1.1, "bp": 2.2}),  # far below a BP that learned little
        ("close", "not tested at this scale", {"bp": 2.4}),
        ("close", "partly", {"last": 1.9}),
        ("close", "not tested at this scale", {"half": 5.0}),
        ("number", "not", {"free": 2.5}),
        ("number", "not tested at this scale", {"bp": 2.4}),
        ("single layer", "partly", {"single": 10}),
        ("single layer", "partly", {"free": 4.3}),
        ("frozen", "partly", {"frozen": 2.6}),
        ("frozen", "partly", {"frozen": 1.7}),
        ("frozen", "not tested at this scale", {"bp": 2.4}),
        ("alignment", "not", {"fa": 2.6}),
        ("alignment", "not", {"fa": 1.4}),
        ("teacher", "partly", {"task": TASK | {"error": {FREE: 0.11, LAST: 0.2}}}),
        ("teacher", "partly", {"task": TASK | {"W_to_B": {FREE: 61}}}),
        ("silence", "not", {"silence": (0.3, 0.04)}),
    ],
)
def test_a_number_that_is_too_far_off_is_noticed(name, verdict, other):
    assert verdicts(sacramento2018, world(**other))[name] == verdict


@pytest.mark.parametrize("record", [None, {"tier": "small", "data": [], "trials": []}])
def test_what_was_left_out_is_incomplete(record):
    assert {c.verdict for c in sacramento2018.claims(Result(record))} == {"incomplete"}
    assert sacramento2018.figures(Result(record)) == {}


def test_the_table_has_every_mean_in_its_place():
    more = searches(0.1, 0.2, task="mnist", rule=SINGLE)
    found = rows(sacramento2018.table(result(world() + more)))
    assert found[0] == ["MNIST, 90 images, 6 epochs", "test error", "published", "learning rate"]
    assert found[1] == ["BP", "1.5 ± 0.0", "1.53", "0.1"]
    assert found[5] == [SINGLE, "8.4 ± 0.0", "8.4", "0.1*"]
    assert found[8] == ["30-50-10 learns 30-20-10", "error", "W to B", "delta to BP's"]
    assert found[10] == [FREE, "3.0", "45.0", "-"]
    assert "0.3, then 0.0" in " ".join(map(" ".join, found))


def test_the_figure_shows_errors_and_angles_over_the_presentations():
    errors, angles = sacramento2018.figures(result(world()))["teacher"].axes
    assert lines(errors)[FREE] == [(0.001, pytest.approx(3))]  # thousands; without the start
    assert lines(angles)["W and B"] == [(0, 90), (0.001, 45)]


def facts(rule, **more):
    return {"rule": rule, "seed": 0, "lr": 0.01, "epochs": 1, "hidden": 6} | more


def made(rule):
    """The parts of a training of this rule on small images."""
    part = sacramento2018.DigitsPart(hidden=6, batch_size=8)
    return sacramento2018.parts(part, facts(rule), Images(images(64), images(20), None, {}))


def test_every_rule_trains_the_same_network_but_for_the_single_layer():
    first = made("BP").training.model
    for rule in sacramento2018.RULES:
        model = made(rule).training.model
        sizes = [layer.params["W"].shape for layer in weight_layers(model)]
        assert sizes == ([(16, 10)] if rule == SINGLE else [(16, 6), (6, 6), (6, 10)])
        if rule != SINGLE:
            for ours, theirs in zip(weight_layers(model), weight_layers(first), strict=True):
                assert (ours.params["W"] == theirs.params["W"]).all()
        assert weight_layers(model)[-1].params["b"].tolist() == pytest.approx([-2.1972246] * 10)


def test_frozen_means_the_weights_between_the_hidden_layers_and_what_predicts_them():
    for rule, moves in ((FREE, True), (FROZEN, False)):
        training = made(rule).training
        model = training.model
        before = {name: p.copy() for name, p in model.params.items()}
        starts = [layer.params["W"].copy() for layer in model.linears]
        training.run()
        moved = [
            bool((w.params["W"] != s).any()) for w, s in zip(model.linears, starts, strict=True)
        ]
        assert moved == [True, moves, True]
        others = {name: bool((p != before[name]).any()) for name, p in model.params.items()}
        assert others == {"WIP1": moves, "bIP1": moves, "WIP2": True, "bIP2": True}


def test_the_microcircuit_learns_the_small_task_and_turns_toward_B(monkeypatch):
    monkeypatch.setattr(sacramento2018, "LOOKS", 2)
    first, *_, last = sacramento2018.learn_teacher(FREE, 600, 0)
    assert last["presentations"] == 6000
    assert last["error"] < 0.2 * first["error"]
    assert last["W_to_B"] < first["W_to_B"] - 20
    assert last["delta_to_bp"] < first["delta_to_bp"] - 20


def test_a_small_task_is_recorded_whole():
    part = sacramento2018.TaskPart(steps=40)
    for setting in sacramento2018.plan(part):
        assert setting.seconds > 0  # for the estimate of how long it all takes
        history = sacramento2018.measure(part, setting.facts | {"seed": 0}, None)
        assert len(history) == 21
        assert np.isfinite([v for entry in history for v in entry.values()]).all()


def test_without_a_teacher_apical_dendrites_fall_silent():
    start, *_, end = sacramento2018.learn_silence(400, 0)
    assert end["apical"] < 0.7 * start["apical"]
