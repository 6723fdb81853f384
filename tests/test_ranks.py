"""One training on many ranks: equal to one process, the same everywhere, and never left hanging.

Where there is no mpiexec, threads take the place of processes, and what needs MPI is skipped.
"""

import contextlib
import importlib.util
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from oracles import assert_close, assert_same
from test_run import assert_same_end, last

import nnref
from nnref import layers, models
from nnref.backend import to_host, xp
from nnref.data.imageset import ImageSet
from nnref.data.transforms import Normalize, PadCropFlip
from nnref.errors import InputError
from nnref.feedback import FeedbackAlignment, KolenPollack, RedrawnMagnitudes, SignSymmetry
from nnref.measure import weight_layers
from nnref.optim import SGD, Adam
from nnref.parallel import ranks
from nnref.rules.mirror import INFORMATION, SYMMETRIC, Alignment, WeightMirror
from nnref.runs import checkpoint, run
from nnref.runs.folder import checkpoints
from nnref.train import evaluate, fit

ROOT = Path(nnref.__file__).parent.parent
PROGRAM = Path(__file__).with_name("rank_program.py")
MPI4PY = [sys.executable, "-m", "mpi4py"]
with_mpi = pytest.mark.skipif(
    not (shutil.which("mpiexec") and importlib.util.find_spec("mpi4py")),
    reason="needs mpiexec and mpi4py: pip install -e '.[mpi]'",
)
in_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="there is no /proc")
TRAIN = "train --model mlp --width 0.05 --batch-size 100 --epochs 2 --val 0.15"
KOLEN_POLLACK = f"{TRAIN} --feedback kolen-pollack --weight-decay 0.01 --momentum 0.5"
REDRAWN = f"{TRAIN} --feedback redrawn-magnitudes --optimizer adam --lr 0.001"


class Thread(ranks.World):
    """A rank that is a thread of this process."""

    def __init__(self, rank, size, board):
        self.rank, self.size, self.board = rank, size, board
        self.fit = partial(ranks.fit, self)

    def gather(self, value):
        values, barrier = self.board
        values[self.rank] = value
        barrier.wait()
        found = list(values)
        barrier.wait()
        return found

    def sum(self, array):
        array[...] = sum(self.gather(array.copy()))


