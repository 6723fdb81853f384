"""Checkpoints: what is saved comes back to the last bit, and no damage gets through."""

import copy
import os

import numpy as np
import pytest
from oracles import assert_same, normal

from nnref import models
from nnref.backend import xp
from nnref.errors import InputError
from nnref.feedback import FeedbackAlignment, RedrawnMagnitudes
from nnref.optim import SGD, Adam
from nnref.runs import checkpoint
from nnref.train import Progress, train_step

SMALL = {"input_shape": (8, 8, 1), "width": 0.25}


def made(rule, optimizer=SGD, seed=0):
    model = models.resnet20(**SMALL, feedback=rule, seed=seed)
    return model, optimizer(model, 0.01)


def trained(model, optimizer, rng, steps=2):
    for _ in range(steps):
        train_step(model, optimizer, normal(rng, (6, 8, 8, 1), "float32"), np.arange(6))


def state(model, optimizer):
    return checkpoint._arrays(model, optimizer)


@pytest.fixture
def saved(tmp_path, rng):
    """(path, model, optimizer) after two steps."""
    model, optimizer = made(RedrawnMagnitudes())
    trained(model, optimizer, rng)
    path = tmp_path / "a.npz"
    checkpoint.save(path, model, optimizer, Progress(3, 2, xp.float32(0.1), 12), {"note": "é"})
    return path, model, optimizer


@pytest.mark.parametrize("optimizer", [SGD, Adam])
@pytest.mark.parametrize("rule", [FeedbackAlignment(), RedrawnMagnitudes()], ids=["fa", "redrawn"])
def test_training_goes_on_bit_for_bit(rule, optimizer, tmp_path, rng):
    """Into a network of another seed, so that everything has to come from the file."""
    model, its_optimizer = made(rule, optimizer)
    trained(model, its_optimizer, rng)
    progress = Progress(1, 2, np.float32(1 / 3), 12, 0.5, [{"epoch": 1}])
    checkpoint.save(tmp_path / "a.npz", model, its_optimizer, progress, {})
    other, other_optimizer = made(rule, optimizer, seed=1)
    contents = checkpoint.read(tmp_path / "a.npz")
    assert checkpoint.restore(contents, other, other_optimizer) == progress
    twin = copy.deepcopy(rng)
    trained(model, its_optimizer, rng)
    trained(other, other_optimizer, twin)
    ours, theirs = state(model, its_optimizer), state(other, other_optimizer)
    assert ours.keys() == theirs.keys()
    for name in ours:
        assert_same(theirs[name], ours[name])


def test_every_array_that_a_step_changes_or_uses_is_in_it(saved):
    names = " ".join(state(*saved[1:]))
    for part in ("W", "gamma", "running_mean", "running_var", "optimizer.velocities0"):
        assert part in names
    model, optimizer = made(FeedbackAlignment(), Adam)
    names = " ".join(state(model, optimizer))
    for part in ("feedback0.B", "optimizer.ms0", "optimizer.vs0"):
        assert part in names


def test_numpy_reads_it_without_pickle(saved):
    with np.load(saved[0], allow_pickle=False) as file:
        assert any(name.endswith(".W") for name in file.files)
        assert all(file[name].dtype != object for name in file.files)
    assert checkpoint.facts_of(checkpoint.read(saved[0])) == {"note": "é"}


def test_no_flipped_bit_and_no_shorter_file_is_read(saved, tmp_path, rng):
    content, path = saved[0].read_bytes(), tmp_path / "b.npz"
    places = [*rng.integers(0, len(content), 40), 0, len(content) - 1, len(content) - 64]
    for place in places:
        damaged = bytearray(content)
        damaged[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        with pytest.raises(InputError, match="damaged, or not a checkpoint"):
            checkpoint.read(path)
    for length in (0, 1, 63, 64, 65, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(InputError, match="damaged, or not a checkpoint"):
            checkpoint.read(path)


def test_a_missing_file_is_one_line(tmp_path):
    with pytest.raises(InputError, match=r"none\.npz: cannot be read: No such file"):
        checkpoint.read(tmp_path / "none.npz")


@pytest.mark.parametrize(
    "other",
    [
        lambda: models.resnet20((8, 8, 1), width=0.5, feedback=RedrawnMagnitudes()),
        lambda: models.resnet20(**SMALL, feedback=FeedbackAlignment()),
        lambda: models.mlp([3], (8, 8, 1)),
    ],
    ids=["wider", "another rule", "another network"],
)
def test_another_network_is_refused_and_left_as_it_was(other, saved):
    model = other()
    optimizer = SGD(model, 0.01)
    before = {name: array.copy() for name, array in state(model, optimizer).items()}
    with pytest.raises(InputError, match="of another network or optimizer"):
        checkpoint.restore(checkpoint.read(saved[0]), model, optimizer)
    for name, array in state(model, optimizer).items():
        assert_same(array, before[name])


def test_another_optimizer_is_refused(saved):
    model, optimizer = made(RedrawnMagnitudes(), Adam)
    with pytest.raises(InputError, match="of another network or optimizer"):
        checkpoint.restore(checkpoint.read(saved[0]), model, optimizer)


def test_weights_that_are_not_finite_are_not_saved(saved):
    path, model, optimizer = saved
    before = path.read_bytes()
    next(iter(model.walk())).layers[0].params["W"][0, 0] = np.inf
    with pytest.raises(FloatingPointError, match=r"layer\d+\.W is no longer finite"):
        checkpoint.save(path, model, optimizer, Progress(), {})
    assert path.read_bytes() == before


def test_a_full_disk_leaves_what_was_there(saved, monkeypatch):
    path, model, optimizer = saved
    before = path.read_bytes()

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match=r"a\.npz: cannot be written: No space left on device"):
        checkpoint.save(path, model, optimizer, Progress(), {})
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]


def test_a_history_of_an_earlier_version_is_read_with_the_present_names():
    old = [{"epoch": 1, "train_loss": 0.5, "val_loss": 0.6, "val_accuracy": 0.7}]
    new = [{"epoch": 1, "train_loss": 0.5, "held_out_loss": 0.6, "held_out_accuracy": 0.7}]
    assert checkpoint.with_present_names(old) == new
    assert checkpoint.with_present_names(new) == new
