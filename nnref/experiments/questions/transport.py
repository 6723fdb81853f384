"""How much must travel from W to B, and what does it cost if BatchNorm's gamma does not?

A question of ours: nnref/questions/transport.py has the prices, tutorial 7 the argument. All
published implementations that we know of pass errors back through BatchNorm exactly, and so
multiply them by its gain gamma, a weight, even where they say that no weight is transported. Here
gains are sent, as in all of them, or cut: the error passes as if gamma were 1, its initial value.
"""

import math
from dataclasses import replace
from functools import partial
from itertools import product
from statistics import stdev

from nnref import plots
from nnref.experiments.claims import claim, listed
from nnref.experiments.images import TITLES
from nnref.experiments.network import BOTH, DIGITS, FULL, RULES, SMALL, NetworkPart, rules_of
from nnref.experiments.numbers import NOT_MEASURED, average, spread
from nnref.experiments.plan import Setting
from nnref.experiments.questions import dale
from nnref.experiments.result import Result, Table
from nnref.experiments.trial import Parts, usual_training, watch_layers
from nnref.layers import BatchNorm
from nnref.questions.pathways import FixedConcordance, TrackingConcordance
from nnref.questions.transport import cut_gains, ledger, total

PAPER = (
    "Our own question: how many bits must travel from W to B at every step, under each rule and "
    "law of tutorials 6 to 9? And what does it cost to remove the gain of BatchNorm, which travels "
    "under every rule, FA too, from the error?"
)
FOUR = ("BP", "SS", "FA", "last layer only")  # of RULES
GAINS = ("sent", "cut")
SETTINGS = [*product(("BP", "SS", "FA"), GAINS), ("last layer only", "sent")]
PRICED = {  # of the ledger: name -> rule, rule of the last layer
    "BP": (RULES["BP"], None),
    "SS, or tracking p": (RULES["SS"], None),
    "SS, BP last": (RULES["SS"], RULES["BP"]),
    "frSF": (RULES["frSF"], None),
    "antiparallel, tracking": (TrackingConcordance(0), None),
    "signed init, or fixed p": (RULES["signed init"], None),
    "antiparallel, fixed": (FixedConcordance(0), None),
    "FA": (RULES["FA"], None),
}
LAWS = {  # of the ledger: name -> model -> Law
    law: partial(dale.LAWS[law], seed=0) for law in ("free", "weights", "neurons", "DANN")
}
INPUTS = {"digits": (32, 32, 1), "mnist": (28, 28, 1), "cifar10": (32, 32, 3)}  # (H, W, C)
RATES = [3e-3, 0.02, 0.1]
MNIST, CIFAR10 = SMALL
TIERS = {
    "smoke": [DIGITS],
    "small": [
        replace(MNIST, rates=RATES, search_images=6_000, search_epochs=1, epochs=6, seeds=5),
        replace(CIFAR10, take=8_000, rates=RATES, epochs=6, seeds=5),
    ],
    "full": [replace(part, rates=RATES) for part in FULL],
}


def plan(part: NetworkPart):
    """Every rule, its gains sent and cut."""
    for rule, gain in SETTINGS:
        yield Setting(part.facts | {"rule": rule, "gain": gain}, part.rates)


def parts(part: NetworkPart, facts: dict, images) -> Parts:
    """The network of a part under a rule, its gains sent or cut."""
    model = part.model(images.shape, rules_of(facts["rule"]), facts["seed"], norm=BatchNorm)
    if facts["gain"] == "cut":
        cut_gains(model)
    return Parts(usual_training(model, part, facts, images), images.test, look=look)


def look(model, x, labels) -> dict:
    """trial.watch_layers, and the smallest and largest gain of each BatchNorm, bottom first."""
    gains = [layer.params["gamma"] for layer in model.walk() if isinstance(layer, BatchNorm)]
    return watch_layers(model, x, labels) | {
        "gains": [[float(gain.min()), float(gain.max())] for gain in gains]
    }


def bits(part: NetworkPart, law: str, rule: str) -> tuple[int, int]:
    """What travels in the network of a part under a law and a rule: at every step, at birth."""
    model = part.model(INPUTS[part.data], PRICED[rule], seed=0, norm=BatchNorm)
    return total(ledger(model, LAWS[law](model)))


