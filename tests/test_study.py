"""Trials: finished ones are read, interrupted ones go on bit for bit, learning rates are chosen."""

import json
import math

import numpy as np
import pytest

from nnref import models
from nnref.backend import to_device, to_host
from nnref.data.imageset import ImageSet
from nnref.errors import InputError
from nnref.experiments import study as trials
from nnref.experiments.images import Images
from nnref.experiments.study import Parts, Study, by_layer, file_name, rounded, score, spread
from nnref.optim import SGD
from nnref.train import evaluate

FACTS = {"rule": "BP", "seed": 0}


def images(count, seed=0):
    """Random images of 4 x 4 pixels whose brightest quarter is their class."""
    rng = np.random.default_rng(seed)
    x, labels = rng.normal(size=(count, 4, 4, 1)).astype("float32"), rng.integers(0, 4, count)
    for image, label in zip(x, labels, strict=True):
        image[label] += 2
    return ImageSet(x, labels)


def parts(lr=0.05, epochs=3, look=by_layer):
    model = models.mlp([8], (4, 4, 1), 4)
    return Parts(
        model, SGD(model, lr), images(64), images(20, 1), images(40, 2), epochs, 8, look=look
    )


@pytest.fixture
def study(tmp_path):
    return Study("paper", "smoke", tmp_path / "out", {"data": []})


def test_a_finished_trial_is_read_and_not_trained_again(study, monkeypatch):
    first = study.trial(FACTS, parts)
    monkeypatch.setattr(trials, "_train", pytest.fail)
    assert study.trial(FACTS, parts) == rounded(first)
    saved = json.loads((study.out / "paper.json").read_text())
    assert saved["trials"] == [rounded(first)] * 2
    assert [path.suffix for path in (study.out / "trials").iterdir()] == [".json"]


@pytest.mark.parametrize(
    "change",
    [
        lambda p: p._replace(batch_size=4),
        lambda p: p._replace(train=images(64, 5)),
        lambda p: p._replace(schedule=lambda epoch: 0.05 / (1 + epoch)),
        lambda p: p._replace(optimizer=SGD(p.model, 0.05, momentum=0)),
        lambda p: p._replace(model=models.mlp([9], (4, 4, 1), 4)),
    ],
)
def test_what_has_the_same_name_but_is_another_training_is_an_error(study, change):
    study.trial(FACTS, parts)
    with pytest.raises(InputError, match=r"\.json: other data or settings"):
        study.trial(FACTS, lambda: change(parts()))


def test_a_checkpoint_of_another_training_is_an_error(study, monkeypatch):
    monkeypatch.setattr(trials, "SAVE_EVERY", 0)

    def interrupted(*_):
        raise KeyboardInterrupt

    looks = iter([by_layer, by_layer, interrupted])
    with pytest.raises(KeyboardInterrupt):
        study.trial(FACTS, lambda: parts(look=lambda *given: next(looks)(*given)))
    with pytest.raises(InputError, match=r"\.npz: other data or settings"):
        study.trial(FACTS, lambda: parts()._replace(batch_size=4))


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
        Study("paper", "full", study.out, {"data": []})


def test_angles_are_measured_on_images_of_all_classes():
    given = images(200)
    order = np.argsort(given.labels, kind="stable")
    given = given._replace(images=given.images[order], labels=given.labels[order])
    _, labels = trials._drawn(given, 40)
    assert set(labels.tolist()) == {0, 1, 2, 3}


def test_other_facts_are_another_trial(study):
    study.trial(FACTS, parts)
    study.trial(FACTS | {"lr": 0.1}, lambda: parts(0.1))
    assert len(list((study.out / "trials").iterdir())) == 2


def test_an_interrupted_trial_goes_on_bit_for_bit(study, tmp_path, monkeypatch):
    monkeypatch.setattr(trials, "SAVE_EVERY", 0)
    looks = []

    def interrupted(model, x, labels):
        looks.append(1)
        if len(looks) == 3:  # at birth, after epochs 1 and 2
            raise KeyboardInterrupt
        return by_layer(model, x, labels)

    with pytest.raises(KeyboardInterrupt):
        study.trial(FACTS, lambda: parts(look=interrupted))
    assert [path.suffix for path in (study.out / "trials").iterdir()] == [".npz"]
    resumed = study.trial(FACTS, parts)
    whole = Study("paper", "smoke", tmp_path / "other", {"data": []}).trial(FACTS, parts)

    def without_times(record):
        history = [
            {k: v for k, v in e.items() if k not in ("seconds", "wall_s")}
            for e in record["history"]
        ]
        return record | {"history": history, "seconds": 0}

    assert without_times(resumed) == without_times(whole)


