"""What does Dale's law (a neuron keeps its sign for life) do to BP, SS and FA?

A question of ours: dale.py has the laws, tutorial 7 the mathematics. Every law with BP, SS
and FA, and the ways out for SS where neurons have signs:

    free         no law
    weights      every weight keeps its sign
    neurons      every neuron has one sign; four in five excite ("neurons, half": every other one)
    DANN         all neurons excite, inhibition has its interneurons (Cornford 2021)
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
from nnref.measure import weight_layers
from nnref.optim import SGD, cosine
from nnref.plots import experiments as draw
from nnref.questions import dale

PAPER = (
    "A question of ours: what does Dale's law do to BP, SS and FA? Each weight keeps its sign; or "
    "each neuron has one sign for all its targets (four in five excite; half: every other one); or "
    "all excite and inhibition goes through interneurons (DANN: Cornford et al. 2021, *Learning to "
    "live with Dale's principle* ([OpenReview](https://openreview.net/forum?id=eU776ZYxEpz)), here "
    "without its divisive half). BP last: B = W in the last layer; frSF: signs of W, random fixed "
    "magnitudes."
)
LAWS = {  # name -> model, seed -> Law
    "free": lambda model, seed: None,
    "weights": lambda model, seed: dale.every_weight(model),
    "neurons": partial(dale.every_neuron, excitatory=0.8),
    "neurons, half": partial(dale.every_neuron, excitatory=0.5),
    "DANN": partial(dale.interneurons, share=0.1),
}
RULES = {  # name -> rule, rule of the last layer
    "BP": (Backprop(), None),
    "SS": (SignSymmetry(), None),
    "FA": (FeedbackAlignment(), None),
    "SS, BP last": (SignSymmetry(), Backprop()),
    "frSF": (FixedMagnitudes(), None),
    "signed init": (SignedInit(), None),
    "last layer only": (NoFeedback(), None),
}
THREE = ("BP", "SS", "FA")
SETTINGS = [(law, rule) for law in LAWS for rule in THREE]
SETTINGS += [
    ("weights", "signed init"),
    ("free", "SS, BP last"), ("neurons", "SS, BP last"), ("neurons, half", "SS, BP last"),
    ("free", "frSF"), ("neurons", "frSF"), ("neurons, half", "frSF"),
    ("free", "last layer only"), ("neurons", "last layer only"),
]  # fmt: skip
MOMENTUM = 0.9
MLP, CNN = [1e-3, 5e-3, 0.02, 0.1], [3e-3, 0.02, 0.1]
TIERS = {
    "smoke": [Part("digits", [2], [10, 10], [0.02], (0, 0), 1, 20, 2, (60,))],
    "small": [
        Part("mnist", [], [100, 100, 100], MLP, (13_500, 4), 4, 32, 3, (15_000,)),
        Part("cifar10", [16, 32], [64], CNN, (4_000, 1), 4, 32, 3, (6_000,)),
    ],
    "full": [
        Part("mnist", [], [256, 256, 256], MLP, (10_000, 2), 20, 32, 5),
        Part("cifar10", [64, 128], [256], [1e-3, *CNN], (10_000, 2), 40, 100, 5),
    ],
}
MINUTES = {"smoke": "10 seconds", "small": "30 minutes on one core", "full": "hours on a GPU"}


def run(study: Study, places: sources.Sources, seeds: int | None = None):
    """Train the network of every part under every law and rule."""
    for part, images in sources.each(study, TIERS[study.tier], places):
        settings = [
            (
                {"data": part.data, "network": part.shape, "law": law, "rule": rule},
                part.rates,
                partial(_parts, part, law, rule),
            )
            for law, rule in SETTINGS
        ]
        study.compare(settings, images, part.search, part.epochs, seeds or part.seeds)


def _parts(part, law, rule, images, lr, epochs, seed) -> Parts:
    feedback, last_feedback = RULES[rule]
    model = network(
        images.train.images[0].shape, part.kernels, part.units, feedback, seed,
        last_feedback=last_feedback, norm=BatchNorm if part.kernels else None,
    )  # fmt: skip
    law = LAWS[law](model, seed=seed)
    return Parts(
        model, SGD(model, lr, MOMENTUM), images.train, images.val, images.test, epochs,
        part.batch_size, cosine(lr, epochs), look=_look, law=law,
    )  # fmt: skip


def _look(model, x, labels) -> dict:
    """trials.by_layer, and the share of each layer's weights that are held at zero."""
    weights = [layer.params["W"] for layer in weight_layers(model)]
    pinned = [float((abs(W) <= 2 * dale.PIN).mean()) for W in weights]
    return by_layer(model, x, labels) | {"pinned": pinned}


