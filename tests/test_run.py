"""Runs in folders: nothing is lost, whatever stops them; the test set is scored once."""

import csv
import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections import UserList

import numpy as np
import pytest
from oracles import assert_same
from pictures import class_folders, picture, write_folder
from PIL import Image

from nnref import files
from nnref.backend import xp
from nnref.data import imagefolder
from nnref.data.files import decode
from nnref.data.imageset import ImageSet, choose, split
from nnref.errors import InputError
from nnref.files import owned
from nnref.layers import Layer
from nnref.parallel import job
from nnref.plots import style
from nnref.rules.known import KNOWN
from nnref.runs import checkpoint, compare, run
from nnref.runs.folder import checkpoints
from nnref.runs.settings import Settings
from nnref.train import evaluate

SHORT = {"model": "mlp", "width": 0.05, "batch_size": 100, "epochs": 2, "val": 0.2}
RULES = ["sign-symmetry", "feedback-alignment", "redrawn-magnitudes"]


@pytest.fixture(autouse=True)
def few_digits(monkeypatch, digits):
    """600 and 100 digits of the shipped subset."""
    train, test = (part._replace(images=part.images[:n], labels=part.labels[:n]) for part, n in
                   zip(digits, (600, 100), strict=True))  # fmt: skip
    monkeypatch.setitem(run.load_data.__globals__["DATA"], "mnist-subset", lambda: (train, test))


@pytest.fixture(autouse=True)
def no_report(request, monkeypatch):
    """Drawing takes longer than these runs; `drawn` is for tests that want it."""
    if "drawn" not in request.fixturenames:
        monkeypatch.setattr(run.report, "page", lambda *_: "")
        monkeypatch.setattr(run.report, "figures", lambda _: {})


@pytest.fixture
def drawn():
    """Asks for the report and the figures."""


@pytest.fixture
def pets(tmp_path):
    tree = class_folders(("cat", "cow", "dog"), train=8, val=2)
    tree = {name: picture(size=(20, 18), seed=seed) for name, seed in tree.items()}
    return f"imagefolder:{write_folder(tmp_path / 'pets', tree)}"


def last(folder):
    """The arrays of the newest checkpoint, and its history without times."""
    contents = checkpoint.read(checkpoints(folder)[-1])
    text = json.loads(str(contents.pop("text")))
    history = [{k: v for k, v in e.items() if k != "seconds"} for e in text["progress"]["history"]]
    return contents, history, text["streams"], text["numbers"]


def assert_same_end(ours, theirs):
    (a, *rest), (b, *others) = last(ours), last(theirs)
    assert a.keys() == b.keys() and rest == others
    for name in a:
        assert_same(a[name], b[name])


def stopped_at(monkeypatch, step):
    """Make the next run stop, as after Ctrl-C, when it has done this many steps."""
    done, original = [], run._Run.after_step

    def after_step(self, now):
        done.append(now)
        if len(done) == step:
            job._stop.set()
        original(self, now)

    monkeypatch.setattr(run._Run, "after_step", after_step)


@pytest.mark.parametrize("step", [1, 4, 5, 7, 10])
def test_a_run_that_was_stopped_ends_where_the_other_one_ends(step, tmp_path, monkeypatch, capsys):
    """Five steps an epoch: in the middle, at an end, at the very end; Adam, cosine."""
    settings = Settings(**SHORT, feedback=RULES[step % 3], optimizer="adam", schedule="cosine")
    whole = run.start(tmp_path / "whole", settings)
    with monkeypatch.context() as patch:
        stopped_at(patch, step)
        with pytest.raises(KeyboardInterrupt):
            run.start(tmp_path / "parts", settings)
    assert f"--resume {tmp_path / 'parts'}" in capsys.readouterr().err
    parts = run.resume(tmp_path / "parts", {})
    assert_same_end(tmp_path / "whole", tmp_path / "parts")
    assert parts["test"] == whole["test"]


LEARNED = [
    "weight-mirror", "information-alignment", "symmetric-alignment", "activation-alignment",
    "sign-symmetry-rms",
]  # fmt: skip


