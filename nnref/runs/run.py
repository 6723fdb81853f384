"""A training run in a folder: its settings, measurements, and the checkpoints to resume it from.

config.toml      every setting; run.json: the command, versions, and the hash of the data
history.csv      a line for each epoch; log.jsonl: every event, with its time
checkpoints/     the last two, and best.npz by validation accuracy, which `trained` loads
result.json      all measurements, and the final test; report.html and figures/ show them
.lock            keeps other processes out while one writes here

Under MPI (parallel/ranks.py), all ranks do the same; only rank 0 reads and writes the folder.
The test images are scored once; `best` is chosen on images held out from the training set.
"""

import dataclasses
import hashlib
import json
import math
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from shlex import quote

import numpy as np
from tqdm import tqdm

from nnref import measure, plots
from nnref.backend import describe, flags, versions
from nnref.data.imageset import ImageSet, split, watched
from nnref.errors import InputError, one_line
from nnref.files import make_folder, owned, read_json, user_path, write_whole
from nnref.parallel import ranks
from nnref.parallel.job import hired, interruptible, report_share, stopping, working
from nnref.runs import checkpoint, report
from nnref.runs.compare import baselines
from nnref.runs.folder import (
    check_new,
    check_ranks,
    checkpoints,
    left_off,
    ranks_fact,
    what_stands,
)
from nnref.runs.record import RUN, as_csv, doubt
from nnref.runs.score import filters, score
from nnref.runs.settings import (
    Settings,
    as_flags,
    as_toml,
    build,
    check_enough,
    flag,
    hashes_of_rules,
    load_data,
    rules_of,
)
from nnref.train import Progress

WATCHED = 256  # training images on which angles are measured


def start(folder: Path | None, settings: Settings, save_every=60, cache=True) -> dict:
    """Train from the beginning, in a new folder (None: write nothing); return the result.

    save_every    seconds between checkpoints
    cache         keep the decoded images of a folder, for later runs as well

    The result has the form of record.RESULT. Raises InputError for a folder that holds a run,
    FloatingPointError if training diverges, KeyboardInterrupt after Ctrl-C, once all is saved.
    """
    _agree({"--out": str(folder)} | _with_flags(dataclasses.asdict(settings)))
    folder = _folder_of_rank_0(folder)
    check_new(folder)
    parts = _Parts(settings, cache)
    with _owned(folder):
        check_new(folder)  # again, since another run may have begun while the data were loaded
        if folder is not None:
            _begin(folder, settings, parts)
        return _Run(folder, parts, save_every).go(Progress())


def _begin(folder, settings, parts):
    """Write the facts and the settings of a run."""
    make_folder(folder / "checkpoints")
    words = f"train {as_flags(settings)} --out {quote(str(folder))}{flags()}"
    facts = {
        "command": f"{ranks.command(ranks.world().size)} {words}",
        "versions": versions(),
        "data": parts.facts,
    } | ranks_fact()
    facts |= {"rules": parts.rules} if parts.rules else {}
    write_whole(folder / "run.json", _json(facts))
    write_whole(folder / "config.toml", as_toml(settings).encode())  # last: it marks a run


def resume(folder: Path, given: dict, save_every=60, cache=True) -> dict:
    """Continue a run from its newest undamaged checkpoint; return the result.

    Raises InputError if `given` settings, or the data, are not those of the folder.
    """
    world, folder = ranks.world(), user_path(folder)
    _agree({"--resume": str(folder)} | _with_flags(given))
    settings, facts, result = world.first(lambda: what_stands(folder, given))
    if result:
        print(one_line(f"{folder}: already finished"))
        return result
    check_ranks(folder, facts)
    with _owned(_folder_of_rank_0(folder)):
        parts = _Parts(settings, cache)
        if facts["data"]["sha256"] != parts.facts["sha256"]:
            raise InputError(
                f"{folder}: expected data of SHA-256 {facts['data']['sha256']}, found other data"
            )
        if facts.get("rules", {}) != parts.rules:
            raise InputError(f"{folder}: expected the rules of before, found a file that changed")
        contents = world.first(lambda: left_off(folder, settings))
        progress = (
            checkpoint.restore(contents, parts.model, parts.optimizer, f"{folder}: its checkpoint")
            if contents
            else Progress()
        )
        return _Run(_folder_of_rank_0(folder), parts, save_every).go(progress)


def trained(folder: Path):
    """The network of a run with the weights of its best checkpoint; for a look at it in Python.

    Raises InputError if there is no run, or no best one of its checkpoints (none before the end of
    an epoch, and where no images are held out), or if its data are not found.
    """
    folder = user_path(folder)
    settings, _, _ = what_stands(folder, {})
    parts = _Parts(settings, cache=True)
    best = folder / "checkpoints" / "best.npz"
    if not best.is_file():
        raise InputError(f"{best}: not there: no epoch is finished, or no images are held out")
    checkpoint.restore(checkpoint.read(best), parts.model, parts.optimizer, best)
    return parts.model


