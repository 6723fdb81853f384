"""The fault campaign, minutes long: `python -m pytest -m campaign`. CAMPAIGN.md keeps its numbers.

Kills at random moments, flipped bits, short files, full disks, malformed settings, damaged data:
each fault is either survived without a trace or told in one line, and nothing wrong is ever loaded.
"""

import copy
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from pictures import class_folders, picture, write_folder
from test_run import assert_same_end

import nnref
from nnref import models
from nnref.data import imagefolder, mnist
from nnref.data.files import cache
from nnref.errors import InputError
from nnref.feedback import FeedbackAlignment
from nnref.optim import Adam
from nnref.runs import checkpoint, compare
from nnref.runs.folder import checkpoints, what_stands
from nnref.runs.settings import FIELDS, Settings, read_toml
from nnref.train import Progress

pytestmark = [pytest.mark.campaign, pytest.mark.filterwarnings("ignore")]
ROOT = Path(nnref.__file__).parent.parent
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}
SETTINGS = {  # three epochs of 8 steps each, with a checkpoint after every step
    "model": "mlp", "width": 0.2, "feedback": "redrawn-magnitudes", "optimizer": "adam",
    "schedule": "cosine", "epochs": 3, "batch_size": 64, "seed": 1,
}  # fmt: skip
TRAIN = f"""
import sys
from pathlib import Path
from nnref import plots
from nnref.runs import run, settings
from nnref.data import mnist
plots.drawn = lambda path, draw: False  # most of the time, and nothing that is compared
train, test = mnist.load_subset()
few = lambda part, n: part._replace(images=part.images[:n], labels=part.labels[:n])
settings.DATA["mnist-subset"] = lambda: (few(train, 570), few(test, 100))
folder = Path(sys.argv[1])
if (folder / "config.toml").exists():
    run.resume(folder, {{}}, save_every=0)
else:
    run.start(folder, settings.Settings(**{SETTINGS}), save_every=0)
"""  # fmt: skip
KILLS = 50
rows = []  # of the table


@pytest.fixture(scope="module", autouse=True)
def table():
    """Print the table when all is done."""
    yield
    print("\n\n| fault | times | found, survived | wrong |\n|---|---|---|---|")
    print("\n".join(rows))


def row(fault, times, fine, wrong):
    rows.append(f"| {fault} | {times} | {fine} | {wrong} |")


def train(folder, **options):
    return subprocess.run(
        [sys.executable, "-c", TRAIN, folder], env=ENVIRONMENT, capture_output=True, text=True,
        **options,
    )  # fmt: skip


