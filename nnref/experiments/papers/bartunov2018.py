"""Bartunov et al. 2018: how far do FA and target propagation fall behind BP?

Bartunov et al.    fully and locally connected networks on MNIST and CIFAR-10 (larger ones on
                   ImageNet), trained to the end, under BP, FA and target propagation
here, BP and FA    networks of these kinds and a convolutional one, scaled down, few epochs of
                   SGD with momentum on images as they are (no crops, no flips); every network
                   chooses its own learning rate under every rule
here, targets      their fully connected network for MNIST, 784-256-256-256-256-256-10 with tanh,
                   with Adam at their settings for every rule (their Table 5), for fewer epochs than
                   their 500, of which they took the best; batches of 100, a size of nnref's choice
"""

import math
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import NamedTuple

from nnref import models, plots
from nnref.data.imageset import batches
from nnref.experiments import budget
from nnref.experiments.claims import claim, listed
from nnref.experiments.images import TITLES
from nnref.experiments.network import born_from, rules_of
from nnref.experiments.numbers import Number, beyond_spread, measured
from nnref.experiments.plan import Part, Setting
from nnref.experiments.result import Result, Table
from nnref.experiments.trial import Parts, usual_training, watch_layers
from nnref.feedback import Backprop, FeedbackAlignment, NoFeedback
from nnref.init import glorot_uniform, stream
from nnref.layers import Flatten, Linear, Sequential, Tanh
from nnref.optim import Adam
from nnref.rules.alternating import AlternatingTraining
from nnref.rules.direct import Direct, DirectFeedback
from nnref.rules.inverse import Inverse, denoising, noise_preserving
from nnref.rules.known import as_it_is
from nnref.rules.targets import AtOutput, BelowOutput, TargetPropagation
from nnref.train import Training

PAPER = (
    "Bartunov, Santoro, Richards, Marris, Hinton & Lillicrap 2018, *Assessing the scalability of "
    "biologically-motivated deep learning algorithms and architectures* "
    "([arXiv 1807.04587](https://arxiv.org/abs/1807.04587)): FA learns digits well, and falls "
    "behind where images are harder; target propagation learns better if layers and inverses take "
    "turns."
)
PUBLISHED = {  # test error in %, from the table of MNIST and CIFAR-10
    "mnist": {
        "fully connected": {"BP": 1.48, "FA": 1.85},
        "locally connected": {"BP": 1.17, "FA": 1.26},
    },
    "cifar10": {"fully connected": {"BP": 41.3, "FA": 42.0}},
}
RULES = "BP", "FA", "last layer only"  # the last one is the baseline
NETWORKS = {
    "fully connected": partial(models.mlp, [1024, 1024, 1024]),
    "locally connected": models.locally_connected,
    "convolutional": models.cifar_cnn,
}
DENSE, LOCAL, SHARED = NETWORKS


@dataclass(frozen=True, kw_only=True)
class NetworksPart(Part):
    """A part of the plan: a data set, on which all networks are trained."""

    width: float = 1  # times the numbers of units and kernels
    rates: tuple = (0.002, 0.01, 0.03, 0.1, 0.3)  # to choose from, for every network and rule
    search_images: int = 10_000
    search_epochs: int = 2
    seeds: int = 3

    def settings(self):
        """Every network under every rule."""
        for network in NETWORKS:
            for rule in RULES:
                facts = {"data": self.data, "network": network, "width": self.width, "rule": rule}
                yield Setting(facts, self.rates)

    def parts(self, facts: dict, images) -> Parts:
        """A network under a rule, as narrow as the part says."""
        build, (feedback, _) = NETWORKS[facts["network"]], rules_of(facts["rule"])
        model = build(images.shape, feedback=feedback, width=self.width, seed=facts["seed"])
        return Parts(usual_training(model, self, facts, images), images.test)


