"""Do forward and feedback pathways that run antiparallel justify sign-symmetry?

A question of ours: pathways.py has the rules, tutorial 6 the mathematics. A share p of the
feedback weights agrees in sign with W, from all of them (p = 1) to none (0, antiparallel). Four
kinds of pathway, in all layers, or with B = W in the last one ("BP last"):

    tracking              B follows the signs of W through a mask that stands still
    fixed                 B is drawn once, with the signs of W at birth
    tracking, inverted    the same with an inverting interneuron at the end: its B with a minus
    fixed, inverted
"""

from functools import partial
from statistics import mean

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
from nnref.feedback import Backprop, FeedbackAlignment, NoFeedback, SignSymmetry
from nnref.layers import BatchNorm
from nnref.measure import weight_layers
from nnref.optim import SGD, cosine
from nnref.plots import experiments as draw
from nnref.questions.pathways import (
    FixedConcordance,
    Inverted,
    TrackingConcordance,
    predicted_angle,
)

PAPER = (
    "A question of ours: are forward and feedback pathways that run antiparallel a reason to "
    "believe in sign-symmetry? A share p of the feedback has the sign of W; B tracks the signs of "
    "W, or is fixed with those of its birth; inverted: with an interneuron that turns the error "
    "around; BP last: B = W in the last layer."
)
KINDS = {  # name -> p -> rule
    "tracking": TrackingConcordance,
    "fixed": FixedConcordance,
    "tracking, inverted": lambda p: Inverted(TrackingConcordance(p)),
    "fixed, inverted": lambda p: Inverted(FixedConcordance(p)),
}
LEVELS = {  # what has no p
    "BP": Backprop(),
    "SS": SignSymmetry(),
    "FA": FeedbackAlignment(),
    "last layer only": NoFeedback(),
}
LASTS = {"all": None, "BP last": Backprop()}
MOMENTUM = 0.9

EVERY = [1, 0.9, 0.75, 0.5, 0.25, 0.1, 0]
PS = {"digits": [1, 0.5, 0], "mnist": EVERY, "cifar10": [1, 0.75, 0.5, 0.25, 0]}
MLP, CNN = [1e-3, 5e-3, 0.02, 0.1], [3e-3, 0.02, 0.1]
TIERS = {
    "smoke": [Part("digits", [], [6, 5], [0.05], (0, 0), 1, 20, 2, (60,))],
    "small": [
        Part("mnist", [], [100, 100, 100], MLP, (13_500, 4), 4, 32, 3, (15_000,)),
        Part("cifar10", [16, 32], [64], CNN, (4_000, 1), 4, 32, 3, (6_000,)),
    ],
    "full": [
        Part("mnist", [], [256, 256, 256], MLP, (10_000, 2), 20, 32, 5),
        Part("cifar10", [64, 128], [256], [1e-3, *CNN], (10_000, 2), 40, 100, 5),
    ],
}
MINUTES = {"smoke": "10 seconds", "small": "an hour on one core", "full": "hours on a GPU"}


def run(study: Study, places: sources.Sources, seeds: int | None = None):
    """Train the network of every part with every pathway."""
    for part, images in sources.each(study, TIERS[study.tier], places):
        names = [(level, None, "all") for level in LEVELS]
        names += [(kind, p, last) for kind in KINDS for last in LASTS for p in PS[part.data]]
        settings = [_setting(part, *name) for name in names]
        study.compare(settings, images, part.search, part.epochs, seeds or part.seeds)


def _setting(part, kind, p, last):
    """What Study.compare takes: facts, learning rates, and what makes the parts of a trial."""
    facts = {"data": part.data, "network": part.shape, "kind": kind, "p": p, "last": last}
    return facts, part.rates, partial(_parts, part, kind, p, last)


def _parts(part, kind, p, last, images, lr, epochs, seed) -> Parts:
    rule = LEVELS[kind] if p is None else KINDS[kind](p)
    model = network(
        images.train.images[0].shape, part.kernels, part.units, rule, seed,
        last_feedback=LASTS[last], norm=BatchNorm if part.kernels else None,
    )  # fmt: skip
    return Parts(
        model, SGD(model, lr, MOMENTUM), images.train, images.val, images.test, epochs,
        part.batch_size, cosine(lr, epochs), look=partial(_look, p),
    )  # fmt: skip


def _look(p, model, x, labels) -> dict:
    """trials.by_layer, and the angle of W and B that p and the histogram of W predict."""
    weights = [layer.params["W"] for layer in weight_layers(model)]
    predicted = [] if p is None else [predicted_angle(W, p) for W in weights]
    return by_layer(model, x, labels) | {"predicted_angle_deg": predicted}


def trials_of(result, data, kind, p=None, last="all") -> list[dict]:
    """The trials of a setting, one for each seed."""
    return chosen(result, data=data, kind=kind, p=p, last=last)


def found(result, *setting) -> list[float]:
    """Test accuracies in %, one for each seed."""
    return accuracies(trials_of(result, *setting))


