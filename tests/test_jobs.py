"""Jobs side by side: every result once, a death costs one attempt, Ctrl-C lets jobs save."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import work_to_do as work
from test_house import ROOT

from nnref.errors import InputError
from nnref.parallel import job as work_in_hand
from nnref.parallel import workers as processes
from nnref.parallel.job import Job, hired, report_share, reported_share, stopping
from nnref.parallel.jobs import Bar, carry_out
from nnref.parallel.workers import Here, Processes, workers


@pytest.fixture(scope="module")
def two():
    """Two processes, for all tests that do not end them."""
    with Processes(2) as pool:
        yield pool


@pytest.fixture
def compute(tmp_path):
    """A function that computes (name, call, *arguments) in a pool; returns {name: result}."""

    def compute(pool, *given, finished=None, bar=None):
        found = {}

        def note(job, result):
            found[job.name] = result
            return finished(job, result) if finished else None

        tried = [
            Job(name, call, arguments, tmp_path / f"{name}.share", (i,))
            for i, (name, call, *arguments) in enumerate(given)
        ]
        carry_out(tried, pool, note, bar or Bar("test", len(tried), 1, shown=False))
        return found

    return compute


def gone(process: int) -> bool:
    """Whether this process has ended."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    with contextlib.suppress(OSError):
        return Path(f"/proc/{process}/stat").read_text().split(")")[1].split()[0] == "Z"
    return False