class Steps(NamedTuple):
    """How Adam steps."""

    lr: float
    beta1: float
    beta2: float
    eps: float


class Targets(NamedTuple):
    """A rule, with the settings that Bartunov et al. found best (their Table 5)."""

    published: float | None  # test error in %
    steps: Steps  # of W and b
    inverses: Steps | None = None  # of B and c
    sigma: float = 0.0  # of the noise at which inverses learn
    first: BelowOutput | AtOutput | None = None  # where targets start


DEEP = "five hidden layers"
DTP, SDTP = ("DTP parallel", "DTP alternating"), ("SDTP parallel", "SDTP alternating")
TARGETS = {
    "BP": Targets(1.48, Steps(1.52e-4, 0.9, 0.999, 1e-8)),
    "FA": Targets(1.85, Steps(1.68e-4, 0.9, 0.999, 1e-4)),
    "DTP parallel": Targets(
        2.86, Steps(7.57e-4, 0.99, 0.95, 1e-3), Steps(7.68e-4, 0.99, 0.999, 1e-4), 0.361,
        BelowOutput(0.150),
    ),
    "DTP alternating": Targets(
        1.83, Steps(3.08e-4, 0.99, 0.99, 1e-4), Steps(4.593e-3, 0.99, 0.999, 1e-4), 0.220,
        BelowOutput(0.232),
    ),
    "SDTP parallel": Targets(
        3.52, Steps(4.02e-4, 0.99, 0.999, 1e-8), Steps(1.101e-3, 0.99, 0.95, 1e-6), 0.214,
        AtOutput(),
    ),
    "SDTP alternating": Targets(
        2.28, Steps(3.01e-4, 0.9, 0.95, 1e-4), Steps(9.572e-3, 0.9, 0.95, 1e-3), 0.118,
        AtOutput(),
    ),
    "DFA": Targets(2.75, Steps(1.649e-3, 0.9, 0.95, 1e-3)),
    "last layer only": Targets(None, Steps(1.52e-4, 0.9, 0.999, 1e-8)),  # not in the paper
}  # fmt: skip


class GlorotAlignment(FeedbackAlignment):
    """Feedback alignment whose B is drawn from the distribution of W."""

    born = born_from(glorot_uniform)


MATRICES = {"BP": Backprop(), "FA": GlorotAlignment(), "DFA": Direct()}
MATRICES["last layer only"] = NoFeedback()
CARRIERS = {"DFA": DirectFeedback}  # networks that carry the error of a rule


@dataclass(frozen=True, kw_only=True)
class TargetsPart(Part):
    """A part of the plan: the network DEEP under the rules of TARGETS."""

    width: float = 1  # times the 256 units of a hidden layer
    batch_size: int = 100
    seeds: int = 3

    def settings(self):
        """Every rule at its published learning rate."""
        for rule, targets in TARGETS.items():
            facts = {"data": self.data, "network": DEEP, "width": self.width, "rule": rule}
            yield Setting(facts, [targets.steps.lr])

    def parts(self, facts: dict, images) -> Parts:
        """The network, trained at once or in turns with its inverses, as the rule says."""
        rule = facts["rule"]
        chosen, in_turns = TARGETS[rule], rule.endswith("alternating")
        model = deep(images.shape, round(256 * self.width), feedback_of(rule), facts["seed"])
        x, _ = next(batches(images.train, 1))
        model = CARRIERS.get(rule, as_it_is)(model, x)
        if chosen.first:
            model = TargetPropagation(model, chosen.first, parallel=not in_turns)
        return Parts(
            usual_training(
                model, self, facts, images, Adam(model, *chosen.steps), schedule=None,
                kind=AlternatingTraining if in_turns else Training,
            ),
            images.test, look=watch_layers, also=(rule, *chosen),
        )  # fmt: skip


