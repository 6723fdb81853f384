"""A claim of a paper, what we measured, and the verdict, by conditions written down beforehand."""

from collections.abc import Sequence
from statistics import mean
from typing import NamedTuple

from nnref.experiments.study import spread


class Claim(NamedTuple):
    """One row of the ledger (tutorials/claims.md).

    conditions    what must hold if the claim does, as (words, whether it holds here), written
                  before the result is known. None in place of the truth: not measured
    guards        the same, against a trivial result (that BP learns at all, say): they must hold
                  for "reproduced", but do not make a "not" into a "partly"
    """

    text: str  # what the paper says
    published: str  # its number and where it is from, or "none in print"
    setting: str  # what we ran
    ours: str  # mean ± standard deviation, and over how many seeds
    conditions: list[tuple[str, bool | None]]
    guards: Sequence[tuple[str, bool | None]] = ()

    @property
    def verdict(self) -> str:
        """reproduced (all conditions hold), partly, not; not run yet (some were not measured)."""
        found = [holds for _, holds in self.conditions]
        guarded = [holds for _, holds in self.guards]
        if not found or None in found + guarded:
            return "not run yet"
        return "reproduced" if all(found + guarded) else "partly" if any(found) else "not"


def chosen(result: dict | None, **facts) -> list[dict]:
    """The trials of a result, learning rate searches left out, that these facts hold for."""
    trials = result["trials"] if result else []
    return [
        trial
        for trial in trials
        if "search" not in trial and all(trial.get(name) == value for name, value in facts.items())
    ]


def accuracies(trials: list[dict], kind: str = "accuracy") -> list[float]:
    """Test accuracies (or "top5") in %, one for each trial; one that diverged counts as 0."""
    return [100 * trial["test"][kind] if "test" in trial else 0.0 for trial in trials]


def errors(trials: list[dict]) -> list[float]:
    """Test errors in %, one for each trial."""
    return [100 - accuracy for accuracy in accuracies(trials)]


def measured(values: list[float]) -> str:
    """Mean, standard deviation and, in brackets, number of seeds: "97.1 ± 0.2 (3)", "97.1 (1)"."""
    return f"{spread(values)} ({len(values)})" if values else "-"


def at_edge(result: dict, trial: dict, *names: str) -> bool:
    """Was its learning rate the smallest or largest tried? Then a better one may lie outside.

    names    the facts that make its setting, and so tell which others were tried for it
    """
    tried = [
        other["lr"]
        for other in result["trials"]
        if "search" in other and all(other[name] == trial[name] for name in names)
    ]
    return len(tried) > 1 and trial["lr"] in (min(tried), max(tried))


def starred(result: dict, trials: list[dict], *names: str) -> str:
    """A cell of a table: accuracies in %, and a star where `at_edge` (or a space)."""
    edge = trials and at_edge(result, trials[0], *names)
    return spread(accuracies(trials)) + ("*" if edge else " ")


def headline(trial: dict) -> str:
    """The line above a table of trials like this one."""
    return "{data}, {network}, {images} images, {epochs} epochs".format(**trial)


FOOT = [  # the lines below such a table
    "test accuracy in %, mean ± standard deviation over the seeds",
    "*: with the smallest or largest learning rate that was tried",
]


def average(values) -> float | None:
    """Their mean; None if there are none."""
    return mean(values) if values else None


def holds(condition, *values) -> bool | None:
    """condition(*values), or None if one of the values was not measured."""
    return None if None in values else bool(condition(*values))
