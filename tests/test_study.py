"""Studies: every trial of a plan, finished ones read back, learning rates chosen."""

import json
import math
import time
from concurrent.futures import Future
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
from small_trials import FACTS, images, parts

from nnref import experiments
from nnref.backend import library
from nnref.errors import InputError
from nnref.experiments import search, work
from nnref.experiments import study as studies
from nnref.experiments.images import Images, Sources, load
from nnref.experiments.plan import Part, Planned, Setting
from nnref.experiments.record import brief, file_name, file_of, kept, rounded, sealed, unpack
from nnref.experiments.result import Result
from nnref.experiments.study import Study, duration
from nnref.experiments.work import trained
from nnref.parallel.workers import Here


@pytest.fixture
def study(tmp_path):
    return Study("paper", "smoke", tmp_path / "out")


def test_a_finished_trial_is_read_and_not_trained_again(tmp_path, monkeypatch):
    first = trained(tmp_path, FACTS, parts)
    monkeypatch.setattr(work, "train_trial", pytest.fail)
    assert trained(tmp_path, FACTS, parts) == rounded(first) == first
    assert first["computes"] == library()
    assert [path.suffix for path in tmp_path.iterdir()] == [".json"]


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
def test_a_trial_of_the_same_facts_but_another_training_is_an_error(tmp_path, change):
    trained(tmp_path, FACTS, parts)
    with pytest.raises(InputError, match=r"\.json: of another training: expected"):
        trained(tmp_path, FACTS, lambda: parts(**change))


def test_no_damaged_byte_of_a_trials_file_changes_what_was_measured(tmp_path, rng):
    """Also where it stays JSON with the names that it needs: the file has a hash."""
    trained(tmp_path, FACTS, parts)
    (path,) = tmp_path.iterdir()
    whole, measured = path.read_bytes(), ("history", "test", "seconds")
    for place in rng.integers(0, len(whole), 200):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << int(rng.integers(7))
        path.write_bytes(damaged)
        try:
            found = kept(tmp_path, FACTS, pytest.fail)
            assert all(found[name] == json.loads(whole)[name] for name in measured)
        except InputError as error:
            assert "\n" not in str(error)


def test_a_trials_file_without_a_hash_is_of_an_earlier_version(tmp_path, monkeypatch):
    first = trained(tmp_path, FACTS, parts)
    (path,) = tmp_path.iterdir()
    path.write_text(
        json.dumps({k: v for k, v in json.loads(path.read_bytes()).items() if k != "sha256"})
    )
    monkeypatch.setattr(work, "train_trial", pytest.fail)
    assert trained(tmp_path, FACTS, parts) == first


def test_what_else_sets_a_trial_apart_enters_its_fingerprint(tmp_path):
    trained(tmp_path, FACTS, lambda: parts()._replace(also=("a law",)))
    trained(tmp_path, FACTS, lambda: parts()._replace(also=("a law",)))
    with pytest.raises(InputError, match=r"\.json: of another training: expected"):
        trained(tmp_path, FACTS, lambda: parts()._replace(also=("another law",)))


def test_a_fact_that_a_trials_file_lacks_is_named(tmp_path):
    trained(tmp_path, FACTS, parts)
    record = json.loads((path := file_of(tmp_path, FACTS)).read_text())
    del record["fingerprint"], record["sha256"]
    path.write_bytes(sealed(record))
    with pytest.raises(InputError, match=r"another training: expected fingerprint .*, found None"):
        trained(tmp_path, FACTS, parts)


@pytest.mark.parametrize("text", ["{}", "[]", '{"history": [], "seconds": 1}'])
def test_a_damaged_record_is_one_line(tmp_path, text):
    trained(tmp_path, FACTS, parts)
    path = next(tmp_path.iterdir())
    path.write_text(text)
    with pytest.raises(InputError, match=r"damaged: expected .*; delete it to train again"):
        trained(tmp_path, FACTS, parts)


def test_a_folder_holds_one_tier(study):
    study.write()
    with pytest.raises(InputError, match="holds tier smoke; --tier full needs another --out"):
        Study("paper", "full", study.out)