def feedback_of(rule: str):
    """The feedback rule of a name in TARGETS."""
    if rule in MATRICES:
        return MATRICES[rule]
    loss, chosen = denoising if rule in SDTP else noise_preserving, TARGETS[rule]
    lr, beta1, beta2, eps = chosen.inverses
    adam = partial(Adam, lr=lr, beta1=beta1, beta2=beta2, eps=eps)
    return Inverse(loss, chosen.sigma, adam)


def deep(input_shape, units: int, feedback, seed: int) -> Sequential:
    """Five hidden layers of tanh units; W of Glorot & Bengio's distribution."""
    options = {"rng": stream(seed, "init"), "init": glorot_uniform, "feedback": feedback}
    layers = [Flatten()]
    for n_in, n_out in pairwise([math.prod(input_shape), *[units] * 5]):
        layers += [Linear(n_in, n_out, **options), Tanh()]
    model = Sequential(*layers, Linear(units, 10, **options))
    model.send_no_error_below()
    return model


DIGITS = NetworksPart(
    data="digits", take=60, width=0.05, rates=(0.1,), batch_size=25, seeds=2
)  # fmt: skip
SMALL = [
    NetworksPart(data="mnist", take=20_000, width=0.25, search_images=3_000, epochs=3),
    NetworksPart(data="cifar10", take=8_000, width=0.25, search_images=3_000, epochs=6, seeds=2),
    TargetsPart(data="mnist", epochs=10),
]
FULL = [
    NetworksPart(data="mnist", epochs=20, batch_size=100),
    NetworksPart(data="cifar10", search_epochs=3, epochs=60, batch_size=100),
    TargetsPart(data="mnist", epochs=100, seeds=5),
]
FEW = TargetsPart(data="digits", take=60, width=0.05, batch_size=25, seeds=2)
TIERS = {"smoke": [DIGITS, FEW], "small": SMALL, "full": FULL}


def plan(part: NetworksPart | TargetsPart):
    """The settings of a part."""
    yield from part.settings()


def parts(part: NetworksPart | TargetsPart, facts: dict, images) -> Parts:
    """The parts of a trial."""
    return part.parts(facts, images)


def errors(result: Result, data: str, network: str) -> dict[str, list[float]]:
    """Rule -> test errors in %, one for each seed."""
    return {rule: result.errors(data=data, network=network, rule=rule) for rule in RULES}


def table(result: Result) -> str:
    """Test errors in %, those of Bartunov et al. beside ours."""
    table = Table(39, 11)
    table.foot = [line.replace("accuracy", "error") for line in Table.foot]
    for data in result.values("data"):
        headline = "{data}, width {width}, {images} images, {epochs} epochs"
        table.lines.append(headline.format(**result.trials(data=data)[0]))
        table.row("", ["ours", "published"])
        for network in NETWORKS:
            for rule in RULES:
                cell = result.error_cell(data=data, network=network, rule=rule)
                published = PUBLISHED.get(data, {}).get(network, {}).get(rule, "-")
                table.row(f"{network:<20}{rule}", [cell, published])
    for data in result.values("data", network=DEEP):
        headline = "{data}, {network} of {width} x 256 units, {images} images, {epochs} epochs"
        table.lines.append(headline.format(**result.trials(data=data, network=DEEP)[0]))
        for rule in TARGETS:
            published = TARGETS[rule].published if data == "mnist" else None
            cell = result.error_cell(data=data, network=DEEP, rule=rule)
            table.row(f"{DEEP:<20}{rule}", [cell, published or "-"])
    return table.text()


def figures(result: Result) -> dict:
    """Test errors of every network under every rule, those of Bartunov et al. as stars."""
    draw = plots.experiments
    groups = {
        TITLES[data]: {network: errors(result, data, network) for network in NETWORKS}
        for data in result.values("data")
    }
    stars = {TITLES[data]: networks for data, networks in PUBLISHED.items()}
    drawn = {"errors": draw.dots(groups, "test error (%)", stars)} if groups else {}
    if result.values("data", network=DEEP):
        rows = {rule: {rule: errors} for rule, errors in deep_errors(result).items()}
        stars = {rule: {rule: targets.published} for rule, targets in TARGETS.items()}
        stars = {DEEP: stars}
        drawn["targets"] = draw.dots({DEEP: rows}, "test error (%)", stars, logarithmic="x")
    return drawn


