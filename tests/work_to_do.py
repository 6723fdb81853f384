"""Functions that other processes compute in tests of jobs: found by their names."""

import os
import signal
import time
from pathlib import Path

import numpy as np

from nnref.errors import InputError
from nnref.parallel.job import hired, report_share, stopping


def double(number):
    return 2 * number


def process_and_threads(_):
    """Which process this is, and how many threads nnref uses in it."""
    from nnref.fast import threads

    time.sleep(0.2)  # so that the other process takes the other job
    return os.getpid(), threads.THREADS


def die(folder: Path, name: str, times: int):
    """Be killed in each of the first `times` attempts, then return the number of attempts."""
    with open(folder / name, "a") as file:
        file.write("x")
    attempts = len((folder / name).read_text())
    if attempts <= times:
        time.sleep(0.1)
        os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))
    return attempts


def note(folder: Path, name: str, seconds: float):
    """Write down that this ran, and take some time."""
    with open(folder / name, "a") as file:
        file.write("x")
    time.sleep(seconds)
    return name


class Peculiar(Exception):
    """An exception that can be pickled and not be unpickled."""

    def __init__(self, one, other):
        super().__init__(f"{one} and {other}")


def fail(kind: str):
    """Raise an error that the user can correct, or another one."""
    if kind == "peculiar":
        raise Peculiar("odd", "even")
    raise InputError("expected better") if kind == "input" else ZeroDivisionError("no reason")


def find_memory(folder: Path, name: str, times: int):
    """Find no memory in each of the first `times` attempts; return the number of attempts."""
    with open(folder / name, "a") as file:
        file.write("x")
    attempts = len((folder / name).read_text())
    if attempts <= times:
        np.empty(2**60, np.uint8)
    return attempts


def until_stopped(file: Path, seconds: float = 60):
    """Wait until Ctrl-C, then save; `file` says how far it is."""
    file.write_text("begun")
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        report_share(0.5)
        if stopping():
            file.write_text("saved")
            raise KeyboardInterrupt
        time.sleep(0.02)
    file.write_text("not stopped")


def print_something():
    print("this must not be seen")
    return hired()
