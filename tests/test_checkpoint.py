"""Checkpoints: what is saved comes back to the last bit, and no damage gets through."""

import copy
import hashlib
import io
import json
import os
import zipfile
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from oracles import assert_same, normal

from nnref import layers, models
from nnref.backend import xp
from nnref.errors import InputError
from nnref.feedback import (
    Backprop,
    Feedback,
    FeedbackAlignment,
    NoFeedback,
    RedrawnMagnitudes,
)
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


NUMBERS = [1, np.float32(0.03), np.float64(0.03), np.int64(1), np.longdouble("0.03")]
NUMBERS += [Decimal("0.03"), Fraction(3, 100), np.array(0.03)]


@pytest.mark.parametrize("lr", NUMBERS, ids=lambda lr: type(lr).__name__)
@pytest.mark.parametrize("optimizer", [SGD, Adam])
def test_a_rate_of_any_type_of_number_is_restored(optimizer, lr, tmp_path, rng):
    """As it was given, and as a schedule sets it later; training goes on bit for bit."""
    for given in (lr, 0.5):
        model = models.mlp([3], (4,), 3)
        its_optimizer = optimizer(model, given)
        its_optimizer.lr = lr
        checkpoint.save(tmp_path / "a.npz", model, its_optimizer, Progress(), {})
        other = models.mlp([3], (4,), 3, seed=1)
        other_optimizer = optimizer(other, 0.25)
        checkpoint.restore(checkpoint.read(tmp_path / "a.npz"), other, other_optimizer)
        assert other_optimizer.lr == float(lr)
        x = normal(rng, (5, 4), "float32")
        for one, its in ((model, its_optimizer), (other, other_optimizer)):
            train_step(one, its, x, np.arange(5) % 3)
        assert_same(other.layers[1].params["W"], model.layers[1].params["W"])


class Keeper(SGD):
    """An optimizer that keeps its state in several ways."""

    def __init__(self, model, lr):
        super().__init__(model, lr)
        self.steps, self.alone = np.int32(0), xp.zeros(3)
        self.by_name, self.pair = {"a": xp.zeros(2), "more": [xp.zeros(1)]}, (xp.zeros(1), 7)

    def update(self):
        self.steps += 1
        for array in (self.alone, self.by_name["a"], self.by_name["more"][0], self.pair[0]):
            array += self.steps


class Counting(Feedback):
    """A rule that counts, in a number and in a list of arrays."""

    def born(self, W, scale, draw):
        self.calls, self.seen = 0, [xp.zeros(1)]

    def __call__(self, W):
        self.calls += 1
        self.seen[0] += 1
        return W


def test_state_is_found_wherever_an_optimizer_or_a_rule_keeps_it(tmp_path, rng):
    def fresh():
        model = models.mlp([3, 3], (4,), 3, feedback=Counting())
        return model, Keeper(model, 0.1)

    model, optimizer = fresh()
    for _ in range(3):
        train_step(model, optimizer, normal(rng, (5, 4), "float32"), np.arange(5) % 3)
    checkpoint.save(tmp_path / "a.npz", model, optimizer, Progress(), {})
    other, restored = fresh()
    checkpoint.restore(checkpoint.read(tmp_path / "a.npz"), other, restored)
    assert restored.steps == 3
    for array in (restored.alone, restored.by_name["more"][0], restored.pair[0]):
        assert array[0] == 6
    assert restored.by_name["a"].tolist() == [6, 6]
    for ours, theirs in zip(other.layers[1::2], model.layers[1::2], strict=True):
        assert ours.feedback.calls == theirs.feedback.calls
        assert_same(ours.feedback.seen[0], theirs.feedback.seen[0])
    assert model.layers[-1].feedback.calls == 3


class OwnAdam(FeedbackAlignment):
    """A rule whose B is trained by an optimizer of its own, toward W."""

    def born(self, W, scale, draw):
        super().born(W, scale, draw)
        self.layer = layers.Layer()
        self.layer.params = {"B": self.B}
        self.adam = Adam(self.layer, 0.01)

    def on_step(self, layer):
        self.layer.grads = {"B": self.B - layer.params["W"]}
        self.adam.step()


