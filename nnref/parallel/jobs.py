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


def carry_out(jobs: Iterable[Job], pool: Executor, finished: Callable, bar: "Bar"):
    """Compute all jobs; call finished(job, result), which may return further jobs, for each.

    A job whose process dies is tried again, ATTEMPTS times in all, while the others go on. An
    exception in a job ends all, and names the job. After Ctrl-C, or an exception, the running jobs
    save what they have; then KeyboardInterrupt, or the exception, is raised.
    """
    waiting, running, deaths, failure = list(jobs), {}, Counter(), None
    with interruptible(), bar.watching(running):
        while running or (waiting and not failure):
            if stopping() and not failure:
                failure = KeyboardInterrupt()
            if failure:
                pool.interrupt()
            waiting.sort(key=lambda job: job.place)
            while waiting and not failure and len(running) < pool.count:
                job = waiting.pop(0)
                running[pool.submit(_computed, job)] = job
            for future in wait(running, POLL_S, FIRST_COMPLETED).done:
                job = running.pop(future)
                try:
                    waiting += finished(job, future.result()) or ()
                    bar.end(job)
                except BrokenProcessPool:
                    deaths[job.name] += 1
                    if deaths[job.name] < ATTEMPTS:
                        waiting.append(job)
                except BaseException as error:
                    failure = failure or _named(error, job)
    lost = [name for name, count in deaths.items() if count >= ATTEMPTS]
    if lost and not failure:
        failure = InputError(
            f"{'; '.join(lost)}: the process died {ATTEMPTS} times; is there enough memory?"
        )
    if failure:
        raise failure


def _named(error: BaseException, job: Job) -> BaseException:
    """The error of a job, with the job's name."""
    if type(error) in (InputError, FloatingPointError, MemoryError):  # printed as one line
        return type(error)(f"{job.name}: {error}")
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
    finally:
        _report = None
    job.report.unlink(missing_ok=True)
    return result


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


def workers(count: int | None = None, most: float = math.inf) -> Executor:
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


class Here(Executor):
    """This process, which computes a job at once when it is submitted."""

    count = 1

    def submit(self, call, /, *arguments):
        """A future that is done: it has the result of call(*arguments), or its exception."""
        future = Future()
        try:
            future.set_result(call(*arguments))
        except BaseException as error:
            future.set_exception(error)
        return future

    def interrupt(self):
        """Nothing is running when this is called."""


class Processes(Executor):
    """Some processes of this machine. Each has a pool of its own, so that one can die alone."""

    def __init__(self, count: int, threads: int = 1):
        self.count = count
        self.processes = [_Process(number, threads) for number in range(count)]

    def submit(self, call, /, *arguments):
        """A future of call(*arguments) in a process that is free."""
        return next(process for process in self.processes if process.free()).submit(call, arguments)

    def interrupt(self):
        """Tell the processes that Ctrl-C was pressed, for those that the terminal did not tell."""
        for process in self.processes:
            process.send(signal.SIGINT)

    def shutdown(self, wait=True, *, cancel_futures=False):
        """End the processes, whatever they are doing."""
        for process in self.processes:
            process.end()


class _Process:
    """A process for one job at a time, started when it is needed, and again if it has died."""

    def __init__(self, number: int, threads: int):
        self.number, self.threads = number, threads
        self.pool = self.pid = self.last = None

    def free(self) -> bool:
        """Whether it has nothing to compute."""
        return self.last is None or self.last.done()

    def submit(self, call, arguments):
        """A future of call(*arguments)."""
        if self.last is None or isinstance(self.last.exception(), BrokenProcessPool):
            self._start()
        self.last = self.pool.submit(call, *arguments)
        return self.last

    def _start(self):
        spawn = multiprocessing.get_context("spawn")  # a fork would copy locks of other threads
        self.pool = ProcessPoolExecutor(1, spawn, _begin, (self.number,))
        with _environment(NNREF_THREADS=str(self.threads)), _ignoring_interrupts():
            self.pid = self.pool.submit(os.getpid)

    def end(self):
        """End the process."""
        if not self.free():
            self.send(getattr(signal, "SIGKILL", signal.SIGTERM))
        if self.pool:
            self.pool.shutdown(wait=self.free())

    def send(self, number):
        """Send the process a signal, if it is there."""
        if self.pid and self.pid.done() and not self.pid.exception():
            with contextlib.suppress(OSError):
                os.kill(self.pid.result(), number)


class OverMPI(Executor):
    """The workers that `mpiexec -n N python -m mpi4py.futures` has started, on any machine."""

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
        """Workers on other machines cannot be told: trials have checkpoints of their own."""

    def shutdown(self, wait=True, *, cancel_futures=False):
        """Let the workers end, when their jobs are done."""
        self.pool.shutdown(wait, cancel_futures=cancel_futures)


def _begin(number: int):
    """Prepare a process that computes jobs: it prints nothing, and uses a GPU of its own."""
    global _watched, _hired
    _watched = _hired = True
    signal.signal(signal.SIGINT, lambda *_: _stop.set())
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

    names = ("MPI_LOCALRANKID", "OMPI_COMM_WORLD_LOCAL_RANK", "SLURM_LOCALID")
    found = (os.environ[name] for name in names if name in os.environ)
    _begin(int(next(found, MPI.COMM_WORLD.rank)) - 1)


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
def _ignoring_interrupts():
    """Inside, Ctrl-C does nothing, here and in processes that are started until they change it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


# The progress bar


class Bar:
    """A progress bar over many jobs, in seconds of work, with the time that is left.

    count, seconds    of all jobs, those included that `finished` adds later
    shown             whether to draw it
    """

    def __init__(self, label: str, count: int, seconds: float, shown: bool):
        self.label, self.count, self.ended, self.done = label, count, 0, 0.0
        layout = "{desc} {percentage:3.0f}%|{bar}| {elapsed} passed, {remaining} left"
        self.bar = tqdm(total=seconds, disable=not shown, bar_format=layout)

    def end(self, job: Job):
        """Count a job that has ended."""
        self.ended, self.done = self.ended + 1, self.done + job.seconds

    @contextlib.contextmanager
    def watching(self, running: dict):
        """Inside, a thread draws the bar now and then; `running` has the jobs as its values."""
        over = threading.Event()

        def watch():
            while not over.wait(0.5):
                shares = [job.seconds * reported_share(job.report) for job in [*running.values()]]
                self.bar.set_description_str(f"{self.label}: {self.ended} of {self.count}", False)
                self.bar.n = min(self.done + sum(shares), self.bar.total)
                self.bar.refresh()

        thread = threading.Thread(target=watch, daemon=True)
        if not self.bar.disable:
            thread.start()
        try:
            yield
        finally:
            over.set()
            self.bar.close()


def say(line: str):
    """Print a line above the progress bar, if there is one."""
    tqdm.write(line)
    sys.stdout.flush()
