"""Divide work among the cores: even shares in a fixed order, so that results repeat.

Each share runs NumPy's own loops, and BLAS with one thread: BLAS's own would compete for the cores.
"""

import os
import threading

import numpy as np

from nnref.backend import one_blas_thread, thread_count


class _Worker:
    """A thread that waits for a job, runs it and signals its end; a pool's queue costs more."""

    def __init__(self):
        self.go, self.done = threading.Lock(), threading.Lock()
        self.go.acquire()
        self.done.acquire()
        threading.Thread(target=self._loop, name="nnref", daemon=True).start()

    def _loop(self):
        while True:
            self.go.acquire()
            self.error = _error_of(self.job)
            self.job = None  # so that no array lives longer than it should
            self.done.release()

    def start(self, job):
        """Start the job (work, *share)."""
        self.job = job
        self.go.release()

    def wait(self) -> BaseException | None:
        """Return when the job is done: what it raised, or None."""
        self.done.acquire()
        error, self.error = self.error, None
        return error


def _error_of(job) -> BaseException | None:
    """Carry out a job; return what it raised, or None."""
    work, *share = job
    try:
        work(*share)
    except BaseException as error:
        return error
    return None


def _forget_workers():
    """Start without workers: `_run` makes as many as it needs."""
    global _workers, _free
    _workers, _free = [], threading.Lock()


THREADS = thread_count()
_forget_workers()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_workers)  # threads do not survive a fork


def share(work, count: int, smallest: int = 1) -> int:
    """Call work(start, stop, number of the share) on even shares of range(count), one per thread.

    Shares have at least `smallest` items. Returns the number of shares, when all are done.
    """
    shares = max(1, min(THREADS, count // smallest))
    jobs = [(work, count * i // shares, count * (i + 1) // shares, i) for i in range(shares)]
    with one_blas_thread():
        _run(jobs)
    return shares


def summed(work, count: int):
    """The sum of what work(start, stop) returns on shares of range(count), an array each."""
    parts = {}

    def part_of(start, stop, number):
        parts[number] = work(start, stop)

    for number in range(1, share(part_of, count)):
        np.add(parts[0], parts[number], out=parts[0])
    return parts[0]


def _run(jobs):
    """Run these jobs, the first one here and each of the others in a worker; raise what one raised.

    Returns when all are done, also if one raises. Only an interrupt (Ctrl-C) ends the wait early:
    workers that may still be busy then get no further job. An interrupt while this function takes
    or returns the workers may leave all later work to one thread.
    """
    if len(jobs) == 1 or not _free.acquire(blocking=False):  # `share` inside a share
        for work, *share in jobs:
            work(*share)
        return
    all_done = False
    try:
        _workers.extend(_Worker() for _ in range(len(jobs) - 1 - len(_workers)))
        started = _workers[: len(jobs) - 1]
        for worker, job in zip(started, jobs[1:], strict=True):
            worker.start(job)
        errors = [_error_of(jobs[0]), *(worker.wait() for worker in started)]
        all_done = True
    finally:
        if all_done:
            _free.release()
        else:
            _forget_workers()
    first = next(filter(None, errors), None)
    del errors
    if first:
        try:
            raise first
        finally:
            del first  # its traceback holds this function's variables, and so the arrays of `jobs`