def found(result, data, law, rule) -> list[float]:
    """Test accuracies in %, one for each seed."""
    return accuracies(chosen(result, data=data, law=law, rule=rule))


def table(result: dict) -> str:
    """Accuracy under every law and rule; how many weights are held at zero."""
    lines = []
    for data in dict.fromkeys(trial["data"] for trial in chosen(result)):
        first = chosen(result, data=data)[0]
        lines.append(headline(first))
        lines.append(f"  {'':<17}" + "".join(f"{law:>15}" for law in LAWS))
        for rule in RULES:
            cells = [_cell(result, data, law, rule) for law in LAWS]
            lines.append(f"  {rule:<17}" + "".join(f"{cell:>15}" for cell in cells))
        lines.append("  % of the weights above the first layer that are held at zero")
        for rule in THREE:
            cells = [spread(pinned(result, data, law, rule)) for law in LAWS]
            lines.append(f"  {rule:<17}" + "".join(f"{cell:>14} " for cell in cells))
    return "\n".join([*lines, *FOOT])


def pinned(result, data, law, rule) -> list[float]:
    """The share of weights held at zero in %, mean of all layers but the first, for each seed."""
    trials = [t for t in chosen(result, data=data, law=law, rule=rule) if "test" in t]
    return [100 * average(trial["history"][-1]["pinned"][1:]) for trial in trials]


def _cell(result, data, law, rule) -> str:
    return starred(result, chosen(result, data=data, law=law, rule=rule), "data", "law", "rule")


def figures(result: dict) -> dict[str, Figure]:
    """Accuracy under every law and rule."""
    groups = {}
    for data in dict.fromkeys(trial["data"] for trial in chosen(result)):
        shown = [rule for rule in RULES if rule in draw.STYLES]
        groups[sources.TITLES[data]] = {
            law: {rule: found(result, data, law, rule) for rule in shown} for law in LAWS
        }
    return {"laws": draw.dots(groups, "test accuracy (%)")} if groups else {}


def claims(result: dict | None) -> list[Claim]:
    """What the mathematics of tutorial 7 lets us expect, written before anything was measured."""
    return [
        _weights(result),
        _no_transport(result),
        _trap(result),
        _ways_out(result),
        _cornford(result),
        _alignment(result),
    ]


NONE = "none in print"
SETTING = "an MLP on MNIST, a convolutional network with BN on CIFAR-10"
BOTH = ("mnist", "cifar10")


def _mean(result, *setting):
    return average(found(result, *setting))


def _words(result, *settings) -> str:
    """Our accuracies under some (law, rule), on both data sets."""
    return "; ".join(
        f"{sources.TITLES[data]} "
        + ", ".join(f"{law}, {rule} {measured(found(result, data, law, rule))}"
                    for law, rule in settings)
        for data in BOTH
    )  # fmt: skip


def _loss(result, data, law, rule):
    """Points that a law costs a rule."""
    return difference(_mean(result, data, "free", rule), _mean(result, data, law, rule))


def difference(a, b):
    """a - b, or None if one of them was not measured."""
    return None if None in (a, b) else a - b