def eventually(holds, seconds=20):
    """Whether something holds within this time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if holds():
            return True
        time.sleep(0.05)
    return False


@pytest.mark.parametrize("kind", ["here", "two"])
def test_every_job_is_computed_once(compute, two, kind):
    given = [(f"job {i}", work.double, i) for i in range(7)]
    assert compute(Here() if kind == "here" else two, *given) == {
        f"job {i}": 2 * i for i in range(7)
    }


def test_processes_have_one_thread_each_and_share_the_jobs(compute, two):
    found = compute(two, *[(str(i), work.process_and_threads, i) for i in range(4)])
    processes, threads = zip(*found.values(), strict=True)
    assert len(set(processes)) == 2 and os.getpid() not in processes
    assert set(threads) == {1}


def test_what_a_result_makes_possible_is_computed_in_the_order_of_places(compute, tmp_path):
    order = []

    def finished(job, result):
        order.append(job.name)
        if job.name == "first":
            names = ("c", (3,)), ("a", (0, 5)), ("b", (1,))
            return [Job(n, work.double, (1,), tmp_path / n, place) for n, place in names]

    compute(Here(), ("first", work.double, 1), ("later", work.double, 2), finished=finished)
    assert order == ["first", "a", "later", "b", "c"]


def test_a_process_that_is_killed_costs_its_own_job_an_attempt_and_no_other_anything(
    compute, two, tmp_path
):
    found = compute(
        two, ("victim", work.die, tmp_path, "victim", 2),
        *[(f"job {i}", work.note, tmp_path, f"job {i}", 0.3) for i in range(4)],
    )  # fmt: skip
    assert found == {"victim": 3} | {f"job {i}": f"job {i}" for i in range(4)}
    assert [(tmp_path / f"job {i}").read_text() for i in range(4)] == ["x"] * 4


def test_a_job_whose_process_always_dies_is_named_when_the_others_are_done(compute, two, tmp_path):
    given = [("victim", work.die, tmp_path, "victim", 99), ("good", work.double, 4)]
    message = "^given up, 3 times without memory or killed: victim$"
    with pytest.raises(InputError, match=message):
        compute(two, *given, ("other", work.note, tmp_path, "other", 0))
    assert (tmp_path / "other").read_text() == "x"
    assert (tmp_path / "victim").read_text() == "xxx"


@pytest.mark.parametrize("kind", ["here", "two"])
def test_an_exception_names_its_job(compute, two, kind):
    pool = Here() if kind == "here" else two
    with pytest.raises(InputError, match=r"^bad one: expected better$"):
        compute(pool, ("bad one", work.fail, "input"))
    with pytest.raises(ZeroDivisionError, match="no reason") as error:
        compute(pool, ("bad one", work.fail, "other"))
    assert error.value.__notes__[-1] == "in bad one"


def test_after_an_exception_running_jobs_save_and_no_other_begins(compute, two, tmp_path):
    files = [tmp_path / name for name in ("running", "waiting")]

    def begin_then_fail():
        given = [("running", work.until_stopped, files[0]), ("bad", work.fail, "input")]
        compute(two, *given, ("waiting", work.until_stopped, files[1]))

    with pytest.raises(InputError, match="bad: expected better"):
        begin_then_fail()
    assert files[0].read_text() == "saved"
    assert not files[1].exists()


def test_ctrl_c_lets_running_jobs_save(compute, two, tmp_path):
    file = tmp_path / "running"
    threading.Thread(target=_interrupt_when, args=(file.exists,)).start()
    with pytest.raises(KeyboardInterrupt):
        compute(two, ("running", work.until_stopped, file))
    assert file.read_text() == "saved"
    assert not stopping()  # the next Ctrl-C is another one


def test_a_second_ctrl_c_ends_a_job_that_does_not_listen(compute, tmp_path):
    file = tmp_path / "deaf"

    def interrupt_twice():
        _interrupt_when(file.exists)
        time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGINT)

    with Processes(1) as pool:
        threading.Thread(target=interrupt_twice).start()
        with pytest.raises(KeyboardInterrupt):
            compute(pool, ("deaf", work.note, tmp_path, "deaf", 60))
        process = pool.processes[0].process.pid
    assert eventually(lambda: gone(process))


def _interrupt_when(holds):
    """Press Ctrl-C, unless carry_out is over: then it would end the tests."""
    if eventually(lambda: holds() and work_in_hand._watched):
        os.kill(os.getpid(), signal.SIGINT)


def test_a_second_ctrl_c_while_processes_start_ends_them(compute, tmp_path):
    """The first waits until the process is ready; the job has not begun."""
    with Processes(1) as pool:

        def twice():
            _interrupt_when(lambda: pool.processes[0].process)
            time.sleep(0.1)
            os.kill(os.getpid(), signal.SIGINT)

        threading.Thread(target=twice).start()
        begun = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            compute(pool, ("deaf", work.note, tmp_path, "deaf", 60))
    assert time.monotonic() - begun < 20
    assert eventually(lambda: gone(pool.processes[0].process.pid))


def test_ctrl_c_in_the_last_job_is_not_lost(compute, tmp_path):
    def job_that_is_interrupted(job, result):
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        compute(Here(), ("only", work.double, 1), finished=job_that_is_interrupted)


def test_a_process_that_dies_idle_costs_nothing(compute, tmp_path):
    with Processes(1) as pool:
        assert compute(pool, ("a", work.note, tmp_path, "a", 0)) == {"a": "a"}
        first = pool.processes[0].process.pid
        os.kill(first, signal.SIGKILL)
        assert eventually(lambda: gone(first))
        time.sleep(0.2)
        assert compute(pool, ("b", work.note, tmp_path, "b", 0)) == {"b": "b"}
        assert pool.processes[0].process.pid != first
    assert (tmp_path / "b").read_text() == "x"


def test_a_job_that_finds_no_memory_is_tried_again(compute, two, tmp_path, capsys):
    given = [("large", work.find_memory, tmp_path, "large", 1), ("good", work.double, 4)]
    assert compute(two, *given) == {"large": 2, "good": 8}
    with pytest.raises(InputError, match="given up, 3 times without memory or killed: huge"):
        compute(two, ("huge", work.find_memory, tmp_path, "huge", 99))
    words = "huge: given up: no memory (Unable to allocate"
    assert words in capsys.readouterr().out


def test_an_exception_that_cannot_be_sent_is_told_in_words(compute, two):
    with pytest.raises(RuntimeError, match="Peculiar: odd and even"):
        compute(two, ("peculiar", work.fail, "peculiar"))


def test_what_fails_when_a_result_is_used_is_not_the_fault_of_the_job(compute):
    def full(job, result):
        raise InputError("disk: cannot be written")

    with pytest.raises(InputError, match=r"^disk: cannot be written$"):
        compute(Here(), ("job", work.double, 1), finished=full)


def test_no_process_is_left_when_the_one_that_started_it_is_killed(tmp_path):
    script = (
        "import sys, work_to_do as work\nfrom pathlib import Path\n"
        "from nnref.parallel.job import Job\nfrom nnref.parallel.jobs import Bar, carry_out\n"
        "from nnref.parallel.workers import Processes\n"
        "pool, file = Processes(1), Path(sys.argv[1])\n"
        "job = Job('long', work.until_stopped, (file,), file.with_suffix('.share'))\n"
        "def show(job, result): pass\n"
        "import threading, time\n"
        "def tell():\n"
        "    while not pool.processes[0].process: time.sleep(0.02)\n"
        "    print(pool.processes[0].process.pid, flush=True)\n"
        "threading.Thread(target=tell, daemon=True).start()\n"
        "carry_out([job], pool, show, Bar('test', 1, 1, False))\n"
    )
    path = os.pathsep.join(map(str, (ROOT, ROOT / "tests")))
    environment = {**os.environ, "PYTHONPATH": path}
    command = [sys.executable, "-c", script, str(tmp_path / "file")]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    with subprocess.Popen(command, env=environment, **pipes) as parent:
        process = int(parent.stdout.readline())
        assert eventually((tmp_path / "file").exists)
        parent.kill()
    assert eventually(lambda: gone(process))


def test_workers_print_nothing_and_know_that_they_are_workers(compute, two, capfd):
    assert compute(two, ("printer", work.print_something)) == {"printer": True}
    assert capfd.readouterr().out == ""
    assert not hired()


def test_how_many_processes_there_are(monkeypatch):
    monkeypatch.setattr(processes, "cores", lambda: 5)
    if processes.xp.__name__ == "numpy":
        assert workers().count == 5 and workers(most=3).count == 3
    assert workers(4).count == 4 and workers(4, most=2).count == 2
    assert isinstance(workers(1), Here) and isinstance(workers(7, most=1), Here)


def test_every_process_uses_the_gpu_of_its_number(monkeypatch):
    used = []
    device = SimpleNamespace(use=lambda: None)
    cuda = SimpleNamespace(
        Device=lambda number: used.append(number) or device,
        runtime=SimpleNamespace(getDeviceCount=lambda: 2),
    )
    monkeypatch.setattr(processes, "xp", SimpleNamespace(cuda=cuda))
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    for name in ("_watched", "_hired"):
        monkeypatch.setattr(work_in_hand, name, False)
    monkeypatch.setattr(sys, "stdout", sys.stdout)
    for number in range(4):
        processes._begin(number)
    assert used == [0, 1, 0, 1]
    assert workers().count == 2  # one job for each GPU


def test_the_bar_counts_jobs_and_the_work_that_is_done(compute, tmp_path, capsys):
    bar = Bar("study", 3, 28.0, shown=True)
    short, long = (
        Job(name, work.double, (1,), tmp_path / name, (), seconds)
        for name, seconds in (("short", 10.0), ("long", 20.0))
    )
    (tmp_path / "long").write_text("0.1")  # what an interrupted call had done
    running = {}
    with bar.watching(running):
        bar.begin(short)
        bar.end(short)
        bar.begin(long)
        running["a future"] = long
        (tmp_path / "long").write_text("0.35")
        assert eventually(lambda: bar.bar.n == pytest.approx(10 + 0.25 * 20))
        bar.end(running.pop("a future"))
    assert bar.bar.n == pytest.approx(28)
    shown = re.sub(r"\x1b\[[A-Z0-9]*", "", capsys.readouterr().err)
    assert "study: 1 of 3" in shown and " 54%" in shown and "left" in shown
    assert "study: 2 of 3 100%" in shown.splitlines()[-1].split("\r")[-1]


def test_shares_are_written_now_and_then_and_damage_to_them_is_harmless(tmp_path, monkeypatch):
    report = tmp_path / "share"
    assert reported_share(report) == 0
    monkeypatch.setattr(work_in_hand, "_report", report)
    monkeypatch.setattr(work_in_hand, "_reported", 0)
    report_share(0.25)
    report_share(0.5)  # within the same second
    assert reported_share(report) == 0.25
    report.write_text("0.")
    assert reported_share(report) == 0
    report.write_text("half")
    assert reported_share(report) == 0
    monkeypatch.setattr(work_in_hand, "_report", tmp_path / "nowhere" / "share")
    monkeypatch.setattr(work_in_hand, "_reported", 0)
    report_share(0.25)
