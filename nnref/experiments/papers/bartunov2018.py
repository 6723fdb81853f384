"""Bartunov, Santoro, Richards, Marris, Hinton & Lillicrap 2018, "Assessing the scalability of
biologically-motivated deep learning algorithms and architectures" (NeurIPS, arXiv 1807.04587):
feedback alignment (FA) learns digits well, but falls behind backpropagation (BP) on photographs,
most of all where neurons see only a part of the image and share no weights.

    theirs    fully and locally connected networks on MNIST and CIFAR-10 (larger ones on ImageNet),
              trained to the end; target propagation beside FA, which is not done here
    ours      below: networks of these kinds and a convolutional one, scaled down, few epochs of
              SGD with momentum on images as they are (no crops, no flips), the learning rate chosen
              for every network and rule by itself
"""

from functools import partial
from typing import NamedTuple

from matplotlib.figure import Figure

from nnref import models
from nnref.experiments import images as sources
from nnref.experiments.result import Claim, at_edge, average, chosen, errors, holds, measured
from nnref.experiments.study import Parts, Study, spread
from nnref.feedback import Backprop, FeedbackAlignment, NoFeedback
from nnref.optim import SGD, cosine
from nnref.plots import experiments as draw

PAPER = (
    "Bartunov, Santoro, Richards, Marris, Hinton & Lillicrap 2018, *Assessing the scalability of "
    "biologically-motivated deep learning algorithms and architectures* "
    "([arXiv 1807.04587](https://arxiv.org/abs/1807.04587)), its rows of BP and FA: FA learns "
    "digits well, and falls behind where images are harder."
)
PUBLISHED = {  # test error in %, their table of MNIST and CIFAR-10
    ("mnist", "fully connected", "BP"): 1.48,
    ("mnist", "fully connected", "FA"): 1.85,
    ("mnist", "locally connected", "BP"): 1.17,
    ("mnist", "locally connected", "FA"): 1.26,
    ("cifar10", "fully connected", "BP"): 41.3,
    ("cifar10", "fully connected", "FA"): 42.0,
}
RULES = {
    "BP": Backprop(),
    "FA": FeedbackAlignment(),
    "last layer only": NoFeedback(),  # the baseline
}
NETWORKS = {
    "fully connected": partial(models.mlp, [1024, 1024, 1024]),
    "locally connected": models.locally_connected,
    "convolutional": models.cifar_cnn,
}
MOMENTUM = 0.9


GRID = [0.002, 0.01, 0.03, 0.1, 0.3]  # of learning rates, for every network and rule by itself


class Part(NamedTuple):
    """One data set, and how the three networks are trained on it."""

    data: str
    search: tuple  # training images and epochs of that choice
    epochs: int
    batch_size: int
    seeds: int
    width: float = 1
    take: tuple = ()  # how many images, of how many classes (sources.load); all
    grid: list = GRID


TIERS = {
    "smoke": [Part("digits", (50, 1), 1, 25, 2, 0.05, (60,), [0.02, 0.1])],
    "small": [
        Part("mnist", (3_000, 2), 3, 32, 3, 0.25, (20_000,)),
        Part("cifar10", (3_000, 2), 6, 32, 2, 0.25, (8_000,)),
    ],
    "full": [
        Part("mnist", (10_000, 2), 20, 100, 3),
        Part("cifar10", (10_000, 3), 60, 100, 3),
    ],
}
MINUTES = {"smoke": "5 seconds", "small": "20 minutes on 2 cores", "full": "hours on a GPU"}


def run(study: Study, places: sources.Sources, seeds: int | None = None):
    """Train every network under every rule."""
    for part, images in sources.each(study, TIERS[study.tier], places):
        settings = [
            (
                {"data": part.data, "network": network, "width": part.width, "rule": rule},
                part.grid,
                partial(_parts, part, network, rule),
            )
            for network in NETWORKS
            for rule in RULES
        ]
        study.compare(settings, images, part.search, part.epochs, seeds or part.seeds)


def _parts(part, network, rule, images, lr, epochs, seed) -> Parts:
    model = NETWORKS[network](
        input_shape=images.train.images[0].shape,
        classes=10,
        width=part.width,
        seed=seed,
        feedback=RULES[rule],
    )
    return Parts(
        model, SGD(model, lr, MOMENTUM), images.train, images.val, images.test, epochs,
        part.batch_size, cosine(lr, epochs),
    )  # fmt: skip


def found(result, data, network, rule) -> list[float]:
    """Test errors in %, one for each seed."""
    return errors(chosen(result, data=data, network=network, rule=rule))


