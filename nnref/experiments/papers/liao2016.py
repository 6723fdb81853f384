"""Liao, Leibo & Poggio 2016, "How important is weight symmetry in backpropagation?" (AAAI, arXiv
1510.05067): the magnitudes of the feedback do not matter, its signs do, and BatchNorm (BN) and/or
"Batch Manhattan" (BM: only the sign of a gradient is used) are indispensable.

    theirs    15 data sets; B = sign(W) itself in uSF ("bare" below), others with random magnitudes
    ours      below: an MLP on MNIST and a small convolutional network on CIFAR-10, every rule with
              and without BN and BM; where B is not bare, with the lambda of Xiao et al. 2018, which
              keeps it as large as W. The learning rate is chosen for every setting by itself
"""

from functools import partial
from typing import NamedTuple

from matplotlib.figure import Figure

from nnref.experiments import images as sources
from nnref.experiments.network import network
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
from nnref.experiments.study import Parts, Study
from nnref.feedback import (
    Backprop,
    FeedbackAlignment,
    FixedMagnitudes,
    NoFeedback,
    RedrawnMagnitudes,
    SignSymmetry,
)
from nnref.layers import BatchNorm
from nnref.optim import SGD, BatchManhattan, cosine
from nnref.plots import experiments as draw
from nnref.questions.pathways import TrackingConcordance

PAPER = (
    "Liao, Leibo & Poggio 2016, *How important is weight symmetry in backpropagation?* "
    "([arXiv 1510.05067](https://arxiv.org/abs/1510.05067)): the signs of the feedback matter, its "
    "magnitudes do not, if there is BatchNorm (BN) or Batch Manhattan (BM: only the sign of a "
    "gradient is used). uSF: B = sign(W) with the lambda of Xiao et al. (bare: lambda = 1), frSF "
    "and brSF: random magnitudes, fixed or drawn for every batch. p: a share p of the synapses, "
    "fixed at birth, always has a feedback of the present sign of W, the others of the opposite "
    "one. So p = 0.5 is not FA, whose B stands still so that W can align with it."
)


RULES = {
    "BP": Backprop(),
    "uSF": SignSymmetry(),
    "frSF": FixedMagnitudes(),
    "brSF": RedrawnMagnitudes(),
    "uSF, bare": SignSymmetry(scale=1),
    "FA": FeedbackAlignment(),
}
PARTIAL = {f"p = {p}": TrackingConcordance(p) for p in (0.9, 0.75, 0.5)}  # uSF is p = 1
BASELINE = {"last layer only": NoFeedback()}
VARIANTS = {  # name -> (BatchNorm before every ReLU?, optimizer)
    "SGD": (False, SGD),
    "BM": (False, BatchManhattan),
    "BN": (True, SGD),
    "BN + BM": (True, BatchManhattan),
}
SETTINGS = [(rule, variant) for rule in RULES for variant in VARIANTS]
SETTINGS += [(rule, "BN") for rule in (*PARTIAL, *BASELINE)]
MOMENTUM = 0.9

WIDE = {  # learning rates to choose from, for every setting by itself
    "SGD": [1e-4, 1e-3, 0.01, 0.05, 0.25],
    "BM": [4e-5, 2e-4, 1e-3, 5e-3],
    "BN": [1e-3, 0.01, 0.05, 0.25, 1.0],
    "BN + BM": [2e-4, 1e-3, 5e-3, 0.02],
}
ONE = {"SGD": [0.05], "BM": [0.001], "BN": [0.05], "BN + BM": [0.001]}


class Part(NamedTuple):
    """One data set, and the network that is trained on it."""

    data: str
    kernels: list  # of the convolutions; none: a multi-layer perceptron
    units: list  # of the hidden layers above
    grids: dict  # the learning rates of every variant
    search: tuple  # training images and epochs of that choice
    epochs: int
    batch_size: int
    seeds: int
    take: tuple = ()  # how many images, of how many classes (sources.load); all


TIERS = {
    "smoke": [Part("digits", [2, 3], [5], ONE, (0, 0), 1, 25, 2, (60,))],
    "small": [
        Part("mnist", [], [256, 256, 256], WIDE, (8_000, 1), 5, 100, 3),
        Part("cifar10", [16, 32], [64], WIDE, (4_000, 1), 4, 32, 2, (6_000,)),
    ],
    "full": [
        Part("mnist", [], [500, 500, 500], WIDE, (10_000, 2), 20, 100, 3),
        Part("cifar10", [64, 128], [256], WIDE, (10_000, 2), 60, 100, 3),
    ],
}
MINUTES = {"smoke": "5 seconds", "small": "25 minutes on 2 cores", "full": "hours on a GPU"}


def run(study: Study, places: sources.Sources, seeds: int | None = None):
    """Train the network of every part under every rule, with and without BN and BM."""
    for part, images in sources.each(study, TIERS[study.tier], places):
        shape = "-".join(str(count) for count in (*part.kernels, *part.units))
        settings = [
            (
                {"data": part.data, "network": shape, "rule": rule, "variant": variant},
                part.grids[variant],
                partial(_parts, part, rule, variant),
            )
            for rule, variant in SETTINGS
        ]
        study.compare(settings, images, part.search, part.epochs, seeds or part.seeds)


def _parts(part, rule, variant, images, lr, epochs, seed) -> Parts:
    norm, optimizer = VARIANTS[variant]
    feedback = {**RULES, **PARTIAL, **BASELINE}[rule]
    model = network(
        images.train.images[0].shape, part.kernels, part.units, feedback, seed,
        norm=BatchNorm if norm else None,
    )  # fmt: skip
    return Parts(
        model, optimizer(model, lr, MOMENTUM), images.train, images.val, images.test, epochs,
        part.batch_size, cosine(lr, epochs),
    )  # fmt: skip


