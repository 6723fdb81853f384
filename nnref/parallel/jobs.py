"""Compute many independent jobs side by side, in processes of this machine or of many.

A job is a function of plain data, so that any process can compute it. `workers` makes the
processes: some on this machine, with one thread each; or those that MPI has started, where the
command is `mpiexec -n N python -m mpi4py.futures -m nnref ...`. `carry_out` gives every process a
job at a time, and hands the results to the caller as they come.
"""

import contextlib
import math
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from nnref.backend import cores, xp
from nnref.errors import InputError

ATTEMPTS = 3  # at a job whose process dies
POLL_S = 0.2  # seconds between two looks at Ctrl-C
REPORT_S = 1  # seconds between two reports of a job


class Job(NamedTuple):
    """call(*arguments), all of them plain data; the result too.

    name       for messages
    report     the file into which the job writes how much of it is done (`report_share`)
    place      jobs with a smaller place are computed first
    seconds    how long it takes, roughly, for the progress bar
    """

    name: str
    call: Callable
    arguments: tuple
    report: Path
    place: tuple = ()
    seconds: float = 1.0


def carry_out(jobs: Iterable[Job], pool: "Workers", finished: Callable, bar: "Bar"):
    """Compute all jobs; call finished(job, result), which may return further jobs, for each.

    A job whose process dies, or that finds too little memory, is tried again, ATTEMPTS times in
    all, while the others go on. Any other exception in a job ends all, and names the job. After it,
    and after Ctrl-C, the running jobs save what they have; then the exception, or
    KeyboardInterrupt, is raised.
    """
    waiting, running, deaths, lost, failure = list(jobs), {}, Counter(), [], None
    with interruptible(), bar.watching(running):
        while running or (waiting and not failure):
            if stopping() and not failure:
                failure = KeyboardInterrupt()
            if failure and not pool.interrupt():
                break
            waiting.sort(key=lambda job: job.place)
            while waiting and not failure and len(running) < pool.count:
                job = waiting.pop(0)
                bar.begin(job)
                running[pool.submit(_computed, job)] = job
            for future in wait(running, POLL_S, FIRST_COMPLETED).done:
                job, error = running.pop(future), future.exception()
                if error is None:
                    bar.end(job)
                    try:
                        waiting += finished(job, future.result()) or ()
                    except Exception as of_finished:  # a full disk, say
                        failure = failure or of_finished
                elif isinstance(error, BrokenProcessPool | MemoryError):
                    deaths[job.report] += 1
                    if deaths[job.report] < ATTEMPTS:
                        waiting.append(job)
                    else:
                        lost.append(job.name)
                        say(f"{job.name}: given up: {_why(error)}, {ATTEMPTS} times")
                else:
                    failure = failure or _named(error, job)
        if stopping() and not failure:  # it came while the last job ended
            failure = KeyboardInterrupt()
    if lost and not failure:
        failure = InputError(
            f"given up, {ATTEMPTS} times without memory or killed: {'; '.join(lost)}"
        )
    if failure:
        raise failure


def _why(error: BaseException) -> str:
    """Why a job has no result."""
    return "its process died" if isinstance(error, BrokenProcessPool) else f"no memory ({error})"


def _named(error: BaseException, job: Job) -> BaseException:
    """The error of a job, with the job's name."""
    for kind in (InputError, FloatingPointError):  # printed as one line
        if isinstance(error, kind):
            return kind(f"{job.name}: {error}")
    error.add_note(f"in {job.name}")
    return error


def _computed(job: Job):
    """The result of a job, in the process that computes it."""
    global _report
    _report = job.report
    if _hired:
        _stop.clear()  # what an earlier Ctrl-C left; a new one is sent until it is heard
    try:
        with threadpool_limits(1, user_api="blas"):  # nnref/fast has threads of its own
            result = job.call(*job.arguments)
    except Exception as error:
        if _hired and not _can_be_sent(error):
            raise RuntimeError(f"{type(error).__name__}: {error}") from error
        raise
    finally:
        _report = None
    job.report.unlink(missing_ok=True)
    return result


def _can_be_sent(error: Exception) -> bool:
    """Whether another process can receive this exception."""
    try:
        return bool(pickle.loads(pickle.dumps(error)))
    except Exception:
        return False


# What a job may ask and say while it is computed

_report: Path | None = None  # where the job that runs in this process reports to
_reported = 0.0  # when it did so last
_stop = threading.Event()  # Ctrl-C was pressed
_watched = False  # Ctrl-C sets _stop and does nothing else
_hired = False  # this process is a worker