@pytest.mark.parametrize("text", ["[]", '{"tier": "smoke"}', '{"tier": "smoke", "trials": [1]}'])
def test_a_damaged_result_is_one_line(study, text):
    (study.out / "paper.json").write_text(text)
    with pytest.raises(InputError, match=r"paper\.json: damaged: expected "):
        Study("paper", "smoke", study.out)


def test_a_study_goes_on_from_its_result_alone(study, carry_out, monkeypatch):
    part = Part(data="digits", search_images=40, search_epochs=1, epochs=2, seeds=2)
    settings = [Setting({"rule": "BP"}, [0.05, 0.1, 0.2]), Setting({"rule": "SS"}, [0.1], [1])]
    first = carry_out(part, settings)
    for path in study.folder.iterdir():
        path.unlink()
    again = Study("paper", "smoke", study.out)
    monkeypatch.setattr(work, "train_trial", pytest.fail)
    assert rounded(again.carry_out(Here())["trials"]) == rounded(first["trials"])


def test_trials_of_earlier_versions_were_computed_by_what_computed_their_result(tmp_path):
    a, b, c = folders = [tmp_path / name for name in "abc"]
    for folder in folders:
        folder.mkdir()
    old = {k: v for k, v in trained(a, FACTS, parts).items() if k != "computes"}
    unpack({"versions": {"computes": "NumPy 1, cores: 2"}, "trials": [old]}, b)
    assert trained(b, FACTS, parts)["computes"] == "NumPy 1"
    unpack({"trials": [old]}, c)
    assert "computes" not in trained(c, FACTS, parts)


def test_other_facts_are_another_trial(tmp_path):
    trained(tmp_path, FACTS, parts)
    trained(tmp_path, FACTS | {"lr": 0.1}, lambda: parts(0.1))
    assert len(list(tmp_path.iterdir())) == 2


@pytest.fixture
def carry_out(study, monkeypatch):
    """A function that carries out a study of one part, whose maker trains on the given images.

    64 training images, 20 held out and 40 to test stand in place of those that a part asks for.
    """
    drawn = Images(images(64), images(20, 1), images(40, 2), {"name": "made up", "classes": 4})
    monkeypatch.setattr(work, "load", lambda *_: drawn)

    def make(_, facts, given):
        made = parts(facts["lr"], facts["epochs"], train=given.train, seed=facts["seed"])
        return made._replace(test=given.test)

    def carry_out(part, settings, measure=None, sources=Sources(), seeds=None, pool=Here()):
        made_up = SimpleNamespace(
            TIERS={"smoke": [part]}, plan=lambda _: settings, parts=make, measure=measure
        )
        monkeypatch.setattr(experiments, "find", lambda _: made_up)
        study.sources, study.seeds = sources, seeds
        return study.carry_out(pool)

    return carry_out


def test_the_learning_rate_is_chosen_by_short_trials_on_held_out_images(study, carry_out):
    part = Part(data="digits", search_images=40, search_epochs=2, epochs=3, seeds=2)
    setting = Setting({"rule": "BP"}, [1e-6, 0.05, 1e9])
    with np.errstate(all="ignore"):
        result = carry_out(part, [setting])
    searches, trials = study.trials[:4], study.trials[4:]
    assert [(t["lr"], t["seed"]) for t in searches] == [(1e-6, 0), (0.05, 0), (1e9, 0), (0.05, 1)]
    assert ["diverged" in trial for trial in searches] == [False, False, True, False]
    assert all(trial["search"] and not trial.get("test") for trial in searches)
    assert not any("weight_angle_deg" in entry for t in searches for entry in t["history"])
    assert all("weight_angle_deg" in entry for t in trials for entry in t["history"])
    assert [(t["images"], t["epochs"]) for t in searches] == [(40, 2)] * 4
    assert [(t["lr"], t["seed"], t["images"]) for t in trials] == [(0.05, 0, 64), (0.05, 1, 64)]
    assert all(trial["test"] and "search" not in trial for trial in trials)
    assert result["data"] == [{"name": "made up", "classes": 4}] and len(result["trials"]) == 6


