"""Trials: interrupted ones continue bit for bit, histories hold measurements, scores are right."""

import math
import threading

import numpy as np
import pytest
from small_trials import FACTS, images, parts

from nnref import models
from nnref.backend import to_device, to_host
from nnref.errors import InputError
from nnref.experiments import trial as trials
from nnref.experiments.images import Images
from nnref.experiments.plan import Part
from nnref.experiments.trial import score, usual_training, watch_layers
from nnref.experiments.work import trained
from nnref.optim import Adam
from nnref.train import evaluate


def without_times(record):
    """A record without what no two runs have in common."""
    history = [
        {k: v for k, v in e.items() if k not in ("seconds", "wall_s")} for e in record["history"]
    ]
    return record | {"history": history, "seconds": 0}


def test_a_checkpoint_of_another_training_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(trials, "SAVE_EVERY", 0)

    def interrupted(*_):
        raise KeyboardInterrupt

    looks = iter([watch_layers, watch_layers, interrupted])
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path, FACTS, lambda: parts(look=lambda *given: next(looks)(*given)))
    with pytest.raises(InputError, match=r"\.npz: of another training: expected"):
        trained(tmp_path, FACTS, lambda: parts(batch_size=4))


def test_an_interrupted_trial_goes_on_bit_for_bit(tmp_path, monkeypatch):
    monkeypatch.setattr(trials, "SAVE_EVERY", 0)
    looks = []

    def interrupted(model, x, labels):
        looks.append(1)
        if len(looks) == 3:  # before training, after epochs 1 and 2
            raise KeyboardInterrupt
        return watch_layers(model, x, labels)

    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path, FACTS, lambda: parts(look=interrupted))
    assert [path.suffix for path in tmp_path.iterdir()] == [".npz"]
    resumed = trained(tmp_path, FACTS, parts)
    (tmp_path / "other").mkdir()
    whole = trained(tmp_path / "other", FACTS, parts)
    assert without_times(resumed) == without_times(whole)


def test_after_ctrl_c_a_trial_saves_stops_and_goes_on_bit_for_bit(tmp_path, monkeypatch):
    stop = threading.Event()

    def constraint(epochs):
        if epochs > 1.4:
            stop.set()

    monkeypatch.setattr(trials, "stopping", stop.is_set)
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path, FACTS, lambda: parts(on_step=constraint))
    assert [path.suffix for path in tmp_path.iterdir()] == [".npz"]
    stop.clear()
    resumed = trained(tmp_path, FACTS, parts)
    (tmp_path / "other").mkdir()
    assert without_times(resumed) == without_times(trained(tmp_path / "other", FACTS, parts))


def test_a_trial_that_two_machines_computed_names_both(tmp_path, monkeypatch):
    monkeypatch.setattr(trials, "SAVE_EVERY", 0)
    monkeypatch.setattr(trials, "library", lambda: "CuPy on a GPU")
    looks = iter([watch_layers, watch_layers, None])  # interrupted after the second epoch
    with pytest.raises(TypeError):
        trained(tmp_path, FACTS, lambda: parts(look=lambda *given: next(looks)(*given)))
    monkeypatch.setattr(trials, "library", lambda: "NumPy")
    record = trained(tmp_path, FACTS, parts)
    assert record["computes"] == "CuPy on a GPU, then NumPy"
    assert not any("computes" in entry for entry in record["history"])
    (tmp_path / "other").mkdir()
    assert trained(tmp_path / "other", FACTS, parts)["computes"] == "NumPy"


def test_the_history_holds_validation_and_what_was_looked_at_from_birth_on(tmp_path):
    record = trained(tmp_path, FACTS, parts)
    assert [entry["epoch"] for entry in record["history"]] == [0, 1, 2, 3]
    assert "held_out_accuracy" not in record["history"][0]
    for entry in record["history"]:
        assert len(entry["weight_angle_deg"]) == len(entry["kurtosis"]) == 2
    assert record["test"]["accuracy"] > 0.5
    assert record["test"]["images"] == 40