def on_threads(size, work) -> list:
    """What work(rank) returns on each of `size` ranks, or the exceptions that end them."""
    board = [None] * size, threading.Barrier(size, timeout=60)
    found = [None] * size

    def one(rank):
        try:
            found[rank] = work(Thread(rank, size, board))
        except (InputError, FloatingPointError) as error:
            found[rank] = error
        except BaseException:
            board[1].abort()
            raise

    threads = [threading.Thread(target=one, args=[rank]) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


@pytest.fixture
def vectors(rng):
    """106 vectors in ten classes, in double precision."""
    return ImageSet(rng.normal(size=(106, 6)), np.arange(106) % 10)


def net(rule, norm=False, activation=layers.Tanh):
    """A network on these vectors."""
    rng = np.random.default_rng(5)
    linear = partial(layers.Linear, rng=rng, feedback=rule, dtype="float64")
    between = [layers.BatchNorm(8, "float64")] if norm else []
    return layers.Sequential(linear(6, 8), *between, activation(), linear(8, 10))


def state(model):
    """All arrays that last."""
    arrays = [a for layer in model.walk() for a in layer.params.values()]
    arrays += [getattr(layer, name) for layer in model.walk() for name in layer.keeps]
    rules = [vars(layer.feedback).values() for layer in weight_layers(model)]
    return arrays + [a for values in rules for a in values if isinstance(a, xp.ndarray)]


OPTIMIZERS = {
    "momentum, decay": lambda model: SGD(model, 0.1, momentum=0.9, weight_decay=0.01),
    "adam": lambda model: Adam(model, 0.01),
}
RULES = [
    SignSymmetry(), FeedbackAlignment(), KolenPollack(), RedrawnMagnitudes(),
    WeightMirror(rows=16), Alignment(SYMMETRIC),
]  # fmt: skip


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("rule", RULES)
def test_ranks_learn_what_one_process_learns(rule, optimizer, vectors):
    """The last batch has 10 images: five ranks have two each, six or more are too many."""
    held_out = vectors._replace(images=vectors.images[:31], labels=vectors.labels[:31])

    def work(training):
        model = net(rule)
        make = OPTIMIZERS[optimizer]
        history = training(model, make(model), vectors, held_out, epochs=3, batch_size=24)
        return state(model), [{**entry, "seconds": 0} for entry in history]

    arrays, history = work(fit)
    (alone,) = on_threads(1, lambda rank: work(rank.fit))
    assert alone[1] == history
    for a, b in zip(alone[0], arrays, strict=True):
        assert_same(a, b)
    for size in (2, 3, 7):
        first, *others = on_threads(size, lambda rank: work(rank.fit))
        for other in others:
            assert other[1] == first[1]
            for a, b in zip(first[0], other[0], strict=True):
                assert_same(a, b)
        for a, b in zip(first[0], arrays, strict=True):
            assert_close(a, b, atol=1e-10)
        for ours, theirs in zip(first[1], history, strict=True):
            assert ours == pytest.approx(theirs, abs=1e-10)


def test_a_B_that_learns_from_the_rows_of_its_own_rank_is_refused(vectors):
    """Each rank sees other images."""

    def work(rank):
        model = net(Alignment(INFORMATION))
        rank.fit(model, SGD(model, 0.1), vectors, epochs=1, batch_size=24)

    for error in on_threads(2, work):
        assert isinstance(error, InputError)
        assert str(error).startswith("feedback.B of Linear(6, 8), layer 1: expected the same on")


@pytest.mark.parametrize("count", [1, 2, 3, 5, 6, 7, 100])
@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_shares_are_even_whole_and_never_a_single_image(count, size):
    parts = [np.arange(count)[ranks.share(count, Thread(r, size, None))] for r in range(size)]
    assert np.concatenate(parts).tolist() == list(range(count))
    sizes = [len(part) for part in parts]
    assert min(s for s in sizes if s) >= min(2, count)
    if count >= 2 * size:
        assert max(sizes) - min(sizes) <= 1


def test_batch_norm_has_its_own_batch_and_the_average_of_running_averages(vectors):
    """One step on 10 images by two ranks, against the formula."""
    data = vectors._replace(images=vectors.images[:10], labels=vectors.labels[:10])

    def work(rank):
        model = net(SignSymmetry(), norm=True)
        norm = model.layers[1]
        order = []
        fit_ = partial(rank.fit, model, SGD(model, 0.1), data, batch_size=10)
        fit_(on_step=lambda _: order.append(to_host(norm.x)))
        return order[0], to_host(norm.running_mean), to_host(norm.running_var)

    (x0, mean0, var0), (x1, mean1, var1) = on_threads(2, work)
    assert (len(x0), len(x1)) == (5, 5)
    assert_same(mean0, mean1)
    assert_same(var0, var1)
    assert_close(mean0, 0.1 * np.mean([x.mean(axis=0) for x in (x0, x1)], axis=0), atol=1e-12)
    variances = np.mean([x.var(axis=0, ddof=1) for x in (x0, x1)], axis=0)
    assert_close(var0, 0.9 + 0.1 * variances, atol=1e-12)


def test_with_batch_norm_and_few_images_no_rank_gets_one_alone(vectors):
    """Batches of 51, 51 and 4 images, five ranks: the last one has two shares."""

    def work(rank):
        model = net(RedrawnMagnitudes(), norm=True)
        rank.fit(model, SGD(model, 0.05), vectors, vectors, epochs=2, batch_size=51)
        return ranks.fingerprint(model)

    found = on_threads(5, work)
    assert all(prints == found[0] for prints in found)
    assert any("running_mean of BatchNorm" in name for name in found[0])


class Damaged:
    """Vectors, some of them damaged."""

    def __init__(self, vectors, bad):
        self.vectors, self.bad = vectors, bad

    def __len__(self):
        return len(self.vectors)

    def __getitem__(self, i):
        return None if i in self.bad else self.vectors[i]


@pytest.mark.parametrize("bad", [[3, 50, 51, 105], list(range(90))])
def test_damaged_images_are_left_out_wherever_they_are(bad, vectors):
    """In the second case whole shares are damaged, and whole batches."""
    data = vectors._replace(images=Damaged(vectors.images, bad))

    def work(training):
        model = net(KolenPollack())
        training(model, SGD(model, 0.1), data, epochs=2, batch_size=12)
        return state(model)

    exact = work(fit)
    for found in on_threads(3, lambda rank: work(rank.fit)):
        for a, b in zip(found, exact, strict=True):
            assert_close(a, b, atol=1e-10)


def test_a_rank_without_a_share_adds_nothing_even_if_it_is_not_finite():
    def work(rank):
        model = net(SignSymmetry())
        averaged = ranks.Averaged(SGD(model, 0.1), model, rank)
        averaged.weight = 1.0 - rank.rank
        for layer in weight_layers(model):
            value = 2.0 if rank.rank == 0 else np.inf
            layer.grads = {name: xp.full_like(a, value) for name, a in layer.params.items()}
        averaged.step()
        return [to_host(grad) for layer in weight_layers(model) for grad in layer.grads.values()]

    for found in on_threads(2, work):
        assert all((grad == 2).all() for grad in found)


def test_random_crops_are_those_of_one_process(rng):
    images = rng.integers(0, 256, (60, 8, 8, 1), np.uint8)
    normalize = Normalize((0,), (1,))
    data = ImageSet(images, np.arange(60) % 10, transform=PadCropFlip(4), normalize=normalize)

    def work(training):
        model, seen = models.mlp([5], (8, 8, 1)), []
        note = partial(training, model, SGD(model, 0.1), data, epochs=2, batch_size=16)
        note(on_step=lambda _: seen.append(to_host(weight_layers(model)[0].x)))
        return seen

    parts = zip(*on_threads(3, lambda rank: work(rank.fit)), strict=True)
    for batch, shares in zip(work(fit), parts, strict=True):
        assert_same(batch, np.concatenate(shares))


@pytest.mark.parametrize("where", ["W", "b", "B", "rng"])
def test_a_difference_is_found_at_the_end_of_the_epoch_and_names_the_layer(where, vectors):
    done = []

    def work(rank):
        model = net(FeedbackAlignment())
        layer = weight_layers(model)[1]

        def break_it(_):
            if rank.rank == 1:
                done.append(1)
                if where == "rng":
                    layer.feedback.rng.random()
                else:
                    (layer.feedback.B if where == "B" else layer.params[where])[0] *= 1.5

        train = partial(rank.fit, model, SGD(model, 0.1), vectors, epochs=2, batch_size=53)
        train(on_step=break_it)

    found = on_threads(3, work)
    name = f"feedback.{where}" if where in ("B", "rng") else where
    for error in found:
        assert str(error).startswith(f"{name} of Linear(8, 10), layer 3: expected the same on all")
        assert "on rank 0 and" in str(error) and str(error).endswith("on rank 1")
    assert len(done) == 2  # the steps of one epoch


@pytest.mark.filterwarnings("ignore")
@pytest.mark.skipif(xp is not np, reason="on a GPU it is noticed at the end of an epoch")
def test_divergence_on_one_rank_stops_all_before_any_weight_changes(vectors):
    images = vectors.images.copy()
    W = to_host(weight_layers(net(SignSymmetry()))[0].params["W"])
    images[70] = 1.7e308 * np.sign(W[:, 0])  # finite, but its sum overflows

    def work(rank):
        model = net(SignSymmetry(), activation=layers.ReLU)
        weights = []

        def note(_):
            weights[:] = [array.copy() for array in state(model)]

        note(0)
        data = vectors._replace(images=images)
        try:
            rank.fit(model, SGD(model, 1e-9), data, epochs=9, batch_size=20, on_step=note)
        except FloatingPointError as error:
            for a, b in zip(weights, state(model), strict=True):
                assert_same(a, b)
            has_it = abs(model.layers[0].x).max() > 1e308
            assert has_it == (f"on rank {rank.rank}, the loss is nan, Linear(6, 8) " in str(error))
            return str(error)

    first, *others = on_threads(3, work)
    assert others == [first, first]
    assert "training diverged in step" in first and "is the first to overflow" in first


def test_held_out_images_are_divided_and_fewer_than_ranks_are_enough(vectors):
    few = vectors._replace(images=vectors.images[:3], labels=vectors.labels[:3])

    def work(rank):
        model = net(SignSymmetry())
        optimizer = SGD(model, 0.1)
        own = ranks.Together(model, optimizer, vectors, few, ranks=rank).own_held_out
        assert len(own.labels) == (3 if rank.rank == 0 else 0)  # never a single image
        history = rank.fit(model, optimizer, vectors, few)
        return evaluate(model, few), (history[0]["held_out_loss"], history[0]["held_out_accuracy"])

    for exact, found in on_threads(4, work):
        assert found == pytest.approx(exact, abs=1e-12)


def test_facts_that_differ_are_named_with_both_ranks():
    def work(rank):
        rank.same({"--lr": 0.1})
        rank.same({"--lr": 0.1 if rank.rank < 2 else 0.2})

    for error in on_threads(3, work):
        assert isinstance(error, InputError)
        assert str(error) == (
            "--lr: expected the same on all ranks, found 0.1 on rank 0 and 0.2 on rank 2"
        )


def test_without_mpi_there_is_one_rank_and_nothing_of_mpi_is_imported():
    code = "import sys, nnref.cli; print([m for m in sys.modules if 'mpi' in m.split('.')[0]])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert "mpi4py" not in done.stdout
    assert type(ranks.world()) is ranks.World and not ranks.started()


# what follows starts processes


def environment(**more) -> dict:
    """For processes of their own: they compute with NumPy unless they are told otherwise."""
    told = "NNREF_STAND_IN", "NNREF_BACKEND"
    inherited = {name: value for name, value in os.environ.items() if name not in told}
    return {**inherited, "PYTHONPATH": str(ROOT), **more}


def words(*commands, **more):
    """Arguments of subprocess for mpiexec with these commands: (number of ranks, arguments)."""
    parts = []
    for size, arguments in commands:
        parts += [":", "-n", str(size), *MPI4PY, str(PROGRAM), *arguments.split()]
    return {"args": ["mpiexec", *parts[1:]], "env": environment(**more), "text": True}


def mpiexec(*commands, **more):
    """The finished process of mpiexec."""
    return subprocess.run(**words(*commands, **more), capture_output=True, timeout=100)


def is_open_mpi() -> bool:
    """Whether mpiexec is that of Open MPI, and not that of MPICH."""
    return b"Open MPI" in subprocess.run(["mpiexec", "--version"], capture_output=True).stdout


def trained(size, arguments, folder, **more):
    """The folder of a run on this number of ranks."""
    done = mpiexec((size, f"{arguments} --out {folder}"), **more)
    assert done.returncode == 0, done.stderr
    return folder


def refused(done) -> str:
    """The line in which nnref refuses; what MPI prints about it does not count."""
    lines = [line for line in done.stderr.splitlines() if line.startswith("nnref")]
    assert done.returncode and len(lines) == 1, done.stderr
    return lines[0]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder of a run on two ranks, and the arguments of the same run."""
    return trained(2, REDRAWN, tmp_path_factory.mktemp("whole") / "run"), REDRAWN


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """The folders of the same runs without MPI, by their arguments."""
    folders = {}
    for arguments in (KOLEN_POLLACK, REDRAWN):
        folders[arguments] = tmp_path_factory.mktemp("plain") / "run"
        subprocess.run(
            [sys.executable, PROGRAM, *arguments.split(), "--out", folders[arguments]],
            env=environment(), check=True, capture_output=True,
        )  # fmt: skip
    return folders


@with_mpi
@pytest.mark.parametrize("arguments", [KOLEN_POLLACK, REDRAWN])
def test_one_rank_is_no_mpi_bit_for_bit(arguments, plain, tmp_path):
    one = trained(1, arguments, tmp_path / "one")
    assert_same_end(one, plain[arguments])
    assert json.loads((one / "run.json").read_text())["command"].startswith("python -m nnref train")


@with_mpi
def test_two_and_three_ranks_are_one_within_rounding_and_repeat_bit_for_bit(whole, plain, tmp_path):
    """515 images in batches of 100, the last of 15 images."""
    pairs = [
        (whole[0], trained(2, REDRAWN, tmp_path / "again-2"), plain[REDRAWN], 2),
        (
            trained(3, KOLEN_POLLACK, tmp_path / "3"),
            trained(3, KOLEN_POLLACK, tmp_path / "again-3"),
            plain[KOLEN_POLLACK],
            3,
        ),
    ]
    for first, again, alone, size in pairs:
        assert_same_end(first, again)
        (ours, history, *_), (theirs, exact, *_) = last(first), last(alone)
        for name in theirs:
            assert_close(ours[name], theirs[name], atol=1e-4)
        for entry, other in zip(history[1:], exact[1:], strict=True):
            assert entry["train_loss"] == pytest.approx(other["train_loss"], rel=1e-4)
            assert entry["held_out_loss"] == pytest.approx(other["held_out_loss"], rel=1e-3)
        facts = json.loads((first / "run.json").read_text())
        assert facts["ranks"] == size
        assert facts["command"].startswith(f"mpiexec -n {size} python -m mpi4py -m nnref train ")


@with_mpi
def test_batch_norm_repeats_and_ranks_stay_the_same(tmp_path):
    arguments = "train --model resnet20 --width 0.1 --batch-size 50 --lr 0.1 --val 0.8"
    assert_same_end(*(trained(2, arguments, tmp_path / name) for name in "ab"))


def wait_for(holds, process, seconds=60):
    """Wait until this holds, while the process runs."""
    end = time.monotonic() + seconds
    while not holds():
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.002)


def ranks_of(process) -> list[int]:
    """The process ids of the ranks below this mpiexec, whatever processes it puts in between."""

    def ancestors(pid):
        while pid not in ("0", "1"):
            pid = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]
            yield pid

    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has just ended
            words = (path / "cmdline").read_text().split("\0")
            started = words[0] == sys.executable and str(PROGRAM) in words
            if started and str(process.pid) in ancestors(path.name):
                found.append(int(path.name))
    return sorted(found)


@with_mpi
@in_proc
def test_ctrl_c_saves_and_resume_ends_where_the_whole_run_ends_on_as_many_ranks_only(
    whole, tmp_path
):
    folder, (reference, arguments) = tmp_path / "parts", whole
    asked = f"{arguments} --out {folder}"
    # a signal for one rank, and one for mpiexec, as Ctrl-C sends it; Open MPI's ends the ranks then
    for alone in (True,) if is_open_mpi() else (True, False):
        before = checkpoints(folder)[-1:]
        started = words((2, asked), SAVE_ALWAYS="1", SLOW="0.1", SLOW_SAVE="0" if alone else "3")
        process = subprocess.Popen(**started, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        wait_for(lambda before=before: checkpoints(folder)[-1:] > before, process)
        if alone:
            os.kill(ranks_of(process)[1], signal.SIGINT)
        else:
            process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
        assert process.returncode == 130, err
        told = "saved; continue with: mpiexec -n 2 python -m mpi4py -m nnref train --resume"
        assert f"{told} {folder}\n" in err and err.count("nnref: interrupted") == 1
        assert not (folder / "result.json").exists()
        asked = f"train --resume {folder}"

    again = f"mpiexec -n 2 python -m mpi4py -m nnref train --resume {folder}"
    line = refused(mpiexec((3, f"train --resume {folder}")))
    assert line == f"nnref: error: {folder}: expected as many ranks as before, 2, not 3; {again}"
    with pytest.raises(
        InputError, match="expected as many ranks as before, 2, not 1; mpiexec -n 2 "
    ):
        run.resume(folder, {})

    done = mpiexec((2, f"train --resume {folder}"))
    assert done.returncode == 0, done.stderr
    assert_same_end(folder, reference)


@with_mpi
@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("data", r"SHA-256 of the data: expected the same on all ranks, found"),
        ("version", r"version of nnref: expected the same on all ranks, found 0.1.0 on rank 0"),
        ("W", "W of Linear("),
        ("B", "feedback.B of Linear("),
    ],
)
def test_ranks_that_differ_are_refused(fault, message, tmp_path):
    line = refused(mpiexec((2, f"{KOLEN_POLLACK} --out {tmp_path / 'a'}"), FAULT=fault))
    assert message in line and "on rank 1" in line
    assert ("layer 4: expected the same" in line) == (fault in ("W", "B"))
    assert (tmp_path / "a" / "config.toml").exists() == (fault in ("W", "B"))


@with_mpi
def test_other_settings_are_refused_and_the_errors_of_a_rank_are_named(tmp_path):
    other = TRAIN.replace("--epochs 2", "--epochs 3")
    line = refused(mpiexec((1, TRAIN), (1, other)))
    assert "--epochs: expected the same on all ranks, found 2 on rank 0 and 3 on rank 1" in line
    line = refused(mpiexec((1, TRAIN), (1, TRAIN.replace("mlp", "fish"))))
    assert line.startswith("nnref: rank 1: error: --model: expected one of")
    assert refused(mpiexec((2, f"{TRAIN} --lr -1"))).startswith("nnref: error: --lr: expected")


@with_mpi
def test_what_ranks_cannot_share_is_refused(tmp_path):
    assert "expected one of train, bench, replicate, found doctor" in refused(
        mpiexec((2, "doctor"))
    )
    words = "replicate: expected python -m mpi4py.futures, found python -m mpi4py"
    assert words in refused(mpiexec((2, "replicate dale")))
    line = refused(mpiexec((2, f"{TRAIN} --seeds 2 --out {tmp_path / 'a'}")))
    assert "--seeds: expected one training on all ranks" in line
    command = ["mpiexec", "-n", "2", sys.executable, "-m", "nnref", "train"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=60)
    assert done.returncode == 2
    assert "then" not in done.stderr and done.stderr.startswith(
        "nnref: error: mpiexec: expected python -m mpi4py, found 2 processes without it; "
        "mpiexec -n 2 python -m mpi4py -m nnref train ...\n"
    )


@with_mpi
@in_proc
def test_a_rank_that_is_killed_ends_all_and_loses_nothing(whole, tmp_path):
    """Ten kills of one run, of either rank, at random moments; then it ends as the whole one."""
    folder, (reference, arguments) = tmp_path / "parts", whole
    choose = random.Random(0)
    for kill in range(10):
        resume = (folder / "config.toml").exists()
        asked = f"train --resume {folder}" if resume else f"{arguments} --out {folder}"
        before = checkpoints(folder)[-1:]
        started = words((2, asked), SAVE_ALWAYS="1", SLOW="0.3")
        process = subprocess.Popen(**started, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        wait_for(lambda before=before: checkpoints(folder)[-1:] > before, process)
        time.sleep(choose.random() / 3)
        pids = ranks_of(process)
        assert len(pids) == 2
        os.kill(pids[kill % 2], signal.SIGKILL)
        began = time.monotonic()
        process.communicate(timeout=20)
        assert process.returncode and time.monotonic() - began < 5
        assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
        checkpoint.read(checkpoints(folder)[-1])  # raises if it is damaged
    assert not (folder / "result.json").exists()
    done = mpiexec((2, f"train --resume {folder}"))
    assert done.returncode == 0, done.stderr
    assert_same_end(folder, reference)


@with_mpi
def test_gpus_one_for_each_rank(whole, tmp_path):
    """On the stand-in: the same as without GPUs within rounding, and refused if there are few."""
    found = trained(2, REDRAWN, tmp_path / "gpus", NNREF_STAND_IN="1", GPUS="2")
    ours, theirs = last(found)[0], last(whole[0])[0]
    for name in theirs:
        assert_close(ours[name], theirs[name], atol=1e-4)
    line = refused(mpiexec((2, REDRAWN), NNREF_STAND_IN="1", GPUS="1"))
    assert "--backend cupy: expected a GPU for each rank, found 2 ranks on GPU 0000:00:00.0" in line


def test_a_missing_mpi4py_is_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    with pytest.raises(InputError, match=r"^ranks: .*mpi4py.*; pip install 'mpi4py>=4' mpich$"):
        ranks._mpi()
