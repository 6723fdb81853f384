"""Bartunov et al. 2018: how far does FA fall behind BP, on digits and on photographs?

Bartunov et al.    fully and locally connected networks on MNIST and CIFAR-10 (larger ones on
                   ImageNet), trained to the end; target propagation beside FA, not done here
here               networks of these kinds and a convolutional one, scaled down, few epochs of
                   SGD with momentum on images as they are (no crops, no flips); every network
                   chooses its own learning rate under every rule
"""

from dataclasses import dataclass
from functools import partial

from nnref import models, plots
from nnref.experiments.images import TITLES
from nnref.experiments.network import rules_of
from nnref.experiments.plan import Part, Setting
from nnref.experiments.result import Result, Table, average, claim, listed, measured, spread
from nnref.experiments.trial import Parts, usual_training

PAPER = (
    "Bartunov, Santoro, Richards, Marris, Hinton & Lillicrap 2018, *Assessing the scalability of "
    "biologically-motivated deep learning algorithms and architectures* "
    "([arXiv 1807.04587](https://arxiv.org/abs/1807.04587)), only its rows of BP and FA: FA learns "
    "digits well, and falls behind where images are harder."
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


DIGITS = NetworksPart(
    data="digits", take=60, width=0.05, rates=(0.1,), batch_size=25, seeds=2
)  # fmt: skip
SMALL = [
    NetworksPart(data="mnist", take=20_000, width=0.25, search_images=3_000, epochs=3),
    NetworksPart(data="cifar10", take=8_000, width=0.25, search_images=3_000, epochs=6, seeds=2),
]
FULL = [
    NetworksPart(data="mnist", epochs=20, batch_size=100),
    NetworksPart(data="cifar10", search_epochs=3, epochs=60, batch_size=100),
]
TIERS = {"smoke": [DIGITS], "small": SMALL, "full": FULL}


def plan(part: NetworksPart):
    """Every network under every rule."""
    for network in NETWORKS:
        for rule in RULES:
            facts = {"data": part.data, "network": network, "width": part.width, "rule": rule}
            yield Setting(facts, part.rates)


def parts(part: NetworksPart, facts: dict, images) -> Parts:
    """A network under a rule, as narrow as the part says."""
    build, (feedback, _) = NETWORKS[facts["network"]], rules_of(facts["rule"])
    model = build(images.shape, feedback=feedback, width=part.width, seed=facts["seed"])
    return Parts(usual_training(model, part, facts, images), images.test)


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
            for rule, values in errors(result, data, network).items():
                mark = result.mark(data=data, network=network, rule=rule)
                cell = spread(values) + (mark or " ")
                published = PUBLISHED.get(data, {}).get(network, {}).get(rule, "-")
                table.row(f"{network:<20}{rule}", [cell, published])
    return table.text()


def figures(result: Result) -> dict:
    """Test errors of every network under every rule, those of Bartunov et al. as stars."""
    draw = plots.experiments
    groups = {
        TITLES[data]: {network: errors(result, data, network) for network in NETWORKS}
        for data in result.values("data")
    }
    stars = {TITLES[data]: networks for data, networks in PUBLISHED.items()}
    return {"errors": draw.dots(groups, "test error (%)", stars)} if groups else {}


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
    found = errors(result, data, network)
    return average(found["FA"]) - average(found[other])


def learns(result, data, networks):
    """Guards: FA must beat the last layer alone, or its gap to BP means nothing."""
    for network in networks:
        below = gap(result, data, network, "last layer only") < 0
        yield f"{network}: FA below the last layer alone", below


def near_published(result, data, networks):
    """Conditions on the scale: BP must come near the published error, or FA's gap means little."""
    for network in networks:
        published = PUBLISHED[data][network]["BP"]
        near = average(errors(result, data, network)["BP"]) <= 1.5 * published
        yield f"{network}: BP's error at most 1.5 times the published {published} %", near


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
    partial(ours, data="cifar10", networks=NETWORKS),
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


# FA beside BP on digits and on photographs, and in which networks it falls behind
claims = listed(_mnist, _cifar10, _harder_images)