@pytest.mark.parametrize("rule", LEARNED)
def test_a_B_that_learns_by_itself_goes_on_where_it_stopped(rule, tmp_path, monkeypatch):
    settings = Settings(**SHORT, feedback=rule)
    whole = run.start(tmp_path / "whole", settings)
    with monkeypatch.context() as patch:
        stopped_at(patch, 3)
        with pytest.raises(KeyboardInterrupt):
            run.start(tmp_path / "parts", settings)
    parts = run.resume(tmp_path / "parts", {})
    assert_same_end(tmp_path / "whole", tmp_path / "parts")
    assert parts["test"] == whole["test"]
    assert all(angle is not None for angle in whole["history"][-1]["weight_angle_deg"])


def test_the_report_of_a_mirror_says_what_its_B_is(tmp_path, drawn):
    run.start(tmp_path / "a", Settings(**SHORT | {"epochs": 1}, feedback="weight-mirror"))
    page = (tmp_path / "a" / "report.html").read_text()
    assert "weight-mirror: B = random, then learned from noise sent through W." in page


def test_crops_batch_norm_and_momentum_go_on_too(pets, tmp_path, monkeypatch):
    settings = Settings(
        data=pets, size=12, model="resnet20", width=0.25, batch_size=4, epochs=2, val=0.2,
        feedback="feedback-alignment", lr=0.001,
    )  # fmt: skip
    run.start(tmp_path / "whole", settings)
    with monkeypatch.context() as patch:
        stopped_at(patch, 3)
        with pytest.raises(KeyboardInterrupt):
            run.start(tmp_path / "parts", settings)
    run.resume(tmp_path / "parts", {"size": 12})
    assert_same_end(tmp_path / "whole", tmp_path / "parts")


def test_a_folder_holds_everything(tmp_path, drawn):
    result = run.start(tmp_path / "a", Settings(**SHORT))
    folder = tmp_path / "a"
    names = {path.name for path in folder.iterdir()}
    assert names == {
        ".lock", "checkpoints", "config.toml", "figures", "history.csv", "log.jsonl", "report.html",
        "result.json", "run.json",
    }  # fmt: skip
    with open(folder / "history.csv") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert float(rows[1]["held_out_accuracy"]) == result["history"][2]["held_out_accuracy"]
    events = [json.loads(line)["event"] for line in (folder / "log.jsonl").read_text().splitlines()]
    assert events == ["start", "epoch", "epoch", "end"]
    facts = json.loads((folder / "run.json").read_text())
    assert (facts["data"]["train"], facts["data"]["val"]) == (480, 120)
    assert "--width 0.05" in facts["command"] and len(facts["data"]["sha256"]) == 64
    assert json.loads((folder / "result.json").read_text()) == result
    assert len(checkpoints(folder)) == 2
    assert len(list((folder / "figures").glob("*.png"))) == 6
    assert "data:image/png;base64," in (folder / "report.html").read_text()


def test_angles_are_measured_on_images_that_are_drawn_from_all(pets, tmp_path, monkeypatch):
    """Class folders are sorted by class; with the first images alone, it would be that of cats."""
    seen, original = [], run.measure.layer_measures
    monkeypatch.setattr(run, "WATCHED", 6)
    monkeypatch.setattr(
        run.measure, "layer_measures", lambda m, x, y: seen.append(y) or original(m, x, y)
    )
    run.start(None, Settings(data=pets, model="mlp", size=8, epochs=1, batch_size=4, val=0.0))
    assert all(len(labels) == 6 and len(set(labels.tolist())) > 1 for labels in seen)


def test_best_is_the_epoch_with_the_highest_validation_accuracy(tmp_path):
    settings = Settings(**SHORT | {"epochs": 4, "lr": 0.5})
    history = run.start(tmp_path / "a", settings)["history"][1:]
    accuracies = [entry["held_out_accuracy"] for entry in history]
    best = checkpoint.read(tmp_path / "a" / "checkpoints" / "best.npz")
    epoch = json.loads(str(best["text"]))["progress"]["epoch"]
    assert epoch == 1 + accuracies.index(max(accuracies))


