"""`python -m nnref bench --jobs N`: N trainings side by side against one after the other.

The same short trainings are computed by N processes of one thread each, as `replicate --jobs N`
does it, and by one process with N threads. Both take turns, so that other programs disturb both.
What handing out jobs costs is included; starting the processes is timed by itself, since they
start once for all trials.
"""

import math
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import geometric_mean, median

import numpy as np

from nnref.data.imageset import ImageSet
from nnref.optim import SGD
from nnref.parallel.job import Job, report_share
from nnref.parallel.jobs import Bar, carry_out
from nnref.parallel.workers import Processes
from nnref.tools.bench import CASES, machine
from nnref.train import Training

ROUNDS = 5
TRAINING_S = 2.0  # seconds that a training takes, roughly
BATCHES = 4  # in an epoch

HEADER = (
    "ratio: trainings an hour of {jobs} jobs with 1 thread / of 1 job with {jobs} threads, "
    "median of the rounds (smallest to largest)\n\n"
    "model              batch  steps  1 job, an hour  {jobs} jobs, an hour  ratio"
)


def run(names: list[str], jobs: int, batch: int | None = None, width: float = 1) -> dict:
    """Measure these networks; print a line for each and the mean; return the record."""
    rows = []
    with ExitStack() as stack:
        many, one = (stack.enter_context(Processes(*shape)) for shape in ((jobs, 1), (1, jobs)))
        start = _seconds(many, [("mlp", 2, 0.1, 1)] * jobs)  # so little that it is the start alone
        print(HEADER.format(jobs=jobs))
        for name in names:
            rows.append(measure(name, many, one, batch, width))
            print(as_line(rows[-1]), flush=True)
    ratio = geometric_mean(row["ratio"] for row in rows)
    print(f"geometric mean: {ratio:.2f}; {jobs} processes start in {start:.1f} s")
    return {"machine": machine(), "start_s": start, "ratio": ratio, "models": rows}


def measure(name: str, many: Processes, one: Processes, batch: int | None, width: float) -> dict:
    """Trainings an hour of one network, both ways."""
    batch, jobs = batch or CASES[name][2], many.count
    short = (name, batch, width, 1)
    _seconds(many, [short] * jobs)  # warms up
    _seconds(one, [short])
    epochs = max(1, math.ceil(TRAINING_S / _seconds(one, [short])))
    trainings = [(name, batch, width, epochs)] * jobs
    times = [[_seconds(pool, trainings) for pool in (many, one)] for _ in range(ROUNDS)]
    ratios = [alone / together for together, alone in times]
    together, alone = (median(column) for column in zip(*times, strict=True))
    return {
        "model": name, "batch": batch, "width": width, "jobs": jobs, "steps": BATCHES * epochs,
        "one_job_per_hour": 3600 * jobs / alone, "jobs_per_hour": 3600 * jobs / together,
        "ratio": median(ratios), "ratio_from": min(ratios), "ratio_to": max(ratios),
    }  # fmt: skip


def as_line(row: dict) -> str:
    """A row of the printed table."""
    return (
        f"{row['model']:<18} {row['batch']:>5} {row['steps']:>6} {row['one_job_per_hour']:>15.0f} "
        f"{row['jobs_per_hour']:>15.0f}  {row['ratio']:.2f} "
        f"({row['ratio_from']:.2f} to {row['ratio_to']:.2f})"
    )


def _seconds(pool, trainings: list[tuple]) -> float:
    """How long a pool takes for some trainings."""
    with tempfile.TemporaryDirectory() as folder:
        tried = [
            Job(f"training {i}", training, arguments, Path(folder, str(i)), (i,))
            for i, arguments in enumerate(trainings)
        ]
        start = time.perf_counter()
        carry_out(tried, pool, lambda job, result: None, Bar("bench", len(tried), 1, shown=False))
        return time.perf_counter() - start


def training(name: str, batch: int, width: float, epochs: int):
    """Train a network of the zoo on noise, as a trial is trained."""
    make, shape, _ = CASES[name]
    rng = np.random.default_rng(0)
    x = rng.standard_normal((BATCHES * batch, *shape), "float32")
    images = ImageSet(x, rng.integers(0, 10, len(x)))
    model = make(input_shape=shape, classes=10, width=width)
    report = lambda time: report_share(time / epochs)  # noqa: E731
    optimizer = SGD(model, lr=0.001)
    Training(model, optimizer, images, epochs=epochs, batch_size=batch, on_step=report).run()