def test_a_search_goes_on_while_the_best_rate_is_at_an_edge(study, carry_out, capsys):
    part = Part(data="digits", search_images=40, search_epochs=2, epochs=3)
    result = carry_out(part, [Setting({"rule": "BP"}, [0.001, 0.01])])
    tried = sorted(t["lr"] for t in result["trials"] if "search" in t and t["seed"] == 0)
    (trial,) = (t for t in result["trials"] if "search" not in t)
    assert tried[:2] == [0.001, 0.01] and 0.01 < trial["lr"] < tried[-1]
    assert "at an edge" not in capsys.readouterr().out


def test_the_longer_of_two_searches_chooses_the_rate():
    setting = Setting({"rule": "BP"}, [0.1, 0.2, 0.4])
    part = Part(data="digits", search_images=40, search_epochs=1, epochs=2)
    planned = Planned(part, (0, 0), setting, images=64, seeds=1, guess=0.25)

    def read(place, facts):
        learned = facts["epochs"] == 4 and facts["lr"] == 0.2
        return {"history": [{"held_out_accuracy": 0.9 if learned else 0.25}]}

    found, rates = planned.search(read)
    assert rates == [0.2, 0.1, 0.05, 0.025]
    assert {facts["epochs"] for facts in found.values()} == {1, 4}
    found, rates = planned.search(lambda place, facts: None)
    assert rates == [] and len(found) == 3


def test_a_search_at_chance_is_repeated_four_times_as_long(study, carry_out, capsys):
    part = Part(data="digits", search_images=40, search_epochs=1, epochs=2)
    result = carry_out(part, [Setting({"rule": "BP"}, [1e-9, 1e-8])])
    lengths = [t["epochs"] for t in result["trials"] if "search" in t]
    assert set(lengths) == {1, 4} and lengths.count(1) == lengths.count(4)
    assert "is at chance" in capsys.readouterr().out
    assert Result(result).mark(rule="BP") == "!"


@pytest.mark.parametrize(
    ("fall", "tried", "taken"),
    [
        ([], [0.2], 0.2),
        ([0.2], [0.2, 0.1], 0.1),
        ([0.2, 0.1], [0.2, 0.1, 0.05], 0.1),
        ([0.2, 0.1, 0.05, 0.025], [0.2, 0.1, 0.05, 0.025], 0.1),  # three smaller ones at most
    ],
)
def test_if_a_training_falls_smaller_rates_are_tried_at_full_length_and_the_best_is_taken(
    fall, tried, taken, study, carry_out, monkeypatch, capsys
):
    """Here seed 1 alone falls; then all seeds and lengths are trained again."""
    monkeypatch.setattr(search, "chosen", lambda found: 0.2)
    monkeypatch.setattr(search, "at_edge", lambda found, lr: False)
    monkeypatch.setattr(search, "fell", lambda t, _: t["seed"] == 1 and t["lr"] in fall)
    accuracies = {0.025: 0.3, 0.05: 0.6, 0.1: 0.7, 0.2: 0.5, 0.4: 0.4}
    monkeypatch.setattr(search, "accuracy_of", lambda t: accuracies[t["lr"]])
    part = Part(data="digits", search_images=40, search_epochs=1, epochs=2, seeds=2)
    settings = [Setting({"rule": "BP"}, [0.05, 0.1, 0.2, 0.4], curve=[1])]
    result = carry_out(part, settings)
    trainings = [t for t in result["trials"] if "search" not in t]
    assert {t["lr"] for t in trainings} == set(tried)
    for lr in tried:
        marks = {(t["seed"], t["epochs"]): t.get("other_rate") for t in trainings if t["lr"] == lr}
        assert marks == dict.fromkeys([(0, 1), (0, 2), (1, 2)], None if lr == taken else True)
    assert {t["lr"] for t in Result(result).trials()} == {taken}
    assert len(Result(result).curve()) == 2
    told = [line for line in capsys.readouterr().out.splitlines() if "fell" in line]
    pairs = pairwise(tried)
    assert told == [f"paper: BP: fell with lr {lr:g}, so {next_:g} is tried" for lr, next_ in pairs]
    assert study.how_many_left() == 0

    for path in study.folder.iterdir():
        path.unlink()
    again = Study("paper", "smoke", study.out)
    monkeypatch.setattr(work, "train_trial", pytest.fail)
    assert rounded(again.carry_out(Here())["trials"]) == rounded(result["trials"])


