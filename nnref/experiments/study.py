"""A replication is a list of trials: one training each, from one seed, kept in a file of its own.

What ended stays: a second call reads the file. What was interrupted goes on from its checkpoint.

OUT/trials/NAME.json    a finished trial: what it was, what was measured after every epoch
OUT/trials/NAME.npz     the checkpoint of one that is under way
OUT/NAME.json           the result: all trials so far, data, machine and versions
"""

import hashlib
import json
import math
import re
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import mean, stdev
from typing import NamedTuple

import numpy as np

from nnref import measure
from nnref.backend import to_host
from nnref.data.imageset import ImageSet, batches, choose
from nnref.errors import InputError
from nnref.files import make_folder, read_json, write_whole
from nnref.init import stream
from nnref.losses import softmax_cross_entropy
from nnref.questions.dale import Law
from nnref.runs import checkpoint
from nnref.tools.doctor import versions
from nnref.train import Progress, evaluation, fit

SAVE_EVERY = 60  # seconds between the checkpoints of a trial
WATCHED = 128  # training images on which angles are measured
LONG = 30  # epochs; of what comes later, a result holds every 10th in full


class Parts(NamedTuple):
    """What one trial is made of.

    look(model, x, labels) -> a dictionary to add to the history after every epoch, x and labels
    being some training images; None measures nothing (`by_layer` is the usual one).
    law.impose() acts after every step of the optimizer.
    fit(model, optimizer, train, val, and so on) trains, by default as train.fit.
    """

    model: object
    optimizer: object
    train: ImageSet
    val: ImageSet
    test: ImageSet | None
    epochs: int
    batch_size: int
    schedule: Callable | None = None
    loss: Callable = softmax_cross_entropy
    look: Callable | None = None
    law: Law | None = None
    fit: Callable = fit


