"""One training on many processes: synchronous data parallelism over MPI.

    mpiexec -n 4 python -m mpi4py -m nnref train ...        four processes, the ranks 0 to 3
    world().fit(model, optimizer, images, held_out)         in a script of yours, for train.fit

Every rank holds the whole network, the same W and the same B, and computes its share of each batch.
Before the optimizer steps, the gradients are averaged over the images of the whole batch. So all
ranks make the same step: that of one process, but for the rounding of sums.

BatchNorm is the exception: it normalizes with the mean and variance of its own rank's share. These
are statistics of a smaller batch, and noisier, so a network with BatchNorm learns something else on
another number of ranks; the running variance becomes the mean of the variances within the shares.
The running averages are averaged over ranks, in every step: they are linear in the statistics, so
this gives what averaging them at the end of an epoch would give (for even shares), and whatever
rank 0 writes, at any step, is the state of all.
"""

import hashlib
import math
import os
import sys
from contextlib import closing
from dataclasses import dataclass, field
from functools import cache, cached_property, partial

import numpy as np

from nnref import train
from nnref.backend import cores, to_host, xp
from nnref.data.imageset import batches, choose, cut, load
from nnref.errors import InputError
from nnref.layers.base import WeightLayer


class World:
    """All ranks of a program: here the only one, a process without MPI.

    `Ranks` are several; each of them calls the same methods in the same order.
    """

    rank, size, threads = 0, 1, None
    fit = staticmethod(train.fit)

    def sum(self, array):
        """Add up an array on the device over all ranks, in place."""

    def gather(self, value) -> list:
        """The values of all ranks, in their order."""
        return [value]

    def first(self, function):
        """What function() returns on rank 0, the only rank that calls it."""
        return function()

    def in_turn(self, function):
        """function(), called by one rank of each node before the others, which find its files."""
        return function()

    def any(self, flag: bool) -> bool:
        """Whether the flag is set on any rank; returns when all ranks have asked."""
        return any(self.gather(flag))

    def same(self, facts: dict):
        """Raise InputError, on every rank, unless these facts are the same on all of them."""
        first, *others = self.gather(facts)
        for rank, other in enumerate(others, 1):
            for name in first | other:
                if first.get(name) != other.get(name):
                    raise InputError(
                        f"{name}: expected the same on all ranks, found {first.get(name)} on "
                        f"rank 0 and {other.get(name)} on rank {rank}"
                    )


