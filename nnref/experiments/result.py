"""The result of an experiment, asked by facts; and claims about it, with their verdicts.

`Result` answers questions such as result.mean(data="mnist", rule="SS"). A condition of a claim is a
comparison of such numbers, written before the result was known:

    @claim("SS learns less than BP", "an MLP", words({"SS": {"rule": "SS"}}, ["mnist"]))
    def _less(result):
        ss, bp = (result.mean(data="mnist", rule=rule) for rule in ("SS", "BP"))
        yield "mnist: SS at least 5 points below BP", ss <= bp - 5
"""

import math
import operator
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from statistics import mean, stdev

from nnref.experiments.images import TITLES


def _compared(comparison):
    """A comparison of floats that is None if a NaN is involved."""
    return lambda a, b: None if math.isnan(a - b) else comparison(float(a), float(b))


def _calculated(operation):
    """An operation on floats whose result is a Number."""
    return lambda a, b: Number(operation(float(a), float(b)))


class Number(float):
    """A number that may not have been measured: NaN, whose comparisons are None, not False.

    So a condition on it is neither true nor false. `not`, `and`, max and min would take None for
    False: `every` and `largest` do not.
    """

    __lt__, __le__ = _compared(operator.lt), _compared(operator.le)
    __gt__, __ge__ = _compared(operator.gt), _compared(operator.ge)
    __add__ = __radd__ = _calculated(operator.add)
    __mul__ = __rmul__ = _calculated(operator.mul)
    __sub__, __rsub__ = _calculated(operator.sub), _calculated(lambda a, b: b - a)
    __truediv__ = _calculated(lambda a, b: a / b if b else math.nan)
    __rtruediv__ = _calculated(lambda a, b: b / a if a else math.nan)

    def __abs__(self):
        return Number(abs(float(self)))

    def __neg__(self):
        return Number(-float(self))


NOT_MEASURED = Number("nan")


def average(values) -> Number:
    """Their mean; NOT_MEASURED if there are none."""
    values = list(values)
    return Number(mean(values)) if values else NOT_MEASURED


def largest(values) -> Number:
    """The largest of them; NOT_MEASURED if there are none, or one of them is not measured."""
    values = list(values)
    return NOT_MEASURED if not values or any(map(math.isnan, values)) else Number(max(values))


def all_measured(*numbers) -> bool:
    """Have all these numbers been measured?"""
    return not any(map(math.isnan, numbers))


def every(conditions) -> bool | None:
    """Do all conditions hold? None if one of them could not be measured."""
    conditions = list(conditions)
    return None if None in conditions else all(conditions)


def equal(a: list, b: list) -> bool | None:
    """Are two lists of measurements the same, to the last digit? None if one of them is empty."""
    return a == b if a and b else None


class Result:
    """The trials of an experiment. `facts` everywhere choose those for which they hold.

    record    as OUT/NAME.json has it; None: nothing has been run
    """

    def __init__(self, record: dict | None):
        self.record = record or {"tier": "small", "data": [], "trials": []}

    def trials(self, **facts) -> list[dict]:
        """The trials, those of a search for a learning rate left out."""
        return [t for t in self._all(facts) if "search" not in t]

    def finished(self, **facts) -> list[dict]:
        """The trials that were tested: they did not diverge."""
        return [t for t in self.trials(**facts) if t.get("test")]

    def _all(self, facts):
        """The trials with these facts, searches included."""
        return [
            trial
            for trial in self.record["trials"]
            if all(trial.get(name) == value for name, value in facts.items())
        ]

    def values(self, name: str, **facts) -> list:
        """All values that a fact takes, in the order of the trials."""
        found = dict.fromkeys(t[name] for t in self.trials(**facts) if t.get(name) is not None)
        return list(found)

    def accuracies(self, **facts) -> list[float]:
        """Test accuracies in %, one for each seed; a trial that diverged counts as 0."""
        tested = [t for t in self.trials(**facts) if t.get("test") or "diverged" in t]
        return [0.0 if "diverged" in t else 100 * t["test"]["accuracy"] for t in tested]

    def errors(self, **facts) -> list[float]:
        """Test errors in %, one for each seed."""
        return [100 - accuracy for accuracy in self.accuracies(**facts)]

    def mean(self, **facts) -> Number:
        """The mean test accuracy in %; NOT_MEASURED (NaN) if there is no such trial."""
        return average(self.accuracies(**facts))

    def measured(self, **facts) -> str:
        """Accuracies in words, as `measured` gives them."""
        return measured(self.accuracies(**facts))

    def cell(self, **facts) -> str:
        """Accuracies for a table, with a star if the learning rate was `at_edge`, else a blank."""
        return spread(self.accuracies(**facts)) + ("*" if self.at_edge(**facts) else " ")

    def at_edge(self, **facts) -> bool:
        """Was the smallest or largest learning rate chosen? A better one may lie outside then."""
        tried = [t["lr"] for t in self._all(facts) if "search" in t]
        trials = self.trials(**facts)
        return bool(trials) and len(tried) > 1 and trials[0]["lr"] in (min(tried), max(tried))


