"""`replicate` as a person uses it: side by side, interrupted, over MPI, always the same records."""

import json
import shutil
import signal
import subprocess
import sys

import pytest
from test_cli import in_this_process, nnref_command
from test_house import ROOT
from test_ranks import with_mpi
from test_trial import without_times

from nnref import files
from nnref.files import owned

SMOKE = ("replicate", "akrout2019", "--tier", "smoke")
NAME = "akrout2019.json"


def records(folder):
    """The trials of a result, without times."""
    return [without_times(trial) for trial in json.loads((folder / NAME).read_text())["trials"]]


@pytest.fixture(scope="module")
def one_job(tmp_path_factory):
    """(folder, result) of `--jobs 1` with one thread."""
    folder = tmp_path_factory.mktemp("one") / "out"
    done = nnref_command(*SMOKE, "--jobs", 1, "--out", folder, NNREF_THREADS=1)
    assert done.returncode == 0, done.stderr
    return folder, done


def test_it_says_how_far_it_is_and_how_long_it_takes(one_job):
    folder, done = one_job
    lines = done.stdout.splitlines()
    assert lines[0].startswith("akrout2019, smoke: 0 of 10 trials finished; ")
    assert lines[0].endswith(", jobs: 1")
    assert lines[1] == f"if interrupted, the same command continues; results: {folder}"
    assert lines[2].startswith("timing this machine: about ") and lines[2].endswith(" seconds")
    assert sum(line.startswith("akrout2019: ") for line in lines) == 10
    assert lines[-1].startswith("smoke: 10 trials ran, test accuracy ")
    assert lines[-1].endswith("- stands for what only a longer tier measures")
    command = json.loads((folder / NAME).read_text())["command"]
    assert command.startswith("python -m nnref replicate akrout2019 --tier smoke --out PATH")
    assert not list(folder.rglob("*.share")) and not list(folder.rglob("*.npz"))


@pytest.mark.skipif(files.fcntl is None, reason="this system has no locks of files")
def test_two_replications_in_one_folder_are_one_too_many(tmp_path):
    with owned(tmp_path):
        done = in_this_process(*SMOKE, "--jobs", 1, "--out", tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"nnref: error: {tmp_path}: another training is writing in it\n"
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_two_jobs_make_the_same_records_as_one_bit_for_bit(one_job, tmp_path):
    done = nnref_command(*SMOKE, "--jobs", 2, "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    assert records(tmp_path) == records(one_job[0])
    again = nnref_command(*SMOKE, "--out", tmp_path, "--jobs", 1)
    assert "10 of 10 trials finished" in again.stdout
    assert "timing" not in again.stdout and "akrout2019: " not in again.stdout
    assert records(tmp_path) == records(one_job[0])


def test_an_interrupted_replication_says_how_to_go_on_and_goes_on(tmp_path):
    command = [sys.executable, "-m", "nnref", *SMOKE, "--seeds", "25", "--jobs", "2"]
    with subprocess.Popen(
        [*command, "--out", str(tmp_path)], cwd=ROOT,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:  # fmt: skip
        for line in process.stdout:
            if line.startswith("akrout2019: "):
                break
        process.send_signal(signal.SIGINT)  # to this process alone: it tells its workers
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "of 125 trials finished; the same command continues\nnnref: interrupted\n" in err
    assert "Traceback" not in err
    finished = len(list((tmp_path / "trials").glob("*.json")))
    assert 0 < finished < 125
    rest = nnref_command(*SMOKE, "--seeds", 25, "--out", tmp_path)
    assert rest.returncode == 0, rest.stderr
    assert f" {finished} of 125 trials finished" in rest.stdout
    assert len(records(tmp_path)) == 125


def test_results_are_read_by_the_folder_they_were_written_to(one_job, tmp_path):
    """A trial that is damaged on disk is named, by its file."""
    shutil.copytree(one_job[0], tmp_path / "copy")
    damaged = next((tmp_path / "copy" / "trials").glob("*.json"))
    damaged.write_text("{}")
    done = nnref_command(*SMOKE, "--out", tmp_path / "copy")
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert f"{damaged}: damaged: expected history to be a list, " in done.stderr
    assert done.stderr.endswith("; delete it to train again\n")


def over_mpi(count, *words):
    """The finished process of a command whose jobs are computed by `count` - 1 workers."""
    mpi = ["mpiexec", "-n", str(count), sys.executable, "-m", "mpi4py.futures", "-m", "nnref"]
    command = [*mpi, *map(str, words)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)


@with_mpi
def test_workers_over_mpi_make_the_same_records(one_job, tmp_path):
    words = (*SMOKE, "--out", tmp_path / "out")
    done = over_mpi(3, *words)
    assert done.returncode == 0, done.stderr
    assert ", jobs: 2\n" in done.stdout
    assert records(tmp_path / "out") == records(one_job[0])
    alone = over_mpi(1, *words)
    assert alone.returncode == 2
    assert "mpi4py.futures: expected mpiexec -n 2 or more, found one process" in alone.stderr
    counted = over_mpi(2, *words, "--jobs", "2")
    assert counted.returncode == 2
    assert "--jobs: expected none, since mpiexec -n says how many" in counted.stderr


@with_mpi
def test_seeds_are_trained_by_workers_over_mpi_and_a_single_training_is_refused(tmp_path):
    words = ("train", "--model", "mlp", "--width", 0.02, "--seeds", 2, "--out", tmp_path / "out")
    done = over_mpi(3, *words)
    assert done.returncode == 0, done.stderr
    assert all(f"seed {seed}: test accuracy " in done.stdout for seed in (0, 1))
    single = over_mpi(2, "train")
    assert single.returncode == 2
    assert "mpi4py.futures: expected --seeds; python -m mpi4py shares one" in single.stderr