def _agree(asked: dict):
    """Raise InputError unless all ranks were asked the same and compute with the same versions."""
    found = versions() | {"flags": flags()}
    del found["computes"]  # cores, or the GPU's name: these may differ
    ranks.world().same(asked | {f"version of {name}": found[name] for name in found})


def _with_flags(settings: dict) -> dict:
    """Settings by the names of their flags."""
    return {flag(name): value for name, value in settings.items()}


def _folder_of_rank_0(folder):
    """The folder on rank 0; None, to write nothing, on all others."""
    return user_path(folder) if folder is not None and ranks.world().rank == 0 else None


def _owned(folder):
    """`owned` (files.py) for a folder, nothing for None."""
    return nullcontext() if folder is None else owned(folder)


class _Parts:
    """The parts of a run: data, model, optimizer."""

    def __init__(self, settings: Settings, cache: bool):
        self.settings, self.rules = settings, hashes_of_rules(settings)
        rules_of(settings)  # before the data are read: a file of the reader's own may be wrong
        train, self.test = ranks.world().in_turn(lambda: load_data(settings, cache))
        self.train, self.val = split(train, self.test, settings.val, settings.seed)
        check_enough(settings, len(train.labels), len(self.train.labels))
        self.damaged = [getattr(part.images, "bad", {}) for part in (train, self.test)]  # skipped
        self.model, self.optimizer, self.schedule = build(settings, train)
        self.facts = {
            "train": len(self.train.labels),
            "val": len(self.val.labels) if self.val else 0,
            "test": len(self.test.labels),
            "names": list(map(str, train.names)) or [str(i) for i in range(1 + train.labels.max())],
            "sha256": data_hash(train, self.test),
        }
        ranks.world().same({"SHA-256 of the data": self.facts["sha256"]} | self.rules)


def data_hash(*parts: ImageSet) -> str:
    """SHA-256 of all labels and images: of their arrays, or of their files (decode.py says how)."""
    found = hashlib.sha256()
    for part in parts:
        found.update(np.ascontiguousarray(part.labels).data)
        if isinstance(part.images, np.ndarray):
            for image in part.images:
                found.update(np.ascontiguousarray(image).data)
        else:
            found.update(part.images.fingerprint.encode())
    return found.hexdigest()