def table(result: dict) -> str:
    """Test errors in %, theirs beside ours."""
    lines = []
    for data in dict.fromkeys(trial["data"] for trial in chosen(result)):
        first = chosen(result, data=data)[0]
        lines.append(
            f"{data}, width {first['width']}, {first['images']} images, {first['epochs']} epochs"
        )
        lines.append(f"  {'':<37}{'ours':>13}{'theirs':>8}")
        for network in NETWORKS:
            for rule in RULES:
                trials = chosen(result, data=data, network=network, rule=rule)
                edge = trials and at_edge(result, trials[0], "data", "network", "rule")
                lines.append(
                    f"  {network:<20}{rule:<17}{spread(errors(trials)):>12}{'*' if edge else ' '}"
                    f"{PUBLISHED.get((data, network, rule), '-'):>8}"
                )
    lines.append("test error in %, mean ± standard deviation over the seeds")
    return "\n".join([*lines, "*: with the smallest or largest learning rate that was tried"])


def figures(result: dict) -> dict[str, Figure]:
    """Test errors of every network under every rule, theirs as stars."""
    groups, stars = {}, {}
    for data in dict.fromkeys(trial["data"] for trial in chosen(result)):
        title = sources.TITLES[data]
        groups[title] = {
            network: {rule: found(result, data, network, rule) for rule in RULES}
            for network in NETWORKS
        }
        stars[title] = {
            network: {rule: PUBLISHED.get((data, network, rule)) for rule in RULES}
            for network in NETWORKS
        }
    return {"errors": draw.dots(groups, "test error (%)", stars)} if groups else {}


def claims(result: dict | None) -> list[Claim]:
    """FA beside BP on digits and on photographs, and in which networks it falls behind."""

    def gap(data, network, rule="FA", other="BP"):
        """How many points of test error a rule is above the other."""
        ours, base = (average(found(result, data, network, r)) for r in (rule, other))
        return None if None in (ours, base) else ours - base

    def learns(data, network):
        below = gap(data, network, "FA", "last layer only")
        return (f"{network}: FA below the last layer alone", holds(lambda g: g < 0, below))

    full, local, shared = NETWORKS
    harder = [
        (f"{n}: a wider gap on CIFAR-10 than on MNIST", gap("cifar10", n), gap("mnist", n))
        for n in NETWORKS
    ]
    harder += [
        (f"CIFAR-10: a wider gap in the {n} network", gap("cifar10", n), gap("cifar10", full))
        for n in (local, shared)
    ]
    return [
        Claim(
            "On MNIST FA is less than half a point behind BP",
            "test error, fully connected BP 1.48, FA 1.85; locally connected 1.17, 1.26 %",
            _setting(result, "mnist"),
            _numbers(result, "mnist", (full, local)),
            [
                (f"{n}: FA at most 0.5 points above BP", holds(lambda g: g <= 0.5, gap("mnist", n)))
                for n in (full, local)
            ],
            [learns("mnist", n) for n in (full, local)],
        ),
        Claim(
            "On CIFAR-10 a fully connected network learns under FA as under BP",
            "test error BP 41.3, FA 42.0 %",
            _setting(result, "cifar10"),
            _numbers(result, "cifar10", (full,)),
            [("FA at most 1 point above BP", holds(lambda g: g <= 1, gap("cifar10", full)))],
            [learns("cifar10", full)],
        ),
        Claim(
            "FA falls behind as images get harder, most in networks that see them patch by patch",
            "ImageNet: top-1 error BP 71.4, FA 93.1 %",
            "MNIST and CIFAR-10 in place of ImageNet, as above",
            _numbers(result, "cifar10", NETWORKS),
            [(words, holds(lambda a, b: a > b, wide, narrow)) for words, wide, narrow in harder],
            [learns("cifar10", n) for n in NETWORKS],  # a gap to a run that fails shows nothing
        ),
    ]


def _setting(result, data) -> str:
    """Our setting in words."""
    first = next(iter(chosen(result, data=data)), None)
    if first is None:
        return sources.TITLES[data]
    width, images, epochs = first["width"], first["images"], first["epochs"]
    return f"{sources.TITLES[data]}, {images:,} images, {epochs} epochs, networks of width {width}"


def _numbers(result, data, networks) -> str:
    """Our errors of some networks."""
    return "; ".join(
        f"{network} "
        + ", ".join(f"{rule} {measured(found(result, data, network, rule))}" for rule in RULES)
        + " %"
        for network in networks
    )
