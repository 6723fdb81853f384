"""`python -m nnref`: hand over to cli.py, and turn what the user can mend into one line."""

import os
import sys

from nnref.errors import InputError


def run() -> int:
    """Exit status: 0 done, 1 training diverged, 2 wrong input, 130 interrupted."""
    try:
        from nnref.cli import main  # here, because choosing the backend can fail too

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


if __name__ == "__main__":
    sys.exit(run())