class Ranks(World):
    """The ranks of an MPI communicator, each a process, on GPUs each with a GPU of its own."""

    def __init__(self, comm):
        self.comm, self.rank, self.size = comm, comm.rank, comm.size
        self.node = comm.Split_type(_mpi().COMM_TYPE_SHARED)
        mine = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
        self.threads = max(1, cores() // self.node.allgather(mine).count(mine))
        os.environ.setdefault("NNREF_THREADS", str(self.threads))  # fast/threads.py reads it later
        self.fit = partial(fit, self)
        if xp is not np:
            self._connect_gpus()

    def _connect_gpus(self):
        """Take this rank's GPU of its node, and connect it with those of the others by NCCL."""
        number = self.node.rank % xp.cuda.runtime.getDeviceCount()  # a scheduler may show it one
        taken = self.gather((os.uname().nodename, xp.cuda.runtime.deviceGetPCIBusId(number)))
        for node, gpu in taken:
            if (count := taken.count((node, gpu))) > 1:
                raise InputError(
                    f"--backend cupy: expected a GPU for each rank, found {count} ranks on GPU "
                    f"{gpu} of {node}"
                )
        xp.cuda.Device(number).use()
        _mpi()  # without mpi4py, CuPy would try TCP, in silence
        try:
            from cupyx.distributed import init_process_group

            self.gpus = init_process_group(self.size, self.rank, backend="nccl", use_mpi=True)
        except (ImportError, RuntimeError) as error:
            raise InputError(f"--backend cupy: {error}; pip install nvidia-nccl-cu12") from None

    def sum(self, array):
        if xp is np:
            self.comm.Allreduce(_mpi().IN_PLACE, array)
        else:
            self.gpus.all_reduce(array, array)

    def gather(self, value):
        return self.comm.allgather(value)

    def first(self, function):
        return self.comm.bcast(function() if self.rank == 0 else None)

    def in_turn(self, function):
        value = function() if self.node.rank == 0 else None
        self.node.Barrier()
        return value if self.node.rank == 0 else function()


def started() -> bool:
    """Whether `python -m mpi4py` started this program (`-m mpi4py.futures` is for jobs.py)."""
    return "mpi4py.run" in sys.modules and "mpi4py.futures" not in sys.modules


@cache
def world() -> World:
    """All ranks of this program. Raises InputError where they have too few GPUs."""
    return Ranks(_mpi().COMM_WORLD) if started() else World()


def _mpi():
    """mpi4py.MPI, imported where it is needed. Raises InputError if that fails."""
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:  # it is missing, or the MPI library is
        raise InputError(f"ranks: {error}; pip install 'mpi4py>=4' mpich") from None
    return MPI


def command(size: int) -> str:
    """The words that start nnref on this number of ranks."""
    return f"mpiexec -n {size} python -m mpi4py -m nnref" if size > 1 else "python -m nnref"


def share(count: int, ranks: World) -> slice:
    """This rank's part of `count` images: even parts, in the order of the ranks.

    Each has two images or more, since BatchNorm cannot normalize one; so there is none for the last
    ranks if the images are few.
    """
    parts = max(1, min(ranks.size, count // 2))
    start, end = (count * min(i, parts) // parts for i in (ranks.rank, ranks.rank + 1))
    return slice(start, end)


def fit(ranks: World, model, optimizer, images, held_out=None, **options) -> list[dict]:
    """`train.fit` on all ranks, to be called by each; the history is that of the whole batches."""
    return Together(model, optimizer, images, held_out, ranks=ranks, **options).run()


@dataclass
class Together(train.Training):
    """A training on all ranks, of which this process is one.

    At the start, and after the first step and the last of each epoch, InputError, naming the layer,
    if the networks of two ranks differ. FloatingPointError, on all ranks, if the loss of one is not
    finite: after that step on a CPU, at the end of the epoch on a GPU.
    """

    ranks: World = field(default_factory=World)

    def check(self):
        super().check()
        self.ranks.same(fingerprint(self.model))

    @cached_property
    def averaged(self):
        """The optimizer, to which all ranks bring their gradients."""
        return Averaged(self.optimizer, self.model, self.ranks)

    @cached_property
    def spare(self):
        """Two images with labels, for a rank that has no share of a batch."""
        return next(batches(self.train, 2))

    @cached_property
    def own_held_out(self):
        """The held-out images that this rank evaluates."""
        count = len(self.held_out.labels)
        return choose(self.held_out, np.arange(count)[share(count, self.ranks)])

    def _batches(self, rest, epoch):
        """This rank's share of every batch, and how many images the whole batch has."""
        own = [chosen[share(len(chosen), self.ranks)] for chosen in cut(rest, self.batch_size)]
        with closing(load(self.train, own, (self.seed, epoch), self.ranks.threads)) as loaded:
            for x, labels in loaded:
                count = sum(self.ranks.gather(len(labels)))  # damaged images are left out
                self.averaged.weight = len(labels) / max(count, 1)
                # A rank without a share computes something all the same, with a weight of 0: a B
                # that is redrawn in every backward pass must be redrawn everywhere.
                yield *((x, labels) if len(labels) or not count else self.spare), count

    def _step(self, x, labels, count):
        super()._step(x, labels, count)
        if self.progress.step == 0:  # a B that learns from the rows of a share is found at once
            self.ranks.same(fingerprint(self.model))

    def _train_step(self, x, labels):
        try:
            return train.train_step(self.model, self.averaged, x, labels, self._loss_of_all)
        except FloatingPointError as error:  # on all ranks; the words are those of one concerned
            told = self.ranks.gather((math.isfinite(self.own_loss), self.ranks.rank, str(error)))
            _, rank, words = min(told)
            where = f"on rank {rank}, " if self.ranks.size > 1 else ""
            raise FloatingPointError(where + words) from None

    def _loss_of_all(self, outputs, labels):
        """(the loss on the whole batch, the delta of this rank's share)."""
        self.own_loss, delta = self.loss(outputs, labels)
        whole = xp.zeros(1, delta.dtype)
        if self.averaged.weight:
            whole[0] = self.averaged.weight * self.own_loss
        self.ranks.sum(whole)
        return whole[0], delta

    def _end_epoch(self, train_loss, seconds):
        self.ranks.same(fingerprint(self.model))
        super()._end_epoch(train_loss, seconds)

    def _evaluate(self):
        own = self.own_held_out
        found = train.totals(self.model, own, loss=self.loss) if len(own.labels) else (0.0, 0.0, 0)
        loss, correct, seen = map(sum, zip(*self.ranks.gather(found), strict=True))
        return loss / seen, correct / seen


class Averaged:
    """A wrapper round an optimizer: it steps by the mean gradient over all images of the batch.

    Each rank puts its gradients, and all arrays that its layers keep (running averages), times its
    `weight`, the share of the batch that it has, into one flat buffer, which is added up.
    """

    def __init__(self, optimizer, model, ranks: World):
        self.optimizer, self.ranks, self.weight = optimizer, ranks, 1.0
        # once each: a B that learns has a place of its own, but the gradient of its layer's W
        self.places = list(dict.fromkeys((layer, name) for _, layer, name in optimizer.places))
        self.kept = [getattr(layer, name) for layer in model.walk() for name in layer.keeps]
        arrays = [layer.params[name] for layer, name in self.places] + self.kept
        starts = np.cumsum([0] + [array.size for array in arrays]).tolist()
        self.buffer = xp.zeros(starts[-1], arrays[0].dtype)
        self.parts = [
            self.buffer[start : start + array.size].reshape(array.shape)
            for array, start in zip(arrays, starts, strict=False)
        ]

    def step(self):
        """Average over all ranks, then let the optimizer change every parameter."""
        own = [layer.grads[name] for layer, name in self.places] + self.kept
        for part, array in zip(self.parts, own, strict=True):
            part[...] = self.weight * array if self.weight else 0  # 0 times infinity is not 0
        self.ranks.sum(self.buffer)
        for (layer, name), part in zip(self.places, self.parts, strict=False):
            layer.grads[name] = part
        for array, part in zip(self.kept, self.parts[len(self.places) :], strict=True):
            array[...] = part
        self.optimizer.step()


def fingerprint(model) -> dict:
    """A hash of each array that lasts and of each random stream, by the layer that holds it."""
    found = {}
    for i, layer in enumerate(model.walk()):
        state = layer.params | {name: getattr(layer, name) for name in layer.keeps}
        if isinstance(layer, WeightLayer):
            state |= {f"feedback.{name}": value for name, value in vars(layer.feedback).items()}
        for name, value in state.items():
            if isinstance(value, np.random.Generator):
                content = repr(value.bit_generator.state).encode()
            elif isinstance(value, xp.ndarray):
                content = to_host(value).tobytes()
            else:
                continue
            found[f"{name} of {layer}, layer {i}"] = hashlib.sha256(content).hexdigest()[:12]
    return found