def test_a_rule_that_has_an_optimizer_goes_on_bit_for_bit(tmp_path, rng):
    def fresh(seed):
        model = models.mlp([3, 3], (4,), 3, feedback=OwnAdam(), seed=seed)
        return model, SGD(model, 0.1)

    def go_on(model, optimizer, batches):
        for x in batches:
            train_step(model, optimizer, x, np.arange(5) % 3)

    (model, optimizer), (other, restored) = fresh(0), fresh(1)
    before, later = ([normal(rng, (5, 4), "float32") for _ in range(3)] for _ in range(2))
    go_on(model, optimizer, before)
    checkpoint.save(tmp_path / "a.npz", model, optimizer, Progress(), {})
    checkpoint.restore(checkpoint.read(tmp_path / "a.npz"), other, restored)
    assert other.layers[1].feedback.adam.t == 3
    go_on(model, optimizer, later)
    go_on(other, restored, later)
    for ours, theirs in zip(other.layers[1::2], model.layers[1::2], strict=True):
        assert_same(ours.feedback.B, theirs.feedback.B)
        assert_same(ours.feedback.adam.vs[0], theirs.feedback.adam.vs[0])


class Crowded(SGD):
    """Names that are one another's beginnings."""

    def __init__(self, model, lr):
        super().__init__(model, lr)
        self.m, self.m0 = [xp.zeros(1)], xp.ones(1)
        self.pairs = [[xp.full(1, 100.0 * i + j) for j in range(12)] for i in range(12)]


def test_every_array_has_a_name_of_its_own(tmp_path):
    model = models.mlp([3], (4,), 3)
    optimizer, other = Crowded(model, 0.1), Crowded(model, 0.1)
    checkpoint.save(tmp_path / "a.npz", model, optimizer, Progress(), {})
    for array in (other.m[0], other.m0, *(array for row in other.pairs for array in row)):
        array[...] = -1
    checkpoint.restore(checkpoint.read(tmp_path / "a.npz"), model, other)
    assert (other.m[0][0], other.m0[0]) == (0, 1)
    assert [[float(a[0]) for a in row] for row in other.pairs] == [
        [100.0 * i + j for j in range(12)] for i in range(12)
    ]


def test_a_history_may_hold_numbers_of_any_type(tmp_path):
    model, optimizer = made(Backprop())
    entry = {"epoch": np.int64(1), "angles": np.array([0.5, 1]), "rate": Decimal("0.5")}
    progress = Progress(history=[entry])
    checkpoint.save(tmp_path / "a.npz", model, optimizer, progress, {})
    found = checkpoint.restore(checkpoint.read(tmp_path / "a.npz"), model, optimizer)
    assert found.history == [{"epoch": 1, "angles": [0.5, 1.0], "rate": 0.5}]
    progress.history[0]["model"] = model
    with pytest.raises(InputError, match=r"a\.npz: cannot be saved: "):
        checkpoint.save(tmp_path / "a.npz", model, optimizer, progress, {})


def test_every_array_that_a_step_changes_or_uses_is_in_it(saved):
    names = " ".join(state(*saved[1:]))
    for part in ("W", "gamma", "running_mean", "running_var", "optimizer.velocities.0"):
        assert part in names
    model, optimizer = made(FeedbackAlignment(), Adam)
    names = " ".join(state(model, optimizer))
    for part in ("feedback0.B", "optimizer.ms.0", "optimizer.vs.0"):
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


def other_text(**parts):
    """A change of some parts of what the checkpoint says, and of the progress in it."""

    def change(contents):
        text = json.loads(str(contents["text"]))
        text["progress"] |= {name: parts.pop(name) for name in list(parts) if name in PROGRESS}
        contents["text"] = np.array(json.dumps(text | parts))

    return change


def other_array(name, make):
    """A change of one array."""

    def change(contents):
        contents[name] = make(contents[name])

    return change


def text_without(part):
    """The change that leaves out one part of what the checkpoint says."""

    def change(contents):
        text = json.loads(str(contents["text"]))
        del text[part]
        contents["text"] = np.array(json.dumps(text))

    return change


def without(name):
    """The change that leaves out one entry."""
    return lambda contents: contents.pop(name)


