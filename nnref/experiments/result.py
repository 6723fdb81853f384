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

from nnref.experiments import search
from nnref.experiments.images import TITLES
from nnref.experiments.record import LEFT_OUT


class Undecided:
    """Neither true nor false: the numbers that were compared are closer than their error."""

    def __bool__(self):
        return False

    def __repr__(self):
        return "undecided"


UNDECIDED = Undecided()


def _compared(comparison):
    """A comparison of numbers: None if a NaN is involved, UNDECIDED within their error."""

    def compare(a, b):
        difference = a - b
        if math.isnan(difference):
            return None
        undecided = math.fabs(difference) < difference.error
        return UNDECIDED if undecided else comparison(float(a), float(b))

    return compare


def _calculated(operation, share):
    """An operation on numbers; share(a, b) is the part of each one's error in the result's."""

    def calculate(a, b):
        first, second = float(a), float(b)
        of_a, of_b = share(first, second)
        error = math.hypot(of_a * a.error, of_b * getattr(b, "error", 0.0))
        return Number(operation(first, second), error)

    return calculate


class Number(float):
    """A measured number with its standard error, 0 where it does not matter.

    NaN if it was not measured: comparisons of it are None, not False, so that a condition on it is
    neither true nor false. `not`, `and`, max and min would take None for False: `every` and
    `largest` do not.
    """

    error = 0.0

    def __new__(cls, value, error=0.0):
        number = super().__new__(cls, value)
        number.error = error
        return number

    __lt__, __le__ = _compared(operator.lt), _compared(operator.le)
    __gt__, __ge__ = _compared(operator.gt), _compared(operator.ge)
    __add__ = __radd__ = _calculated(operator.add, lambda a, b: (1, 1))
    __mul__ = __rmul__ = _calculated(operator.mul, lambda a, b: (b, a))
    __sub__ = _calculated(operator.sub, lambda a, b: (1, 1))
    __rsub__ = _calculated(lambda a, b: b - a, lambda a, b: (1, 1))
    __truediv__ = _calculated(
        lambda a, b: a / b if b else math.nan, lambda a, b: (1 / b, a / b**2) if b else (0, 0)
    )
    __rtruediv__ = _calculated(
        lambda a, b: b / a if a else math.nan, lambda a, b: (b / a**2, 1 / a) if a else (0, 0)
    )

    def __abs__(self):
        return Number(abs(float(self)), self.error)

    def __neg__(self):
        return Number(-float(self), self.error)


NOT_MEASURED = Number("nan")


def average(values) -> Number:
    """Their mean, with its error if they have errors; NOT_MEASURED if there are none."""
    values = list(values)
    if not values:
        return NOT_MEASURED
    errors = [getattr(value, "error", 0.0) for value in values]
    return Number(mean(map(float, values)), math.hypot(*errors) / len(values))


def largest(values) -> Number:
    """The largest of them; NOT_MEASURED if there are none, or one of them is not measured."""
    values = list(values)
    if not values or any(map(math.isnan, values)):
        return NOT_MEASURED
    found = max(values, key=float)
    return Number(found, getattr(found, "error", 0.0))


def all_measured(*numbers) -> bool:
    """Have all these numbers been measured?"""
    return not any(map(math.isnan, numbers))


def every(conditions) -> bool | Undecided | None:
    """Do all conditions hold? None if one of them could not be measured."""
    conditions = list(conditions)
    if None in conditions or False in conditions:
        return None if None in conditions else False
    return UNDECIDED if UNDECIDED in conditions else True


def equal(a: list, b: list) -> bool | None:
    """Are two lists of measurements the same, to the last digit? None if one of them is empty."""
    return a == b if a and b else None


def beyond_spread(better: list, worse: list) -> bool | None:
    """Is the mean of `better` above that of `worse`, by more than the standard deviations of both?

    None with fewer than two seeds of either.
    """
    if min(len(better), len(worse)) < 2:
        return None
    return mean(better) - mean(worse) > stdev(better) + stdev(worse)