def test_killed_at_random_moments_every_run_ends_where_the_whole_one_does(tmp_path):
    began = time.perf_counter()
    assert train(tmp_path / "whole").returncode == 0
    took = time.perf_counter() - began
    rng, kills, in_a_save = random.Random(0), 0, 0
    while kills < KILLS:
        folder = tmp_path / f"run{kills}"
        process = subprocess.Popen(
            [sys.executable, "-c", TRAIN, folder], env=ENVIRONMENT,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        while not (folder / "config.toml").exists() and process.poll() is None:
            time.sleep(0.001)  # importing NumPy is not what is tested
        if kills % 2:  # in the middle of a save
            deadline = time.perf_counter() + rng.uniform(0, took / 3)
            while process.poll() is None and (
                time.perf_counter() < deadline or not list((folder / "checkpoints").glob(".*.tmp"))
            ):
                pass
        else:
            time.sleep(rng.uniform(0, took / 2))
        if process.poll() is not None:
            shutil.rmtree(folder)
            continue  # it was faster
        process.send_signal(signal.SIGKILL)
        process.wait()
        kills += 1
        in_a_save += bool(list((folder / "checkpoints").glob(".*.tmp")))
        if (folder / "config.toml").exists():
            done = train(folder)
            assert done.returncode == 0, done.stderr
            assert_same_end(tmp_path / "whole", folder)
        shutil.rmtree(folder)
    row("kill -9 at a random moment, then resumed", kills, f"{kills} ends bit for bit", 0)
    row("of these with a checkpoint half written", in_a_save, in_a_save, 0)
    assert in_a_save > 5


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    """The bytes of a checkpoint."""
    model = models.lenet(feedback=FeedbackAlignment(), width=0.5)
    path = tmp_path_factory.mktemp("checkpoint") / "a.npz"
    checkpoint.save(path, model, Adam(model, 0.1), Progress(), {})
    return path.read_bytes()


def test_no_flipped_bit_is_loaded(content, tmp_path):
    rng, path, loaded = random.Random(1), tmp_path / "a.npz", 0
    for _ in range(1000):
        damaged = bytearray(content)
        damaged[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged)
        loaded += not refused(checkpoint.read, path)
    row("one bit of a checkpoint flipped", 1000, f"{1000 - loaded} refused", loaded)
    assert loaded == 0


def test_no_shorter_checkpoint_is_loaded(content, tmp_path):
    rng, path, loaded = random.Random(2), tmp_path / "a.npz", 0
    for _ in range(200):
        path.write_bytes(content[: rng.randrange(len(content))])
        loaded += not refused(checkpoint.read, path)
    row("a checkpoint cut off", 200, f"{200 - loaded} refused", loaded)
    assert loaded == 0


def refused(load, *arguments) -> bool:
    """Does it raise an InputError of one line?"""
    try:
        load(*arguments)
    except InputError as error:
        assert "\n" not in str(error)
        return True
    return False


def test_a_disk_that_fills_up_leaves_the_last_checkpoint(tmp_path):
    """RLIMIT_FSIZE lets no file grow beyond a limit; SIGXFSZ is ignored, as Python does."""
    assert train(tmp_path / "whole").returncode == 0
    size = checkpoints(tmp_path / "whole")[-1].stat().st_size
    times = 0
    for limit in (0, 100, size // 2, size - 1):
        folder = tmp_path / f"full{limit}"
        half_trained(folder)
        done = train(
            folder,
            preexec_fn=lambda limit=limit: resource.setrlimit(
                resource.RLIMIT_FSIZE, (limit, limit)
            ),
        )
        assert done.returncode != 0
        assert "InputError: " in done.stderr and "cannot be written: File too large" in done.stderr
        checkpoint.read(checkpoints(folder)[-1])  # raises if it is not whole
        assert not list((folder / "checkpoints").glob(".*.tmp")) or limit == 0
        assert train(folder).returncode == 0
        assert_same_end(tmp_path / "whole", folder)
        times += 1
    row("a disk that fills up, then has room again", times, f"{times} ends bit for bit", 0)


def half_trained(folder):
    """Train in a folder, and kill it between its second checkpoint and its last."""
    last = f"{SETTINGS['epochs']:05d}-"
    while not checkpoints(folder) or checkpoints(folder)[-1].name.startswith(last):
        shutil.rmtree(folder, ignore_errors=True)  # it was faster
        half = subprocess.Popen([sys.executable, "-c", TRAIN, folder], env=ENVIRONMENT,
                                stdout=subprocess.DEVNULL)  # fmt: skip
        while len(checkpoints(folder)) < 2:
            time.sleep(0.001)
        half.kill()
        half.wait()


def test_folders_that_cannot_be_written_are_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    places = ["/proc/nnref", "/sys/nnref", "/dev/null/run", tmp_path / "file" / "run"]
    for place in places:
        done = command("train", "--model", "mlp", "--out", place)
        assert done.returncode == 2, done.stderr
        one_line(done)
    row("a folder that cannot be made or written", len(places), f"{len(places)} in one line", 0)


def test_of_two_runs_in_one_folder_one_is_refused(tmp_path):
    """Started at the same moment, with other settings."""
    times = 4
    for i in range(times):
        words = [sys.executable, "-m", "nnref", "train", "--model", "mlp", "--width", "0.1"]
        both = [
            subprocess.Popen(
                [*words, "--seed", seed, "--out", tmp_path / f"run{i}"], env=ENVIRONMENT,
                stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
            )
            for seed in ("0", "1")
        ]  # fmt: skip
        told = [process.communicate()[1] for process in both]
        ends = [process.returncode for process in both]
        assert sorted(ends) == [0, 2], told
        (line,) = told[ends.index(2)].splitlines()
        assert line.startswith("nnref: error: ") and ("holds a run" in line or "another" in line)
        result = json.loads((tmp_path / f"run{i}" / "result.json").read_text())
        log = (tmp_path / f"run{i}" / "log.jsonl").read_text().splitlines()
        assert len(log) == 3 and result["settings"]["seed"] == ends.index(0)
    row("two runs that start in one folder at once", times, f"{times} times one, whole", 0)


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path):
    """The run goes on, and says so in one line."""
    tree = {n: picture(size=(20, 18), seed=s) for n, s in class_folders(train=6, val=2).items()}
    pets = write_folder(tmp_path / "pets", tree)
    (tmp_path / "file").write_text("")
    places = ["/proc/nnref", "/dev/null/a", tmp_path / "file", tmp_path / ("a" * 300)]
    for place in places:
        done = command(
            "train", "--data", f"imagefolder:{pets}", "--size", 12, "--model", "mlp",
            "--batch-size", 2, "--val", 0.2, XDG_CACHE_HOME=place,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        (line,) = done.stderr.splitlines()
        assert line.startswith("nnref: images are decoded again in every epoch")
    row("a cache that cannot be written", len(places), f"{len(places)} went on, one line", 0)


def test_a_damaged_cache_is_made_anew(tmp_path, monkeypatch):
    """A changed byte, or a file cut off, in any file of the cache."""
    monkeypatch.setattr(cache, "cache_folder", lambda: tmp_path / "decoded")
    tree = {n: picture(size=(20, 18), seed=s) for n, s in class_folders(train=6, val=2).items()}
    pets = write_folder(tmp_path / "pets", tree)
    right = [image.tobytes() for image in imagefolder.load(pets)[0].images]
    files = sorted(p for p in (tmp_path / "decoded").rglob("*") if p.is_file())
    rng, times, wrong = random.Random(5), 200, 0
    for i in range(times):
        path = rng.choice(files)
        content = bytearray(path.read_bytes())
        if i % 4:
            content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        else:
            del content[rng.randrange(len(content)) :]
        path.write_bytes(content)
        wrong += [image.tobytes() for image in imagefolder.load(pets)[0].images] != right
        assert path.read_bytes() != bytes(content)
    row("a byte of the decoded images changed, or the rest cut off", times,
        f"{times - wrong} noticed, made anew", wrong)  # fmt: skip
    assert wrong == 0


ODD = [None, "x", [], {}, -1, 1e400, float("nan"), 10**400, True, ...]  # ...: left out


def odd_records(record):
    """The texts of this record with one of its values replaced by an odd one; and odd texts."""
    yield from ("", "{}", "[]", "null", "1", '"x"', "[" * 5000, '{"a":' * 5000, "9" * 5000)
    for place in _places(record, []):
        for value in ODD:
            changed = copy.deepcopy(record)
            *above, last = place
            inner = changed
            for step in above:
                inner = inner[step]
            if value is ...:
                del inner[last]
            else:
                inner[last] = value
            yield json.dumps(changed)


def _places(value, place):
    """The way to every value in a record; of a list, to the first and to the last."""
    keys = list(value) if isinstance(value, dict) else []
    if isinstance(value, list) and value:
        keys = [0, len(value) - 1]
    for key in keys:
        yield [*place, key]
        yield from _places(value[key], [*place, key])


def test_odd_records_are_one_line(tmp_path):
    """result.json as `compare` reads it, run.json as `--resume` does."""
    assert train(tmp_path / "run").returncode == 0
    (tmp_path / "result").mkdir()
    (tmp_path / "resumed").mkdir()
    shutil.copy(tmp_path / "run" / "config.toml", tmp_path / "resumed")
    times, told = 0, 0
    for name, folder, look in (
        ("result.json", tmp_path / "result", lambda f: compare.table(compare.read([f]))),
        ("run.json", tmp_path / "resumed", lambda f: what_stands(f, {})),
    ):
        for text in odd_records(json.loads((tmp_path / "run" / name).read_text())):
            (folder / name).write_text(text)
            told += refused(look, folder)  # or of no importance: an older run has less in it
            times += 1
    row("an odd value in the record of a run", times, f"{told} in one line, the others used", 0)
    assert told > 100


def command(*arguments, cwd=None, **environment):
    return subprocess.run(
        [sys.executable, "-m", "nnref", *map(str, arguments)],
        env=ENVIRONMENT | {name: str(value) for name, value in environment.items()},
        capture_output=True, text=True, cwd=cwd,
    )  # fmt: skip


def one_line(done):
    lines = [line for line in done.stderr.splitlines() if line]
    assert len(lines) == 1 and lines[0].startswith("nnref: error: "), done.stderr


VALUES = [
    "-1", "0", "''", "'x'", "true", "nan", "inf", "-inf", "1e400", "[]", "{}", "[1]", "2024-01-01",
    "'step:'", "'step:-1'", "'imagefolder:'", "99999999999999999999999", "1.5", "'None'",
    "'\\u0000'",
]  # fmt: skip
TEXTS = [
    "", "=", "lr", "lr =", "lr = 1 2", "[", "[[", "lr = 0.1\nlr = 0.2", "'", "\"\"\"", "\\",
    "lr = 0.1 #\x00", "Lr = 1", "l r = 1", "learning-rate = 1", "lr.x = 1", "[lr]", "a = 1",
    "= 1", "\ufeff lr = 1",
]  # fmt: skip


def test_malformed_settings_are_one_line_and_write_nothing(tmp_path):
    """Every setting with every wrong value, and files that are no settings; in one process."""
    cases = [f"{name} = {value}" for name in FIELDS for value in VALUES] + TEXTS
    answered, meant = 0, 0
    path = tmp_path / "run.toml"
    for text in cases:
        path.write_text(text, encoding="utf-8")
        try:
            Settings(**read_toml(path))
            meant += 1  # a value that may stand there, such as seed = 0
        except InputError as error:
            assert "\n" not in str(error) and len(str(error)) < 1000, error
            answered += 1
    assert sorted(os.listdir(tmp_path)) == ["run.toml"]
    assert answered >= 200
    row("malformed settings", answered, f"{answered} in one line", 0)
    for text in random.Random(3).sample(cases, 12):  # and some through the command line
        path.write_text(text, encoding="utf-8")
        done = command("train", path, "--batch-size", "20000", cwd=tmp_path)
        assert done.returncode == 2
        one_line(done)
    assert sorted(os.listdir(tmp_path)) == ["run.toml"]


def test_damaged_data_files_are_one_line(tmp_path):
    """Shipped digits with a flipped bit or cut off; class folders with broken images."""
    rng, refusals, times = random.Random(4), 0, 0
    for name in mnist.FILES:
        source = next(mnist.SUBSET_FOLDER.glob(f"{name}*"))
        for i in range(25):
            damaged = bytearray(source.read_bytes())
            if i % 2:
                del damaged[rng.randrange(len(damaged)) :]
            else:
                damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
            folder = tmp_path / f"{name}{i}"
            shutil.copytree(mnist.SUBSET_FOLDER, folder)
            (folder / source.name).write_bytes(damaged)
            times += 1
            if refused(mnist._load, folder, mnist.SUBSET_HASHES, "float32"):
                refusals += 1
            else:  # a bit of the .gz that says nothing about its content, such as its time
                loaded, _ = mnist._load(folder, mnist.SUBSET_HASHES, "float32")
                assert np.array_equal(loaded.images, mnist.load_subset()[0].images)
            shutil.rmtree(folder)
    row("digits with a flipped bit, or cut off", times, f"{refusals} refused, the others whole", 0)
    told = 0
    for i in range(30):
        tree = {n: picture(size=(20, 18), seed=s) for n, s in class_folders(train=3, val=2).items()}
        folder = write_folder(tmp_path / f"pets{i}", tree)
        victim = rng.choice(sorted(folder.rglob("*.*")))
        content = victim.read_bytes()
        victim.write_bytes([b"", content[: len(content) // 2], b"no image"][i % 3])
        done = command(
            "train", "--data", f"imagefolder:{folder}", "--size", 12, "--model", "mlp",
            "--batch-size", 2, "--val", 0.2, "--out", tmp_path / f"out{i}",
        )  # fmt: skip
        assert done.returncode == 2, done.stderr
        one_line(done)
        assert victim.name in done.stderr
        told += 1
    row("a broken image in class folders", 30, f"{told} in one line that names it", 0)