PROGRESS = ("epoch", "step", "seen", "seconds", "history", "speed")
A_WEIGHT = "layer1.W"
ODD = {  # sealed with a hash that is right
    **{
        f"weights of {kind}": other_array(A_WEIGHT, lambda W, kind=kind: W.astype(kind))
        for kind in ("float64", "int32", "bool", "complex64", "datetime64[s]", "U8")
    },
    **{
        f"nothing of {part}": text_without(part)
        for part in ("progress", "streams", "numbers", "facts")
    },
    "no weights": without(A_WEIGHT),
    "weights and more": lambda contents: contents.update(more=np.zeros(3)),
    "no text": without("text"),
    "no sum": without("loss_sum"),
    "no JSON": other_array("text", lambda _: np.array("{")),
    "deep JSON": other_array("text", lambda _: np.array("[" * 100_000)),
    "a list": other_array("text", lambda _: np.array("[]")),
    "many sums": other_array("loss_sum", lambda _: np.zeros(3)),
    "a sum of text": other_array("loss_sum", lambda _: np.array("a")),
    "epoch -1": other_text(epoch=-1),
    "epoch as text": other_text(epoch="1"),
    "half a step": other_text(step=0.5),
    "no history": other_text(history=None),
    "a history of numbers": other_text(history=[1, 2]),
    "more progress": other_text(speed=3),
    "no progress": other_text(progress=None),
    "no streams": other_text(streams=None),
    "other streams": other_text(streams={}),
    "odd streams": other_text(streams={str(i): {"state": 7} for i in range(22)}),
    "no numbers": other_text(numbers=[]),
    "a rate as text": other_text(numbers={"lr": "a", "momentum": 0, "weight_decay": 0}),
    "no facts": other_text(facts=None),
}


@pytest.mark.parametrize("name", ODD)
def test_an_odd_checkpoint_with_a_right_hash_is_one_line_and_changes_nothing(name, saved):
    path, model, optimizer = saved
    contents = checkpoint.read(path)
    ODD[name](contents)
    path.write_bytes(checkpoint._sealed(contents))
    before = {name: array.copy() for name, array in state(model, optimizer).items()}
    streams = str(checkpoint._streams(model)["0"].bit_generator.state)
    with pytest.raises(InputError) as caught:
        checkpoint.restore(checkpoint.read(path), model, optimizer)
    assert "checkpoint" in str(caught.value) and "\n" not in str(caught.value)
    for array_name, array in state(model, optimizer).items():
        assert_same(array, before[array_name])
    assert str(checkpoint._streams(model)["0"].bit_generator.state) == streams


def test_a_name_that_stands_twice_and_what_is_no_archive_are_one_line(saved):
    path, *_ = saved
    buffer = io.BytesIO(path.read_bytes())
    with zipfile.ZipFile(buffer, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("layer1.W.npy", archive.read("layer1.W.npy"))
        archive.comment = b"0" * checkpoint.COMMENT
    for content in (buffer.getvalue(), b"no archive at all" + b"0" * checkpoint.COMMENT):
        rest = content[: -checkpoint.COMMENT]
        path.write_bytes(rest + hashlib.sha256(rest).hexdigest().encode())
        with pytest.raises(InputError, match=r"a\.npz: not a checkpoint of nnref: "):
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


def test_a_rule_that_was_exchanged_after_birth_is_saved_and_restored(tmp_path):
    """As a tutorial or a network of the reader's own may do: such a rule draws no numbers."""

    def fresh(seed):
        model = models.mlp([3], (8, 8, 1), feedback=FeedbackAlignment(), seed=seed)
        model.layers[1].feedback = NoFeedback()
        return model, SGD(model, 0.1)

    (model, optimizer), (other, its) = fresh(0), fresh(1)
    checkpoint.save(tmp_path / "a.npz", model, optimizer, Progress(), {})
    checkpoint.restore(checkpoint.read(tmp_path / "a.npz"), other, its)
    assert_same(other.layers[-1].feedback.B, model.layers[-1].feedback.B)


def test_what_differs_is_named_with_its_place(tmp_path):
    path, model = tmp_path / "a.npz", models.mlp([3], (8, 8, 1))
    checkpoint.save(path, model, SGD(model, 0.1), Progress(), {})
    other = models.mlp([4], (8, 8, 1))
    words = r"layer2\.W \(64, 4\) float32, found \(64, 3\) float32"
    with pytest.raises(InputError, match=rf"a\.npz: of another .*: expected {words}"):
        checkpoint.restore(checkpoint.read(path), other, SGD(other, 0.1), path)
    contents = checkpoint.read(path)
    contents["optimizer.velocities7"] = contents.pop("optimizer.velocities.0")  # of an old version
    with pytest.raises(InputError, match=r"expected optimizer\.velocities\.0 .*, found none"):
        checkpoint.restore(contents, model, SGD(model, 0.1))


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