def test_the_best_network_of_a_run_is_at_hand_in_python(tmp_path, digits):
    shorter = SHORT | {"epochs": 1}  # so that the last is the best
    settings = Settings(**shorter, feedback="kolen-pollack")
    result = run.start(tmp_path / "run", settings)
    model, test = run.trained(tmp_path / "run"), choose(digits[1], np.arange(100))
    assert evaluate(model, test)[1] == result["test"]["accuracy"]
    before = run.trained(tmp_path / "run").layers[-1].params["W"]
    assert_same(model.layers[-1].params["W"], before)
    (tmp_path / "run" / "checkpoints" / "best.npz").unlink()
    with pytest.raises(InputError, match=r"best\.npz: not there: no epoch is finished, or no im"):
        run.trained(tmp_path / "run")


def test_the_network_of_a_run_of_several_ranks_is_at_hand_too(halfway, monkeypatch):
    """A run that has not ended; it can go on only on as many ranks."""
    facts = json.loads((halfway / "run.json").read_text())
    (halfway / "run.json").write_text(json.dumps(facts | {"ranks": 2}))
    newest = checkpoints(halfway)[-1]
    (halfway / "checkpoints" / "best.npz").write_bytes(newest.read_bytes())
    assert run.trained(halfway)
    with pytest.raises(InputError, match="expected as many ranks as before, 2, not 1"):
        run.resume(halfway, {})


def test_the_newest_checkpoint_is_that_of_the_largest_epoch(tmp_path):
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    names = ["00002-0000009", "99999-0000000", "100000-0000002", "100000-0000010"]
    for name in names[::-1]:
        (folder / f"{name}.npz").touch()
    assert [path.stem for path in checkpoints(tmp_path)] == names


def test_validation_images_are_not_trained_on_and_have_no_random_crops(digits):
    train, test = digits
    train = train._replace(transform=len)
    ours, val = split(train, test, 0.3, seed=0)
    assert len(val.labels) == 3000 and len(ours.labels) == 7000
    both = np.concatenate([ours.images, val.images]).reshape(10000, -1)
    assert np.array_equal(
        np.sort(both.sum(axis=1)), np.sort(train.images.reshape(10000, -1).sum(1))
    )
    assert (ours.transform, val.transform) == (len, None)
    assert split(train, test, 0, seed=0) == (train, None)


def test_the_test_images_are_seen_once_after_training(tmp_path, monkeypatch):
    seen, original = [], run.score
    monkeypatch.setattr(run, "score", lambda *a: seen.append(a[1]) or original(*a))
    looked_at = []
    monkeypatch.setattr(
        run.ranks.world(),
        "fit",
        lambda model, optimizer, train, held_out, **_: looked_at.extend((train, held_out)),
    )
    run.start(None, Settings(**SHORT))
    assert len(seen) == 1 and len(seen[0].labels) == 100
    assert [len(part.labels) for part in looked_at] == [480, 120]


class Fixed(Layer):
    """A network whose logits are its inputs."""

    def forward(self, x):
        return x.reshape(len(x), -1)


def test_score_by_hand():
    images = np.log(np.array([[6, 2, 2], [1, 8, 1], [1, 1, 2], [2, 7, 1]]) / 10.0)
    data = ImageSet(images.reshape(4, 1, 1, 3), np.array([0, 1, 2, 0]))
    found, mistakes = run.score(Fixed(), data)
    assert found["accuracy"] == 0.75
    assert found["confusion"] == [[1, 1, 0], [0, 1, 0], [0, 0, 1]]
    assert found["loss"] == pytest.approx(-np.log([0.6, 0.8, 0.5, 0.2]).mean())
    ((_, true, predicted, chance),) = mistakes
    assert (true, predicted, chance) == (0, 1, pytest.approx(0.2))


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint64"])
def test_labels_of_any_type_are_counted_in_their_class(dtype):
    """40 classes: the place of a pair in the confusion matrix is no number of a byte."""
    labels = np.array([39, 30, 20])
    data = ImageSet(np.eye(40)[labels].reshape(3, 1, 1, 40), labels.astype(dtype))
    found, _ = run.score(Fixed(), data)
    assert found["confusion"] == np.diag(np.isin(np.arange(40), labels).astype(int)).tolist()