def angles(result, data, kind, p, name, epoch=-1) -> list[float]:
    """For each seed the mean of an angle over the layers whose B is used: all but the first."""
    return [
        mean(trial["history"][epoch][name][1:])
        for trial in trials_of(result, data, kind, p)
        if "test" in trial
    ]


def shares(result, data) -> list[float]:
    """All p on a data set, from 1 down."""
    return sorted({t["p"] for t in chosen(result, data=data)} - {None}, reverse=True)


def table(result: dict) -> str:
    """Accuracy of every pathway against p; the angle of W and B beside the analytic one."""
    lines = []
    for data in dict.fromkeys(trial["data"] for trial in chosen(result)):
        first, ps = chosen(result, data=data)[0], shares(result, data)
        lines.append(headline(first))
        lines.append(f"  {'p':<29}" + "".join(f"{p:>14g}" for p in ps))
        for kind in KINDS:
            for last in LASTS:
                cells = [_cell(result, data, kind, p, last) for p in ps]
                name = kind if last == "all" else f"{kind}, {last}"
                lines.append(f"  {name:<29}" + "".join(f"{cell:>14}" for cell in cells))
        levels = [f"{level} {_cell(result, data, level).strip()}" for level in LEVELS]
        lines.append(f"  {'; '.join(levels)}")
        lines.append("  angle of W and B, degrees, mean of all layers but the first")
        for kind in ("tracking", "fixed"):
            for when, name, epoch in (
                ("at birth", "weight_angle_deg", 0),
                ("after training", "weight_angle_deg", -1),
                ("then predicted", "predicted_angle_deg", -1),
            ):
                cells = [spread(angles(result, data, kind, p, name, epoch)) for p in ps]
                row = f"{kind}, {when}"
                lines.append(f"  {row:<29}" + "".join(f"{cell:>13} " for cell in cells))
    return "\n".join([*lines, *FOOT])


def _cell(result, *setting) -> str:
    return starred(result, trials_of(result, *setting), "data", "kind", "p", "last")


LOOKS = {  # kind -> (color, line style)
    "tracking": (draw.STYLES["SS"][0], "-"),
    "fixed": (draw.STYLES["FA"][0], "-"),
    "tracking, inverted": (draw.STYLES["SS"][0], ":"),
    "fixed, inverted": (draw.STYLES["FA"][0], ":"),
}


def figures(result: dict) -> dict[str, Figure]:
    """Accuracy against p, with all layers alike and with BP in the last; angles against p."""
    accuracy, angle = {}, {}
    for data in dict.fromkeys(trial["data"] for trial in chosen(result)):
        ps, title = shares(result, data), sources.TITLES[data]
        for last in LASTS:
            lines = [
                (kind, *look, {p: found(result, data, kind, p, last) for p in ps})
                for kind, look in LOOKS.items()
            ]
            for level in ("BP", "last layer only"):
                here = found(result, data, level)
                lines.append((level, draw.STYLES[level][0], "--", {1: here, 0: here}))
            layers = "all layers" if last == "all" else last
            accuracy[f"accuracy on {title} (%), {layers}"] = lines
        lines = []
        for kind, (color, _) in list(LOOKS.items())[:2]:
            for name, epoch, style, key in (
                ("at birth", 0, ":", "weight_angle_deg"),
                ("after training", -1, "-", "weight_angle_deg"),
                ("predicted then", -1, "x", "predicted_angle_deg"),
            ):
                values = {p: angles(result, data, kind, p, key, epoch) for p in ps}
                if (kind, name) != ("fixed", "predicted then"):
                    lines.append((f"{kind}, {name}", color, style, values))
        angle[f"angle of W and B, {title} (degrees)"] = lines
    if not accuracy:
        return {}
    label = "share p of feedback signs that agree with W"
    return {"accuracy": draw.against(label, accuracy), "angle": draw.against(label, angle)}


def claims(result: dict | None) -> list[Claim]:
    """What the mathematics of tutorial 6 lets us expect, written before anything was measured."""
    return [
        _antiparallel(result),
        _interneuron(result),
        _mirror(result),
        _switch(result),
        _last(result),
        _angle(result),
    ]


NONE = "none in print"
SETTING = "an MLP on MNIST, a convolutional network with BN on CIFAR-10"
BOTH = ("mnist", "cifar10")


def _mean(result, *setting):
    return average(found(result, *setting))


def _numbers(result, data, kind, ps, last="all") -> str:
    cells = [f"p = {p:g}: {measured(found(result, data, kind, p, last))}" for p in ps]
    return f"{sources.TITLES[data]} {kind} {', '.join(cells)}"


def _antiparallel(result) -> Claim:
    ps = (1, 0.75, 0.5, 0.25, 0)
    conditions = []
    for data in BOTH:
        values = [_mean(result, data, "tracking", p) for p in ps]
        falls = holds(lambda a, b, c, d, e: a > b > c > max(d, e), *values)
        conditions.append((f"{data}: falls with p down to 0.5, lower still below", falls))
        below = holds(lambda d, low: d < low, values[-1], _mean(result, data, "last layer only"))
        conditions.append((f"{data}: at p = 0 worse than the last layer alone", below))
    return Claim(
        "Where B tracks the signs of W, accuracy falls with p, and an antiparallel pathway is "
        "worse than none",
        "Liao et al. 2016, abstract, for p from 1 to 0.5: the more concordant, the better; none in "
        "print below",
        SETTING,
        "; ".join(_numbers(result, data, "tracking", ps) for data in BOTH),
        conditions,
    )


