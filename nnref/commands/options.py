"""What the options of several commands share."""

import argparse


def add_backend(add):
    """The options of the device; __main__.py reads them before the backend is imported."""
    add("--backend", choices=["numpy", "cupy"], help="cupy: compute on a GPU")
    add("--tf32", action="store_true", help="cupy: faster products, rounded to 10 bits")


def add_jobs(add):
    """The option for trainings side by side."""
    add(
        "--jobs",
        type=at_least(1),
        metavar="N",
        help="trainings side by side, one thread each if N > 1; default: one for each core, or GPU",
    )


def at_least(smallest: int):
    """An argparse type: a whole number that is not below `smallest`."""

    def parse(text):
        if not text.strip().isdecimal() or int(text) < smallest:
            raise argparse.ArgumentTypeError(
                f"expected a whole number of at least {smallest}, found {text!r}"
            )
        return int(text)

    return parse
