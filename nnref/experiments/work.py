"""What a process does that computes trials: carry one out, or time the first steps of one.

A trial is plain data here. The process finds the experiment by its name and loads the images.
"""

import contextlib
import functools
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from nnref import experiments
from nnref.data.imageset import choose, watched
from nnref.experiments.images import Images, Sources, load
from nnref.experiments.plan import Part
from nnref.experiments.record import file_name, file_of, kept
from nnref.experiments.trial import WATCHED, Parts, fingerprint, train_trial
from nnref.train import evaluate

TIMED_S = 0.2  # seconds of training that are timed


class Trial(NamedTuple):
    """A trial of an experiment's plan; `facts` tell it from all other trials of the experiment."""

    experiment: str
    tier: str
    number: int  # of its part, among the parts of the tier
    facts: dict
    sources: Sources
    folder: Path  # of all records

    @property
    def path(self) -> Path:
        """The file of its record."""
        return file_of(self.folder, self.facts)

    @property
    def part(self) -> Part:
        """Its part of the plan."""
        return experiments.find(self.experiment).TIERS[self.tier][self.number]

    def images(self) -> Images | None:
        """Its images: fewer, and none to test on, in the search for a learning rate."""
        images = images_of(self.experiment, self.tier, self.number, self.sources)
        if "search" not in self.facts:
            return images
        return images.fewer(self.part.search_images)._replace(test=None)

    def parts(self) -> Parts:
        """Model, optimizer, data, schedule; in a search nothing is looked at."""
        make = experiments.find(self.experiment).parts
        parts = make(self.part, self.facts, self.images())
        return parts._replace(look=None) if "search" in self.facts else parts


@functools.lru_cache(maxsize=1)  # most trials that follow each other have the same images
def images_of(experiment: str, tier: str, number: int, sources: Sources) -> Images | None:
    """The images of a part of a plan; None if it has none."""
    part = experiments.find(experiment).TIERS[tier][number]
    if part.data is None:
        return None
    return load(part.data, sources, part.take, part.held_out)


def compute(trial: Trial) -> tuple[dict, bool]:
    """(the record of a trial, whether it is new): from its file, or else by carrying it out."""
    new = not trial.path.is_file()
    if "lr" in trial.facts:
        record = trained(trial.folder, trial.facts, trial.parts)
    else:  # nothing is trained
        record = kept(trial.folder, trial.facts, lambda: measured(trial))
    return record, new


def measured(trial: Trial) -> dict:
    """The record of a trial in which nothing is trained, by its experiment's `measure`."""
    measure, images = experiments.find(trial.experiment).measure, trial.images()
    start = time.monotonic()
    history = measure(trial.part, trial.facts, images)
    return {"history": history, "seconds": time.monotonic() - start}


def trained(folder: Path, facts: dict, make: Callable[[], Parts]) -> dict:
    """Train a network, or read the record of a trial that is finished; return the record.

    `facts` (for JSON) tell it from all other trials; `make` builds its parts.
    """
    parts = make()
    known = facts | {"fingerprint": fingerprint(parts)}
    path = folder / f"{file_name(facts)}.npz"
    return kept(folder, facts, lambda: train_trial(parts, path, known), known)


class _Enough(Exception):
    """The first steps have been timed."""


def epoch_seconds(trial: Trial) -> float:
    """How long an epoch of a trial takes here, from its first steps, evaluation included.

    0 for a trial in which nothing is trained.
    """
    if "lr" not in trial.facts:
        return 0.0
    parts, times = trial.parts(), []
    training, constraint = parts.training, parts.training.on_step

    def on_step(epochs):
        if constraint:
            constraint(epochs)
        float(training.progress.loss_sum)  # waits for a GPU
        times.append((time.perf_counter(), epochs))
        if len(times) > 2 and times[-1][0] - times[0][0] > TIMED_S:
            raise _Enough

    training.on_step, training.on_epoch = on_step, _stop_after_an_epoch
    with contextlib.suppress(_Enough, FloatingPointError):
        training.run()
    return (_per_epoch(times) if times else 0.0) + _evaluation_seconds(parts)


def _stop_after_an_epoch(entry):
    raise _Enough


def _per_epoch(times: list) -> float:
    """Seconds per epoch, from (seconds, epochs) after every step; the first one warms up."""
    (start, first), (stop, last) = times[0], times[-1]
    return (stop - start) / (last - first) if last > first else 0.0


def _evaluation_seconds(parts: Parts) -> float:
    """How long the evaluation after an epoch takes, from a batch of it."""
    model, held_out = parts.training.model, parts.training.held_out
    train, transform = parts.training.train, held_out.transform
    count = len(held_out.labels)
    few = choose(held_out, list(range(min(count, 500))))
    start = time.perf_counter()
    evaluate(model, few, loss=parts.training.loss)
    seconds = (time.perf_counter() - start) * count / len(few.labels)
    start = time.perf_counter()
    if parts.look:
        parts.look(model, *watched(train, WATCHED, transform))
    return seconds + time.perf_counter() - start
