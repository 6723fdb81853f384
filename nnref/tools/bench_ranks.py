"""`mpiexec -n N python -m mpi4py -m nnref bench`: what averaging over ranks adds to a step.

Every rank has a batch of its own. Steps without and with averaging, and the all-reduce alone, take
turns; a time is that of the slowest rank.
"""

import math
import time
from statistics import median

from nnref.backend import one_blas_thread, to_device
from nnref.data.imageset import ImageSet
from nnref.fast import threads
from nnref.optim import SGD
from nnref.parallel.ranks import Together, World
from nnref.tools.bench import BLOCK_S, CASES, ROUNDS, machine, noise
from nnref.train import train_step

HEADER = (
    "efficiency: step without averaging / step with it\n\n"
    "model              ranks batch  threads  MB a step  step, ms  averaged, ms  all-reduce, ms  "
    "images/s  efficiency"
)


def run(names: list[str], world: World, batch: int | None = None, width: float = 1) -> dict:
    """Measure these networks on all ranks; print a line for each; return the record."""
    print(HEADER)
    rows = []
    for name in names:
        rows.append(measure(name, world, batch, width))
        print(as_line(rows[-1]), flush=True)
    return {"machine": machine(), "models": rows}


def measure(name: str, world: World, batch: int | None = None, width: float = 1) -> dict:
    """Times of one network: a step on each rank's own, a step of all, the all-reduce."""
    make, shape, usual = CASES[name]
    batch = batch or usual
    model = make(input_shape=shape, classes=10, width=width)
    x, labels = noise(shape, batch)
    optimizer, images = SGD(model, lr=0.001), ImageSet(x, labels)
    together = Together(model, optimizer, images, ranks=world)
    together.averaged.weight = 1 / world.size
    x = to_device(x)

    def alone():
        with one_blas_thread():
            train_step(model, optimizer, x, labels)

    def shared():  # with all that ranks tell each other in a step
        with one_blas_thread():
            world.gather(len(labels))
            together._train_step(x, labels)
            world.any(False)

    buffer = together.averaged.buffer
    kinds = {"step": alone, "averaged": shared, "sum": lambda: world.sum(buffer)}
    times = alternate(kinds, world)
    return {
        "model": name, "ranks": world.size, "batch": batch, "width": width,
        "threads": threads.THREADS, "bytes": buffer.nbytes,
        "step_ms": 1e3 * median(times["step"]), "averaged_ms": 1e3 * median(times["averaged"]),
        "sum_ms": 1e3 * median(times["sum"]),
        "images_per_s": world.size * batch / median(times["averaged"]),
        "efficiency": median(a / b for a, b in zip(times["step"], times["averaged"], strict=True)),
    }  # fmt: skip


def alternate(steps: dict, world: World) -> dict:
    """{name: seconds of a step in each round}, the steps taking turns, all ranks together."""
    counts = {}
    for name, step in steps.items():
        step()
        counts[name] = max(3, math.ceil(BLOCK_S / world.gather(_seconds(step, world, 1))[0]))
    times = {name: [] for name in steps}
    for _ in range(ROUNDS):
        for name, step in steps.items():
            times[name].append(max(world.gather(_seconds(step, world, counts[name]))))
    return times


def _seconds(step, world, count) -> float:
    """Seconds of a step, the mean of `count`, all ranks starting together."""
    world.any(False)
    start = time.perf_counter()
    for _ in range(count):
        step()
    return (time.perf_counter() - start) / count


def as_line(row: dict) -> str:
    """A row of the printed table."""
    return (
        f"{row['model']:<18} {row['ranks']:>5} {row['batch']:>5} {row['threads']:>8} "
        f"{row['bytes'] / 1e6:>10.2f} {row['step_ms']:>9.1f} {row['averaged_ms']:>13.1f} "
        f"{row['sum_ms']:>15.2f} {row['images_per_s']:>9.0f} {row['efficiency']:>10.0%}"
    )