def deep_errors(result: Result, data: str = "mnist") -> dict[str, list[float]]:
    """Rule -> test errors in % of DEEP, one for each seed."""
    return {rule: result.errors(data=data, network=DEEP, rule=rule) for rule in TARGETS}


def deep_error(result: Result, rule: str) -> Number:
    """The mean test error of DEEP on MNIST in %."""
    return result.error(data="mnist", network=DEEP, rule=rule)


def setting_of(result, data):
    """Our setting, in words."""
    words = "{}, {images:,} images, {epochs} epochs, networks of width {width}"
    trials = result.trials(data=data)
    return words.format(TITLES[data], **trials[0]) if trials else TITLES[data]


def ours(result, data, networks):
    """Our errors in some networks, in words."""
    found = []
    for network in networks:
        cells = [f"{rule} {measured(es)}" for rule, es in errors(result, data, network).items()]
        found.append(f"{network} {', '.join(cells)} %")
    return "; ".join(found)


def gap(result, data, network, other="BP"):
    """How many points the test error of FA is above that of another rule."""
    fa, another = (result.error(data=data, network=network, rule=r) for r in ("FA", other))
    return fa - another


def learns(result, data, networks):
    """Guards: FA must beat the last layer alone, or its gap to BP means nothing."""
    for network in networks:
        below = gap(result, data, network, "last layer only") < 0
        yield f"{network}: FA below the last layer alone", below


def near_published(result, data, networks):
    """Conditions on the scale: BP must come near the published error, or FA's gap means little."""
    for network in networks:
        error = result.error(data=data, network=network, rule="BP")
        for words, holds in budget.near(error, PUBLISHED[data][network]["BP"]):
            yield f"{network}: {words}", holds


@claim(
    "On MNIST FA is less than half a point behind BP",
    partial(setting_of, data="mnist"),
    partial(ours, data="mnist", networks=(DENSE, LOCAL)),
    published="test error, fully connected BP 1.48, FA 1.85; locally connected 1.17, 1.26 %",
    guards=partial(learns, data="mnist", networks=(DENSE, LOCAL)),
    scale=partial(near_published, data="mnist", networks=(DENSE, LOCAL)),
)
def _mnist(result):
    for network in (DENSE, LOCAL):
        yield f"{network}: FA at most 0.5 points above BP", gap(result, "mnist", network) <= 0.5


@claim(
    "On CIFAR-10 a fully connected network learns under FA as under BP",
    partial(setting_of, data="cifar10"),
    partial(ours, data="cifar10", networks=(DENSE,)),
    published="test error BP 41.3, FA 42.0 %",
    guards=partial(learns, data="cifar10", networks=(DENSE,)),
    scale=partial(near_published, data="cifar10", networks=(DENSE,)),
)
def _cifar10(result):
    yield "FA at most 1 point above BP", gap(result, "cifar10", DENSE) <= 1


@claim(
    "FA falls behind as images get harder, most in networks that see them patch by patch",
    "MNIST and CIFAR-10 in place of ImageNet, as above",
    lambda result: "; ".join(
        f"{TITLES[data]} {ours(result, data, NETWORKS)}" for data in ("mnist", "cifar10")
    ),
    published="ImageNet: top-1 error BP 71.4, FA 93.1 %",
    guards=partial(learns, data="cifar10", networks=NETWORKS),
)
def _harder_images(result):
    gaps = {network: gap(result, "cifar10", network) for network in NETWORKS}
    for network in NETWORKS:
        on_mnist = gap(result, "mnist", network)
        yield f"{network}: a wider gap on CIFAR-10 than on MNIST", gaps[network] > on_mnist
    for network in (LOCAL, SHARED):
        yield f"CIFAR-10: a wider gap in the {network} network", gaps[network] > gaps[DENSE]


