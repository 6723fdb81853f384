"""Do forward and feedback pathways that run antiparallel justify sign-symmetry?

PAPER below has the kinds of pathway, nnref/questions/pathways.py their rules, tutorial 6 the
mathematics. At p = 1 all feedback weights agree in sign with W, at p = 0 (antiparallel) none.
"""

from dataclasses import replace
from functools import partial
from itertools import product

from nnref import plots
from nnref.experiments.claims import claim, listed
from nnref.experiments.images import TITLES
from nnref.experiments.network import BOTH, DIGITS, FULL, RULES, SMALL, NetworkPart
from nnref.experiments.numbers import all_measured, average, equal, every, largest, spread
from nnref.experiments.plan import Setting
from nnref.experiments.result import Result, Table, words
from nnref.experiments.trial import Parts, usual_training, watch_layers
from nnref.measure import weight_layers
from nnref.questions import pathways

PAPER = (
    "Our own question: do antiparallel forward and feedback pathways support sign-symmetry? A "
    "share p of the feedback has the sign of W; B tracks the signs of W, or is fixed with those of "
    "the initial W; inverted: with an interneuron that inverts the error; BP last: B = W in the "
    "last layer."
)
KINDS = {  # name -> p -> rule
    "tracking": pathways.TrackingConcordance,
    "fixed": pathways.FixedConcordance,
    "tracking, inverted": lambda p: pathways.Inverted(pathways.TrackingConcordance(p)),
    "fixed, inverted": lambda p: pathways.Inverted(pathways.FixedConcordance(p)),
}
LASTS = {"all": None, "BP last": RULES["BP"]}  # name -> rule of the last layer
WITHOUT_P = ("BP", "SS", "FA", "last layer only")  # of RULES
FIVE = [1, 0.75, 0.5, 0.25, 0]
PS = {"digits": [1, 0.5, 0], "mnist": [1, 0.9, 0.75, 0.5, 0.25, 0.1, 0], "cifar10": FIVE}
SMOKE = replace(DIGITS, kernels=[], units=[6, 5], rates=[0.05])
TIERS = {"smoke": [SMOKE], "small": SMALL, "full": FULL}


def pathway(kind: str, p: float | None = None, last: str = "all") -> dict:
    """The facts of a pathway; one of the rules WITHOUT_P has none."""
    return {"kind": kind, "p": p, "last": last}


def plan(part: NetworkPart):
    """The rules without a p; every pathway with every p."""
    for rule in WITHOUT_P:
        yield Setting(part.facts | pathway(rule), part.rates)
    for kind, last, p in product(KINDS, LASTS, PS[part.data]):
        yield Setting(part.facts | pathway(kind, p, last), part.rates)


def parts(part: NetworkPart, facts: dict, images) -> Parts:
    """The network of a part with a pathway."""
    kind, p = facts["kind"], facts["p"]
    rule = RULES[kind] if p is None else KINDS[kind](p)
    model = part.model(images.shape, (rule, LASTS[facts["last"]]), facts["seed"])
    training = usual_training(model, part, facts, images)
    return Parts(training, images.test, look=partial(look, p))


def look(p: float | None, model, x, labels) -> dict:
    """trial.watch_layers, and the angle of W and B that p and the histogram of W predict."""
    weights = [layer.params["W"] for layer in weight_layers(model)]
    predicted = [] if p is None else [pathways.predicted_angle(W, p) for W in weights]
    return watch_layers(model, x, labels) | {"predicted_angle_deg": predicted}


ANGLES = {  # when -> its name in the history, and which entry
    "at birth": ("weight_angle_deg", 0),
    "after training": ("weight_angle_deg", -1),
    "then predicted": ("predicted_angle_deg", -1),
}


def angles(result: Result, when: str, **facts) -> list[float]:
    """One of the ANGLES, mean of the layers whose B is used (all but the first), by seed."""
    name, entry = ANGLES[when]
    return [average(t["history"][entry][name][1:]) for t in result.finished(**facts)]


