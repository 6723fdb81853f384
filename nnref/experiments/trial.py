"""One trial: train a network from one seed, measure it after every epoch, test it at the end.

A trial is made of `Parts`. It saves a checkpoint now and then, and at Ctrl-C; after that it
continues from there, with the same result bit for bit.
"""

import hashlib
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from nnref import measure
from nnref.backend import library, to_host
from nnref.data.imageset import ImageSet, batches, watched
from nnref.errors import InputError
from nnref.experiments.record import check_same
from nnref.losses import softmax_cross_entropy
from nnref.optim import SGD, cosine
from nnref.parallel.job import report_share, stopping
from nnref.runs import checkpoint
from nnref.train import Training, outputs_of

SAVE_EVERY = 60  # seconds between the checkpoints of a trial
WATCHED = 128  # training images on which angles are measured
NUMBERS = ("lr", "momentum", "weight_decay", "beta1", "beta2")  # of an optimizer, fingerprinted


class Parts(NamedTuple):
    """The parts of a trial.

    training    model, optimizer, images and schedule
    test        images to test on after training; None: no test
    look        look(model, x, labels) -> a dictionary to add to every entry of the history, x and
                labels being some training images; None adds nothing (`watch_layers` is usual)
    also        other facts that tell this trial from others, for its fingerprint
    """

    training: Training
    test: ImageSet | None
    look: Callable | None = None
    also: tuple = ()


def usual_training(
    model, part, facts, images, optimizer=None, kind=Training, **others
) -> Training:  # fmt: skip
    """The Training of a trial from its part of a plan and its facts, with a cosine schedule.

    optimizer    None: SGD with momentum 0.9. `others` are more fields of Training, or replace these
    """
    fields = {
        "epochs": facts["epochs"],
        "batch_size": part.batch_size,
        "schedule": cosine(facts["lr"], facts["epochs"]),
        "seed": facts["seed"],
    }
    optimizer = optimizer or SGD(model, facts["lr"], momentum=0.9)
    return kind(model, optimizer, images.train, images.held_out, **fields | others)


def fingerprint(parts: Parts) -> str:
    """A hash of the data, the network, the optimizer and the schedule of a trial.

    Trials of the same facts but different fingerprints are different experiments.
    """
    training = parts.training
    optimizer, schedule = training.optimizer, training.schedule or (lambda epoch: None)
    layers = [layer for layer in training.model.walk() if not layer.layers]
    settings = {
        "layers": [(str(layer), _kind(getattr(layer, "feedback", None))) for layer in layers],
        "optimizer": (_kind(optimizer), {k: v for k, v in vars(optimizer).items() if k in NUMBERS}),
        "schedule": [schedule(training.epochs * i / 8) for i in range(8)],
        "rest": (training.epochs, training.batch_size, training.loss.__name__, *parts.also),
        "format": 2,  # of the record
    }
    digest = hashlib.sha256(repr(settings).encode())
    for images in filter(None, (training.train, training.held_out, parts.test)):
        digest.update(np.ascontiguousarray(images.labels).tobytes())
        x, _ = next(batches(images._replace(transform=training.held_out.transform), 20))
        digest.update(to_host(x).tobytes())
    return digest.hexdigest()[:12]


def _kind(thing) -> str:
    return type(thing).__name__


def train_trial(parts: Parts, saved: Path, facts: dict) -> dict:
    """Train from the start or from the checkpoint `saved`; return the measurements.

    {"history", "test", "computes", "seconds"}, or "diverged" in place of "test"; "computes" names
    the libraries and GPUs of all epochs. Raises InputError if the checkpoint is of other `facts`.
    """
    training = parts.training
    model, optimizer, constraint = training.model, training.optimizer, training.on_step
    if saved.is_file():
        contents = checkpoint.read(saved)
        check_same(saved, checkpoint.facts_of(contents), facts)
        try:
            training.progress = checkpoint.restore(contents, model, optimizer, saved)
        except InputError as error:
            raise InputError(f"{error}; delete it, or take another --out") from None
        training.progress.loss_sum = training.progress.loss_sum[()]
    progress = training.progress
    last_save = time.monotonic()
    last_look = last_save - progress.seconds  # the interrupted epoch began that long ago

    def after_step(epochs):
        nonlocal last_save
        if constraint:
            constraint(epochs)
        report_share(epochs / training.epochs)
        due = stopping() or time.monotonic() - last_save > SAVE_EVERY
        if training.resumable and due:
            checkpoint.save(saved, model, optimizer, progress, facts)
            last_save = time.monotonic()
        if stopping():
            raise KeyboardInterrupt

    def look(entry):
        nonlocal last_look
        if parts.look:
            entry |= parts.look(model, *seen)
        now = time.monotonic()
        entry["wall_s"], last_look = now - last_look, now
        entry["computes"] = library()

    def record(**outcome):  # its seconds count the evaluations too
        seconds = sum(entry["wall_s"] for entry in progress.history) + time.monotonic() - last_look
        computed = [entry.pop("computes", None) for entry in progress.history]
        outcome["computes"] = ", then ".join(filter(None, dict.fromkeys([*computed, library()])))
        return {"history": progress.history, **outcome, "seconds": seconds}

    seen = watched(training.train, WATCHED, training.held_out.transform)
    if not progress.history:
        progress.history.append({"epoch": 0})
        look(progress.history[0])
    training.on_step, training.on_epoch = after_step, look
    try:
        training.run()
    except FloatingPointError as error:
        return record(diverged=str(error))
    test = score(model, parts.test, training.loss) if parts.test else None
    if test and not math.isfinite(test["loss"]):
        return record(diverged="in the last step")
    return record(test=test)


def watch_layers(model, x, labels, loss=softmax_cross_entropy) -> dict:
    """measure.layer_measures, with the kurtosis of W and the angle to sign(W) that it predicts."""
    weights = [layer.params["W"] for layer in measure.weight_layers(model)]
    return measure.layer_measures(model, x, labels, loss) | {
        "kurtosis": [measure.kurtosis(W) for W in weights],
        "predicted_sign_angle_deg": [measure.predicted_sign_angle(W) for W in weights],
    }


def score(model, data: ImageSet, loss=softmax_cross_entropy) -> dict:
    """Loss, accuracy and top-5 accuracy (the label is among the five largest outputs), 0 to 1."""
    total, first, fifth, seen = 0.0, 0, 0, 0
    for outputs, labels in outputs_of(model, data):
        total += float(loss(outputs, labels)[0]) * len(labels)
        outputs = to_host(outputs)
        own = outputs[range(len(labels)), labels][:, None]
        ahead = (~(outputs < own)).sum(axis=1)  # counts the label itself, ties, and NaN
        first, fifth = first + int((ahead == 1).sum()), fifth + int((ahead <= 5).sum())
        seen += len(labels)
    return {"loss": total / seen, "accuracy": first / seen, "top5": fifth / seen, "images": seen}
