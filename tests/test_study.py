"""Studies: every trial of a plan, finished ones read back, learning rates chosen."""

import json
import math
from types import SimpleNamespace

import numpy as np
import pytest
from small_trials import FACTS, images, parts

from nnref.errors import InputError
from nnref.experiments import study as studies
from nnref.experiments.images import Images, Sources
from nnref.experiments.study import Part, Setting, Study, file_name, rounded


@pytest.fixture
def study(tmp_path):
    return Study("paper", "smoke", tmp_path / "out")


def test_a_finished_trial_is_read_and_not_trained_again(study, monkeypatch):
    first = study.trial(FACTS, parts)
    monkeypatch.setattr(studies, "train_trial", pytest.fail)
    assert study.trial(FACTS, parts) == rounded(first)
    saved = json.loads((study.out / "paper.json").read_text())
    assert saved["trials"] == [rounded(first)] * 2
    assert [path.suffix for path in (study.out / "trials").iterdir()] == [".json"]


@pytest.mark.parametrize(
    "change",
    [
        {"batch_size": 4},
        {"train": images(64, 5)},
        {"schedule": lambda epoch: 0.05 / (1 + epoch)},
        {"momentum": 0},
        {"hidden": 9},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_trial_of_the_same_facts_but_another_training_is_an_error(study, change):
    study.trial(FACTS, parts)
    with pytest.raises(InputError, match=r"\.json: other data or settings"):
        study.trial(FACTS, lambda: parts(**change))


def test_what_else_sets_a_trial_apart_enters_its_fingerprint(study):
    study.trial(FACTS, lambda: parts()._replace(also=("a law",)))
    study.trial(FACTS, lambda: parts()._replace(also=("a law",)))
    with pytest.raises(InputError, match=r"\.json: other data or settings"):
        study.trial(FACTS, lambda: parts()._replace(also=("another law",)))


@pytest.mark.parametrize("text", ["{}", "[]"])
def test_a_damaged_record_is_one_line(study, text):
    study.trial(FACTS, parts)
    path = next((study.out / "trials").iterdir())
    path.write_text(text)
    with pytest.raises(InputError, match="is damaged; delete it to train again"):
        study.trial(FACTS, parts)


def test_a_folder_holds_one_tier(study):
    study.write()
    with pytest.raises(InputError, match="holds tier smoke; --tier full needs another --out"):
        Study("paper", "full", study.out)


def test_other_facts_are_another_trial(study):
    study.trial(FACTS, parts)
    study.trial(FACTS | {"lr": 0.1}, lambda: parts(0.1))
    assert len(list((study.out / "trials").iterdir())) == 2


def experiment(part, settings, measure=None):
    """An experiment of one part, whose maker trains on the images that it is given."""

    def make(_, facts, given):
        made = parts(facts["lr"], facts["epochs"], train=given.train, seed=facts["seed"])
        return made._replace(test=given.test)

    tiers = {"smoke": [part]}
    return SimpleNamespace(TIERS=tiers, plan=lambda _: settings, parts=make, measure=measure)


@pytest.fixture
def made_up(monkeypatch):
    """64 training images, 20 held out and 40 to test, in place of those that a part asks for."""
    drawn = Images(images(64), images(20, 1), images(40, 2), {"name": "made up"})
    monkeypatch.setattr(studies, "load", lambda *_: drawn)


def test_the_learning_rate_is_that_of_the_best_held_out_accuracy(study, made_up):
    part = Part(data="digits", search_images=40, search_epochs=2, epochs=3, seeds=2)
    setting = Setting({"rule": "BP"}, [1e-6, 0.05, 1e9])
    with np.errstate(all="ignore"):
        result = study.carry_out(experiment(part, [setting]), Sources())
    searches, trials = study.trials[:3], study.trials[3:]
    assert ["diverged" in trial for trial in searches] == [False, False, True]
    assert all(trial["search"] and not trial.get("test") for trial in searches)
    assert not any("weight_angle_deg" in entry for t in searches for entry in t["history"])
    assert all("weight_angle_deg" in entry for t in trials for entry in t["history"])
    assert [(t["images"], t["epochs"]) for t in searches] == [(40, 2)] * 3
    assert [(t["lr"], t["seed"], t["images"]) for t in trials] == [(0.05, 0, 64), (0.05, 1, 64)]
    assert all(trial["test"] and "search" not in trial for trial in trials)
    assert result["data"] == [{"name": "made up"}] and len(result["trials"]) == 5


def test_seed_0_may_train_for_longer_and_comes_last(study, made_up):
    part = Part(data="digits", epochs=1, long=4, seeds=3)
    study.carry_out(experiment(part, [Setting({"rule": "BP"}, [0.05])]), Sources())
    assert [(t["seed"], t["epochs"]) for t in study.trials] == [(1, 1), (2, 1), (0, 4)]
    assert [len(t["history"]) for t in study.trials] == [2, 2, 5]


def test_the_number_of_seeds_can_be_another(study, made_up):
    part = Part(data="digits", seeds=3)
    study.carry_out(experiment(part, [Setting({"rule": "BP"}, [0.05])]), Sources(), seeds=1)
    assert [t["seed"] for t in study.trials] == [0]


def test_a_setting_without_learning_rates_is_measured_by_the_experiment(study):
    def measure(part, facts, images):
        return {"history": [{"rest": facts["seed"] + 0.5}], "seconds": 0.0}

    part = Part(seeds=2)  # without images
    study.carry_out(experiment(part, [Setting({"task": "rest"})], measure), Sources())
    assert [(t["task"], t["seed"], t["history"]) for t in study.trials] == [
        ("rest", 0, [{"rest": 0.5}]),
        ("rest", 1, [{"rest": 1.5}]),
    ]


def test_images_that_cannot_be_had_are_left_out(study, monkeypatch, capsys):
    def nowhere(*_):
        raise InputError("no network")

    monkeypatch.setattr(studies, "load", nowhere)
    result = study.carry_out(experiment(Part(data="mnist"), []), Sources())
    assert result["not_run"] == ["mnist"]
    assert capsys.readouterr().out == "paper: mnist is left out: no network\n"


def test_a_place_that_was_given_and_is_wrong_is_an_error_and_not_left_out(study, tmp_path):
    (tmp_path / "empty").mkdir()
    sources = Sources(cifar10=tmp_path / "empty")
    with pytest.raises(InputError):
        study.carry_out(experiment(Part(data="cifar10"), []), sources)
    assert study.missing == []


def test_a_result_holds_all_accuracies_of_a_long_history_and_the_rest_now_and_then(study):
    history = [{"epoch": i, "held_out_accuracy": i / 400, "angle": 1.0} for i in range(401)]
    study.measurement(FACTS, lambda: {"history": history, "seconds": 0.0})
    kept = study.write()["trials"][0]["history"]
    assert [e["epoch"] for e in kept] == [*range(401)]
    assert [e["held_out_accuracy"] for e in kept] == [i / 400 for i in range(401)]
    assert [e["epoch"] for e in kept if "angle" in e] == [*range(31), *range(40, 401, 10)]
    on_disk = json.loads(next((study.out / "trials").iterdir()).read_text())
    assert all("angle" in entry for entry in on_disk["history"])


def test_numbers_are_rounded_to_significant_digits_and_nan_is_none():
    assert rounded({"a": [1 / 3, (1e-9 / 3,)], "b": math.nan, "c": 7, "d": "x"}) == {
        "a": [0.33333, [3.3333e-10]], "b": None, "c": 7, "d": "x",
    }  # fmt: skip


def test_names_of_files_are_short_plain_and_different():
    facts = {"data": "a/b c", "setting": "SS, BP last", "lr": 0.1, "search": True}
    name = file_name(facts)
    assert name.startswith("a-b-c-SS-BP-last-lr0.1-")
    assert name != file_name(facts | {"search": False})
    assert len(file_name({"x": "y" * 500})) <= 120


def test_a_learning_rate_is_never_chosen_on_the_test_images(study, made_up):
    part = Part(data="digits", held_out=0, search_images=40, search_epochs=1)
    with pytest.raises(InputError, match="paper: expected held-out images to choose a rate by"):
        study.carry_out(experiment(part, [Setting({"rule": "BP"}, [0.1, 0.2])]), Sources())