class Result:
    """The trials of an experiment. `facts` everywhere choose those for which they hold.

    record    as OUT/NAME.json has it; None: nothing has been run
    """

    def __init__(self, record: dict | None):
        self.record = record or {"tier": "small", "data": [], "trials": []}

    def trials(self, **facts) -> list[dict]:
        """The trials, without those of a search, a budget curve or a rate that was not taken."""
        return [t for t in self._all(facts) if not {"search", *LEFT_OUT} & t.keys()]

    def curve(self, **facts) -> dict[int, Number]:
        """Epochs -> test accuracy in % of seed 0, trainings of all lengths included."""
        trials = [
            t for t in self._all(facts | {"seed": 0}) if not {"search", "other_rate"} & t.keys()
        ]
        found = {t["epochs"]: _accuracy([t]) for t in sorted(trials, key=lambda t: t["epochs"])}
        return {epochs: accuracy for epochs, accuracy in found.items() if not math.isnan(accuracy)}

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
        return _accuracies(self.trials(**facts))

    def errors(self, **facts) -> list[float]:
        """Test errors in %, one for each seed."""
        return [100 - accuracy for accuracy in self.accuracies(**facts)]

    def mean(self, **facts) -> Number:
        """The mean test accuracy in %; NOT_MEASURED (NaN) if there is no such trial."""
        return _accuracy(self.trials(**facts))

    def error(self, **facts) -> Number:
        """The mean test error in %; NOT_MEASURED if there is no such trial."""
        return 100 - self.mean(**facts)

    def measured(self, **facts) -> str:
        """Accuracies in words, as `measured` gives them; those of one seed with their error."""
        values, error = self.accuracies(**facts), self.mean(**facts).error
        if self._all_diverged(facts):
            return f"diverged ({len(values)})"
        if len(values) == 1 and error:
            return f"{values[0]:.1f} ± {error:.1f} (1)"
        return measured(values)

    def cell(self, **facts) -> str:
        """Accuracies for a table, with the `mark` of their learning rate or a blank."""
        found = "diverged" if self._all_diverged(facts) else spread(self.accuracies(**facts))
        return found + (self.mark(**facts) or " ")

    def _all_diverged(self, facts) -> bool:
        trials = self.trials(**facts)
        return bool(trials) and all("diverged" in trial for trial in trials)

    def mark(self, **facts) -> str:
        """What is wrong with the choice of a learning rate: one of MARKS, or nothing."""
        trials = self.trials(**facts)
        tried = search.accuracies([t for t in self._all(facts) if "search" in t])
        searched = trials and len(tried) > 1
        if searched and search.at_chance(tried, self._guess(trials[0])):
            return "!"
        if any(search.fell(trial) for trial in self.finished(**facts)):
            return "~"
        return "*" if searched and search.at_edge(tried, trials[0]["lr"]) else ""

    def _guess(self, trial) -> float:
        """The accuracy of a guess at the images of a trial; 0 if they are not known."""
        name, known = trial.get("data", ""), self.record.get("data", ())
        return next((1 / d["classes"] for d in known if d["name"].startswith(name)), 0.0)


MARKS = (
    "*: the smallest or largest learning rate that was tried",
    "!: the learning rate that was taken was at chance in the search",
    "~: a training lost more than half of what it had learned; smaller rates, if tried, did worse",
)
FEW = 1000  # test images: a single seed, or so few images, leave an accuracy uncertain


def _accuracies(trials) -> list[float]:
    """Test accuracies in %, 0 for a trial that diverged."""
    tested = [t for t in trials if t.get("test") or "diverged" in t]
    return [0.0 if "diverged" in t else 100 * t["test"]["accuracy"] for t in tested]


def _accuracy(trials) -> Number:
    """The mean of test accuracies in %, with the error of `counted`."""
    values = _accuracies(trials)
    images = [t["test"].get("images") for t in trials if t.get("test")]
    if not values or None in images or not images:
        return average(values)
    return counted(values, min(images))


def counted(accuracies: list[float], images: int) -> Number:
    """The mean of accuracies in %, one for each seed, on so many test images.

    With the binomial error, where the images are few or the seed is the only one.
    """
    if not accuracies:
        return NOT_MEASURED
    uncertain = len(accuracies) == 1 or images <= FEW
    share = min(max(mean(accuracies) / 100, 0), 1)
    error = 100 * math.sqrt(share * (1 - share) / images) if uncertain else 0.0
    return Number(mean(accuracies), error)


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
        *MARKS,
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
    scale         the same, of the setting: where they do not hold, it is too short or too small to
                  test the claim, whatever the conditions say
    """

    name: str  # short; tests and texts refer to the claim by it
    text: str  # what the paper says
    published: str  # its number and where it is from, or "none in print"
    setting: str  # what we ran
    ours: str  # mean ± standard deviation, and over how many seeds
    conditions: Iterable[tuple[str, bool | Undecided | None]]
    guards: Iterable[tuple[str, bool | Undecided | None]] = ()
    scale: Iterable[tuple[str, bool | Undecided | None]] = ()

    def __post_init__(self):
        self.conditions, self.guards = list(self.conditions), list(self.guards)
        self.scale = list(self.scale)

    @property
    def verdict(self) -> str:
        """reproduced (all conditions and guards hold), partly (some conditions), not (none).

        Or: not tested at this scale (`scale` does not hold); undecided (a number is closer to its
        threshold than its error); incomplete (something was not measured).
        """
        found, guarded, scale = (
            [holds for _, holds in answers]
            for answers in (self.conditions, self.guards, self.scale)
        )
        if not found or None in found + guarded + scale:
            return "incomplete"
        if not all(scale):
            return "not tested at this scale"
        if UNDECIDED in found + guarded:
            return "undecided"
        return "reproduced" if all(found + guarded) else "partly" if any(found) else "not"


def claim(
    text: str, setting, ours: Callable, published="none in print", guards=None, scale=None
):  # fmt: skip
    """Make a claim of a generator of its conditions, whose name becomes the claim's.

    setting          what we ran, in words; or a function from the result to these words
    ours             ours(result) -> what we measured, in words
    guards, scale    guards(result) -> the guards; None: there are none

    The generator becomes a function from a Result to the Claim.
    """

    def decorate(conditions):
        name = conditions.__name__.strip("_").replace("_", " ")

        def made(result: Result) -> Claim:
            run = setting(result) if callable(setting) else setting
            guarded, scaled = (of(result) if of else () for of in (guards, scale))
            return Claim(
                name, text, published, run, ours(result), conditions(result), guarded, scaled
            )

        return made

    return decorate


def listed(*claims: Callable) -> Callable:
    """The function `claims` of an experiment: from a Result to all of its claims."""
    return lambda result: [claim_of(result) for claim_of in claims]