def test_the_next_rate_is_tried_when_all_trainings_with_the_one_before_have_ended():
    """So that the result does not depend on which of them ended first."""
    setting, part = Setting({"rule": "BP"}, [0.1, 0.2, 0.4]), Part(data="digits", seeds=2)
    planned = Planned(part, (0, 0), setting, images=64, seeds=2)
    fallen, standing = ({"history": [{"held_out_accuracy": a} for a in (0.9, b)]} for b in (0.1, 1))

    def trained(ended):
        def read(place, facts):
            if "search" in facts:
                return standing if facts["lr"] == 0.2 else fallen
            return fallen if facts["seed"] in ended and facts["lr"] == 0.2 else None

        return {(t["lr"], t["seed"]) for t in planned.trials(read).values() if "search" not in t}

    assert trained([]) == trained([0]) == trained([1]) == {(0.2, 0), (0.2, 1)}
    assert trained([0, 1]) == {(0.2, 0), (0.2, 1), (0.1, 0), (0.1, 1)}


def test_a_rate_that_is_not_trained_with_all_seeds_yet_is_not_taken(study, carry_out, monkeypatch):
    """So a study that is interrupted between two rates reports the one that is complete."""
    monkeypatch.setattr(search, "fell", lambda t, _: t["lr"] == 0.2)
    monkeypatch.setattr(search, "accuracy_of", lambda t: 1 - t["lr"] if "search" not in t else 0.5)
    monkeypatch.setattr(search, "chosen", lambda found: 0.2)
    monkeypatch.setattr(search, "at_edge", lambda found, lr: False)

    class Interrupted(Here):
        left = 2 * 3 + 3  # trials of the search, then those of both seeds, then one more

        def submit(self, call, job):
            if not self.left:
                raise KeyboardInterrupt
            self.left -= 1
            return super().submit(call, job)

    part = Part(data="digits", search_images=40, search_epochs=1, epochs=2, seeds=2)
    with pytest.raises(KeyboardInterrupt):
        carry_out(part, [Setting({"rule": "BP"}, [0.1, 0.2, 0.4])], pool=Interrupted())
    trainings = [t for t in study.write()["trials"] if "search" not in t]
    marks = [(t["lr"], t["seed"], "other_rate" in t) for t in trainings]
    assert marks == [(0.2, 0, False), (0.1, 0, True), (0.2, 1, False)]


def test_trainings_of_other_lengths_have_their_own_schedule_and_are_marked(study, carry_out):
    part = Part(data="digits", epochs=4, seeds=2)
    result = carry_out(part, [Setting({"rule": "BP"}, [0.05], curve=(6, 2, 1))])
    found = [(t["epochs"], t["seed"], t.get("curve")) for t in result["trials"]]
    assert found == [
        (1, 0, True), (2, 0, True), (4, 0, None), (4, 1, None), (6, 0, True),
    ]  # fmt: skip
    assert all(trial["test"] for trial in result["trials"])
    assert study.how_far() == "5 of 5 trials finished"


def test_seed_0_may_train_for_longer_and_comes_last(study, carry_out):
    part = Part(data="digits", epochs=1, long=4, seeds=3)
    carry_out(part, [Setting({"rule": "BP"}, [0.05])])
    assert [(t["seed"], t["epochs"]) for t in study.trials] == [(1, 1), (2, 1), (0, 4)]
    assert [len(t["history"]) for t in study.trials] == [2, 2, 5]


