"""The plan of an experiment: its parts, its settings, and the trials that they come to."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True, kw_only=True)
class Part:
    """One data set of a plan and how to train on it; an experiment may add fields of its own."""

    data: str | None = None  # its name (images.load); None: there are no images
    take: int | None = None  # how many training images, held-out ones included; None: all
    classes: int | None = None  # tiny-imagenet: how many classes to draw; None: all
    held_out: float = 0.1  # share of the training images used for choices
    search_images: int = 0  # training images for the choice of a learning rate
    search_epochs: int = 0  # epochs of that choice
    epochs: int = 1
    long: int | None = None  # epochs of seed 0, if more than of the other seeds
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


class Place(NamedTuple):
    """Where a trial stands in the result: of every part, first the searches, then seed by seed."""

    part: int
    stage: int  # 0: a search for a learning rate, 1: a trial
    first: int  # of a search: its setting; of a trial: its seed
    second: int  # of a search: its learning rate; of a trial: its setting

    @property
    def setting(self) -> tuple[int, int]:
        """(number of the part, number of the setting in it)."""
        return self.part, self.second if self.stage else self.first


@dataclass
class Planned:
    """A setting under way, with all of its trials."""

    part: Part
    number: tuple[int, int]  # of the part and, in it, of the setting
    setting: Setting
    images: int  # to train on
    seeds: int
    epoch_s: float = 1.0  # what an epoch takes

    def searches(self) -> dict:
        """{Place: facts} of the trials for the choice of a learning rate.

        They are kept apart by "search": true; they measure no angles and are not tested.
        """
        part, (part_number, number) = self.part, self.number
        few = {"images": min(part.search_images, self.images), "epochs": part.search_epochs}
        same = self.setting.facts | few | {"seed": 0, "search": True}
        rates = self.setting.rates if len(self.setting.rates) > 1 else ()
        return {Place(part_number, 0, number, i): same | {"lr": lr} for i, lr in enumerate(rates)}

    def trials(self, lr: float | None) -> dict:
        """{Place: facts} of the trials of all seeds, the longest last."""
        found, (part_number, number) = {}, self.number
        for i, seed in enumerate(sorted(range(self.seeds), key=self.part.epochs_of)):
            facts = self.setting.facts | {"seed": seed}
            if lr is not None:
                facts |= {"images": self.images, "epochs": self.part.epochs_of(seed), "lr": lr}
            found[Place(part_number, 1, i, number)] = facts
        return found

    @property
    def count(self) -> int:
        """The number of its trials."""
        return len(self.searches()) + self.seeds

    def chosen(self, read) -> float | None:
        """The learning rate with the best held-out accuracy; the first of several, or the only one.

        read(place, facts)    the record of a search
        None if there is no learning rate.
        """
        found = {}
        for place, facts in self.searches().items():
            trial = read(place, facts)
            accuracy = trial["history"][-1].get("held_out_accuracy")
            found[facts["lr"]] = -1 if "diverged" in trial else accuracy
        return max(found, key=found.get) if found else next(iter(self.setting.rates), None)

    def seconds(self, facts: dict) -> float:
        """How long a trial of these facts takes."""
        share = facts.get("images", 0) / max(self.images, 1)
        return share * facts.get("epochs", 0) * self.epoch_s
