"""The result of an experiment, asked by facts, and tables of it.

`Result` answers questions such as result.mean(data="mnist", rule="SS").
"""

import math
from collections.abc import Callable

from nnref.experiments import search
from nnref.experiments.images import TITLES
from nnref.experiments.numbers import Number, average, counted, measured, spread
from nnref.experiments.record import LEFT_OUT


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
        return self._marked(self.accuracies(**facts), facts)

    def error_cell(self, **facts) -> str:
        """Errors for a table, with such a mark."""
        return self._marked(self.errors(**facts), facts)

    def _marked(self, values, facts):
        found = "diverged" if self._all_diverged(facts) else spread(values)
        return found + (self.mark(**facts) or " ")

    def _all_diverged(self, facts) -> bool:
        trials = self.trials(**facts)
        return bool(trials) and all("diverged" in trial for trial in trials)

    def mark(self, **facts) -> str:
        """What is wrong with the choice of a learning rate: one of MARKS, or nothing."""
        trials = self.trials(**facts)
        if not trials:
            return ""
        tried = search.accuracies([t for t in self._all(facts) if "search" in t])
        searched, lr, guess = len(tried) > 1, trials[0].get("lr"), self._guess(trials[0])
        if searched and search.at_chance(tried, lr, guess):
            return "!"
        if any(search.fell(trial, guess) for trial in trials) and not self._all_diverged(facts):
            return "~"
        return "*" if searched and search.at_edge(tried, lr) else ""

    def _guess(self, trial) -> float:
        """The accuracy of a guess at the images of a trial; 0 if they are not known."""
        name, known = trial.get("data", ""), self.record.get("data", ())
        return next((1 / d["classes"] for d in known if d["name"].startswith(name)), 0.0)


MARKS = (
    "*: the smallest or largest learning rate that was tried",
    "!: the learning rate that was taken was at chance in the search",
    "~: a training diverged or lost more than half of what it had learned, at some time; smaller "
    "rates, if tried, did no better",
)


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