def test_the_number_of_seeds_can_be_another(study, carry_out):
    part = Part(data="digits", seeds=3)
    carry_out(part, [Setting({"rule": "BP"}, [0.05])], seeds=1)
    assert [t["seed"] for t in study.trials] == [0]


def test_a_setting_without_learning_rates_is_measured_by_the_experiment(study, carry_out):
    def measure(part, facts, images):
        time.sleep(0.05)
        return [{"rest": facts["seed"] + 0.5}]

    carry_out(Part(seeds=2), [Setting({"task": "rest"})], measure)  # without images
    assert [(t["task"], t["seed"], t["history"]) for t in study.trials] == [
        ("rest", 0, [{"rest": 0.5}]),
        ("rest", 1, [{"rest": 1.5}]),
    ]
    assert all(0.05 <= t["seconds"] < 5 for t in study.trials)


def test_images_that_cannot_be_had_are_left_out(carry_out, monkeypatch, capsys):
    def nowhere(*_):
        raise InputError("no network")

    monkeypatch.setattr(work, "load", nowhere)
    assert carry_out(Part(data="mnist"), [])["not_run"] == ["mnist"]
    assert capsys.readouterr().out == "paper: mnist is left out: no network\n"


def test_a_place_that_was_given_and_is_wrong_is_an_error_and_not_left_out(
    study, carry_out, monkeypatch, tmp_path
):
    (tmp_path / "empty").mkdir()
    monkeypatch.setattr(work, "load", load)
    with pytest.raises(InputError):
        carry_out(Part(data="cifar10"), [], sources=Sources(cifar10=tmp_path / "empty"))
    assert study.missing == []


def test_a_result_holds_all_accuracies_of_a_long_history_and_the_rest_now_and_then(tmp_path):
    history = [{"epoch": i, "held_out_accuracy": i / 400, "angle": 1.0} for i in range(405)]
    record = kept(tmp_path, FACTS, lambda: {"history": history, "seconds": 0.0})
    short = brief(record)["history"]
    assert [e["epoch"] for e in short] == [*range(405)]
    assert [e["held_out_accuracy"] for e in short] == [i / 400 for i in range(405)]
    assert [e["epoch"] for e in short if "angle" in e] == [*range(31), *range(40, 401, 10), 404]
    on_disk = json.loads(next(tmp_path.iterdir()).read_text())
    assert all("angle" in entry for entry in on_disk["history"])


def test_numbers_are_rounded_to_significant_digits_and_nan_is_none():
    assert rounded({"a": [1 / 3, (1e-9 / 3,)], "b": math.nan, "c": 7, "d": "x"}) == {
        "a": [0.33333, [3.3333e-10]], "b": None, "c": 7, "d": "x",
    }  # fmt: skip


def test_names_of_files_are_short_plain_and_different():
    facts = {"data": "a/b c", "setting": "SS, BP last", "lr": 0.1, "search": True}
    name = file_name(facts)
    assert name.startswith("a-b-c-lr0.1-SS-BP-last-")
    assert name != file_name(facts | {"search": False})
    assert name == file_name(dict(reversed(facts.items())))  # results of earlier versions
    assert len(file_name({"x": "y" * 500})) <= 120


def test_a_learning_rate_is_never_chosen_on_the_test_images(carry_out):
    part = Part(data="digits", held_out=0, search_images=40, search_epochs=1)
    with pytest.raises(InputError, match="paper: expected held-out images to choose a rate by"):
        carry_out(part, [Setting({"rule": "BP"}, [0.1, 0.2])])


