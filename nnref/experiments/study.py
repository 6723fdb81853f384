"""Carry out an experiment: all trials of its plan, each kept in a file of its own.

Finished trials are read back; interrupted ones continue from their checkpoints.

OUT/trials/NAME.json    a finished trial: its facts, and the measurements after every epoch
OUT/trials/NAME.npz     the checkpoint of a trial that is under way
OUT/NAME.json           the result: all trials so far, data, machine and versions
"""

import hashlib
import json
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

from nnref.backend import versions
from nnref.errors import InputError
from nnref.experiments.images import Sources, load
from nnref.experiments.trial import Parts, fingerprint, train_trial
from nnref.files import make_folder, read_json, write_whole

LONG = 30  # epochs; after these, a result keeps every 10th in full


@dataclass(frozen=True, kw_only=True)
class Part:
    """One data set of a plan and how to train on it; an experiment may add fields of its own."""

    data: str | None = None  # its name (images.load); None: there are no images
    take: int | None = None  # how many training images, held-out ones included; None: all
    classes: int | None = None  # tiny-imagenet: how many classes to draw; None: all
    held_out: float = 0.1  # share of the training images used for choices
    search_images: int = 0  # training images for the choice of a learning rate
    search_epochs: int = 0  # epochs of that choice
    epochs: int = 1
    long: int | None = None  # epochs of seed 0, if more than of the other seeds
    batch_size: int = 32
    seeds: int = 1

    def epochs_of(self, seed: int) -> int:
        """How many epochs the trials of a seed take."""
        return self.long if self.long and seed == 0 else self.epochs


class Setting(NamedTuple):
    """One setting of a plan: the facts that set it apart, and the learning rates to choose from.

    With a single rate there is no choice. With none, nothing is trained: the record comes from the
    experiment's own `measure`.
    """

    facts: dict
    rates: Sequence = ()


class Study:
    """An experiment under way: its name and tier, its folder, and its trials so far."""

    def __init__(self, name: str, tier: str, out: Path, command: str = ""):
        self.name, self.tier, self.out, self.command = name, tier, out, command
        self.data, self.trials, self.missing = [], [], []
        make_folder(out / "trials")
        earlier = out / f"{name}.json"
        if earlier.is_file() and (found := read_json(earlier).get("tier")) != tier:
            raise InputError(f"{earlier}: holds tier {found}; --tier {tier} needs another --out")

    def carry_out(self, experiment, sources: Sources, seeds: int | None = None) -> dict:
        """Run all trials of the experiment's plan for this tier; return the result.

        experiment    a module as described in nnref/experiments/__init__.py
        seeds         how many; None: as many as each part of the plan says
        """
        for part in experiment.TIERS[self.tier]:
            try:
                images = self._load(part, sources)
            except InputError as error:
                if sources.of(part.data) is not None:
                    raise
                print(f"{self.name}: {part.data} is left out: {error}")
                self.missing.append(part.data)
                continue
            self._carry_out(experiment, part, images, seeds or part.seeds)
        return self.write()

    def _load(self, part, sources):
        """Load the images of a part; note their facts for the result."""
        if part.data is None:
            return None
        images = load(part.data, sources, part.take, part.classes, part.held_out)
        self.data.append(images.facts)
        return images

    def _carry_out(self, experiment, part, images, seeds):
        """Run the trials of one part, seed by seed, so that all settings can be compared early."""
        make, settings = partial(experiment.parts, part), list(experiment.plan(part))
        rates = [self._choose_rate(setting, part, make, images) for setting in settings]
        for seed in sorted(range(seeds), key=part.epochs_of):
            for setting, lr in zip(settings, rates, strict=True):
                facts = setting.facts | {"seed": seed}
                if lr is None:
                    self.measurement(facts, partial(experiment.measure, part, facts, images))
                else:
                    count, epochs = len(images.train.labels), part.epochs_of(seed)
                    facts |= {"images": count, "epochs": epochs, "lr": lr}
                    self.trial(facts, partial(make, facts, images))

    def _choose_rate(self, setting, part, make, images) -> float | None:
        """The learning rate with the best held-out accuracy after a short training.

        Such trials are kept apart by "search": true; they measure no angles and are not tested.
        """
        if len(setting.rates) <= 1:
            return setting.rates[0] if setting.rates else None
        if not part.held_out:
            raise InputError(
                f"{self.name}: expected held-out images to choose a rate by, found none"
            )
        few, found = images.fewer(part.search_images)._replace(test=None), {}
        for lr in setting.rates:
            facts = setting.facts | {"images": len(few.train.labels), "epochs": part.search_epochs}
            facts |= {"seed": 0, "search": True, "lr": lr}
            trial = self.trial(facts, lambda f=facts: make(f, few)._replace(look=None))
            last = trial["history"][-1]
            found[lr] = -1 if "diverged" in trial else last["held_out_accuracy"]
        return max(found, key=found.get)

    def trial(self, facts: dict, make: Callable[[], Parts]) -> dict:
        """Train a network, or read the record of a trial that is finished; return the record.

        `facts` (for JSON) tell it from all other trials; `make` builds its parts.
        """
        parts = make()
        known = facts | {"fingerprint": fingerprint(parts)}
        path = self.out / "trials" / f"{file_name(facts)}.npz"
        return self.measurement(facts, lambda: train_trial(parts, path, known), known)

    def measurement(self, facts: dict, carry_out: Callable[[], dict], known=None) -> dict:
        """Carry out a measurement, or read its record, {"history", "seconds"}; return it.

        known    facts that a record must agree with, if more than `facts`. Raises InputError if the
                 file is damaged, or of other data or settings.
        """
        path, known = self.out / "trials" / f"{file_name(facts)}.json", known or facts
        if path.is_file():
            record = read_json(path)
            if not isinstance(record, dict) or "seconds" not in record:
                raise InputError(f"{path}: is damaged; delete it to train again")
            if rounded({name: record.get(name) for name in known}) != rounded(known):
                raise InputError(
                    f"{path}: other data or settings; take another --out, or delete it"
                )
        else:
            record = known | carry_out()
            write_whole(path, json.dumps(rounded(record)).encode())
            path.with_suffix(".npz").unlink(missing_ok=True)
            print(f"{self.name}: {line_about(record)}", flush=True)
        self.trials.append(record)
        self.write()
        return record

    def write(self) -> dict:
        """Write the result so far as OUT/NAME.json; return it."""
        result = {
            "name": self.name,
            "tier": self.tier,
            "versions": versions(),
            "not_run": self.missing,
            "command": self.command,
            "data": self.data,
            "wall_s": round(sum(trial["seconds"] for trial in self.trials)),
            "trials": [_brief(trial) for trial in self.trials],
        }
        write_whole(self.out / f"{self.name}.json", as_lines(rounded(result)).encode())
        return result


