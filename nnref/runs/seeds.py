"""The same training with several seeds, each in a folder of its own, side by side."""

import dataclasses
import sys
from pathlib import Path

from nnref.parallel import jobs
from nnref.parallel.job import Job
from nnref.parallel.workers import Here, Workers
from nnref.runs.folder import holds_a_run
from nnref.runs.run import resume, start
from nnref.runs.settings import Settings


def repeat(
    folder: Path, settings: Settings, seeds: int, how: dict, pool: Workers
) -> list[Path]:  # fmt: skip
    """Train with `seeds` seeds, the first that of `settings`; return a folder for each.

    how     further arguments of `start` and `resume` (run.py)
    pool    the processes that train (workers.workers)
    A seed whose folder already holds a run is resumed, so repeating an interrupted call works.
    """
    folders, trainings = [], []
    for seed in range(settings.seed, settings.seed + seeds):
        folders.append(folder / f"seed-{seed}")
        seeded = dataclasses.replace(settings, seed=seed)
        trainings.append(
            Job(f"seed {seed}", start_or_resume, (folders[-1], seeded, how),
                folder / f"seed-{seed}" / "share", (seed,))
        )  # fmt: skip

    def finished(job, test_accuracy):
        if not isinstance(pool, Here):
            jobs.say(f"{job.name}: test accuracy {test_accuracy:.1%}")

    shown = not isinstance(pool, Here) and sys.stderr.isatty()
    jobs.carry_out(trainings, pool, finished, jobs.Bar(settings.model, seeds, seeds, shown))
    return folders


def start_or_resume(folder: Path, settings: Settings, how: dict) -> float:
    """Train in a folder, from the beginning or from its last checkpoint; return test accuracy."""
    print(f"seed {settings.seed}:")
    if holds_a_run(folder):
        result = resume(folder, dataclasses.asdict(settings), **how)
    else:
        result = start(folder, settings, **how)
    return result["test"]["accuracy"]
