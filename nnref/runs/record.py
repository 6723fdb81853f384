"""The record of a run: the shapes of its files, its history, whether the network has learned."""

import csv
import io
import math

from nnref.files import NUMBER

RUN = {  # run.json
    "command": str,
    "versions": dict,
    "data": {"train": int, "val": int, "test": int, "names": list, "sha256": str},
    "ranks": int | None,
    "rules": dict | None,  # SHA-256 of the files of the reader's own rules, by flag
}
FACTS = {"settings": dict, "ranks": int | None}  # in a checkpoint
RESULT = {  # result.json, which repeats run.json
    "settings": {"model": str, "data": str, "feedback": str, "lr": NUMBER, "schedule": str},
    "history": [
        {"epoch": NUMBER, "train_loss": NUMBER | None, "held_out_accuracy": NUMBER | None},
    ],
    "test": {"accuracy": NUMBER, "confusion": [[int]]},
    "guess": NUMBER,
    "wall_s": NUMBER,
}


def doubt(record: dict) -> str:
    """What speaks against a run, and what may help, in one line; empty if it seems to have learned.

    A loss that ended too high, or a test accuracy that ended at chance.
    """
    settings, too_high, at_chance = record["settings"], _too_high(record), _at_chance(record)
    if not too_high and not at_chance:
        return ""
    rate = f"{'a lower' if too_high else 'another'} --lr than {settings['lr']:g}"
    cosine = "" if settings.get("schedule") == "cosine" else " or --schedule cosine"
    return f"has it learned? {too_high or at_chance}; {rate}{cosine} may help"


def _too_high(record) -> str:
    """How the training loss ended above its start, or above that of a blind guess; or nothing."""
    losses = [e["train_loss"] for e in record["history"] if e.get("train_loss") is not None]
    blind = math.log(len(record["test"]["confusion"]))  # all classes with the same probability
    if len(losses) > 1 and losses[-1] > 1.1 * losses[0]:
        return f"training loss {losses[-1]:.3g} at the end, {losses[0]:.3g} in the first epoch"
    if losses and losses[-1] > blind:
        return f"training loss {losses[-1]:.3g}, that of a guess is {blind:.3g}"
    return ""


def _at_chance(record) -> str:
    """How the accuracy lies within two standard errors of the most common class's; or nothing."""
    guess, images = record["guess"], sum(map(sum, record["test"]["confusion"]))
    accuracy = record["test"]["accuracy"]
    if not images or not 0 < guess < 1 or accuracy > guess + _two_errors(guess, images):
        return ""
    return f"test accuracy {accuracy:.1%}, that of a guess is {guess:.1%}"


def _two_errors(share, images) -> float:
    """Two standard errors of a share that was counted in so many images."""
    return 2 * math.sqrt(share * (1 - share) / images)


def as_csv(history) -> bytes:
    """The numbers of every epoch; those of single layers are in log.jsonl."""
    text = io.StringIO()
    columns = ["epoch", "train_loss", "held_out_loss", "held_out_accuracy", "lr", "seconds"]
    writer = csv.DictWriter(text, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(entry for entry in history if "train_loss" in entry)
    return text.getvalue().encode()