def table(result: Result) -> str:
    """Accuracy of every pathway against p; the angle of W and B beside the analytic one."""
    rows = {
        kind if last == "all" else f"{kind}, {last}": {"kind": kind, "last": last}
        for kind, last in product(KINDS, LASTS)
    }
    table = Table(29, 14)
    for data in result.values("data"):
        ps = result.values("p", data=data)
        table.headline(result.trials(data=data)[0])
        table.row("p", [f"{p:g}" for p in ps])
        table.grid(result, rows, {p: {"p": p} for p in ps}, data=data)
        others = [f"{rule} {result.cell(data=data, kind=rule).strip()}" for rule in WITHOUT_P]
        table.lines.append(f"  {'; '.join(others)}")
        table.lines.append("  angle of W and B, degrees, mean of all layers but the first")
        for kind, when in product(("tracking", "fixed"), ANGLES):
            found = [angles(result, when, data=data, **pathway(kind, p)) for p in ps]
            table.row(f"{kind}, {when}", [spread(seeds) + " " for seeds in found])
    return table.text()


LIKE = {"tracking": "SS", "fixed": "FA"}  # kind -> the rule whose look it has
SHOWN = {  # line of the figure of angles -> kind, which angle, what its look has of its own
    "tracking, at birth": ("tracking", "at birth", {"line": ":"}),
    "tracking, after training": ("tracking", "after training", {}),
    "tracking, predicted then": ("tracking", "then predicted", {"line": "none", "marker": "x"}),
    "fixed, at birth": ("fixed", "at birth", {"line": ":"}),
    "fixed, after training": ("fixed", "after training", {}),
}
INVERTED = "with an inverting interneuron, p acts as 1 - p does here"


def figures(result: Result) -> dict:
    """Accuracy against p, with all layers alike and with BP in the last; angles against p."""
    draw = plots.experiments
    accuracy, angle_of = [], []  # panels
    for data in result.values("data"):
        ps, title = result.values("p", data=data), TITLES[data]
        for last, layers in (("all", "all layers"), ("BP last", "BP in the last")):
            lines = []
            for kind, rule in LIKE.items():
                values = {p: result.accuracies(data=data, **pathway(kind, p, last)) for p in ps}
                lines.append((kind, draw.LOOKS[rule], values))
            for rule in ("BP", "last layer only"):
                level = dict.fromkeys((1, 0), result.accuracies(data=data, kind=rule))
                lines.append((rule, draw.LOOKS[rule], level))
            of = f"{title}, {layers}"
            accuracy.append(draw.Panel(of, f"accuracy on {title} (%)", lines))
        lines = []
        for name, (kind, when, own) in SHOWN.items():
            values = {p: angles(result, when, data=data, **pathway(kind, p)) for p in ps}
            lines.append((name, draw.LOOKS[LIKE[kind]]._replace(**own), values))
        angle_of.append(draw.Panel(title, "angle of W and B (degrees)", lines))
    if not accuracy:
        return {}
    label = "share p of feedback signs that agree with W"
    return {
        "accuracy": draw.against(label, accuracy, remark=INVERTED),
        "angle": draw.against(label, angle_of),
    }


SETTING = "an MLP on MNIST, a convolutional network with BN on CIFAR-10"


def mean(result, data, kind, p=None, last="all"):
    """The mean accuracy of a pathway, or of one of the rules WITHOUT_P."""
    return result.mean(data=data, **pathway(kind, p, last))


def ours(*settings, last="all"):
    """Our accuracies at some p, on both data sets, in words; settings: (kind, all p)."""

    def written(result, data, kind, ps):
        some_p = words({f"p = {p:g}:": pathway(kind, p, last) for p in ps})
        return f"{TITLES[data]} {kind} {some_p(result, data=data)}"

    return lambda result: "; ".join(written(result, d, *own) for d in BOTH for own in settings)


@claim(
    "Where B tracks the signs of W, accuracy falls with p, and p = 0 (antiparallel: all signs "
    "opposite) is worse than no feedback",
    SETTING,
    ours(("tracking", FIVE)),
    published="Liao et al. 2016, abstract, for p from 1 to 0.5: the more concordant, the better; "
    "none in print below",
)
def _antiparallel(result):
    for data in BOTH:
        a, b, c, d, e = (mean(result, data, "tracking", p) for p in FIVE)
        falls = every((a > b, b > c, c > d, c > e))
        yield f"{data}: falls with p down to 0.5, lower still below", falls
        last_only = mean(result, data, "last layer only")
        yield f"{data}: at p = 0 worse than the last layer alone", e < last_only


