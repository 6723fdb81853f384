"""What must travel from W to B, and what does it cost to stop the leak through BatchNorm's gamma?

A question of ours; questions/transport.py has the prices, tutorial 7 the argument. Every published
implementation that we know of passes errors back through BatchNorm exactly, and so multiplies them
by its gain gamma, a weight, also where it says that no weight is transported.

    sent    as everybody has it
    cut     the error passes as if gamma were 1, as it is at birth
"""

from functools import partial

from matplotlib.figure import Figure

from nnref.experiments import images as sources
from nnref.experiments.network import Part, network
from nnref.experiments.result import (
    FOOT,
    Claim,
    accuracies,
    average,
    chosen,
    headline,
    holds,
    measured,
    starred,
)
from nnref.experiments.study import Parts, Study, by_layer, spread
from nnref.feedback import (
    Backprop,
    FeedbackAlignment,
    FixedMagnitudes,
    NoFeedback,
    SignedInit,
    SignSymmetry,
)
from nnref.layers import BatchNorm
from nnref.optim import SGD, cosine
from nnref.plots import experiments as draw
from nnref.questions import transport
from nnref.questions.dale import every_neuron, every_weight, interneurons
from nnref.questions.pathways import FixedConcordance, TrackingConcordance

PAPER = (
    "A question of ours: how many bits a step must travel from W to B under every rule and law of "
    "tutorials 6 to 9, and what does it cost to cut the gain of BatchNorm out of the error, which "
    "travels under every rule, FA too?"
)
RULES = {
    "BP": Backprop(),
    "SS": SignSymmetry(),
    "FA": FeedbackAlignment(),
    "last layer only": NoFeedback(),
}
GAINS = ("sent", "cut")
SETTINGS = [(rule, gain) for rule in ("BP", "SS", "FA") for gain in GAINS]
SETTINGS += [("last layer only", "sent")]
PRICED = {  # of the ledger: name -> rule, rule of the last layer
    "BP": (Backprop(), None),
    "SS, or tracking p": (SignSymmetry(), None),
    "SS, BP last": (SignSymmetry(), Backprop()),
    "frSF": (FixedMagnitudes(), None),
    "antiparallel, tracking": (TrackingConcordance(0), None),
    "signed init, or fixed p": (SignedInit(), None),
    "antiparallel, fixed": (FixedConcordance(0), None),
    "FA": (FeedbackAlignment(), None),
}
LAWS = {
    "free": lambda model: None,
    "weights": every_weight,
    "neurons": partial(every_neuron, excitatory=0.8, seed=0),
    "DANN": partial(interneurons, share=0.1, seed=0),
}
MOMENTUM = 0.9
RATES = [3e-3, 0.02, 0.1]
TIERS = {
    "smoke": [Part("digits", [2], [10, 10], [0.02], (0, 0), 1, 20, 2, (60,))],
    "small": [
        Part("mnist", [], [100, 100, 100], RATES, (6_000, 1), 6, 32, 5, (15_000,)),
        Part("cifar10", [16, 32], [64], RATES, (4_000, 1), 6, 32, 5, (8_000,)),
    ],
    "full": [
        Part("mnist", [], [256, 256, 256], RATES, (10_000, 2), 20, 32, 5),
        Part("cifar10", [64, 128], [256], RATES, (10_000, 2), 40, 100, 5),
    ],
}
MINUTES = {"smoke": "10 seconds", "small": "25 minutes on one core", "full": "hours on a GPU"}


def run(study: Study, places: sources.Sources, seeds: int | None = None):
    """Train the network of every part under every rule, its gains sent and cut."""
    for part, images in sources.each(study, TIERS[study.tier], places):
        settings = [
            (
                {"data": part.data, "network": part.shape, "rule": rule, "gain": gain},
                part.rates,
                partial(_parts, part, rule, gain),
            )
            for rule, gain in SETTINGS
        ]
        study.compare(settings, images, part.search, part.epochs, seeds or part.seeds)


def _parts(part, rule, gain, images, lr, epochs, seed) -> Parts:
    model = _network(part, images.train.images[0].shape, RULES[rule], seed)
    if gain == "cut":
        transport.cut_gains(model)
    return Parts(
        model, SGD(model, lr, MOMENTUM), images.train, images.val, images.test, epochs,
        part.batch_size, cosine(lr, epochs), look=_look,
    )  # fmt: skip


def _network(part, input_shape, rule, seed, last=None):
    """The network of a part."""
    return network(
        input_shape, part.kernels, part.units, rule, seed, last_feedback=last, norm=BatchNorm
    )


def _look(model, x, labels) -> dict:
    """trials.by_layer, and the smallest and largest gain of each BatchNorm, bottom first."""
    gains = [layer.params["gamma"] for layer in model.walk() if isinstance(layer, BatchNorm)]
    return by_layer(model, x, labels) | {
        "gains": [[float(gain.min()), float(gain.max())] for gain in gains]
    }