def test_the_trials_of_a_setting_wait_for_its_own_search_alone(carry_out):
    """Of two processes one is busy with SS's search: the other goes on with BP's trials."""
    begun = []

    class SlowSearch(Here):
        count = 2
        slow = None

        def submit(self, call, job):
            facts = job.arguments[0].facts
            begun.append((facts["rule"], facts["lr"] if "search" in facts else "all"))
            if begun[-1] == ("SS", 0.1) and not self.slow:
                self.slow = (Future(), call, job)
                return self.slow[0]
            if begun[-1] == ("BP", "all") and self.slow:
                future, work, slow_job = self.slow
                future.set_result(work(slow_job))
            return super().submit(call, job)

    part = Part(data="digits", search_images=40, search_epochs=1)
    settings = [Setting({"rule": rule}, [0.05, 0.1]) for rule in ("BP", "SS")]
    result = carry_out(part, settings, pool=SlowSearch())
    meanwhile = begun[begun.index(("SS", 0.1)) + 1 : begun.index(("BP", "all"))]
    assert {rule for rule, _ in meanwhile} == {"BP"}  # its second seeds
    assert begun[-1] == ("SS", "all")
    order = [(t["rule"], "search" in t) for t in result["trials"]]
    assert order[-2:] == [("BP", False), ("SS", False)]
    assert order[:-2] == sorted(order[:-2])  # in the order of the plan in any case


RATES = [0.01, 0.2, 1e6]  # the middle one is best


def test_what_is_on_disk_tells_how_far_a_study_is(study, carry_out):
    part = Part(data="digits", search_images=40, search_epochs=2, seeds=2)
    settings = [Setting({"rule": "BP"}, RATES), Setting({"rule": "SS"}, [0.05])]
    with np.errstate(all="ignore"):
        carry_out(part, settings)
    assert study.how_far() == "8 of 8 trials finished"  # a second seed in the search
    assert study.seconds_left() == []

    def forget(**facts):
        for path in study.folder.glob("*.json"):
            trial = json.loads(path.read_text())
            if all(trial.get(name) == value for name, value in facts.items()):
                path.unlink()

    forget(rule="SS", seed=1)
    assert study.how_far() == "7 of 8 trials finished"
    forget(rule="BP", seed=1, search=True)  # now the rate of BP is open, and so are its trials
    assert study.how_far() == "4 of 8 trials finished"
    forget(rule="BP", lr=0.2, search=True)  # and whether there are second seeds
    assert study.how_far() == "3 of 8 trials finished"


def test_an_estimate_is_epochs_times_what_an_epoch_takes(study, carry_out, monkeypatch):
    part = Part(data="digits", search_images=32, search_epochs=3, epochs=2, long=5, seeds=2)
    settings = [Setting({"rule": "BP"}, RATES), Setting({"rule": "SS"}, [0.05], curve=[1])]
    with np.errstate(all="ignore"):
        carry_out(part, settings)
    for path in study.folder.iterdir():
        path.unlink()
    monkeypatch.setattr(studies, "epoch_seconds", lambda trial: 10.0)
    study.time(Here())
    # BP: 3 rates and a second seed, 3 epochs of half the images; both: 2 and 5 epochs of all
    # of them; SS: 1 epoch more
    assert sum(study.seconds_left()) == pytest.approx(10 * (4 * 3 / 2 + 2 * (2 + 5) + 1))
    study._report(study.left()[0][1][0]).write_text("0.5")  # half of a search of 3 epochs
    assert sum(study.seconds_left()) == pytest.approx(10 * (3 / 4 + 3 * 3 / 2 + 2 * 7 + 1))


def test_an_epoch_is_timed_from_its_first_steps():
    """Steps of 20 ms, 8 to an epoch; a small evaluation comes on top."""

    def make():
        def slow(_):
            time.sleep(0.02)

        return parts(epochs=50, on_step=slow)

    trial = SimpleNamespace(facts={"lr": 0.1}, parts=make)
    assert 0.16 < work.epoch_seconds(trial) < 2  # a busy machine may be slow, never quick
    assert work.epoch_seconds(SimpleNamespace(facts={"task": "rest"})) == 0


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.1, "about 2 seconds"), (80, "about 80 seconds"), (95, "about 1.6 minutes"),
     (1800, "about 30 minutes"), (5500, "about 1.5 hours"), (1e5, "about 28 hours")],
)  # fmt: skip
def test_a_length_of_time_is_as_exact_as_an_estimate(seconds, words):
    assert duration(seconds) == words