def spread(values) -> str:
    """Mean and standard deviation of some values, or the value of one: "52.3 ± 0.4", "52.3"."""
    if not values:
        return "-"
    return f"{mean(values):.1f}" + (f" ± {stdev(values):.1f}" if len(values) > 1 else "")


def measured(values: list[float]) -> str:
    """Mean, standard deviation and, in brackets, number of seeds: "97.1 ± 0.2 (3)", "97.1 (1)"."""
    return f"{spread(values)} ({len(values)})" if values else "-"


def words(settings: dict, data_sets=()) -> Callable:
    """A function from a Result to accuracies in words: "MNIST SS 95.1 ± 0.3 (3), FA 91.2 (1); ...".

    settings     name -> facts
    data_sets    names of data sets, each with all settings; none: the facts say enough
    """

    def written(result, **facts):
        cells = (f"{name} {result.measured(**facts, **own)}" for name, own in settings.items())
        return ", ".join(cells)

    if not data_sets:
        return written
    return lambda result: "; ".join(f"{TITLES[d]} {written(result, data=d)}" for d in data_sets)


def as_text(number: Number, form: str = ".1f") -> str:
    """A number for a text; "-" if it was not measured."""
    return "-" if math.isnan(number) else format(number, form)


class Table:
    """The lines of a table: names are `wide` columns across, cells `cell` columns each."""

    foot = (
        "test accuracy in %, mean ± standard deviation over the seeds",
        "*: with the smallest or largest learning rate that was tried",
    )

    def __init__(self, wide: int, cell: int):
        self.wide, self.cell, self.lines = wide, cell, []

    def headline(self, trial: dict):
        """What was trained, from the facts of one trial."""
        self.lines.append("{data}, {network}, {images} images, {epochs} epochs".format(**trial))

    def row(self, name: str, cells):
        """A name and its cells."""
        self.lines.append(
            f"  {name:<{self.wide}}" + "".join(f"{text:>{self.cell}}" for text in cells)
        )

    def grid(self, result: Result, rows: dict, columns: dict, **facts):
        """A cell of the result for every row and column, each a name with its facts."""
        for name, own in rows.items():
            self.row(name, [result.cell(**facts, **own, **of) for of in columns.values()])

    def text(self) -> str:
        """All lines, and those that explain them."""
        return "\n".join([*self.lines, *self.foot])


@dataclass
class Claim:
    """One row of the ledger (tutorials/claims.md).

    conditions    what must hold if the claim does, as (words, whether it holds here), written
                  before the result is known; None in place of the truth: not measured
    guards        the same, against a trivial result (that BP learns at all, say): they must hold
                  for "reproduced", but do not make a "not" into a "partly"
    """

    name: str  # short; tests and texts refer to the claim by it
    text: str  # what the paper says
    published: str  # its number and where it is from, or "none in print"
    setting: str  # what we ran
    ours: str  # mean ± standard deviation, and over how many seeds
    conditions: Iterable[tuple[str, bool | None]]
    guards: Iterable[tuple[str, bool | None]] = ()

    def __post_init__(self):
        self.conditions, self.guards = list(self.conditions), list(self.guards)

    @property
    def verdict(self) -> str:
        """reproduced (all conditions hold), partly, not; not run yet (some were not measured)."""
        found = [holds for _, holds in self.conditions]
        guarded = [holds for _, holds in self.guards]
        if not found or None in found + guarded:
            return "not run yet"
        return "reproduced" if all(found + guarded) else "partly" if any(found) else "not"


def claim(text: str, setting, ours: Callable, published="none in print", guards=None):
    """Make a claim of a generator of its conditions, whose name becomes the claim's.

    setting   what we ran, in words; or a function from the result to these words
    ours      ours(result) -> what we measured, in words
    guards    guards(result) -> the guards; None: there are none

    The generator becomes a function from a Result to the Claim.
    """

    def decorate(conditions):
        name = conditions.__name__.strip("_").replace("_", " ")

        def made(result: Result) -> Claim:
            run = setting(result) if callable(setting) else setting
            guarded = guards(result) if guards else ()
            return Claim(name, text, published, run, ours(result), conditions(result), guarded)

        return made

    return decorate


def listed(*claims: Callable) -> Callable:
    """The function `claims` of an experiment: from a Result to all of its claims."""
    return lambda result: [claim_of(result) for claim_of in claims]
