"""The plan of an experiment: its parts, its settings, and the trials that they come to."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from nnref.experiments import search


@dataclass(frozen=True, kw_only=True)
class Part:
    """One data set of a plan and how to train on it; an experiment may add fields of its own."""

    data: str | None = None  # its name (images.load); None: there are no images
    take: int | None = None  # how many training images, held-out ones included; None: all
    held_out: float = 0.1  # share of the training images used for choices
    search_images: int = 0  # training images for the choice of a learning rate
    search_epochs: int = 0  # epochs of that choice
    epochs: int = 1
    long: int | None = None  # epochs of seed 0, where it trains longer than the others
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
    curve: Sequence = ()  # epochs of further trainings of seed 0, each with its own schedule
    seconds: float = 0.0  # that a trial without a learning rate takes, about: it is not timed


class Place(NamedTuple):
    """The place of a trial in the result, which is sorted by part, then by stage, then by seed."""

    part: int
    stage: int
    first: int  # of a search: its setting; of another trial: its number among those of its setting
    second: int  # of a search: its number among those of its setting; of another trial: its setting
    rate: int = 0  # the number of its learning rate among those that are tried at full length

    @property
    def setting(self) -> tuple[int, int]:
        """(number of the part, number of the setting in it)."""
        return self.part, self.first if self.stage == SEARCH else self.second

    def marks(self, taken: int) -> dict:
        """What a result adds to the record; `taken` is the number of the rate that is taken."""
        marks = {
            "curve": self.stage in (SHORTER, LONGER),
            "other_rate": self.stage != SEARCH and self.rate != taken,
        }
        return {name: True for name, holds in marks.items() if holds}


SEARCH, SHORTER, WHOLE, LONGER = range(4)  # stages: a search; a point of a budget curve; a trial


@dataclass
class Planned:
    """A setting under way, with all of its trials.

    `read(place, facts)` everywhere returns the record of a trial, or None if it is not finished.
    """

    part: Part
    number: tuple[int, int]  # of the part and, in it, of the setting
    setting: Setting
    images: int  # to train on
    seeds: int
    guess: float = 0.0  # the accuracy of a guess
    epoch_s: float = 1.0  # what an epoch takes

    def trials(self, read: Callable) -> dict:
        """{Place: facts} of all trials that are known by now: those of the search come first."""
        found, rates = self.search(read)
        for number, lr in enumerate(rates):
            trainings = self.at_rate(lr, number)
            found |= trainings
            whole = [read(*trial) for trial in trainings.items() if trial[0].stage == WHOLE]
            if None in whole or not any(search.fell(record, self.guess) for record in whole):
                break
        return found

    def search(self, read: Callable) -> tuple[dict, list]:
        """({Place: facts} of the trials for the choice of a rate, the rates to try).

        The first is the chosen rate; the next one is tried if a training falls with it. The list is
        empty until the search has ended, and [None] where there is nothing to choose from. The
        trials are kept apart by "search": true; they measure no angles and are not tested.
        """
        rates, found = self.setting.rates, {}
        if len(rates) < 2:
            return {}, list(rates) or [None]
        for times in (1, search.LONGER):
            accuracies = self._one_search(read, found, times)
            if None in accuracies.values():
                return found, []
            if not search.too_short(accuracies, self.guess):
                break
        lr = search.chosen(accuracies)
        return found, [lr, *search.below(accuracies, lr)]

    def _one_search(self, read, found, times) -> dict:
        """{(rate, seed): accuracy} of a search, None of a trial without a record; adds to found."""
        accuracies = {}
        while None not in accuracies.values():
            tries = search.wanted(self.setting.rates, accuracies)
            if not tries:
                break
            for lr, seed in tries:
                place = Place(self.number[0], SEARCH, self.number[1], len(found))
                found[place] = facts = self._search_facts(lr, seed, times)
                record = read(place, facts)
                accuracies[lr, seed] = record and search.accuracy_of(record)
        return accuracies

    def _search_facts(self, lr, seed, times=1):
        few = {
            "images": min(self.part.search_images, self.images),
            "epochs": times * self.part.search_epochs,
        }
        return self.setting.facts | few | {"seed": seed, "search": True, "lr": lr}

    def at_rate(self, lr: float | None, rate: int = 0) -> dict:
        """{Place: facts} of the trainings of all seeds and those of other lengths."""
        part, number = self.number
        curve, least = sorted(self.setting.curve), self.part.epochs
        whole = [(seed, self.part.epochs_of(seed)) for seed in range(self.seeds)]
        stages = {
            SHORTER: [(0, epochs) for epochs in curve if epochs < least],
            WHOLE: sorted(whole, key=lambda trial: trial[1]),
            LONGER: [(0, epochs) for epochs in curve if epochs > least],
        }
        found = {}
        for stage, trials in stages.items():
            for i, (seed, epochs) in enumerate(trials):
                facts = self.setting.facts | {"seed": seed}
                if lr is not None:
                    facts |= {"images": self.images, "epochs": epochs, "lr": lr}
                found[Place(part, stage, i, number, rate)] = facts
        return found

    def left(self, read: Callable) -> list[dict]:
        """The facts of all trials without a record; of those that no search has reached, a guess.

        At least one more seed is tried in a search; the first rate stands for the one it chooses.
        Whether a training will fall, so that smaller rates are tried, too, is not known.
        """
        found, rates = self.search(read)
        then = {} if rates else self.at_rate(self.setting.rates[0])
        known = self.trials(read) | then
        left = [facts for place, facts in known.items() if not read(place, facts)]
        if not rates and all(facts["seed"] == 0 for facts in found.values()):
            left.append(self._search_facts(self.setting.rates[0], 1))
        return left

    def count(self, read: Callable) -> int:
        """The number of all trials, as far as it is known."""
        known = self.trials(read).items()
        return sum(read(*trial) is not None for trial in known) + len(self.left(read))

    def remarks(self, read: Callable) -> list[str]:
        """What to say of a search that has ended."""
        records = [read(place, facts) for place, facts in self.search(read)[0].items()]
        found = search.accuracies(records)
        return search.remarks(found, self.guess) if found else []

    def seconds(self, facts: dict) -> float:
        """How long a trial of these facts takes."""
        if "lr" not in facts:
            return self.setting.seconds
        share = facts.get("images", 0) / max(self.images, 1)
        return share * facts.get("epochs", 0) * self.epoch_s