def found(result, data, rule, gain="sent") -> list[float]:
    """Test accuracies in %, one for each seed."""
    return accuracies(chosen(result, data=data, rule=rule, gain=gain))


def bits(part: Part, input_shape, law: str, rule: str) -> tuple[int, int]:
    """What travels in the network of a part under a law and a rule: at every step, at birth."""
    feedback, last = PRICED[rule]
    model = _network(part, input_shape, feedback, 0, last)
    return transport.total(transport.ledger(model, LAWS[law](model)))


INPUTS = {"digits": (32, 32, 1), "mnist": (28, 28, 1), "cifar10": (32, 32, 3)}


def table(result: dict) -> str:
    """The ledger of the last part's network; accuracy with gains sent and cut, and the gains."""
    part = TIERS[result["tier"]][-1]
    lines = [f"bits from W to B, {part.data}: at every step (+ once at birth)"]
    lines.append(f"  {'':<24}" + "".join(f"{law:>18}" for law in LAWS))
    for rule in PRICED:
        cells = []
        for law in LAWS:
            step, birth = bits(part, INPUTS[part.data], law, rule)
            cells.append(f"{step:,}" + (f" (+ {birth:,})" if birth else ""))
        lines.append(f"  {rule:<24}" + "".join(f"{cell:>18}" for cell in cells))
    model = _network(part, INPUTS[part.data], FeedbackAlignment(), 0)
    leak, _ = transport.total(transport.ledger(model))
    lines.append(f"  of which through the gains of BatchNorm: {leak:,}")
    for data in dict.fromkeys(trial["data"] for trial in chosen(result)):
        first = chosen(result, data=data)[0]
        lines.append(headline(first))
        heads = ("gains sent", "cut", "sent - cut", "smallest", "largest gain")
        lines.append(f"  {'':<17}" + "".join(f"{head:>14}" for head in heads))
        for rule in RULES:
            cells = [_cell(result, data, rule, gain) for gain in GAINS]
            cells.append(spread(differences(result, data, rule)) + " ")
            cells += [f"{gain} " for gain in _gains(result, data, rule)]
            lines.append(f"  {rule:<17}" + "".join(f"{cell:>14}" for cell in cells))
    return "\n".join([*lines, *FOOT])


def _cell(result, data, rule, gain) -> str:
    return starred(result, chosen(result, data=data, rule=rule, gain=gain), "data", "rule", "gain")


def differences(result, data, rule) -> list[float]:
    """Points that the cut costs, seed by seed."""
    pairs = zip(found(result, data, rule), found(result, data, rule, "cut"), strict=False)
    return [sent - cut for sent, cut in pairs]


def _gains(result, data, rule) -> tuple[str, str]:
    """The smallest and the largest gain at the end, over the seeds."""
    ends = [
        trial["history"][-1]["gains"]
        for trial in chosen(result, data=data, rule=rule, gain="sent")
        if "test" in trial
    ]
    smallest = [min(low for low, _ in layers) for layers in ends]
    return spread(smallest), spread([max(high for _, high in layers) for layers in ends])


def figures(result: dict) -> dict[str, Figure]:
    """Accuracy under every rule, with gains sent and cut."""
    groups = {}
    for data in dict.fromkeys(trial["data"] for trial in chosen(result)):
        groups[sources.TITLES[data]] = {
            f"gains {gain}": {rule: found(result, data, rule, gain) for rule in RULES}
            for gain in GAINS
        }
    return {"gains": draw.dots(groups, "test accuracy (%)")} if groups else {}


def claims(result: dict | None) -> list[Claim]:
    """What to expect, written before anything was measured."""
    return [_cost(result), _useful(result)]


SETTING = "an MLP on MNIST, a convolutional network on CIFAR-10, both with BN"
BOTH = ("mnist", "cifar10")


def _words(result, rules) -> str:
    return "; ".join(
        f"{sources.TITLES[data]} {rule} {measured(found(result, data, rule))}, cut "
        f"{measured(found(result, data, rule, 'cut'))}"
        for data in BOTH
        for rule in rules
    )


def _cost(result) -> Claim:
    conditions = [
        (
            f"{data}: {rule}, at most 1 point of difference",
            holds(lambda a: abs(a) <= 1, average(differences(result, data, rule))),
        )
        for data in BOTH
        for rule in ("SS", "FA")
    ]
    return Claim(
        "To cut the gain of BatchNorm out of the error costs SS and FA next to nothing",
        "none in print",
        SETTING,
        _words(result, ("SS", "FA")),
        conditions,
    )


def _useful(result) -> Claim:
    conditions = []
    for data in BOTH:
        lost = {rule: average(differences(result, data, rule)) for rule in ("BP", "SS", "FA")}
        conditions.append(
            (
                f"{data}: BP loses more than FA",
                holds(lambda a, b: a > b, lost["BP"], lost["FA"]),
            )
        )
    return Claim(
        "It costs BP more than FA: where the rest of the error is exact, there is more to spoil",
        "none in print",
        SETTING,
        _words(result, ("BP", "FA")),
        conditions,
    )