def differences(result: Result, data: str, rule: str) -> list[float]:
    """Points that the cut costs, seed by seed."""
    both = (result.accuracies(data=data, rule=rule, gain=gain) for gain in GAINS)
    return [sent - cut for sent, cut in zip(*both, strict=False)]


def extremes(result: Result, data: str, rule: str) -> tuple[list, list]:
    """The smallest and the largest gain after training, for each seed."""
    trials = result.finished(data=data, rule=rule, gain="sent")
    ends = [trial["history"][-1]["gains"] for trial in trials]
    smallest = [min(low for low, _ in layers) for layers in ends]
    return smallest, [max(high for _, high in layers) for layers in ends]


def prices(part: NetworkPart) -> list[str]:
    """The ledger of the network of a part, as lines of a table."""
    table = Table(24, 18)
    table.lines.append(f"bits from W to B, {part.data}: at every step (+ once at birth)")
    table.row("", LAWS)
    for rule in PRICED:
        found = (bits(part, law, rule) for law in LAWS)
        cells = [f"{step:,}" + (f" (+ {birth:,})" if birth else "") for step, birth in found]
        table.row(rule, cells)
    leak, _ = bits(part, "free", "FA")  # FA sends nothing else
    table.lines.append(f"  of which through the gains of BatchNorm: {leak:,}")
    return table.lines


def table(result: Result) -> str:
    """The ledger of the last part's network; accuracy with gains sent and cut, and the gains."""
    table = Table(17, 14)
    table.lines += prices(TIERS[result.record["tier"]][-1])
    for data in result.values("data"):
        table.headline(result.trials(data=data)[0])
        table.row("", ("gains sent", "cut", "sent - cut", "smallest", "largest gain"))
        for rule in FOUR:
            cells = [result.cell(data=data, rule=rule, gain=gain) for gain in GAINS]
            others = differences(result, data, rule), *extremes(result, data, rule)
            table.row(rule, cells + [spread(values) + " " for values in others])
    return table.text()


def figures(result: Result) -> dict:
    """Accuracy under every rule, with gains sent and cut."""
    draw = plots.experiments
    groups = {
        TITLES[data]: {
            f"gains {gain}": {
                rule: result.accuracies(data=data, rule=rule, gain=gain) for rule in FOUR
            }
            for gain in GAINS
        }
        for data in result.values("data")
    }
    return {"gains": draw.dots(groups, "test accuracy (%)")} if groups else {}


SETTING = "an MLP on MNIST, a convolutional network on CIFAR-10, both with BN"


def ours(*rules):
    """Our accuracies under some rules, gains sent and cut, on both data sets, in words."""

    def written(result, data, rule):
        sent, cut = (result.measured(data=data, rule=rule, gain=gain) for gain in GAINS)
        return f"{TITLES[data]} {rule} {sent}, cut {cut}"

    return lambda result: "; ".join(written(result, *of) for of in product(BOTH, rules))


@claim(
    "Removing the gain of BatchNorm from the error costs SS and FA next to nothing",
    SETTING,
    ours("SS", "FA"),
)
def _cost(result):
    for data, rule in product(BOTH, ("SS", "FA")):
        lost = differences(result, data, rule)
        yield f"{data}: {rule}, at most 1 point of difference", abs(average(lost)) <= 1
        error = stdev(lost) / math.sqrt(len(lost)) if len(lost) > 1 else NOT_MEASURED
        at_most = abs(average(lost)) + 2 * error
        yield f"{data}: {rule}, 1.5 points excluded by two standard errors", at_most < 1.5


@claim(
    "It costs BP more than FA: where the rest of the error is exact, there is more to lose",
    SETTING,
    ours("BP", "FA"),
)
def _more_to_spoil(result):
    for data in BOTH:
        bp, fa = (average(differences(result, data, rule)) for rule in ("BP", "FA"))
        yield f"{data}: BP loses more than FA", bp > fa


# written before anything was measured
claims = listed(_cost, _more_to_spoil)