class Study:
    """One replication under way: its name and tier, its folder, and its trials so far."""

    def __init__(self, name: str, tier: str, out: Path, facts: dict):
        self.name, self.tier, self.out = name, tier, out
        self.facts = facts  # settings and data, for the result
        self.trials, self.missing = [], []
        make_folder(out / "trials")
        earlier = out / f"{name}.json"
        if earlier.is_file() and (found := read_json(earlier).get("tier")) != tier:
            raise InputError(f"{earlier}: holds tier {found}; --tier {tier} needs another --out")

    def trial(self, facts: dict, make: Callable[[], Parts]) -> dict:
        """Train a network, or read what was measured if it has ended before; return the record.

        `facts` (for JSON) say all that sets it apart from others; `make` builds its parts. The
        record is {**facts, "history", "test", "seconds"}, or has "diverged" in place of "test".
        """
        parts = make()
        known = facts | {"fingerprint": fingerprint(parts)}
        return self.measurement(facts, lambda saved: _train(parts, saved, known), known)

    def measurement(self, facts: dict, carry_out: Callable[[Path], dict], known=None) -> dict:
        """The same for anything else: carry_out(path of a checkpoint, which nobody has to write).

        known    more that a record of the same facts must agree with. Raises InputError if the file
                 is damaged, or of another training.
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
            record = known | carry_out(path.with_suffix(".npz"))
            write_whole(path, json.dumps(rounded(record)).encode())
            path.with_suffix(".npz").unlink(missing_ok=True)
            print(f"{self.name}: {line_about(record)}", flush=True)
        self.trials.append(record)
        self.write()
        return record

    def compare(self, settings: list[tuple], images, search: tuple, epochs: int, seeds: int):
        """Train under every setting from every seed, each at the learning rate that suits it.

        settings    a tuple for each: facts that set it apart, the grid of learning rates to choose
                    from, make(images, lr, epochs, seed) -> Parts
        images      sources.Images
        search      how many training images and epochs the choice of a learning rate takes

        It goes seed by seed, so that one comparison of all settings is there early.
        """
        rates = [self._best_lr(*setting, images, *search) for setting in settings]
        for seed in range(seeds):
            for (facts, _, make), lr in zip(settings, rates, strict=True):
                each = {
                    "images": len(images.train.labels),
                    "epochs": epochs,
                    "seed": seed,
                    "lr": lr,
                }
                self.trial(facts | each, partial(make, images, lr, epochs, seed))

    def _best_lr(self, facts, grid, make, images, count, epochs) -> float:
        """The learning rate with the best validation accuracy after a short training.

        These trials are kept apart by "search": true, look at no angles and at no test images.
        """
        if len(grid) == 1:
            return grid[0]
        few, found = images.fewer(count)._replace(test=None), {}
        facts = facts | {"images": len(few.train.labels), "epochs": epochs, "seed": 0}
        for lr in grid:
            trial = self.trial(
                facts | {"search": True, "lr": lr},
                lambda lr=lr: make(few, lr, epochs, 0)._replace(look=None),
            )
            found[lr] = -1 if "diverged" in trial else trial["history"][-1]["val_accuracy"]
        return max(found, key=found.get)

    def left_out(self, part: str, reason: InputError):
        """Note that a part has not been run, and why."""
        print(f"{self.name}: {part} is left out: {reason}")
        self.missing.append(part)

    def write(self) -> dict:
        """The result so far, as OUT/NAME.json."""
        result = {
            "name": self.name,
            "tier": self.tier,
            "versions": versions(),
            "not_run": self.missing,
            **self.facts,
            "wall_s": round(sum(trial["seconds"] for trial in self.trials)),
            "trials": [_brief(trial) for trial in self.trials],
        }
        write_whole(self.out / f"{self.name}.json", as_lines(rounded(result)).encode())
        return result


def fingerprint(parts: Parts) -> str:
    """A hash of the data, the network, the optimizer and the schedule that a trial is made of.

    What has the same facts but another fingerprint is another experiment.
    """
    optimizer, schedule = parts.optimizer, parts.schedule or (lambda epoch: None)
    settings = {
        "layers": [(str(layer), _kind(getattr(layer, "feedback", None))) for layer in _all(parts)],
        "optimizer": (_kind(optimizer), {k: v for k, v in vars(optimizer).items() if k in NUMBERS}),
        "schedule": [schedule(parts.epochs * i / 8) for i in range(8)],
        "rest": (parts.epochs, parts.batch_size, parts.loss.__name__),
    }
    if parts.law:
        settings["law"] = [(W.shape, int(signs.sum())) for W, signs in parts.law.places]
    if parts.fit is not fit:
        settings["fit"] = (parts.fit.func.__name__, *parts.fit.args)
    digest = hashlib.sha256(repr(settings).encode())
    for images in filter(None, (parts.train, parts.val, parts.test)):
        digest.update(np.ascontiguousarray(images.labels).tobytes())
        x, _ = next(batches(images._replace(transform=parts.val.transform), 20))
        digest.update(to_host(x).tobytes())
    return digest.hexdigest()[:12]


NUMBERS = ("lr", "momentum", "weight_decay", "beta1", "beta2")


def _kind(thing) -> str:
    return type(thing).__name__


def _all(parts):
    return [layer for layer in parts.model.walk() if not layer.layers]


def _train(parts: Parts, saved: Path, facts) -> dict:
    """Train from the start or from the checkpoint `saved`; what was measured."""
    model, optimizer, progress = parts.model, parts.optimizer, Progress()
    if saved.is_file():
        contents = checkpoint.read(saved)
        if checkpoint.facts_of(contents) != facts:
            raise InputError(f"{saved}: other data or settings; take another --out, or delete it")
        progress = checkpoint.restore(contents, model, optimizer)
        progress.loss_sum = progress.loss_sum[()]
    last_save = time.monotonic()
    last_look = last_save - progress.seconds  # what the interrupted epoch has taken already

    def after_step(_):
        nonlocal last_save
        if parts.law:
            parts.law.impose()
        if time.monotonic() - last_save > SAVE_EVERY:
            checkpoint.save(saved, model, optimizer, progress, facts)
            last_save = time.monotonic()

    def look(entry):
        nonlocal last_look
        if "test_accuracy" in entry:  # `fit` calls any held-out images the test
            entry["val_loss"], entry["val_accuracy"] = (
                entry.pop("test_loss"),
                entry.pop("test_accuracy"),
            )
        if parts.look:
            entry |= parts.look(model, *watched)
        now = time.monotonic()
        entry["wall_s"], last_look = now - last_look, now

    watched = _drawn(parts.train._replace(transform=parts.val.transform), WATCHED)
    if not progress.history:
        progress.history.append({"epoch": 0})
        look(progress.history[0])
    try:
        parts.fit(
            model, optimizer, parts.train, parts.val, parts.epochs, parts.batch_size,
            parts.schedule, facts["seed"], after_step, look, None, progress, parts.loss,
        )  # fmt: skip
    except FloatingPointError as error:
        return _record(progress, last_look, diverged=str(error))
    test = score(model, parts.test, parts.loss) if parts.test else None
    if test and not math.isfinite(test["loss"]):
        return _record(progress, last_look, diverged="in the last step")
    return _record(progress, last_look, test=test)


def _record(progress, last_look, **outcome) -> dict:
    """What is kept of a trial; its seconds count the evaluations too."""
    seconds = sum(entry["wall_s"] for entry in progress.history) + time.monotonic() - last_look
    return {"history": progress.history, **outcome, "seconds": seconds}


def _drawn(images: ImageSet, count: int):
    """(x, labels) of some images of all classes: stored, they may be sorted by class."""
    drawn = stream(0, "watched").permutation(len(images.labels))[:count]
    return next(batches(choose(images, np.sort(drawn)), count))


def _brief(trial: dict) -> dict:
    """The same for the result: of a long history, all accuracies, but the rest now and then."""
    history = trial["history"]
    if len(history) <= 2 * LONG:
        return trial
    short = [{key: entry.get(key) for key in ("epoch", "val_accuracy")} for entry in history]
    whole = [i <= LONG or i % 10 == 0 for i in range(len(history))]
    chosen = zip(whole, history, short, strict=True)
    return trial | {"history": [entry if keep else brief for keep, entry, brief in chosen]}


def by_layer(model, x, labels, loss=softmax_cross_entropy) -> dict:
    """measure.by_layer, with the kurtosis of W and the angle of W and sign(W) that it predicts."""
    weights = [layer.params["W"] for layer in measure.weight_layers(model)]
    return measure.by_layer(model, x, labels, loss) | {
        "kurtosis": [measure.kurtosis(W) for W in weights],
        "predicted_sign_angle_deg": [measure.predicted_sign_angle(W) for W in weights],
    }


def score(model, data: ImageSet, loss=softmax_cross_entropy) -> dict:
    """Loss, accuracy and top-5 accuracy (the label is among the five largest outputs), 0 to 1."""
    total, first, fifth, seen = 0.0, 0, 0, 0
    with evaluation(model):
        for x, labels in batches(data, 500):
            outputs = model.forward(x)
            total += float(loss(outputs, labels)[0]) * len(labels)
            outputs = to_host(outputs)
            own = outputs[range(len(labels)), labels][:, None]
            ahead = (~(outputs < own)).sum(axis=1)  # with itself, ties and what is not a number
            first, fifth = first + int((ahead == 1).sum()), fifth + int((ahead <= 5).sum())
            seen += len(labels)
    return {"loss": total / seen, "accuracy": first / seen, "top5": fifth / seen, "images": seen}


def spread(values) -> str:
    """Mean and standard deviation of some values, or the value of one: "52.3 ± 0.4", "52.3"."""
    if not values:
        return "-"
    return f"{mean(values):.1f}" + (f" ± {stdev(values):.1f}" if len(values) > 1 else "")


def file_name(facts: dict) -> str:
    """A readable name for the file of a trial, with a hash of all facts against mix-ups."""
    readable = "-".join(
        f"{name}{value}" if isinstance(value, int | float) else str(value)
        for name, value in facts.items()
        if value is not True
    )
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:8]
    return re.sub(r"[^A-Za-z0-9.]+", "-", f"{readable}-{digest}")[-120:].strip("-")


def line_about(record: dict) -> str:
    """One line on a trial that has just ended."""
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
    elif "val_accuracy" in last:
        result = f"validation accuracy {last['val_accuracy']:.1%}"
    else:
        result = "done"
    return f"{', '.join(facts)}: {result}, {record['seconds']:.0f} s"


def rounded(value):
    """The same for JSON, every number to five significant digits; NaN becomes None."""
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