def deep_setting(result):
    """The setting of DEEP, in words."""
    words = "MNIST, {images:,} images, {epochs} epochs, 784-5x256-10 tanh, published settings"
    trials = result.trials(data="mnist", network=DEEP)
    return words.format(**trials[0]) if trials else "MNIST, 784-5x256-10 tanh"


def deep_ours(result, *rules):
    """Errors of DEEP under some rules, or all, in words."""
    found = deep_errors(result)
    return ", ".join(f"{rule} {measured(found[rule])}" for rule in rules or found) + " %"


def as_published(*rules):
    """The published errors of DEEP, in words."""
    return "test error " + ", ".join(f"{rule} {TARGETS[rule].published}" for rule in rules) + " %"


def below(result, better: str, worse: str):
    """Whether DEEP has a lower error under one rule, by more than both standard deviations."""
    found = deep_errors(result)
    accuracies = [[-error for error in found[rule]] for rule in (better, worse)]
    return beyond_spread(*accuracies)


def deep_learns(result, *rules):
    """Guards: a rule that teaches hidden layers nothing cannot be compared."""
    for rule in rules:
        yield f"{rule} below the last layer alone", below(result, rule, "last layer only")


def long_enough(result):
    """A condition on the length: where BP is still far from its end, other rules are as well."""
    yield from budget.near(deep_error(result, "BP"), TARGETS["BP"].published, times=2)


@claim(
    "Target propagation learns better where layers and inverses take turns",
    deep_setting,
    deep_ours,
    published=as_published(*DTP, *SDTP),
    guards=lambda result: deep_learns(result, *DTP, *SDTP),
    scale=long_enough,
)
def _alternating(result):
    for parallel, alternating in (DTP, SDTP):
        yield f"{alternating} below {parallel}", below(result, alternating, parallel)


ORDER = "BP", "FA", "SDTP alternating", "DTP parallel", "SDTP parallel"  # as published, best first


@claim(
    "BP is best, then FA, SDTP in turns, DTP in parallel, SDTP in parallel; in turns, DTP is ahead "
    "of SDTP",
    deep_setting,
    deep_ours,
    published=as_published(*ORDER, DTP[1]),
    guards=lambda result: deep_learns(result, *ORDER, DTP[1]),
    scale=long_enough,
)
def _order(result):
    for better, worse in pairwise(ORDER):
        yield f"{better} below {worse}", below(result, better, worse)
    yield f"{DTP[1]} below {SDTP[1]}", below(result, DTP[1], SDTP[1])


@claim(
    "DTP that takes turns is as good as FA",
    deep_setting,
    lambda result: deep_ours(result, "FA", DTP[1]),
    published=as_published("FA", DTP[1]),
    guards=lambda result: deep_learns(result, "FA", DTP[1]),
    scale=long_enough,
)
def _as_fa(result):
    gap = deep_error(result, DTP[1]) - deep_error(result, "FA")
    yield f"{DTP[1]} at most 0.3 points above FA", gap <= 0.3
    yield f"{DTP[1]} at most 0.3 points below FA", gap >= -0.3


@claim(
    "DFA is behind FA",
    deep_setting,
    lambda result: deep_ours(result, "FA", "DFA"),
    published=as_published("FA", "DFA"),
    guards=lambda result: deep_learns(result, "FA", "DFA"),
    scale=long_enough,
)
def _direct(result):
    yield "FA below DFA", below(result, "FA", "DFA")


# FA beside BP on digits and on photographs, and in which networks it falls behind; then targets
claims = listed(_mnist, _cifar10, _harder_images, _alternating, _order, _as_fa, _direct)
