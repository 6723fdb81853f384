"""Divide work among the cores: even shares in a fixed order, so that results repeat.

Each share runs NumPy's own loops, and BLAS with one thread: BLAS's own would compete for the cores.
"""

import os
import threading

from nnref.backend import cores, one_blas_thread
from nnref.errors import InputError


def _count() -> int:
    """NNREF_THREADS, or the cores that this process may use."""
    wanted = os.environ.get("NNREF_THREADS")
    if wanted:
        if not wanted.isdecimal() or int(wanted) < 1:
            raise InputError(f"NNREF_THREADS: expected a whole number from 1, found {wanted!r}")
        return int(wanted)
    return cores()


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
            try:
                work, *share = self.job
                self.error = None
                work(*share)
            except BaseException as error:
                self.error = error
            self.job = work = None  # so that no array lives longer than it should
            self.done.release()

    def start(self, *job):
        """Start the job (work, *share)."""
        self.job = job
        self.go.release()

    def wait(self):
        """Return when the job is done; raise what it raised."""
        self.done.acquire()
        if self.error:
            raise self.error


def _forget_workers():
    """Start without workers: `_run` makes as many as it needs."""
    global _workers, _free
    _workers, _free = [], threading.Lock()


THREADS = _count()
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


def _run(jobs):
    """Run these jobs, the first one here and each of the others in a worker."""
    if len(jobs) == 1 or not _free.acquire(blocking=False):  # `share` inside a share
        for work, *share in jobs:
            work(*share)
        return
    started = []
    try:
        for job in jobs[1:]:
            if len(started) == len(_workers):
                _workers.append(_Worker())
            started.append(_workers[len(started)])
            started[-1].start(*job)
        work, *share = jobs[0]
        work(*share)
    finally:
        try:
            for worker in started:
                worker.wait()
        finally:
            _free.release()