def test_outputs_that_are_not_numbers_are_wrong():
    model = models.mlp([8], (4, 4, 1), 9)
    for value in (math.nan, 0):  # zero: all outputs are equal, and none is ahead
        model.layers[-1].params["W"][:] = value
        found = score(model, images(10))
        assert (found["accuracy"], found["top5"]) == (0, 0)


def test_score_counts_top_1_and_top_5_as_sorting_does(rng):
    model, data = models.mlp([8], (4, 4, 1), 9), images(50)
    found = score(model, data)
    order = np.argsort(-to_host(model.forward(to_device(data.images))), axis=1)
    assert found["accuracy"] == np.mean(order[:, 0] == data.labels)
    assert found["top5"] == np.mean((order[:, :5] == data.labels[:, None]).any(axis=1))
    loss, accuracy = evaluate(model, data)
    assert (found["loss"], found["accuracy"]) == pytest.approx((loss, accuracy))


def test_a_usual_training_takes_its_numbers_from_the_part_and_the_facts():
    model, given = models.mlp([8], (4, 4, 1), 4), Images(images(64), images(20, 1), None, {})
    facts = {"lr": 0.2, "epochs": 4, "seed": 7}
    part = Part(data="digits", batch_size=16)
    made = usual_training(model, part, facts, given)
    assert (made.epochs, made.batch_size, made.seed) == (4, 16, 7)
    assert made.train is given.train and made.held_out is given.held_out
    assert [made.schedule(t) for t in (0, 2, 4)] == pytest.approx([0.2, 0.1, 0])
    adam = Adam(model, 0.1)
    other = usual_training(model, part, facts, given, adam, schedule=None)
    assert other.schedule is None and other.optimizer is adam
    assert (made.optimizer.lr, made.optimizer.momentum) == (0.2, 0.9)


def test_a_constraint_acts_after_every_step_and_before_a_checkpoint(tmp_path, monkeypatch):
    """`on_step` of the training, such as a law, is called by the trial too."""
    monkeypatch.setattr(trials, "SAVE_EVERY", 0)
    times, made = [], parts()
    W = made.training.model.layers[1].params["W"]

    def constraint(epochs):
        times.append(epochs)
        W[...] = abs(W)

    made.training.on_step = constraint
    saved = []
    save = trials.checkpoint.save
    monkeypatch.setattr(
        trials.checkpoint, "save", lambda *given: saved.append(float(W.min())) or save(*given)
    )
    trained(tmp_path, FACTS, lambda: made)
    assert times == pytest.approx([i / 8 for i in range(1, 25)])  # 8 steps an epoch, 3 epochs
    assert len(saved) > 1 and min(saved) >= 0


def test_a_trial_that_is_interrupted_in_an_epoch_goes_on_bit_for_bit(tmp_path, monkeypatch):
    monkeypatch.setattr(trials, "SAVE_EVERY", 0)

    def interrupted():
        made, steps = parts(), []

        def stop(_):
            steps.append(1)
            if len(steps) == 13:  # in the midst of the second epoch
                raise KeyboardInterrupt

        made.training.on_step = stop
        return made

    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path, FACTS, interrupted)
    resumed = trained(tmp_path, FACTS, parts)
    (tmp_path / "other").mkdir()
    whole = trained(tmp_path / "other", FACTS, parts)
    names = ("train_loss", "held_out_loss", "held_out_accuracy", "weight_angle_deg")
    for a, b in zip(resumed["history"][1:], whole["history"][1:], strict=True):
        assert [a[name] for name in names] == [b[name] for name in names]
    assert resumed["test"] == whole["test"]


def test_a_training_that_cannot_be_resumed_saves_no_checkpoint(tmp_path, monkeypatch):
    monkeypatch.setattr(trials, "SAVE_EVERY", 0)
    monkeypatch.setattr(trials.checkpoint, "save", pytest.fail)
    made = parts()
    made.training.resumable = False
    assert trained(tmp_path, FACTS, lambda: made)["test"]


def test_a_loss_that_is_not_finite_in_the_end_is_divergence(tmp_path, monkeypatch):
    monkeypatch.setattr(trials, "score", lambda *_: {"loss": math.nan, "accuracy": 0.1})
    record = trained(tmp_path, FACTS, parts)
    assert record["diverged"] == "in the last step" and "test" not in record