def test_the_history_holds_validation_and_what_was_looked_at_from_birth_on(study):
    record = study.trial(FACTS, parts)
    assert [entry["epoch"] for entry in record["history"]] == [0, 1, 2, 3]
    assert "val_accuracy" not in record["history"][0]
    for entry in record["history"]:
        assert len(entry["weight_angle_deg"]) == len(entry["kurtosis"]) == 2
    assert record["test"]["accuracy"] > 0.5
    assert record["test"]["images"] == 40


def test_the_best_learning_rate_is_that_of_the_best_validation_accuracy(study):
    def make(images, lr, epochs, seed):
        return parts(lr, epochs)._replace(train=images.train, test=images.test)

    drawn = parts()
    few = Images(drawn.train, drawn.val, drawn.test, {})
    with np.errstate(all="ignore"):
        study.compare([({"rule": "BP"}, [1e-6, 0.05, 1e9], make)], few, (40, 2), 3, 2)
    searches, trials = study.trials[:3], study.trials[3:]
    assert ["diverged" in trial for trial in searches] == [False, False, True]
    assert all(trial["search"] and not trial.get("test") for trial in searches)
    assert [(t["images"], t["epochs"]) for t in searches] == [(40, 2)] * 3
    assert [(t["lr"], t["seed"], t["images"]) for t in trials] == [(0.05, 0, 64), (0.05, 1, 64)]
    assert all(trial["test"] and "search" not in trial for trial in trials)


def test_outputs_that_are_not_numbers_are_wrong():
    model = models.mlp([8], (4, 4, 1), 9)
    for value in (math.nan, 0):  # zero: all outputs are equal, and none is ahead
        model.layers[-1].params["W"][:] = value
        found = score(model, images(10))
        assert (found["accuracy"], found["top5"]) == (0, 0)


def test_a_result_holds_all_accuracies_of_a_long_history_and_the_rest_now_and_then(study):
    history = [{"epoch": i, "val_accuracy": i / 400, "angle": 1.0} for i in range(401)]
    study.measurement(FACTS, lambda _: {"history": history, "seconds": 0.0})
    kept = study.write()["trials"][0]["history"]
    assert [(e["epoch"], e["val_accuracy"]) for e in kept] == [(i, i / 400) for i in range(401)]
    assert [e["epoch"] for e in kept if "angle" in e] == [*range(31), *range(40, 401, 10)]
    on_disk = json.loads(next((study.out / "trials").iterdir()).read_text())
    assert all("angle" in entry for entry in on_disk["history"])


def test_score_counts_top_1_and_top_5_as_sorting_does(rng):
    model, data = models.mlp([8], (4, 4, 1), 9), images(50)
    found = score(model, data)
    order = np.argsort(-to_host(model.forward(to_device(data.images))), axis=1)
    assert found["accuracy"] == np.mean(order[:, 0] == data.labels)
    assert found["top5"] == np.mean((order[:, :5] == data.labels[:, None]).any(axis=1))
    loss, accuracy = evaluate(model, data)
    assert (found["loss"], found["accuracy"]) == pytest.approx((loss, accuracy))


def test_numbers_are_rounded_to_significant_digits_and_nan_is_none():
    assert rounded({"a": [1 / 3, (1e-9 / 3,)], "b": math.nan, "c": 7, "d": "x"}) == {
        "a": [0.33333, [3.3333e-10]], "b": None, "c": 7, "d": "x",
    }  # fmt: skip


def test_spread_is_the_mean_and_the_standard_deviation_of_a_sample():
    assert (spread([]), spread([1.25]), spread([1, 2, 3])) == ("-", "1.2", "2.0 ± 1.0")


def test_names_of_files_are_short_plain_and_different():
    facts = {"data": "a/b c", "setting": "SS, BP last", "lr": 0.1, "search": True}
    name = file_name(facts)
    assert name.startswith("a-b-c-SS-BP-last-lr0.1-")
    assert name != file_name(facts | {"search": False})
    assert len(file_name({"x": "y" * 500})) <= 120