def report_share(share: float):
    """Write down which share of the present job is done, 0 to 1, unless that was just done."""
    global _reported
    if _report is not None and time.monotonic() - _reported > REPORT_S:
        _reported = time.monotonic()
        with contextlib.suppress(OSError):  # a full disk: only the bar needs this
            _report.write_text(f"{share:.4f}")


def reported_share(report: Path) -> float:
    """The share that was last written to this file; 0 if there is none."""
    try:
        return float(report.read_text())
    except (OSError, ValueError):
        return 0.0


def stopping() -> bool:
    """Whether Ctrl-C was pressed: then a job saves what it has and raises KeyboardInterrupt."""
    return _stop.is_set()


def hired() -> bool:
    """Whether this process computes jobs for another one, which prints and draws."""
    return _hired


def working() -> bool:
    """Whether this process computes a job now."""
    return _report is not None


@contextlib.contextmanager
def interruptible():
    """Inside, the first Ctrl-C makes `stopping` true; a second one ends at once."""
    global _watched
    if _watched or threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(*_):
        _stop.set()
        signal.signal(signal.SIGINT, before)

    before, _watched = signal.signal(signal.SIGINT, stop), True
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        _watched = False
        _stop.clear()


# The processes


def over_mpi() -> bool:
    """Whether `python -m mpi4py.futures` started this program."""
    return "mpi4py.futures" in sys.modules


def workers(count: int | None = None, most: float = math.inf) -> "Workers":
    """The processes that compute: `count` of them, by default one for each core, or each GPU.

    most    how many can be of use
    A single one is this process itself. Raises InputError if `count` is given beside MPI's workers.
    """
    if over_mpi():
        if count is not None:
            raise InputError("--jobs: expected none, since mpiexec -n says how many workers work")
        return OverMPI()
    count = count or (cores() if xp is np else xp.cuda.runtime.getDeviceCount())
    count = min(count, most)
    return Here() if count == 1 else Processes(count)


class Workers(Executor):
    """Processes, `count` of them, that take a job each."""

    count = 1

    def interrupt(self) -> bool:
        """Tell them that Ctrl-C was pressed, as often as you like; false if they cannot be told."""
        return True


class Here(Workers):
    """This process, which computes a job at once when it is submitted."""

    def submit(self, call, /, *arguments):
        """A future that is done: it has the result of call(*arguments), or its exception."""
        future = Future()
        try:
            future.set_result(call(*arguments))
        except BaseException as error:
            future.set_exception(error)
        return future


class Processes(Workers):
    """Some processes of this machine. Each has a pool of its own, so that one can die alone."""

    def __init__(self, count: int, threads: int = 1):
        self.count = count
        self.processes = [_Process(number, threads) for number in range(count)]

    def submit(self, call, /, *arguments):
        """A future of call(*arguments) in a process that is free."""
        return next(process for process in self.processes if process.free()).submit(call, arguments)

    def interrupt(self):
        for process in self.processes:
            process.interrupt()
        return True

    def shutdown(self, wait=True, *, cancel_futures=False):
        """End the processes, whatever they are doing."""
        for process in self.processes:
            process.end()


class _Process:
    """A process for one job at a time, started when it is needed, and again if it has died."""

    def __init__(self, number: int, threads: int):
        self.number, self.threads = number, threads
        self.pool = self.process = self.last = None

    def free(self) -> bool:
        """Whether it has nothing to compute."""
        return self.last is None or self.last.done()

    def submit(self, call, arguments):
        """A future of call(*arguments)."""
        try:
            self.last = self.pool.submit(call, *arguments)
        except (AttributeError, BrokenProcessPool):  # not started yet, or dead
            self._start()
            self.last = self.pool.submit(call, *arguments)
        return self.last

    def _start(self):
        spawn = multiprocessing.get_context("spawn")  # a fork would copy locks of other threads
        self.pool = ProcessPoolExecutor(1, spawn, _begin, (self.number,))
        others = multiprocessing.active_children()
        with _environment(NNREF_THREADS=str(self.threads)), _interrupts_waiting():
            self.pool.submit(os.getpid)  # starts the process
        (self.process,) = set(multiprocessing.active_children()) - set(others)

    def interrupt(self):
        """Tell the process that Ctrl-C was pressed, in case the terminal did not."""
        if self.process:
            with contextlib.suppress(OSError):
                os.kill(self.process.pid, signal.SIGINT)

    def end(self):
        """End the process, at once if it is computing."""
        if not self.free():
            self.process.kill()
        if self.pool:
            self.pool.shutdown(wait=self.free(), cancel_futures=True)


