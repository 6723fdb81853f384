"""Liao, Leibo & Poggio 2016: every rule, without and with BatchNorm and Batch Manhattan.

Liao et al.    15 data sets; B = sign(W) itself in uSF ("bare" below)
here           an MLP on MNIST and a small convolutional network on CIFAR-10; where B is not
               bare, the lambda of Xiao et al. 2018 keeps it as large as W; every setting
               chooses its own learning rate
"""

from dataclasses import dataclass
from itertools import pairwise

from nnref import plots
from nnref.experiments.claims import claim, listed
from nnref.experiments.images import TITLES
from nnref.experiments.network import BOTH, RULES, NetworkPart, network
from nnref.experiments.numbers import beyond_spread, every
from nnref.experiments.plan import Setting
from nnref.experiments.result import Result, Table, words
from nnref.experiments.trial import Parts, usual_training
from nnref.feedback import SignSymmetry
from nnref.layers import BatchNorm
from nnref.optim import SGD, BatchManhattan
from nnref.questions.pathways import TrackingConcordance

PAPER = (
    "Liao, Leibo & Poggio 2016, *How important is weight symmetry in backpropagation?* ([arXiv "
    "1510.05067](https://arxiv.org/abs/1510.05067)): the signs of the feedback matter, its "
    "magnitudes do not, if there is BatchNorm (BN) or Batch Manhattan (BM: only the sign of a "
    "gradient is used). uSF: B = sign(W) with the lambda of Xiao et al. (bare: lambda = 1), frSF "
    "and brSF: random magnitudes, fixed or drawn for every batch. p: a share p of the synapses, "
    "fixed at the start, always has a feedback of the present sign of W, the others of the "
    "opposite one. So p = 0.5 is not FA, whose B is constant, so that W can align with it."
)
SIGNS = {"uSF": RULES["SS"], "frSF": RULES["frSF"], "brSF": RULES["brSF"]}
EVERYWHERE = {"BP": RULES["BP"], **SIGNS, "uSF, bare": SignSymmetry(scale=1), "FA": RULES["FA"]}
PARTIAL = {f"p = {p}": TrackingConcordance(p) for p in (0.9, 0.75, 0.5)}  # uSF is p = 1
FEEDBACK = EVERYWHERE | PARTIAL | {"last layer only": RULES["last layer only"]}  # the baseline
VARIANTS = {  # name -> what stands before every ReLU, optimizer
    "SGD": (None, SGD),
    "BM": (None, BatchManhattan),
    "BN": (BatchNorm, SGD),
    "BN + BM": (BatchNorm, BatchManhattan),
}


@dataclass(frozen=True, kw_only=True)
class VariantsPart(NetworkPart):
    """A part of the plan: a data set and its network, trained in every variant."""

    rates: dict  # variant -> learning rates to choose from, for every rule by itself
    search_images: int = 10_000
    search_epochs: int = 2
    batch_size: int = 100
    seeds: int = 3


ONE = {"SGD": [0.05], "BM": [0.001], "BN": [0.05], "BN + BM": [0.001]}
WIDE = {
    "SGD": [1e-4, 1e-3, 0.01, 0.05, 0.25],
    "BM": [4e-5, 2e-4, 1e-3, 5e-3],
    "BN": [1e-3, 0.01, 0.05, 0.25, 1.0],
    "BN + BM": [2e-4, 1e-3, 5e-3, 0.02],
}
DIGITS = VariantsPart(
    data="digits", take=60, kernels=[2, 3], units=[5], rates=ONE, batch_size=25, seeds=2
)
MNIST = VariantsPart(
    data="mnist", kernels=[], units=[256, 256, 256], rates=WIDE,
    search_images=8_000, search_epochs=1, epochs=5,
)  # fmt: skip
CIFAR10 = VariantsPart(
    data="cifar10", take=6_000, kernels=[16, 32], units=[64], rates=WIDE,
    search_images=4_000, search_epochs=1, epochs=4, batch_size=32, seeds=2,
)  # fmt: skip
FULL = [
    VariantsPart(data="mnist", kernels=[], units=[500, 500, 500], rates=WIDE, epochs=20),
    VariantsPart(data="cifar10", kernels=[64, 128], units=[256], rates=WIDE, epochs=60),
]
TIERS = {"smoke": [DIGITS], "small": [MNIST, CIFAR10], "full": FULL}


def plan(part: VariantsPart):
    """Every rule in every variant; with BN alone, partly concordant signs and the baseline."""
    for rule in FEEDBACK:
        for variant in VARIANTS if rule in EVERYWHERE else ["BN"]:
            yield Setting(part.facts | {"rule": rule, "variant": variant}, part.rates[variant])


def parts(part: VariantsPart, facts: dict, images) -> Parts:
    """The network of a part under a rule, with the norm and the optimizer of a variant."""
    norm, optimizer = VARIANTS[facts["variant"]]
    rule = FEEDBACK[facts["rule"]]
    model = network(images.shape, part.kernels, part.units, rule, facts["seed"], norm=norm)
    training = usual_training(model, part, facts, images, optimizer(model, facts["lr"]))
    return Parts(training, images.test)