def test_a_network_that_is_lost_in_its_last_step_has_no_result(tmp_path):
    settings = Settings(**SHORT | {"epochs": 1, "val": 0.0, "lr": 1e38, "batch_size": 600})
    with np.errstate(all="ignore"), pytest.raises(FloatingPointError, match="diverged in its last"):
        run.start(None, settings)


def test_a_damaged_image_is_left_out_of_the_score_and_the_others_keep_their_places():
    images = UserList(np.eye(3)[[0, 1, 2, 0]].reshape(4, 1, 1, 3))  # no array: read on demand
    images[1] = None
    found, mistakes = run.score(Fixed(), ImageSet(images, np.array([0, 1, 2, 2])))
    assert found["confusion"] == [[1, 0, 0], [0, 0, 0], [1, 0, 1]]
    ((image, true, predicted, _),) = mistakes
    assert (image.tolist(), true, predicted) == ([[[1, 0, 0]]], 2, 0)


def test_skipped_images_are_counted_in_one_line(pets, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(decode, "MOST_BAD", 0.2)
    folder = pets.partition(":")[2]
    for name in ("train/cat/3.png", "val/dog/0.png"):
        with open(os.path.join(folder, name), "wb") as file:
            file.write(b"no image")
    given = {"data": pets, "size": 8, "model": "mlp", "width": 0.05, "batch_size": 4}
    with pytest.raises(InputError, match="not a readable image"):
        run.start(None, Settings(**given))
    run.start(None, Settings(**given, on_bad="skip"), cache=False)
    out = capsys.readouterr().out
    assert "on 5 images, scored once\nleft out: 2 damaged images, " in out
    assert not list(tmp_path.rglob("pixels.rgb"))


@pytest.mark.parametrize("feedback", KNOWN)
def test_a_run_under_any_rule_goes_on_bit_for_bit(feedback, tmp_path, monkeypatch):
    settings = Settings(**SHORT, feedback=feedback)
    run.start(tmp_path / "whole", settings)
    with monkeypatch.context() as patch:
        stopped_at(patch, 7)
        with pytest.raises(KeyboardInterrupt):
            run.start(tmp_path / "parts", settings)
    run.resume(tmp_path / "parts", {})
    assert_same_end(tmp_path / "whole", tmp_path / "parts")


def test_target_propagation_has_a_report_with_the_angles_of_its_inverses(tmp_path, drawn):
    settings = Settings(**SHORT, feedback="difference-target-propagation", optimizer="adam")
    angles = run.start(tmp_path / "a", settings)["history"][-1]["weight_angle_deg"]
    assert len(angles) == 3 and angles[-1] == 0  # W itself in the last layer
    page = (tmp_path / "a" / "report.html").read_text()
    assert "under difference-target-propagation" in page and "a learned inverse" in page


def test_target_propagation_in_a_network_that_it_cannot_teach_is_one_line():
    settings = Settings(**SHORT | {"model": "lenet"}, feedback="simplified-dtp")
    with pytest.raises(InputError, match=r"expected hidden layers as in models.mlp.*found Conv2d"):
        run.start(None, settings)


OWN_RULE = """
from nnref.feedback import FeedbackAlignment

class Mine(FeedbackAlignment):
    'B grows toward W.'

    def on_step(self, layer):
        self.B += 0.1 * layer.params["W"] + 0.01 * self.rng.random()
"""


def test_a_rule_of_the_readers_own_trains_reports_compares_and_goes_on(
    tmp_path, monkeypatch, capsys, drawn
):
    file = tmp_path / "mine.py"
    file.write_text(OWN_RULE)
    monkeypatch.chdir(tmp_path)
    settings = Settings(**SHORT, feedback="mine.py:Mine")
    run.start(tmp_path / "whole", settings)
    with monkeypatch.context() as patch:
        stopped_at(patch, 7)
        with pytest.raises(KeyboardInterrupt):
            run.start(tmp_path / "parts", settings)
    monkeypatch.chdir("/")
    file.write_text(OWN_RULE.replace("0.1", "0.2"))
    with pytest.raises(InputError, match="expected the rules of before, found a file that changed"):
        run.resume(tmp_path / "parts", {})
    file.write_text(OWN_RULE)
    run.resume(tmp_path / "parts", {})
    assert_same_end(tmp_path / "whole", tmp_path / "parts")
    page = (tmp_path / "whole" / "report.html").read_text()
    assert "under mine.py:Mine" in page and "B grows toward W." in page
    run.start(tmp_path / "bp", Settings(**SHORT))
    groups = compare.read([tmp_path / name for name in ("whole", "bp")])
    assert [group["name"] for group in groups] == ["mine.py:Mine", "backprop"]


def test_a_rule_that_cannot_be_used_is_refused_before_the_data_are_read(tmp_path):
    (tmp_path / "mine.py").write_text("class Net(Sequential): pass")
    gone = {"data": f"imagefolder:{tmp_path / 'gone'}", "feedback": f"{tmp_path}/mine.py:Net"}
    with pytest.raises(InputError, match=r"mine\.py, line 1: cannot be run: NameError"):
        run.start(None, Settings(**gone))


@pytest.fixture
def halfway(tmp_path, monkeypatch):
    """The folder of a run that was stopped in its second epoch."""
    with monkeypatch.context() as patch:
        stopped_at(patch, 7)
        with pytest.raises(KeyboardInterrupt):
            run.start(tmp_path / "half", Settings(**SHORT))
    return tmp_path / "half"


def test_a_damaged_newest_checkpoint_is_reported_and_the_one_before_it_taken(
    halfway, tmp_path, capsys
):
    older, newest = checkpoints(halfway)
    newest.write_bytes(newest.read_bytes()[:-100])
    run.resume(halfway, {})
    err = capsys.readouterr().err
    assert f"{newest}: damaged" in err and "trying the one before it" in err
    assert newest.with_name(f"damaged-{newest.name}").is_file()
    run.start(tmp_path / "whole", Settings(**SHORT))
    assert_same_end(tmp_path / "whole", halfway)


def test_if_all_are_damaged_that_is_one_line(halfway):
    for path in checkpoints(halfway):
        path.write_bytes(b"")
    with pytest.raises(InputError, match="every checkpoint is damaged"):
        run.resume(halfway, {})


def test_without_a_checkpoint_it_begins_anew(halfway, tmp_path):
    for path in checkpoints(halfway):
        path.unlink()
    (halfway / "checkpoints" / ".x.npz.1.tmp").write_bytes(b"half")
    run.resume(halfway, {})
    run.start(tmp_path / "whole", Settings(**SHORT))
    assert_same_end(tmp_path / "whole", halfway)
    assert not list((halfway / "checkpoints").glob(".*"))


def test_other_settings_or_data_are_refused_by_name(halfway, monkeypatch):
    with pytest.raises(
        InputError, match=r"its own settings, found --lr 0\.5 \(there 0\.01\), --seed 3"
    ):
        run.resume(halfway, {"lr": 0.5, "seed": 3, "model": "mlp"})
    monkeypatch.setattr(run, "data_hash", lambda *_: "0" * 64)
    with pytest.raises(InputError, match=r"data of SHA-256 [0-9a-f]{64}, found other data"):
        run.resume(halfway, {})


def change_one_pixel(path):
    """Write the picture anew with another first pixel; its name and shape stay."""
    with Image.open(path) as image:
        pixels = np.array(image)
    pixels[0, 0] ^= 255
    Image.fromarray(pixels).save(path)


@pytest.mark.parametrize("part", ["train", "val"])
def test_a_run_does_not_go_on_with_other_pictures(part, pets, tmp_path, monkeypatch):
    settings = Settings(data=pets, size=12, model="mlp", width=0.05, batch_size=4, epochs=2)
    stopped_at(monkeypatch, 3)
    with pytest.raises(KeyboardInterrupt):
        run.start(tmp_path / "a", settings)
    change_one_pixel(tmp_path / "pets" / part / "dog" / "1.png")
    with pytest.raises(InputError, match=r"data of SHA-256 [0-9a-f]{64}, found other data"):
        run.resume(tmp_path / "a", {})


def as_arrays(data):
    return data._replace(images=np.stack([data.images[i] for i in range(len(data.labels))]))


def a_few(data):
    return choose(data, np.arange(0, len(data.labels), 2))


@pytest.mark.parametrize("cached", [True, False])
@pytest.mark.parametrize(
    "held", [lambda data: data, as_arrays, a_few], ids=["all", "arrays", "few"]
)
def test_the_data_hash_covers_images_and_labels_however_they_are_held(
    held, cached, pets, tmp_path, monkeypatch
):
    def found(change_labels=0):
        train, test = imagefolder.load(tmp_path / "pets", cache=cached)
        train = held(train)
        return run.data_hash(train._replace(labels=train.labels + change_labels), held(test))

    first = found()
    assert found() == first
    assert found(change_labels=1) != first
    change_one_pixel(tmp_path / "pets/val/cat/0.png")
    second = found()
    change_one_pixel(tmp_path / "pets/train/cat/0.png")
    assert len({first, second, found()}) == 3


def test_the_data_hash_depends_on_which_images_were_chosen(pets, tmp_path):
    train, _ = imagefolder.load(tmp_path / "pets", cache=False)
    alike = train._replace(labels=0 * train.labels)
    chosen = [[0, 1], [1, 0], [0, 2]]
    assert len({run.data_hash(choose(alike, np.array(indices))) for indices in chosen}) == 3


def test_a_changed_config_is_refused_by_name(halfway):
    path = halfway / "config.toml"
    path.write_text(path.read_text().replace("lr = 0.01 ", "lr = 0.02 "))
    with pytest.raises(InputError, match=r"own settings, found --lr 0\.02 \(there 0\.01\)$"):
        run.resume(halfway, {})


def test_a_folder_with_a_run_is_not_overwritten(halfway):
    with pytest.raises(InputError, match="holds a run; --resume"):
        run.start(halfway, Settings(**SHORT))


@pytest.mark.skipif(xp is not np, reason="on a GPU it is noticed at the end of an epoch")
def test_divergence_names_step_layer_and_checkpoint(tmp_path):
    settings = Settings(**SHORT | {"lr": 1e5, "epochs": 3}, feedback="feedback-alignment")
    with np.errstate(all="ignore"), pytest.raises(FloatingPointError) as raised:
        run.start(tmp_path / "a", settings, save_every=0)
    for part in (r"diverged in step ", " of epoch ", "Linear(", "rms: in ", "last good checkpoint"):
        assert part in str(raised.value)
    contents = checkpoint.read(checkpoints(tmp_path / "a")[-1])
    assert all(np.isfinite(array).all() for name, array in contents.items() if name != "text")
    assert '"event": "diverged"' in (tmp_path / "a" / "log.jsonl").read_text()


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_read_only_folder_is_one_line(halfway):
    (halfway / "checkpoints").chmod(0o500)
    with pytest.raises(InputError, match="not writable"):
        run.resume(halfway, {})


def test_a_killed_process_loses_nothing(tmp_path):
    """kill -9 in the middle, then --resume, by the command line."""
    words = ["train", "--model", "mlp", "--epochs", "3", "--batch-size", "64", "--save-every", "1"]
    command = [sys.executable, "-m", "nnref", *words]
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    subprocess.run([*command, "--out", whole], check=True, capture_output=True)
    process = subprocess.Popen([*command, "--out", parts], stdout=subprocess.DEVNULL)
    while not (parts / "checkpoints").is_dir() or not checkpoints(parts):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    resume = [*command[:4], "--resume", parts]
    subprocess.run(resume, check=True, capture_output=True)
    assert_same_end(whole, parts)


def test_seeds_are_groups_and_settings_that_differ_name_them(tmp_path, capsys):
    for rule in RULES[:2]:
        for seed in (0, 1):
            settings = Settings(**SHORT, feedback=rule, seed=seed)
            run.start(tmp_path / rule / f"seed-{seed}", settings)
    groups = compare.read([tmp_path / rule for rule in RULES[:2]])
    assert [group["name"] for group in groups] == RULES[:2]
    assert [len(group["results"]) for group in groups] == [2, 2]
    lines = compare.table(groups).splitlines()
    accuracies = [100 * result["test"]["accuracy"] for result in groups[0]["results"]]
    assert f"{np.mean(accuracies):.1f} ± {np.std(accuracies, ddof=1):.1f}" in lines[1]
    with pytest.raises(InputError, match="expected a finished run with a result"):
        compare.read([tmp_path])


def test_runs_without_validation_are_compared_too(tmp_path):
    for seed in (0, 1):
        run.start(tmp_path / f"seed-{seed}", Settings(**SHORT | {"val": 0.0}, seed=seed))
    groups = compare.read([tmp_path, tmp_path / "seed-0"])
    assert len(groups[0]["results"]) == 2  # the same folder twice is one run
    assert compare.table(groups).splitlines()[1].split()[-2] == "-"


def test_what_a_kill_right_after_a_checkpoint_left_out_is_made_up_for(tmp_path, monkeypatch):
    run.start(tmp_path / "whole", Settings(**SHORT))
    with monkeypatch.context() as patch:
        patch.setattr(run._Run, "keep_records", lambda self: 1 / (self.progress.epoch < 2))
        with pytest.raises(ZeroDivisionError):
            run.start(tmp_path / "parts", Settings(**SHORT))
    run.resume(tmp_path / "parts", {})
    ours, theirs = (tmp_path / name for name in ("whole", "parts"))
    assert len((theirs / "history.csv").read_text().splitlines()) == 3
    best = [checkpoint.read(folder / "checkpoints" / "best.npz") for folder in (ours, theirs)]
    assert_same(best[0]["layer2.W"], best[1]["layer2.W"])


def test_leftovers_of_another_run_are_refused(halfway):
    (halfway / "config.toml").unlink()
    with pytest.raises(InputError, match="holds a run; --resume"):
        run.start(halfway, Settings(**SHORT))


def test_a_damaged_checkpoint_does_not_become_the_best(tmp_path):
    """The newest is damaged, the one before it stands at the end of an epoch."""
    settings, folder = Settings(**SHORT | {"epochs": 3}), tmp_path / "a"
    run.start(folder, settings)
    (folder / "result.json").unlink()
    newest = checkpoints(folder)[-1]
    newest.write_bytes(newest.read_bytes()[:-1])
    run.resume(folder, {})
    checkpoint.read(folder / "checkpoints" / "best.npz")  # raises if it is damaged
    run.start(tmp_path / "whole", settings)
    assert_same_end(tmp_path / "whole", folder)


def test_a_run_on_a_relative_path_is_resumed_from_any_folder(pets, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = Settings(data="imagefolder:pets", size=8, model="mlp", width=0.05, batch_size=4)
    with monkeypatch.context() as patch:
        stopped_at(patch, 2)
        with pytest.raises(KeyboardInterrupt):
            run.start("run", settings)
    monkeypatch.chdir("/")
    run.resume(tmp_path / "run", {"data": pets})
    assert "imagefolder:pets" not in (tmp_path / "run" / "run.json").read_text()


def test_an_earlier_run_without_the_newer_settings_is_resumed_and_compared(halfway, tmp_path):
    """Before `on_bad` was a setting."""
    path = halfway / "config.toml"
    lines = path.read_text().splitlines()
    path.write_text("\n".join(line for line in lines if not line.startswith("on_bad")))
    result = run.resume(halfway, {})
    del result["settings"]["on_bad"]
    (halfway / "result.json").write_text(json.dumps(result))
    run.start(tmp_path / "now", Settings(**SHORT, seed=1))
    (group,) = compare.read([halfway, tmp_path / "now"])
    assert len(group["results"]) == 2


@pytest.mark.skipif(files.fcntl is None, reason="this system has no locks of files")
def test_a_folder_in_which_another_process_writes_is_refused(halfway, tmp_path):
    with owned(halfway), pytest.raises(InputError, match="another training is writing in it"):
        run.resume(halfway, {})
    with owned(tmp_path / "new"), pytest.raises(InputError, match="another training is writing"):
        run.start(tmp_path / "new", Settings(**SHORT))
    assert os.listdir(tmp_path / "new") == [".lock"]


def test_of_two_runs_that_start_at_once_the_later_is_refused(tmp_path, monkeypatch):
    """While it loads its data, the other one starts and ends."""
    original, settings = run._Parts, Settings(**SHORT)

    def parts(*asked):
        monkeypatch.setattr(run, "_Parts", original)
        run.start(tmp_path / "a", settings)
        return original(*asked)

    monkeypatch.setattr(run, "_Parts", parts)
    with pytest.raises(InputError, match="holds a run; --resume"):
        run.start(tmp_path / "a", dataclasses.replace(settings, seed=5))
    assert json.loads((tmp_path / "a" / "result.json").read_text())["settings"]["seed"] == 0


def test_a_figure_that_cannot_be_drawn_costs_nothing_and_is_drawn_later(
    tmp_path, monkeypatch, capsys
):
    def no_font(_):
        raise RuntimeError("no font")

    with monkeypatch.context() as patch:
        patch.setattr(run.report, "figures", no_font)
        result = run.start(tmp_path / "a", Settings(**SHORT))
    printed = capsys.readouterr()
    assert "report.html: cannot be drawn: RuntimeError: no font\n" in printed.err
    assert "report: " not in printed.out
    assert json.loads((tmp_path / "a" / "result.json").read_text()) == result
    monkeypatch.setattr(run._Run, "after_step", pytest.fail)  # nothing is trained again
    again = run.resume(tmp_path / "a", {})
    assert again["test"] == result["test"] and again["history"] == result["history"]
    assert (tmp_path / "a" / "report.html").is_file()
    assert "report: " in capsys.readouterr().out


def test_a_result_outlives_its_checkpoints_and_its_report(tmp_path, capsys):
    result = run.start(tmp_path / "a", Settings(**SHORT))
    (tmp_path / "a" / "report.html").unlink()
    for path in (tmp_path / "a" / "checkpoints").iterdir():
        path.unlink()
    assert run.resume(tmp_path / "a", {}) == result
    assert "already finished" in capsys.readouterr().out


DAMAGES = ["{}", "[]", "null", '{"settings": {}}', '{"data": []}', "[" * 5000]


@pytest.mark.parametrize("text", DAMAGES)
@pytest.mark.parametrize("name", ["run.json", "result.json"])
def test_a_damaged_record_is_one_line_that_names_it(name, text, halfway):
    if name == "result.json":
        run.resume(halfway, {})
    (halfway / name).write_text(text)
    with pytest.raises(InputError, match=rf"{name}: damaged: "):
        run.resume(halfway, {})
    if name == "result.json":
        with pytest.raises(InputError, match=rf"{name}: damaged: "):
            compare.read([halfway])


@pytest.mark.parametrize("facts", [{}, {"settings": 1}, {"settings": {"lr": "x"}}])
def test_a_checkpoint_of_other_facts_is_one_line(facts, halfway, monkeypatch):
    monkeypatch.setattr(checkpoint, "facts_of", lambda _: facts)
    with pytest.raises(InputError, match=r"half/checkpoints: damaged: |--lr: expected "):
        run.resume(halfway, {})


def test_a_run_that_has_not_learned_says_so(tmp_path, capsys):
    settings = Settings(**SHORT | {"lr": 1e-9})
    run.start(tmp_path / "a", settings)
    line = capsys.readouterr().out.splitlines()[-2]
    assert line.startswith("has it learned? ") and "--lr than 1e-09 or --schedule cosine" in line
    groups = compare.read([tmp_path / "a"])
    assert compare.table(groups).splitlines()[-1] == f"backprop, 1 of 1: {line}"


def test_class_names_that_are_not_utf_8_are_reported(pets, tmp_path, monkeypatch, drawn):
    monkeypatch.setattr(style, "png", lambda *_: b"")  # drawing them takes longer
    folder = os.fsencode(pets.partition(":")[2])
    for part in (b"train", b"val"):
        os.rename(os.path.join(folder, part, b"cow"), os.path.join(folder, part, b"c\xff\n"))
    run.start(tmp_path / "a", Settings(data=pets, size=8, model="mlp", width=0.05, batch_size=4))
    assert "c\\udcff" in (tmp_path / "a" / "report.html").read_text(encoding="utf-8")


def test_a_report_shows_the_baselines_among_its_neighbors(tmp_path, drawn):
    long = SHORT | {"lr": 0.03}
    run.start(tmp_path / "bp", Settings(**long))
    run.start(tmp_path / "ss", Settings(**long, feedback="sign-symmetry"))
    assert "BP (run bp)" in (tmp_path / "ss" / "report.html").read_text()
    assert "(run ss)" not in (tmp_path / "bp" / "report.html").read_text()