class _Run:
    """A run under way, and the folder that it writes to (None: it writes nothing)."""

    def __init__(self, folder, parts, save_every):
        self.folder, self.parts, self.save_every = folder, parts, save_every
        self.ranks, self.saved = ranks.world(), time.monotonic()
        self.shown = sys.stderr.isatty() and self.ranks.rank == 0 and not hired()

    def go(self, progress: Progress) -> dict:
        """Train to the end, score the test set, write the result and the report."""
        parts, settings, self.progress = self.parts, self.parts.settings, progress
        began = time.perf_counter() - sum(e.get("seconds", 0) for e in progress.history)
        began -= progress.seconds
        many = f", ranks: {self.ranks.size}" if self.ranks.size > 1 else ""
        print(f"{describe()}{many}; {_sizes(parts.facts)}")
        self.log("start" if not progress.history else "resume", epoch=progress.epoch)
        if not progress.history:
            progress.history.append({"epoch": 0} | self.measured())
        if self.has_checkpoint() and progress.step == 0:  # in case they were not written
            self.keep_records()
        with interruptible():
            try:
                self.ranks.fit(
                    parts.model, parts.optimizer, parts.train, held_out=parts.val,
                    epochs=settings.epochs, batch_size=settings.batch_size,
                    schedule=parts.schedule, seed=settings.seed, on_step=self.after_step,
                    on_epoch=self.after_epoch, label=settings.model if self.shown else None,
                    progress=progress,
                )  # fmt: skip
            except FloatingPointError as error:
                self.log("diverged", error=str(error), last=progress.history[-1])
                good = f"; the last good checkpoint is in {self.folder}"
                raise FloatingPointError(
                    f"{error}{good if self.has_checkpoint() else ''}"
                ) from None
        test, mistakes = score(parts.model, parts.test)
        if not math.isfinite(test["loss"]):
            found = f"its test loss is {test['loss']}"
            raise FloatingPointError(f"training diverged in its last step: {found}")
        images = sum(map(sum, test["confusion"]))
        print(f"test accuracy {test['accuracy']:.1%} on {images} images, scored once")
        if damaged := [name for part in parts.damaged for name in part]:
            print(one_line(f"left out: {len(damaged)} damaged images, {damaged[0]} first"))
        record = {
            "settings": dataclasses.asdict(settings),
            "layers": [repr(layer) for layer in measure.weight_layers(parts.model)],
            "history": progress.history,
            "test": test,
            "guess": float(np.bincount(parts.test.labels).max() / len(parts.test.labels)),
            "wall_s": time.perf_counter() - began,
        }
        if problem := doubt(record):
            print(problem)
        if self.folder is not None:
            record |= read_json(self.folder / "run.json", RUN)
            write_whole(self.folder / "result.json", _json(record))
            self.log("end", test_accuracy=test["accuracy"])
            path = self.folder / "report.html"
            if plots.drawn(path, lambda: self.draw(record, mistakes)):
                print(one_line(f"report: {path}"))
        return record

    def draw(self, record, mistakes):
        """Write the figures and the report; last, since results must not wait for pictures."""
        for name, figure in report.figures(record).items():
            plots.style.save(figure, self.folder / "figures" / f"{name}.png")
        first = filters(self.parts.model, self.parts.train)
        page = report.page(record, mistakes, first, baselines(self.folder, record))
        write_whole(self.folder / "report.html", page.encode(errors="backslashreplace"))

    def after_step(self, epochs):
        """Save if `save_every` seconds have passed; after Ctrl-C at any rank, save and stop."""
        report_share(epochs / self.parts.settings.epochs)
        if self.ranks.any(stopping()):
            self.save()
            self.log("interrupted", epoch=self.progress.epoch, step=self.progress.step)
            if self.folder and not working():
                words = f"train --resume {quote(str(self.folder))}"
                command = f"{ranks.command(self.ranks.size)} {words}"
                print("\n" + one_line(f"saved; continue with: {command}"), file=sys.stderr)
            self.ranks.any(False)  # until rank 0 has saved: the first rank to end ends all
            raise KeyboardInterrupt
        if time.monotonic() - self.saved > self.save_every:
            self.save()

    def after_epoch(self, entry):
        """Measure, print, save; keep the best."""
        entry |= {"lr": self.parts.optimizer.lr} | self.measured()
        speed = self.parts.facts["train"] / entry["seconds"]
        loss = entry["train_loss"]
        line = f"epoch {entry['epoch']}: training loss {loss:{'.3f' if loss < 1e4 else '.3g'}}"
        if "held_out_accuracy" in entry:
            line += f", validation accuracy {entry['held_out_accuracy']:.1%}"
        tqdm.write(f"{line}, {speed:.0f} images/s")  # print() would write into the progress bar
        sys.stdout.flush()
        self.log("epoch", **entry)
        self.save()
        self.keep_records()
        if self.ranks.any(stopping()):
            self.after_step(self.progress.epoch)

    def has_checkpoint(self) -> bool:
        """Whether there is a checkpoint to continue from."""
        return self.folder is not None and bool(checkpoints(self.folder))

    def keep_records(self):
        """Write history.csv, and best.npz if the last epoch was the best so far."""
        if self.folder is None:
            return
        write_whole(self.folder / "history.csv", as_csv(self.progress.history))
        entry = self.progress.history[-1]
        before = [e.get("held_out_accuracy", -1) for e in self.progress.history[:-1]]
        if entry.get("held_out_accuracy", -1) > max([-1, *before]):
            newest = checkpoints(self.folder)[-1].read_bytes()
            write_whole(self.folder / "checkpoints" / "best.npz", newest)

    def measured(self) -> dict:
        """Angles and norm ratios of every layer with weights, bottom first; None: undefined."""
        model, train = self.parts.model, self.parts.train
        x, labels = watched(train, WATCHED, self.parts.test.transform)
        return measure.layer_measures(model, x, labels)

    def save(self):
        """Write a checkpoint; delete all older ones but the last."""
        if self.folder is None:
            return
        now, parts = self.progress, self.parts
        path = self.folder / "checkpoints" / f"{now.epoch:05d}-{now.step:07d}.npz"
        facts = {"settings": dataclasses.asdict(parts.settings), "data": parts.facts["sha256"]}
        facts |= ranks_fact()
        checkpoint.save(path, parts.model, parts.optimizer, now, facts)
        for old in checkpoints(self.folder)[:-2]:
            old.unlink()
        self.saved = time.monotonic()

    def log(self, event, **facts):
        """Append a line to log.jsonl."""
        if self.folder is None:
            return
        line = json.dumps({"time": time.strftime("%Y-%m-%dT%H:%M:%S%z"), "event": event} | facts)
        try:
            with open(self.folder / "log.jsonl", "a", encoding="utf-8") as file:
                file.write(line + "\n")
        except OSError as error:
            path = self.folder / "log.jsonl"
            raise InputError(f"{path}: cannot be written: {error.strerror}") from None


def _sizes(facts) -> str:
    """The printed line with the number of images of each part."""
    return (
        f"images: {facts['train']} to train on, {facts['val']} for validation, "
        f"{facts['test']} for the test at the end"
    )


def _json(record) -> bytes:
    return (json.dumps(record, indent=1) + "\n").encode()
