"""`python -m nnref`: hand over to cli.py, and turn what the user can mend into one line."""

import os
import sys
from itertools import pairwise

from nnref.errors import InputError


def run() -> int:
    """Exit status: 0 done, 1 training diverged, 2 wrong input, 130 interrupted."""
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
    except BrokenPipeError:  # whoever read our output, `head` say, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print("nnref: interrupted", file=sys.stderr)
        return 130


def choose_backend(arguments: list[str]):
    """Hand --backend and --tf32 to backend.py and CuPy, which look once, when they are imported."""
    for option, value in pairwise([*arguments, ""]):
        name, _, given = option.partition("=")
        if name == "--backend" and (given or value) in ("numpy", "cupy"):
            os.environ["NNREF_BACKEND"] = given or value
        if option == "--tf32":
            os.environ["CUPY_TF32"] = "1"


if __name__ == "__main__":
    sys.exit(run())
