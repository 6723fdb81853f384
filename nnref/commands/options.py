"""What the options of several commands share."""

import argparse
from pathlib import Path

from nnref.errors import InputError
from nnref.files import user_path
from nnref.runs.settings import LARGEST, whole

MOST_JOBS = 1000  # trainings side by side
MOST_SEEDS = 10_000


def add_backend(add):
    """The options of the device; __main__.py reads them before the backend is imported."""
    add("--backend", choices=["numpy", "cupy"], help="cupy: compute on a GPU")
    add("--tf32", action="store_true", help="cupy: faster products, rounded to 10 bits")


def add_jobs(add):
    """The option for trainings side by side."""
    add(
        "--jobs",
        type=count(1, MOST_JOBS),
        metavar="N",
        help="trainings side by side, one thread each if N > 1; default: one for each core, or GPU",
    )


def place(text: str) -> Path:
    """An argparse type: the path of a file or folder."""
    try:
        return user_path(text)
    except InputError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def count(smallest: int, largest: float = LARGEST):
    """An argparse type: a whole number from `smallest` to `largest`."""
    what, _, holds = whole(smallest, largest)

    def parse(text):
        if not text.strip().isdecimal() or not holds(int(text)):
            raise argparse.ArgumentTypeError(f"expected {what}, found {text!r}")
        return int(text)

    return parse