def found(result, data, rule, variant) -> list[float]:
    """Test accuracies in %, one for each seed."""
    return accuracies(chosen(result, data=data, rule=rule, variant=variant))


def table(result: dict) -> str:
    """Test accuracy of every rule without and with BatchNorm and Batch Manhattan."""
    lines = []
    for data in dict.fromkeys(trial["data"] for trial in chosen(result)):
        first = chosen(result, data=data)[0]
        lines.append(headline(first))
        lines.append(f"  {'':<17}" + "".join(f"{variant:>14}" for variant in VARIANTS))
        for rule in (*RULES, *PARTIAL, *BASELINE):
            cells = [_cell(result, data, rule, variant) for variant in VARIANTS]
            lines.append(f"  {rule:<17}" + "".join(f"{cell:>14}" for cell in cells))
    return "\n".join([*lines, *FOOT])


def _cell(result, data, rule, variant) -> str:
    return starred(
        result, chosen(result, data=data, rule=rule, variant=variant), "data", "rule", "variant"
    )


def figures(result: dict) -> dict[str, Figure]:
    """Accuracy under every rule in each of the four variants, and against the concordance."""
    everywhere, concordance = {}, {}
    for data in dict.fromkeys(trial["data"] for trial in chosen(result)):
        everywhere[sources.TITLES[data]] = {
            variant: {rule: found(result, data, rule, variant) for rule in RULES}
            for variant in VARIANTS
        }
        signs = {1: found(result, data, "uSF", "BN")}
        signs |= {float(p[4:]): found(result, data, p, "BN") for p in PARTIAL}
        lines = [("a share p of W's signs", *draw.STYLES["uSF"], signs)]
        for rule in ("BP", "FA", "last layer only"):
            level = found(result, data, rule, "BN")
            lines.append((rule, *draw.STYLES[rule], {0.5: level, 1: level}))
        concordance[f"test accuracy on {sources.TITLES[data]} (%)"] = lines
    if not everywhere:
        return {}
    return {
        "rules": draw.dots(everywhere, "test accuracy (%)"),
        "concordance": draw.against("share p of the feedback signs that agree", concordance),
    }


def claims(result: dict | None) -> list[Claim]:
    """The three sentences of their abstract."""
    return [_magnitudes(result), _concordance(result), _indispensable(result)]


SIGNS = ("uSF", "frSF", "brSF")
SETTING = "an MLP on MNIST, a small convolutional network on CIFAR-10"


def _numbers(result, data, settings) -> str:
    """Our accuracies under some (rule, variant)."""
    return ", ".join(
        f"{rule} {variant} {measured(found(result, data, rule, variant))}"
        for rule, variant in settings
    )


def _mean(result, data, rule, variant):
    return average(found(result, data, rule, variant))


def _magnitudes(result) -> Claim:
    settings = [(rule, "BN + BM") for rule in ("BP", *SIGNS)]

    def close(data, points):
        bp, *signs = (_mean(result, data, *setting) for setting in settings)
        return holds(lambda *values: min(values[1:]) >= values[0] - points, bp, *signs)

    return Claim(
        "The magnitudes of the feedback do not matter: with the right signs it matches BP",
        "stated in the abstract",
        SETTING,
        f"MNIST {_numbers(result, 'mnist', settings)}; "
        f"CIFAR-10 {_numbers(result, 'cifar10', settings)}",
        [
            ("MNIST: all three within 1 point of BP, or above", close("mnist", 1)),
            ("CIFAR-10: within 3 points", close("cifar10", 3)),
        ],
    )


def _concordance(result) -> Claim:
    settings = [("uSF", "BN"), *((p, "BN") for p in PARTIAL)]

    def falls(data):
        values = [_mean(result, data, *setting) for setting in settings]
        return holds(lambda a, b, c, d: a > b > c > d, *values)

    return Claim(
        "The signs matter: the more of them agree, the better",
        "stated in the abstract",
        SETTING + ", with BN",
        f"MNIST {_numbers(result, 'mnist', settings)}; "
        f"CIFAR-10 {_numbers(result, 'cifar10', settings)}",
        [
            ("MNIST: falls from p = 1 over 0.9 and 0.75 to 0.5", falls("mnist")),
            ("CIFAR-10: the same", falls("cifar10")),
        ],
    )


def _indispensable(result) -> Claim:
    rules = ("BP", "uSF, bare", *SIGNS)

    def behind(rule, variant, data="cifar10"):
        """How many points a rule is behind BP in the same variant."""
        bp, ours = (_mean(result, data, r, variant) for r in ("BP", rule))
        return None if None in (bp, ours) else bp - ours

    on_mnist = [behind(rule, "SGD", "mnist") for rule in rules[1:]]
    needed = holds(lambda *gaps: min(gaps) >= 1, *on_mnist)

    return Claim(
        "BatchNorm and/or Batch Manhattan are indispensable for asymmetric feedback",
        "stated in the abstract",
        SETTING,
        "CIFAR-10 "
        + "; ".join(
            _numbers(result, "cifar10", [(r, v) for r in rules]) for v in ("SGD", "BN + BM")
        )
        + "; MNIST "
        + _numbers(result, "mnist", [(rule, "SGD") for rule in rules]),
        [
            (
                f"{rule}: at least 5 points behind BP without both, closer to it with both",
                holds(
                    lambda without, both: without >= 5 and both < without,
                    behind(rule, "SGD"),
                    behind(rule, "BN + BM"),
                ),
            )
            for rule in rules[1:]
        ]
        + [("MNIST: each at least 1 point behind BP without both", needed)],
    )
