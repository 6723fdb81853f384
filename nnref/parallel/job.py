"""A job: a function of plain data, so that any process can compute it, and what it may ask and say.

While it is computed it can say how much of it is done (`report_share`), and ask whether it should
stop (`stopping`): then it saves what it has and raises KeyboardInterrupt.
"""

import contextlib
import pickle
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from nnref.backend import one_blas_thread

REPORT_S = 1  # seconds between two reports of a job

_report: Path | None = None  # where the job that runs in this process reports to
_reported = 0.0  # when it did so last
_stop = threading.Event()  # after Ctrl-C, and in a worker after an error in another job
_watched = False  # Ctrl-C sets _stop and does nothing else
_hired = False  # this process is a worker


class Job(NamedTuple):
    """A task: call(*arguments), where arguments and result can be sent to another process.

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


def computed(job: Job):
    """Compute a job in this process; return its result."""
    global _report
    _report = job.report
    if _hired:
        _stop.clear()  # forget an earlier request; a new one is repeated (jobs.carry_out)
    try:
        with one_blas_thread():  # nnref/fast has threads of its own
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
    except Exception:  # whatever its own code raises: the caller then tells it in words
        return False


def report_share(share: float):
    """Write down which share of the present job is done, 0 to 1, at most once a second."""
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
    """Whether the job should stop, after Ctrl-C or an error in another job.

    It then saves what it has and raises KeyboardInterrupt.
    """
    return _stop.is_set()


def hired() -> bool:
    """Whether this process computes jobs for another one, which prints and draws."""
    return _hired


def working() -> bool:
    """Whether this process computes a job now."""
    return _report is not None


@contextlib.contextmanager
def interruptible():
    """Inside, the first Ctrl-C makes `stopping` true; a second one raises KeyboardInterrupt.

    Nothing changes inside another `interruptible`, or outside the main thread.
    """
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


def hire():
    """Make this process one that computes jobs for another: Ctrl-C only asks it to stop."""
    global _watched, _hired
    _watched = _hired = True
    signal.signal(signal.SIGINT, lambda *_: _stop.set())