@claim(
    "An antiparallel pathway with an inverting interneuron is sign-symmetry, exactly",
    SETTING,
    lambda result: "; ".join(
        f"{TITLES[data]} {result.measured(data=data, **pathway('tracking, inverted', 0))}, "
        f"SS {result.measured(data=data, kind='SS')}"
        for data in BOTH
    ),
)
def _interneuron(result):
    for data in BOTH:
        inverted = result.accuracies(data=data, **pathway("tracking, inverted", 0))
        same = equal(inverted, result.accuracies(data=data, kind="SS"))
        yield f"{data}: to the last digit, seed by seed", same


def gap(result, data):
    """The largest difference of p with the interneuron and 1 - p without it, in points."""
    return largest(
        abs(mean(result, data, f"{kind}, inverted", p) - mean(result, data, kind, round(1 - p, 6)))
        for kind, p in product(("tracking", "fixed"), result.values("p", data=data))
        if p > 0  # at 0 the mask is the same, and the difference 0
    )


def gaps(result):
    """Both gaps, in words."""
    found = {TITLES[data]: gap(result, data) for data in BOTH}
    cells = [f"{title} {points:.1f}" for title, points in found.items() if all_measured(points)]
    return f"largest difference of the means, points: {', '.join(cells) or '-'}"


@claim(
    "A check, true by construction up to the draw of the synapses that agree: with the "
    "interneuron, p has the effect of 1 - p without it",
    SETTING,
    gaps,
)
def _mirror(result):
    for data in BOTH:
        yield f"{data}: within 4 points at every p", gap(result, data) <= 4


@claim(
    "At the same p, a fixed B teaches more than a tracking one, and it teaches even at p = 0",
    SETTING,
    ours(("fixed", (1, 0.5, 0)), ("tracking", (0.5, 0))),
    published="none in print; in our own probe on a synthetic task a tracking B of p = 0.5 stayed "
    "at chance",
)
def _fixed(result):
    for data in BOTH:
        for p, points in ((0.5, 2), (0, 10)):
            still, tracking = (mean(result, data, kind, p) for kind in ("fixed", "tracking"))
            condition = f"{data}: at p = {p:g} fixed at least {points} points ahead"
            yield condition, still >= tracking + points
        at_zero = mean(result, data, "fixed", 0)
        last_only = mean(result, data, "last layer only")
        yield f"{data}: fixed at p = 0 beats the last layer alone by 2", at_zero >= last_only + 2


@claim(
    "BP in the last layer rescues an antiparallel pathway: the layer below the last then learns",
    SETTING + ", BP last",
    ours(("tracking", (1, 0.5, 0)), last="BP last"),
)
def _rescue(result):
    for data in BOTH:
        rescued = mean(result, data, "tracking", 0, "BP last")
        last_only = mean(result, data, "last layer only")
        yield f"{data}: at p = 0 it beats the last layer alone by 2", rescued > last_only + 2


def turned(result, data) -> tuple:
    """How far tracking is off its predicted angle; the angle of fixed, p = 0, at birth and then."""
    ends, predicted = (
        angles(result, when, data=data, kind="tracking", last="all")
        for when in ("after training", "then predicted")
    )
    birth, end = (
        average(angles(result, when, data=data, **pathway("fixed", 0)))
        for when in ("at birth", "after training")
    )
    return largest(abs(a - b) for a, b in zip(ends, predicted, strict=True)), birth, end


def turns(result):
    """The same for both data sets, in words."""
    found = {TITLES[data]: turned(result, data) for data in BOTH}
    cells = [
        f"{title} tracking up to {off:.1f} degrees off the prediction, fixed at p = 0 from "
        f"{birth:.1f} to {end:.1f}"
        for title, (off, birth, end) in found.items()
        if all_measured(off, birth, end)
    ]
    return "; ".join(cells) or "-"


@claim(
    "After training a tracking B still has the angle that p and the histogram of W predict; a "
    "fixed one has turned toward W",
    SETTING,
    turns,
)
def _angle(result):
    for data in BOTH:
        off, birth, end = turned(result, data)
        yield f"{data}: tracking, within 3 degrees of it", off <= 3
        yield f"{data}: fixed at p = 0, at least 10 degrees less than at birth", end <= birth - 10


# what the mathematics of tutorial 6 lets us expect, written before anything was measured
claims = listed(_antiparallel, _interneuron, _mirror, _fixed, _rescue, _angle)