def _interneuron(result) -> Claim:
    conditions, ours = [], []
    for data in BOTH:
        inverted, ss = found(result, data, "tracking, inverted", 0), found(result, data, "SS")
        same = inverted == ss if inverted and ss else None
        conditions.append((f"{data}: to the last digit, seed by seed", same))
        ours.append(f"{sources.TITLES[data]} {measured(inverted)}, SS {measured(ss)}")
    return Claim(
        "An antiparallel pathway with an inverting interneuron is sign-symmetry, exactly",
        NONE,
        SETTING,
        "; ".join(ours),
        conditions,
    )


def _mirror(result) -> Claim:
    gaps, conditions = {}, []
    for data in BOTH:
        ps = shares(result, data)
        pairs = [
            (
                _mean(result, data, f"{kind}, inverted", p),
                _mean(result, data, kind, round(1 - p, 6)),
            )
            for kind in ("tracking", "fixed")
            for p in ps
            if p > 0  # there the mask is the same, so the two are one (above)
        ]
        known = pairs and not any(None in pair for pair in pairs)
        gaps[data] = max(abs(a - b) for a, b in pairs) if known else None
        conditions.append(
            (f"{data}: within 4 points at every p", holds(lambda gap: gap <= 4, gaps[data]))
        )
    words = ", ".join(f"{sources.TITLES[d]} {g:.1f}" for d, g in gaps.items() if g is not None)
    return Claim(
        "With the interneuron, p acts as 1 - p does without it, with another draw of the mask",
        NONE,
        SETTING,
        f"largest difference of the means, points: {words or '-'}",
        conditions,
    )


def _switch(result) -> Claim:
    conditions, ours = [], []
    for data in BOTH:
        for p, points in ((0.5, 2), (0, 10)):
            fixed, tracking = (_mean(result, data, kind, p) for kind in ("fixed", "tracking"))
            ahead = holds(lambda a, b, points=points: a >= b + points, fixed, tracking)
            conditions.append((f"{data}: at p = {p:g} fixed at least {points} points ahead", ahead))
        low = _mean(result, data, "last layer only")
        learns = holds(lambda a, b: a >= b + 2, _mean(result, data, "fixed", 0), low)
        conditions.append((f"{data}: fixed at p = 0 beats the last layer alone by 2", learns))
        ours.append(_numbers(result, data, "fixed", (1, 0.5, 0)))
        ours.append(_numbers(result, data, "tracking", (0.5, 0)))
    return Claim(
        "At one and the same p, a B that stands still teaches more than one that tracks, and it "
        "teaches even antiparallel",
        "none in print; in a probe of ours on a synthetic task p = 0.5 gave chance when it tracked",
        SETTING,
        "; ".join(ours),
        conditions,
    )


def _last(result) -> Claim:
    conditions, ours = [], []
    for data in BOTH:
        low = _mean(result, data, "last layer only")
        rescued = _mean(result, data, "tracking", 0, "BP last")
        better = holds(lambda a, b: a > b + 2, rescued, low)
        conditions.append((f"{data}: at p = 0 it beats the last layer alone by 2", better))
        ours.append(_numbers(result, data, "tracking", (1, 0.5, 0), "BP last"))
    return Claim(
        "BP in the last layer rescues an antiparallel pathway below it: the layer under the last "
        "then learns",
        NONE,
        SETTING + ", BP last",
        "; ".join(ours),
        conditions,
    )


def _angle(result) -> Claim:
    conditions, ours = [], []
    for data in BOTH:
        ps = shares(result, data)
        off = [
            abs(a - b)
            for p in ps
            for a, b in zip(
                angles(result, data, "tracking", p, "weight_angle_deg"),
                angles(result, data, "tracking", p, "predicted_angle_deg"),
                strict=True,
            )
        ]
        worst = max(off) if off else None
        conditions.append(
            (f"{data}: tracking, within 3 degrees of it", holds(lambda v: v <= 3, worst))
        )
        turned = average(angles(result, data, "fixed", 0, "weight_angle_deg"))
        birth = average(angles(result, data, "fixed", 0, "weight_angle_deg", 0))
        conditions.append(
            (
                f"{data}: fixed at p = 0, at least 10 degrees less than at birth",
                holds(lambda a, b: a <= b - 10, turned, birth),
            )
        )
        if None not in (worst, turned, birth):
            ours.append(
                f"{sources.TITLES[data]} tracking off by up to {worst:.1f} degrees, fixed at p = 0 "
                f"from {birth:.1f} to {turned:.1f}"
            )
    return Claim(
        "After training a tracking B still has the angle that p and the histogram of W predict; a "
        "fixed one has turned toward W",
        NONE,
        SETTING,
        "; ".join(ours) or "-",
        conditions,
    )