class OverMPI(Workers):
    """The workers that `mpiexec -n N python -m mpi4py.futures` has started, on any machine.

    If one of them dies, MPI ends all. They cannot be interrupted: trials have checkpoints.
    """

    def __init__(self):
        from mpi4py import MPI, futures  # only where mpi4py has started nnref

        if MPI.COMM_WORLD.size < 2:
            raise InputError("mpi4py.futures: expected mpiexec -n 2 or more, found one process")
        self.count = MPI.COMM_WORLD.size - 1
        names = ("NNREF_BACKEND", "CUPY_TF32", "NNREF_FAST", "NNREF_DATA")
        inherited = {name: os.environ[name] for name in names if name in os.environ}
        self.pool = futures.MPIPoolExecutor(
            initializer=_begin_over_mpi, env={"NNREF_THREADS": "1"} | inherited
        )

    def submit(self, call, /, *arguments):
        """A future of call(*arguments) in one of the workers."""
        return self.pool.submit(call, *arguments)

    def interrupt(self):
        return False

    def shutdown(self, wait=True, *, cancel_futures=False):
        """Let the workers end; if one is computing, the end of this process ends it."""
        self.pool.shutdown(wait=False, cancel_futures=True)


def _begin(number: int):
    """Prepare a process that computes jobs: it prints nothing, and uses a GPU of its own."""
    global _watched, _hired
    _watched = _hired = True
    signal.signal(signal.SIGINT, lambda *_: _stop.set())
    _let_interrupts_wait(False)
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    if xp is not np:
        xp.cuda.Device(number % xp.cuda.runtime.getDeviceCount()).use()
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent):
    """End this process when the one that started it has ended, even by a kill."""
    parent.join()
    os._exit(1)


def _begin_over_mpi():
    """`_begin` by the rank on its node; one rank of all hands out jobs and needs no GPU."""
    from mpi4py import MPI

    number = MPI.COMM_WORLD.rank
    for name in ("MPI_LOCALRANKID", "OMPI_COMM_WORLD_LOCAL_RANK", "SLURM_LOCALID"):
        number = int(os.environ.get(name, number))
    _begin(number - 1)


@contextlib.contextmanager
def _environment(**variables):
    """Inside, these environment variables are set; processes that are started inherit them."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextlib.contextmanager
def _interrupts_waiting():
    """Inside, Ctrl-C waits; in a process that is started, until it is ready for it."""
    _let_interrupts_wait(True)
    try:
        yield
    finally:
        _let_interrupts_wait(False)


def _let_interrupts_wait(whether: bool):
    """Let Ctrl-C wait from now on, or take effect; on Windows it always takes effect."""
    if hasattr(signal, "pthread_sigmask"):
        how = signal.SIG_BLOCK if whether else signal.SIG_UNBLOCK
        signal.pthread_sigmask(how, {signal.SIGINT})


# The progress bar


class Bar:
    """A progress bar over many jobs, in seconds of work, with the time that is left.

    count, seconds    of all jobs, those included that `finished` adds later
    shown             whether to draw it
    """

    def __init__(self, label: str, count: int, seconds: float, shown: bool):
        self.label, self.count, self.ended, self.done = label, count, 0, 0.0
        self.before = {}  # by report: the share of a job that was done before it began here
        layout = "{desc} {percentage:3.0f}%|{bar}| {elapsed} passed, {remaining} left"
        self.bar = tqdm(total=seconds, disable=not shown, bar_format=layout)

    def begin(self, job: Job):
        """Note how much of a job is done already; that is no work of this session."""
        self.before[job.report] = reported_share(job.report)

    def end(self, job: Job):
        """Count a job that has ended."""
        self.ended += 1
        self.done += job.seconds * (1 - self.before[job.report])

    def show(self, running: Iterable[Job]):
        """Draw the bar."""
        shares = [
            job.seconds * max(0.0, reported_share(job.report) - self.before[job.report])
            for job in running
        ]
        self.bar.set_description_str(f"{self.label}: {self.ended} of {self.count}", False)
        self.bar.n = min(self.done + sum(shares), self.bar.total)
        self.bar.refresh()

    @contextlib.contextmanager
    def watching(self, running: dict):
        """Inside, a thread draws the bar now and then; `running` has the jobs as its values."""
        over = threading.Event()

        def watch():
            while not over.wait(0.5):
                self.show([*running.values()])

        thread = threading.Thread(target=watch, daemon=True)
        if not self.bar.disable:
            thread.start()
        try:
            yield
        finally:
            over.set()
            if not self.bar.disable:
                thread.join()
                self.show([*running.values()])
            self.bar.close()


def say(line: str):
    """Print a line above the progress bar, if there is one."""
    tqdm.write(line)
    sys.stdout.flush()