def table(result: Result) -> str:
    """Test accuracy of every rule without and with BatchNorm and Batch Manhattan."""
    rules = {rule: {"rule": rule} for rule in FEEDBACK}
    variants = {variant: {"variant": variant} for variant in VARIANTS}
    table = Table(17, 14)
    for data in result.values("data"):
        table.headline(result.trials(data=data)[0])
        table.row("", VARIANTS)
        table.grid(result, rules, variants, data=data)
    return table.text()


def figures(result: Result) -> dict:
    """Accuracy under every rule in each of the four variants, and against the concordance."""
    draw = plots.experiments
    everywhere, concordance = {}, []
    for data in result.values("data"):
        everywhere[TITLES[data]] = {
            v: {rule: result.accuracies(data=data, rule=rule, variant=v) for rule in EVERYWHERE}
            for v in VARIANTS
        }
        with_bn = {rule: result.accuracies(data=data, rule=rule, variant="BN") for rule in FEEDBACK}
        signs = {1: with_bn["uSF"]} | {float(p[4:]): with_bn[p] for p in PARTIAL}
        lines = [("a share p\nof W's signs", draw.LOOKS["uSF"], signs)]
        for rule in ("BP", "FA", "last layer only"):  # level lines, at p = 0.5 and 1
            lines.append((rule, draw.LOOKS[rule], dict.fromkeys((0.5, 1), with_bn[rule])))
        title = f"{TITLES[data]}, with BatchNorm"
        concordance.append(draw.Panel(title, f"test accuracy on {TITLES[data]} (%)", lines))
    if not everywhere:
        return {}
    return {
        "rules": draw.dots(everywhere, "test accuracy (%)"),
        "concordance": draw.against("share p of the feedback signs that agree", concordance),
    }


ASYMMETRIC = ("uSF, bare", *SIGNS)
SETTING = "an MLP on MNIST, a small convolutional network on CIFAR-10"


def named(rules, variant):
    """Some rules in one variant, for `words`."""
    return {f"{rule} {variant}": {"rule": rule, "variant": variant} for rule in rules}


def behind(result, data, rule, variant):
    """How many points a rule is behind BP in the same variant."""
    bp, mean = (result.mean(data=data, rule=name, variant=variant) for name in ("BP", rule))
    return bp - mean


MAGNITUDES = "The magnitudes of the feedback do not matter: with the right signs it matches BP"


def magnitudes(result, variant):
    """Is each rule close to BP in a variant?"""
    for data, points in (("mnist", 1.0), ("cifar10", 3.0)):
        for rule in SIGNS:
            near = behind(result, data, rule, variant) <= points
            yield f"{TITLES[data]}: {rule} at most {points} points below BP", near


@claim(
    MAGNITUDES,
    SETTING,
    words(named(("BP", *SIGNS), "BN + BM"), BOTH),
    published="stated in the abstract",
)
def _magnitudes(result):
    yield from magnitudes(result, "BN + BM")


@claim(
    MAGNITUDES + " (with BatchNorm alone; this row was added after its numbers were known)",
    SETTING,
    words(named(("BP", *SIGNS), "BN"), BOTH),
    published="stated in the abstract",
)
def _magnitudes_with_BN(result):
    yield from magnitudes(result, "BN")


@claim(
    "The signs matter: the more of them agree, the better",
    SETTING + ", with BN",
    words(named(("uSF", *PARTIAL), "BN"), BOTH),
    published="stated in the abstract",
)
def _signs(result):
    for data in BOTH:
        for more, fewer in pairwise(("uSF", *PARTIAL)):
            found = (result.accuracies(data=data, rule=r, variant="BN") for r in (more, fewer))
            words = f"{TITLES[data]}: {more} above {fewer}, beyond the spread of the seeds"
            yield words, beyond_spread(*found)


def without_and_with(result):
    """Our accuracies without BN and BM, on CIFAR-10 with both too, in words."""
    without, both = (words(named(("BP", *ASYMMETRIC), v)) for v in ("SGD", "BN + BM"))
    on_cifar = f"{without(result, data='cifar10')}; {both(result, data='cifar10')}"
    return f"CIFAR-10 {on_cifar}; MNIST {without(result, data='mnist')}"


@claim(
    "BatchNorm and/or Batch Manhattan are indispensable for asymmetric feedback",
    SETTING,
    without_and_with,
    published="stated in the abstract",
)
def _indispensable(result):
    for rule in ASYMMETRIC:
        without, both = (behind(result, "cifar10", rule, v) for v in ("SGD", "BN + BM"))
        condition = f"{rule}: at least 5 points behind BP without both, closer to it with both"
        yield condition, every([without >= 5, both < without])
    on_mnist = [behind(result, "mnist", rule, "SGD") for rule in ASYMMETRIC]
    yield "MNIST: each at least 1 point behind BP without both", every(gap >= 1 for gap in on_mnist)


# the three sentences of the abstract
claims = listed(_magnitudes, _magnitudes_with_BN, _signs, _indispensable)
