"""How much must travel from W to B, and what does it cost if BatchNorm's gamma does not?

A question of ours: nnref/questions/transport.py has the prices, tutorial 7 the argument. All
published implementations that we know of pass errors back through BatchNorm exactly, and so
multiply them by its gain gamma, a weight, even where they say that no weight is transported.

    sent    as in all of them
    cut     the error passes as if gamma were 1, its initial value
"""

from dataclasses import replace
from functools import partial
from itertools import product

from matplotlib.figure import Figure

from nnref.experiments.images import TITLES
from nnref.experiments.network import BOTH, DIGITS, FULL, RULES, SMALL, NetworkPart, network
from nnref.experiments.result import FOOT, Claim, Result, average, claim, headline, row, spread
from nnref.experiments.study import Setting
from nnref.experiments.trial import Parts, usual_training, watch_layers
from nnref.layers import BatchNorm
from nnref.optim import SGD
from nnref.plots import experiments as draw
from nnref.questions import dale
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
    "free": lambda model: None,
    "weights": dale.every_weight,
    "neurons": partial(dale.every_neuron, excitatory=0.8, seed=0),
    "DANN": partial(dale.interneurons, share=0.1, seed=0),
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
MINUTES = {"smoke": "10 seconds", "small": "25 minutes on one core", "full": "hours on a GPU"}


def plan(part: NetworkPart):
    """Every rule, its gains sent and cut."""
    for rule, gain in SETTINGS:
        yield Setting(part.facts | {"rule": rule, "gain": gain}, part.rates)


def parts(part: NetworkPart, facts: dict, images) -> Parts:
    """The network of a part under a rule, its gains sent or cut."""
    rule, seed = RULES[facts["rule"]], facts["seed"]
    model = network(images.shape, part.kernels, part.units, rule, seed, norm=BatchNorm)
    if facts["gain"] == "cut":
        cut_gains(model)
    optimizer = SGD(model, facts["lr"], momentum=0.9)
    training = usual_training(model, optimizer, part, facts, images)
    return Parts(training, images.test, look=look)


def look(model, x, labels) -> dict:
    """trial.watch_layers, and the smallest and largest gain of each BatchNorm, bottom first."""
    gains = [layer.params["gamma"] for layer in model.walk() if isinstance(layer, BatchNorm)]
    return watch_layers(model, x, labels) | {
        "gains": [[float(gain.min()), float(gain.max())] for gain in gains]
    }


def bits(part: NetworkPart, law: str, rule: str) -> tuple[int, int]:
    """What travels in the network of a part under a law and a rule: at every step, at birth."""
    feedback, last = PRICED[rule]
    model = network(
        INPUTS[part.data], part.kernels, part.units, feedback, seed=0,
        last_feedback=last, norm=BatchNorm,
    )  # fmt: skip
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


def table(result: Result) -> str:
    """The ledger of the last part's network; accuracy with gains sent and cut, and the gains."""
    part = TIERS[result.record["tier"]][-1]
    lines = [f"bits from W to B, {part.data}: at every step (+ once at birth)"]
    lines.append(row("", LAWS, 24, 18))
    for rule in PRICED:
        prices = [bits(part, law, rule) for law in LAWS]
        cells = [f"{step:,}" + (f" (+ {birth:,})" if birth else "") for step, birth in prices]
        lines.append(row(rule, cells, 24, 18))
    leak, _ = bits(part, "free", "FA")  # FA sends nothing else
    lines.append(f"  of which through the gains of BatchNorm: {leak:,}")
    for data in result.values("data"):
        lines.append(headline(result.trials(data=data)[0]))
        heads = ("gains sent", "cut", "sent - cut", "smallest", "largest gain")
        lines.append(row("", heads, 17, 14))
        for rule in FOUR:
            cells = [result.cell(data=data, rule=rule, gain=gain) for gain in GAINS]
            others = differences(result, data, rule), *extremes(result, data, rule)
            cells += [spread(values) + " " for values in others]
            lines.append(row(rule, cells, 17, 14))
    return "\n".join([*lines, *FOOT])


def figures(result: Result) -> dict[str, Figure]:
    """Accuracy under every rule, with gains sent and cut."""
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
        lost = average(differences(result, data, rule))
        yield f"{data}: {rule}, at most 1 point of difference", abs(lost) <= 1


@claim(
    "It costs BP more than FA: where the rest of the error is exact, there is more to lose",
    SETTING,
    ours("BP", "FA"),
)
def _more_to_spoil(result):
    for data in BOTH:
        bp, fa = (average(differences(result, data, rule)) for rule in ("BP", "FA"))
        yield f"{data}: BP loses more than FA", bp > fa


def claims(result: Result) -> list[Claim]:
    """What to expect, written before anything was measured."""
    return [claim_of(result) for claim_of in (_cost, _more_to_spoil)]
