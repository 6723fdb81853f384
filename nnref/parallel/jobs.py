"""Compute many independent jobs side by side: `carry_out` gives every process a job at a time.

It hands the results to the caller as they come and keeps a progress bar. job.py says what a job
is, workers.py where the processes come from.
"""

import contextlib
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, wait
from concurrent.futures.process import BrokenProcessPool

from tqdm import tqdm

from nnref.errors import InputError
from nnref.parallel.job import Job, computed, interruptible, reported_share, stopping
from nnref.parallel.workers import Workers

ATTEMPTS = 3  # at a job whose process dies
POLL_S = 0.2  # seconds between two looks at Ctrl-C


def carry_out(jobs: Iterable[Job], pool: Workers, finished: Callable, bar: "Bar"):
    """Compute all jobs. After each, call finished(job, result); it may return further jobs.

    A job whose process dies, or that finds too little memory, is tried ATTEMPTS times; if it fails
    every time, the others finish, and InputError is raised. Any other exception is raised with the
    name of its job, and KeyboardInterrupt after Ctrl-C, when the running jobs have saved what they
    have (over MPI they are ended, and keep their last checkpoint).
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
                running[pool.submit(computed, job)] = job
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

    def expect(self, count: int, seconds: float):
        """Add jobs that were not expected at the start."""
        self.count += count
        self.bar.total += seconds

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
