"""The records of trials, a file each, and the result that holds all of them."""

import hashlib
import json
import math
import re
from collections.abc import Callable
from pathlib import Path

from nnref.backend import library
from nnref.errors import InputError
from nnref.files import NUMBER, read_json, write_whole

LEFT_OUT = "curve", "other_rate"  # marks in a result, of trials that tables of accuracies leave out
MEASURED = (  # no facts
    "history", "test", "seconds", "diverged", "fingerprint", "computes", *LEFT_OUT,
)  # fmt: skip
TRIAL = {"history": [dict], "seconds": NUMBER}
RESULT = {"tier": str, "data": list, "trials": [TRIAL, ...]}
LONG = 30  # epochs of a long history that a result keeps in full


def file_of(folder: Path, facts: dict) -> Path:
    """The file in which a trial of these facts is kept."""
    return folder / f"{file_name(facts)}.json"


def file_name(facts: dict) -> str:
    """A readable name for the file of a trial, with a hash of all facts to make it unique.

    The same for facts in any order: a result may hold them in another one than a plan.
    """
    readable = "-".join(
        f"{name}{value}" if isinstance(value, int | float) else str(value)
        for name, value in sorted(facts.items())
        if value is not True
    )
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:8]
    return re.sub(r"[^A-Za-z0-9.]+", "-", f"{readable}-{digest}")[-120:].strip("-")


def kept(folder: Path, facts: dict, measure: Callable[[], dict], known=None) -> dict:
    """The record of a trial, {"history", "seconds"}: from its file, or else measured and kept.

    It says what computed it, since the trials of a study may come from several machines.

    known    facts that a record must agree with, if more than `facts`. Raises InputError if the
             file is damaged, or of other data or settings.
    """
    path, known = file_of(folder, facts), known or facts
    if path.is_file():
        record = read(path)
        check_same(path, {name: record.get(name) for name in known}, known)
        return record
    record = rounded(known | {"computes": library()} | measure())
    write_whole(path, sealed(record))
    path.with_suffix(".npz").unlink(missing_ok=True)
    return record


def check_same(path: Path, found: dict, known: dict):
    """Raise InputError, naming the first that differs, unless the facts in a file are `known`."""
    found, known = rounded(found), rounded(known)
    for name in sorted(known | found):
        if found.get(name) != known.get(name):
            raise InputError(
                f"{path}: of another training: expected {name} {known.get(name)}, found "
                f"{found.get(name)}; delete it, or take another --out"
            )


def sealed(record: dict) -> bytes:
    """A record as a file holds it: with the hash of all the rest."""
    return json.dumps(record | {"sha256": _hash(record)}).encode()


def read(path: Path) -> dict:
    """The record in a file; InputError if it is damaged. Files of earlier versions have no hash."""
    try:
        record = read_json(path, TRIAL)
        if record.pop("sha256", None) not in (None, _hash(record)):
            raise InputError(f"{path}: damaged: its hash differs")
    except InputError as error:
        raise InputError(f"{error}; delete it to train again") from None
    return record


def _hash(record) -> str:
    return hashlib.sha256(json.dumps(record).encode()).hexdigest()


def unpack(result: dict, folder: Path):
    """Write the finished trainings of a result into files of their own, where these are missing.

    So that a study can go on from its result alone. Those of earlier versions do not say what
    computed them: it was what computed the result.
    """
    found = result.get("versions", {}).get("computes")
    usual = {"computes": found.partition(", cores")[0]} if found else {}
    for trial in result["trials"]:
        if "fingerprint" in trial:  # not of measurements without training
            facts = {name: value for name, value in trial.items() if name not in MEASURED}
            path = file_of(folder, facts)
            if not path.is_file():
                record = trial | usual | trial  # what the trial itself says counts
                for mark in LEFT_OUT:
                    record.pop(mark, None)
                write_whole(path, sealed(record))


def line_about(record: dict) -> str:
    """One line on a trial that has just finished."""
    last = record["history"][-1]
    if "diverged" in record:
        result = "diverged"
    elif record.get("test"):
        result = f"test accuracy {record['test']['accuracy']:.1%}"
    elif last.get("held_out_accuracy") is not None:
        result = f"held-out accuracy {last['held_out_accuracy']:.1%}"
    else:
        result = "done"
    return f"{title(record)}: {result}, {record['seconds']:.0f} s"


def title(facts: dict) -> str:
    """The facts of a trial in words, those of a search for a learning rate marked as such."""
    words = [
        f"{name} {value}" if isinstance(value, int | float) else str(value)
        for name, value in facts.items()
        if name not in (*MEASURED, "search")
    ]
    return ", ".join(["search", *words] if "search" in facts else words)


def brief(trial: dict) -> dict:
    """Shorten a history of over 2 LONG entries: after LONG, every 10th and the last stay whole.

    The others keep their epoch and their accuracy on held-out images.
    """
    history, last = trial["history"], len(trial["history"]) - 1
    if len(history) <= 2 * LONG:
        return trial
    short = [{key: entry.get(key) for key in ("epoch", "held_out_accuracy")} for entry in history]
    whole = [i <= LONG or i % 10 == 0 or i == last for i in range(len(history))]
    chosen = zip(whole, history, short, strict=True)
    return trial | {"history": [entry if keep else brief for keep, entry, brief in chosen]}


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