def _brief(trial: dict) -> dict:
    """Shorten a long history: all accuracies stay, other measurements every 10th epoch."""
    history = trial["history"]
    if len(history) <= 2 * LONG:
        return trial
    short = [{key: entry.get(key) for key in ("epoch", "held_out_accuracy")} for entry in history]
    whole = [i <= LONG or i % 10 == 0 for i in range(len(history))]
    chosen = zip(whole, history, short, strict=True)
    return trial | {"history": [entry if keep else brief for keep, entry, brief in chosen]}


def file_name(facts: dict) -> str:
    """A readable name for the file of a trial, with a hash of all facts to make it unique."""
    readable = "-".join(
        f"{name}{value}" if isinstance(value, int | float) else str(value)
        for name, value in facts.items()
        if value is not True
    )
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:8]
    return re.sub(r"[^A-Za-z0-9.]+", "-", f"{readable}-{digest}")[-120:].strip("-")


def line_about(record: dict) -> str:
    """One line on a trial that has just finished."""
    facts = [
        f"{name} {value}" if isinstance(value, int | float) else str(value)
        for name, value in record.items()
        if name not in ("history", "test", "seconds", "diverged", "search", "fingerprint")
    ]
    last = record["history"][-1]
    if "diverged" in record:
        result = "diverged"
    elif record.get("test"):
        result = f"test accuracy {record['test']['accuracy']:.1%}"
    elif "held_out_accuracy" in last:
        result = f"held-out accuracy {last['held_out_accuracy']:.1%}"
    else:
        result = "done"
    return f"{', '.join(facts)}: {result}, {record['seconds']:.0f} s"


def rounded(value):
    """A value for JSON: five significant digits; NaN and infinity become None."""
    if isinstance(value, dict):
        return {name: rounded(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(entry) for entry in value]
    if isinstance(value, float):
        return float(f"{value:.5g}") if math.isfinite(value) else None
    return value


def as_lines(result: dict) -> str:
    """JSON with a line for each trial, so that changes to it can be read."""
    trials = ",\n  ".join(json.dumps(trial) for trial in result["trials"])
    rest = json.dumps({**result, "trials": []}, indent=1, ensure_ascii=False)
    return rest.replace('"trials": []', f'"trials": [\n  {trials}\n ]') + "\n"
