"""The processes that compute jobs: this one, others on this machine, or those that MPI has started.

Several processes on this machine have one thread each; a single one is this process, with all
threads. MPI has started them, on any machines, where the command is
`mpiexec -n N python -m mpi4py.futures -m nnref ...`.
"""

import contextlib
import math
import multiprocessing
import os
import signal
import sys
import threading
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

import numpy as np

from nnref.backend import cores, xp
from nnref.errors import InputError
from nnref.parallel.interrupts import interrupts_waiting, let_interrupts_wait
from nnref.parallel.job import hire


def over_mpi() -> bool:
    """Whether `python -m mpi4py.futures` started this program."""
    return "mpi4py.futures" in sys.modules


def workers(count: int | None = None, most: float = math.inf) -> "Workers":
    """The processes that compute: `count` of them, by default one for each core, or each GPU.

    most    how many can be of use
    A single one is this process itself. Raises InputError if `count` is given beside MPI's workers.
    """
    if over_mpi():
        if count is not None:
            raise InputError("--jobs: expected none, since mpiexec -n says how many workers work")
        return OverMPI()
    count = count or (cores() if xp is np else xp.cuda.runtime.getDeviceCount())
    count = min(count, most)
    return Here() if count == 1 else Processes(count)


class Workers(Executor):
    """Processes that take up to `count` jobs at once."""

    count = 1

    def interrupt(self) -> bool:
        """Ask the running jobs to stop; call it again and again. False if they cannot be asked."""
        return True


class Here(Workers):
    """This process, which computes a job at once when it is submitted."""

    def submit(self, call, /, *arguments):
        """A future that is done: it has the result of call(*arguments), or its exception."""
        future = Future()
        try:
            future.set_result(call(*arguments))
        except BaseException as error:
            future.set_exception(error)
        return future


class Processes(Workers):
    """Some processes of this machine. Each has a pool of its own, so that one can die alone."""

    def __init__(self, count: int, threads: int = 1):
        self.count = count
        self.processes = [_Process(number, threads) for number in range(count)]

    def submit(self, call, /, *arguments):
        """A future of call(*arguments) in a process that is free."""
        return next(process for process in self.processes if process.free()).submit(call, arguments)

    def interrupt(self):
        for process in self.processes:
            process.interrupt()
        return True

    def shutdown(self, wait=True, *, cancel_futures=False):
        """End the processes, whatever they are doing."""
        for process in self.processes:
            process.end()


class _Process:
    """A process for one job at a time, started when it is needed, and again if it has died."""

    def __init__(self, number: int, threads: int):
        self.number, self.threads = number, threads
        self.pool = self.process = self.last = None

    def free(self) -> bool:
        """Whether it has nothing to compute."""
        return self.last is None or self.last.done()

    def submit(self, call, arguments):
        """A future of call(*arguments)."""
        try:
            self.last = self.pool.submit(call, *arguments)
        except (AttributeError, BrokenProcessPool):  # not started yet, or dead
            self._start()
            self.last = self.pool.submit(call, *arguments)
        return self.last

    def _start(self):
        spawn = multiprocessing.get_context("spawn")  # a fork would copy locks of other threads
        self.pool = ProcessPoolExecutor(1, spawn, _begin, (self.number,))
        others = multiprocessing.active_children()
        with _environment(NNREF_THREADS=str(self.threads)), interrupts_waiting():
            self.pool.submit(os.getpid)  # starts the process
        (self.process,) = set(multiprocessing.active_children()) - set(others)

    def interrupt(self):
        """Tell the process that Ctrl-C was pressed, in case the terminal did not."""
        if self.process:
            with contextlib.suppress(OSError):
                os.kill(self.process.pid, signal.SIGINT)

    def end(self):
        """End the process, at once if it is computing."""
        if not self.free():
            self.process.kill()
        if self.pool:
            self.pool.shutdown(wait=self.free(), cancel_futures=True)


class OverMPI(Workers):
    """The workers that `mpiexec -n N python -m mpi4py.futures` has started, on any machine.

    If one of them dies, MPI ends all. They cannot be interrupted: trials have checkpoints.
    """

    def __init__(self):
        from mpi4py import MPI, futures  # only where mpi4py has started nnref

        if MPI.COMM_WORLD.size < 2:
            raise InputError("mpi4py.futures: expected mpiexec -n 2 or more, found one process")
        self.count = MPI.COMM_WORLD.size - 1
        names = ("NNREF_BACKEND", "CUPY_TF32", "NNREF_FAST", "NNREF_DATA")
        inherited = {name: os.environ[name] for name in names if name in os.environ}
        self.pool = futures.MPIPoolExecutor(
            initializer=_begin_over_mpi, env={"NNREF_THREADS": "1"} | inherited
        )

    def submit(self, call, /, *arguments):
        """A future of call(*arguments) in one of the workers."""
        return self.pool.submit(call, *arguments)

    def interrupt(self):
        return False

    def shutdown(self, wait=True, *, cancel_futures=False):
        """Let the workers end; if one is computing, the end of this process ends it."""
        self.pool.shutdown(wait=False, cancel_futures=True)


def _begin(number: int):
    """Prepare a process that computes jobs: it prints nothing, and uses a GPU of its own."""
    hire()
    let_interrupts_wait(False)
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    if xp is not np:
        xp.cuda.Device(number % xp.cuda.runtime.getDeviceCount()).use()
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent):
    """End this process when the one that started it has ended, even by a kill."""
    parent.join()
    os._exit(1)


def _begin_over_mpi():
    """Prepare a worker of MPI; its GPU follows from its rank on its machine.

    The first rank of all hands out jobs and needs no GPU.
    """
    from mpi4py import MPI

    number = MPI.COMM_WORLD.rank
    for name in ("MPI_LOCALRANKID", "OMPI_COMM_WORLD_LOCAL_RANK", "SLURM_LOCALID"):
        number = int(os.environ.get(name, number))
    _begin(number - 1)


@contextlib.contextmanager
def _environment(**variables):
    """Inside, these environment variables are set; processes that are started inherit them."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
