"""`python -m nnref`: call cli.py, and print errors that the user can correct as one line."""

import os
import sys
from itertools import pairwise

from nnref.errors import InputError


def run() -> int:
    """Run the command; exit status: 0 done, 1 diverged, 2 wrong input, 130 interrupted."""
    try:
        choose_backend(sys.argv[1:])
        from nnref.cli import main  # here, because this imports the backend

        return main(sys.argv[1:])
    except InputError as error:
        print(f"nnref: error: {error}", file=sys.stderr)
        return 2
    except FloatingPointError as error:
        print(f"nnref: {error}", file=sys.stderr)
        return 1
    except MemoryError as error:
        print(f"nnref: not enough memory: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # the reader of the output, such as `head`, is done
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print("nnref: interrupted", file=sys.stderr)
        return 130


def choose_backend(arguments: list[str]):
    """Set the environment variables that backend.py and CuPy read when they are imported."""
    for option, value in pairwise([*arguments, ""]):
        name, _, given = option.partition("=")
        if name == "--backend" and (given or value) in ("numpy", "cupy"):
            os.environ["NNREF_BACKEND"] = given or value
        if option == "--tf32":
            os.environ["CUPY_TF32"] = "1"


if __name__ == "__main__":
    sys.exit(run())
