"""`python -m nnref`, or `nnref`: call cli.py, print errors that the user can mend as one line."""

import contextlib
import importlib.util
import os
import sys
import time
from itertools import pairwise

from nnref.commands import terminal
from nnref.data.notices import Notice
from nnref.errors import InputError, one_line

OVER_MPI = {  # the commands that mpiexec may start: how
    "train": "python -m mpi4py",
    "bench": "python -m mpi4py",
    "replicate": "python -m mpi4py.futures",  # rank 0 hands out jobs to the others
}


def script() -> int:
    """What the console script `nnref` calls; it does what `python -m nnref` does."""
    terminal.prepare()
    return run("nnref")


def run(program: str = "python -m nnref") -> int:
    """Run the command; exit status: 0 done, 1 diverged, 2 wrong input, 130 interrupted.

    program     what the user has typed before the arguments; --help says it again
    """
    try:
        choose_backend(sys.argv[1:])
        join_ranks((sys.argv[1:] or ["demo"])[0])
        from nnref.cli import main  # here, because this imports the backend

        try:
            return main(sys.argv[1:], program)
        finally:
            sys.stdout.flush()  # here, where an error is caught
    except (InputError, Notice) as error:  # a notice, if `warnings` makes an error of it
        say(f"error: {error}")
        return 2
    except FloatingPointError as error:
        say(str(error))
        return 1
    except MemoryError as error:
        say(f"not enough memory: {error}")
        return 1
    except BrokenPipeError:  # the reader of the output, such as `head`, is done
        terminal.abandon()
        return 0
    except OSError as error:  # that nothing else has put into words
        if error.filename == terminal.NAME:
            terminal.abandon()
        named = f"{error.filename}: " if error.filename else ""
        say(f"error: {named}{error.strerror or error}")
        return 2
    except OverflowError as error:
        say(f"error: a number is too large: {error}")
        return 2
    except KeyboardInterrupt:
        say("interrupted")
        return 130


def say(problem: str):
    """Print why this process ends. Rank 0 speaks for all: its end ends them before they speak."""
    MPI = sys.modules.get("mpi4py.MPI")
    rank = MPI.COMM_WORLD.rank if MPI and "mpi4py.futures" not in sys.modules else 0
    if rank:
        time.sleep(2)
    speaker = f"nnref: rank {rank}" if rank else "nnref"
    with contextlib.suppress(OSError):  # of a full disk; the exit status says it too
        line = f"{speaker}: {one_line(problem)}\n"
        print(line, end="", file=sys.stderr, flush=True)  # in one piece: other ranks write, too


def join_ranks(command: str):
    """Under `python -m mpi4py`, connect with the other ranks, of which only rank 0 will print.

    Raises InputError for a command that they cannot share, and for processes that mpiexec started
    without mpi4py: they do not know of each other, and would write into one folder.
    """
    if "mpi4py.futures" in sys.modules:
        return  # the other processes are workers (parallel/workers.py)
    if "mpi4py.run" not in sys.modules:
        refuse_strangers(command)
        return
    try:
        from mpi4py import MPI  # first, since `say` needs it
    except (ImportError, RuntimeError) as error:
        raise InputError(f"mpi4py: no MPI library: {error}; pip install mpich") from None
    if MPI.COMM_WORLD.rank:
        terminal.abandon()
    if command not in OVER_MPI:
        raise InputError(f"mpiexec: expected one of {', '.join(OVER_MPI)}, found {command}")
    if OVER_MPI[command] != "python -m mpi4py":
        raise InputError(f"{command}: expected {OVER_MPI[command]}, found python -m mpi4py")
    from nnref.parallel import ranks  # here, because this imports the backend

    ranks.world()


def refuse_strangers(command: str):
    """Raise InputError if mpiexec started several processes that do not know of each other."""
    names = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "SLURM_STEP_NUM_TASKS")
    sizes = [os.environ.get(name, "1") for name in names]
    count = max(int(size) for size in sizes if size.isdecimal())
    if count > 1 and command in OVER_MPI:
        install = "" if importlib.util.find_spec("mpi4py") else "pip install 'mpi4py>=4', then "
        how = OVER_MPI[command]
        raise InputError(
            f"mpiexec: expected {how}, found {count} processes without it; {install}"
            f"mpiexec -n {count} {how} -m nnref {command} ..."
        )


def choose_backend(arguments: list[str]):
    """Set the environment variables that libraries read when they are imported."""
    os.environ["MPLBACKEND"] = "agg"  # figures are files; a notebook's backend may be missing here
    for option, value in pairwise([*arguments, ""]):
        name, _, given = option.partition("=")
        if name == "--backend" and (given or value) in ("numpy", "cupy"):
            os.environ["NNREF_BACKEND"] = given or value
        if option == "--tf32":
            os.environ["CUPY_TF32"] = "1"


if __name__ == "__main__":
    terminal.prepare()
    sys.exit(run())