def _weights(result) -> Claim:
    return Claim(
        "That every weight keeps its sign costs little",
        NONE + " (the code of Xiao et al. 2018 has the constraint)",
        SETTING,
        _words(result, *((law, rule) for rule in THREE for law in ("free", "weights"))),
        [
            (
                f"{data}: {rule} loses at most {points} points",
                holds(lambda a, points=points: a <= points, _loss(result, data, "weights", rule)),
            )
            for data, points in (("mnist", 2), ("cifar10", 4))
            for rule in THREE
        ],
    )


def _no_transport(result) -> Claim:
    settings = ("weights", "SS"), ("weights", "signed init")
    conditions = []
    for data in BOTH:
        ss, init = (found(result, data, *setting) for setting in settings)
        conditions.append((f"{data}: to the last digit", ss == init if ss and init else None))
    return Claim(
        "Where every weight keeps its sign, SS needs no transport at all: with the signs of birth "
        "it is the same network",
        NONE,
        SETTING,
        _words(result, *settings),
        conditions,
    )


def _trap(result) -> Claim:
    conditions = []
    for data in BOTH:
        ss, low = (_mean(result, data, "neurons", rule) for rule in ("SS", "last layer only"))
        conditions.append(
            (
                f"{data}: SS within 2 points of the last layer alone",
                holds(lambda a, b: abs(a - b) <= 2, ss, low),
            )
        )
        bp = _mean(result, data, "neurons", "BP")
        conditions.append(
            (f"{data}: SS at least 5 points below BP", holds(lambda a, b: a <= b - 5, ss, bp))
        )
    return Claim(
        "Where every neuron has one sign, SS in all layers teaches only the last: B has rank one, "
        "and behind softmax it sends exactly no error",
        NONE,
        SETTING,
        _words(result, *(("neurons", rule) for rule in ("BP", "SS", "last layer only"))),
        conditions,
    )


def _ways_out(result) -> Claim:
    settings = ("neurons", "SS, BP last"), ("neurons", "frSF"), ("DANN", "SS")
    return Claim(
        "Ways out: BP in the last layer, random magnitudes, or interneurons, whose net effect has "
        "signs for every synapse",
        NONE,
        SETTING,
        _words(result, *settings),
        [
            (
                f"{data}: {law}, {rule} at least 5 points above SS under the law of neurons",
                holds(
                    lambda a, b: a >= b + 5,
                    _mean(result, data, law, rule),
                    _mean(result, data, "neurons", "SS"),
                ),
            )
            for data in BOTH
            for law, rule in settings
        ],
    )


def _cornford(result) -> Claim:
    conditions = []
    for data, points in (("mnist", 1), ("cifar10", 3)):
        dann, column = (_loss(result, data, law, "BP") for law in ("DANN", "neurons"))
        conditions += [
            (
                f"{data}: DANN within {points} points of no law",
                holds(lambda a, points=points: a <= points, dann),
            ),
            (f"{data}: the law of neurons costs more", holds(lambda a, b: a < b, dann, column)),
        ]
    return Claim(
        "Under BP, interneurons learn just as well as a network without a law; signs for neurons "
        "alone impair learning",
        "stated in the abstract of Cornford et al. 2021",
        SETTING + "; without divisive inhibition",
        _words(result, ("free", "BP"), ("neurons", "BP"), ("DANN", "BP")),
        conditions,
    )


def _alignment(result) -> Claim:
    conditions = []
    for data in BOTH:
        losses = {rule: _loss(result, data, "neurons", rule) for rule in THREE}
        conditions += [
            (
                f"{data}: FA loses more than BP",
                holds(lambda a, b: a > b, losses["FA"], losses["BP"]),
            ),
            (
                f"{data}: FA still above the last layer alone",
                holds(
                    lambda a, b: a > b,
                    _mean(result, data, "neurons", "FA"),
                    _mean(result, data, "neurons", "last layer only"),
                ),
            ),
        ]
    return Claim(
        "The law of neurons hurts FA more than BP, since W can no longer turn toward a B of other "
        "signs, but it still learns",
        NONE,
        SETTING,
        _words(result, *((law, rule) for rule in ("BP", "FA") for law in ("free", "neurons"))),
        conditions,
    )
