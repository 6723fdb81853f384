"""Kunin et al. 2020: B that learns from activities, with weights from elsewhere or without.

    Kunin et al.    ImageNet, up to very deep residual networks, long searches for the rates of each
                    rule; how much the rules lose there is not repeated here
    here            1. one linear layer whose inputs are not white, on purpose: where does B rest?
                       (a question of ours: the published networks do not tell the two apart)
                    2. a perceptron with BatchNorm on MNIST, at rates of the rules that are the same
                       for all layers, and at a learning rate that every rule chooses
                    3. the same for a grid around these rates, at one learning rate

Rules: SA symmetric alignment, AA activation alignment, WM the weight mirror of Kunin et al., which
listens to activities, IA information alignment (rules/mirror.py), and "WM, noise", the mirror of
Akrout et al., which sends noise.
"""

from dataclasses import dataclass
from itertools import product

import numpy as np

from nnref import plots
from nnref.backend import to_device, to_host
from nnref.experiments.budget import flat
from nnref.experiments.claims import claim, listed
from nnref.experiments.network import NetworkPart, rules_of
from nnref.experiments.numbers import as_text, average, largest, spread
from nnref.experiments.plan import Part, Setting
from nnref.experiments.result import Result, Table, words
from nnref.experiments.trial import Parts, usual_training, watch_layers
from nnref.init import normal, stream
from nnref.layers import BatchNorm, Linear
from nnref.measure import angle
from nnref.rules.mirror import Alignment, WeightMirror

PAPER = (
    "Kunin, Nayebi, Sagastuy-Brena, Ganguli, Bloom & Yamins 2020, *Two routes to scalable credit "
    "assignment without weight symmetry* ([arXiv 2003.01513](https://arxiv.org/abs/2003.01513)): "
    "losses that draw B to W teach as well as B = W where they need weights from elsewhere; local "
    "ones depend on their metaparameters, the weight mirror most of all."
)
N_IN, N_OUT, ROWS = 50, 20, 256  # of the linear layer: inputs, outputs, inputs in a step
AT_REST = {  # rates of the rules at the linear layer
    "SA": {"decay": 0.05, "self": 0.1},
    "AA": {"sparse": 0.05, "amp": 0.1},
    "WM": {"decay": 2.5e-3, "amp": 5e-3},
    "IA": {"amp": 5e-3, "null": 2.5e-3, "decay": 2.5e-4},
}
IN_TRAINING = {  # the same ratios, in steps that the activities of MNIST bear
    "SA": AT_REST["SA"],
    "AA": {"sparse": 0.01, "amp": 0.02},
    "WM": {"decay": 5e-3, "amp": 0.01},
    "IA": {"amp": 2e-3, "null": 1e-3, "decay": 1e-4},
}
NOISE = "WM, noise"
LOCAL = ("WM", "IA")
GRID = {"speed": (1 / 3, 1, 3), "decay": (0.1, 1, 10)}  # times all rates; times that of `decay`
TRAINED = ("BP", "FA", *IN_TRAINING, NOISE, "last layer only")


@dataclass(frozen=True, kw_only=True)
class LayerPart(Part):
    """A linear layer at inputs whose covariance has these condition numbers."""

    conditions: tuple = (1, 3, 10, 30, 100)
    steps: int = 3000


@dataclass(frozen=True, kw_only=True)
class GridPart(NetworkPart):
    """A network that is trained under the local rules, for a grid of their rates."""


MNIST = {
    "data": "mnist", "take": 15_000, "kernels": [], "units": [100, 100, 100], "epochs": 6,
    "seeds": 3,
}  # fmt: skip
FULL = {"data": "mnist", "kernels": [], "units": [256, 256, 256], "epochs": 20, "seeds": 5}
DIGITS = {
    "data": "digits", "take": 60, "kernels": [], "units": [10, 10], "rates": [0.02], "epochs": 2,
    "batch_size": 20, "seeds": 2,
}  # fmt: skip
SEARCH = {"rates": [5e-3, 0.02, 0.1], "search_images": 6_000, "search_epochs": 2}
TIERS = {
    "smoke": [
        LayerPart(conditions=(1, 100), steps=20, seeds=2),
        NetworkPart(**DIGITS),
        GridPart(**DIGITS),
    ],
    "small": [
        LayerPart(seeds=3),
        NetworkPart(**MNIST | SEARCH),
        GridPart(**MNIST | {"rates": [0.02], "epochs": 3, "seeds": 2}),
    ],
    "full": [
        LayerPart(seeds=5),
        NetworkPart(**FULL | SEARCH),
        GridPart(**FULL | {"rates": [0.02], "epochs": 5, "seeds": 3}),
    ],
}


def plan(part: LayerPart | NetworkPart | GridPart):
    """Every condition number; every rule; the grid of the local rules."""
    if isinstance(part, LayerPart):
        for condition in part.conditions:
            yield Setting({"task": "layer", "condition": condition})
    elif isinstance(part, GridPart):
        for rule, speed, decay in product(LOCAL, *GRID.values()):
            yield Setting(part.facts | point(rule, speed, decay), part.rates)
    else:
        for rule in TRAINED:
            shorter = [part.epochs // 2] if rule == "BP" else []  # is the training long enough?
            yield Setting(part.facts | {"task": "training", "rule": rule}, part.rates, shorter)


def point(rule: str, speed: float, decay: float) -> dict:
    """The facts of a point of the grid."""
    return {"task": "grid", "rule": rule, "speed": round(speed, 2), "decay": decay}


def rule_of(facts: dict):
    """The rule of a network, for all its layers."""
    name = facts["rule"]
    if name == NOISE:
        return WeightMirror()
    if name not in IN_TRAINING:
        rule, _ = rules_of(name)
        return rule
    speed = facts.get("speed", 1)
    times = {"decay": speed * facts.get("decay", 1)}
    return Alignment(
        {loss: rate * times.get(loss, speed) for loss, rate in IN_TRAINING[name].items()}
    )


def parts(part: NetworkPart, facts: dict, images) -> Parts:
    """The perceptron of a part, its rule and the rates of that."""
    rule = rule_of(facts)
    model = part.model(images.shape, (rule, None), facts["seed"], norm=BatchNorm)
    also = (getattr(rule, "rates", None),)
    training = usual_training(model, part, facts, images)
    return Parts(training, images.test, look=watch_layers, also=also)


def measure(part: LayerPart, facts: dict, images) -> list[dict]:
    """Angles of B and W where B rests, by rule, and those predicted from S and W.

    The eigenvalues of S = E x^T x lie from 1 to 1 / condition on a logarithmic scale, times a
    number that makes their mean 1, in directions drawn at random.
    """
    rng = stream(facts["seed"], "inputs")
    eigenvalues = np.geomspace(1, 1 / facts["condition"], N_IN)
    directions, _ = np.linalg.qr(normal(rng, (N_IN, N_IN), 1))
    root = directions * np.sqrt(eigenvalues / eigenvalues.mean())  # of S
    layers = {
        rule: Linear(N_IN, N_OUT, stream(facts["seed"], "init"), feedback=made, dtype="float64")
        for rule, made in at_rest().items()
    }
    for _ in range(part.steps):
        x = to_device(normal(rng, (ROWS, N_IN), 1) @ root.T)
        for layer in layers.values():
            layer.forward(x)
            layer.feedback.on_step(layer)
    W = layers["SA"].params["W"]  # that of all
    predicted = resting(to_host(W), root @ root.T)
    entry = {
        "angle": {rule: angle(W, layer.feedback.B) for rule, layer in layers.items()},
        "predicted": {rule: angle(W, to_device(B)) for rule, B in predicted.items()},
    }
    return [entry]


def at_rest() -> dict:
    """The rules of the linear layer."""
    return {rule: Alignment(rates) for rule, rates in AT_REST.items()} | {NOISE: WeightMirror()}


def resting(W, S) -> dict:
    """Where B rests under these rules, but for its length (the table of rules/mirror.py)."""
    null, decay = (2 * AT_REST["IA"][loss] for loss in ("null", "decay"))
    inverse = np.linalg.inv(null * W.T @ S @ W + decay * np.eye(len(W.T)))
    return {"SA": W, "AA": W, "WM": S @ W, "IA": S @ W @ inverse, NOISE: W}


RESTING = (*AT_REST, NOISE)


def rests(result: Result, rule: str, condition, what="angle") -> list[float]:
    """The angle of W and B of the linear layer, measured or "predicted", for every seed."""
    trials = result.trials(task="layer", condition=condition)
    return [trial["history"][-1][what][rule] for trial in trials]


def conditions(result: Result) -> list:
    """The condition numbers that were tried."""
    return sorted(result.values("condition", task="layer"))


def hidden_angles(result: Result, rule: str) -> list[float]:
    """The mean angle of W and B, over all layers whose B is used, after training, by seed."""
    found = []
    for trial in result.finished(task="training", rule=rule):
        angles = trial["history"][-1]["weight_angle_deg"][1:]
        found += [] if None in angles else [sum(angles) / len(angles)]
    return found


def grid(result: Result, rule: str) -> list:
    """The mean accuracy at every point of the grid of a rule."""
    return [result.mean(**point(rule, *times)) for times in product(*GRID.values())]


def range_of(result: Result, rule: str):
    """Points of accuracy between the best and the worst point of a grid."""
    found = grid(result, rule)
    return largest(found) + largest(-accuracy for accuracy in found)


def table(result: Result) -> str:
    """Angles at rest; accuracy and angles after training; the grids."""
    table = Table(22, 18)
    if found := conditions(result):
        table.lines.append("one linear layer: angle of W and B in degrees (predicted)")
        table.row("condition number", [f"{condition:g}" for condition in found])
        for rule in RESTING:
            cells = [
                f"{average(rests(result, rule, c)):.1f} "
                f"({average(rests(result, rule, c, 'predicted')):.1f})"
                for c in found
            ]
            table.row(rule, cells)
    for data in result.values("data", task="training"):
        table.headline(result.trials(data=data, task="training")[0])
        table.row("", ("accuracy", "angle of W and B"))
        for rule in TRAINED:
            angles = spread(hidden_angles(result, rule)) + " "
            table.row(rule, (result.cell(task="training", rule=rule), angles))
        for rule in LOCAL:
            table.row(f"{rule}, rates times", [f"{speed:.2g}" for speed in GRID["speed"]])
            rows = {f"  decay times {d:g}": {"decay": d} for d in GRID["decay"]}
            columns = {speed: {"speed": round(speed, 2)} for speed in GRID["speed"]}
            table.grid(result, rows, columns, task="grid", rule=rule)
    return table.text()


def figures(result: Result) -> dict:
    """The angle at rest against the condition number; accuracies."""
    draw, drawn = plots.experiments, {}
    if found := conditions(result):
        lines = [
            (rule, draw.LOOKS[rule], {np.log10(c): rests(result, rule, c) for c in found})
            for rule in RESTING
        ]
        predicted = [
            (f"{rule}, predicted", draw.LOOKS[rule]._replace(line=":"),
             {np.log10(c): rests(result, rule, c, "predicted") for c in found})
            for rule in LOCAL
        ]  # fmt: skip
        label = "angle of W and B (degrees)"
        panels = [draw.Panel("one layer, learning rates at rest", label, lines + predicted)]
        drawn["rest"] = draw.against(r"$\log_{10}$ condition number of the inputs", panels)
    if result.values("data", task="training"):
        rows = {rule: {rule: result.accuracies(task="training", rule=rule)} for rule in TRAINED}
        drawn["accuracy"] = draw.dots({"MNIST": rows}, "test accuracy (%)")
    return drawn


LAYER = f"a linear layer, {N_IN} inputs and {N_OUT} outputs, condition numbers up to 100"
SETTING = "an MLP with BN on MNIST, 3 hidden layers"


def at_ends(*rules):
    """A function from a Result to the angles at the smallest and largest condition, in words."""

    def written(result):
        ends = conditions(result)[:: max(1, len(conditions(result)) - 1)]
        cells = (
            f"{rule} " + ", ".join(spread(rests(result, rule, condition)) for condition in ends)
            for rule in rules
        )
        return "degrees at the smallest and largest: " + "; ".join(cells)

    return written


@claim(
    "A mirror that listens to activities learns S W: the less white they are, the further B is "
    "from W. One that sends noise learns W, and so do SA and AA",
    LAYER,
    at_ends("WM", NOISE, "AA", "SA"),
)
def _not_white(result):
    found = conditions(result)
    for condition in found:
        measured, expected = (
            average(rests(result, "WM", condition, what)) for what in ("angle", "predicted")
        )
        yield f"WM within 2 degrees of S W at {condition}", abs(measured - expected) <= 2
    last = average(rests(result, "WM", max(found, default=None)))
    yield "WM more than 30 degrees from W at the end", last > 30
    for rule, degrees in (("SA", 1), ("AA", 1), (NOISE, 5)):
        most = largest(average(rests(result, rule, condition)) for condition in found)
        yield f"{rule} at most {degrees} degrees from W everywhere", most <= degrees


@claim(
    "Information alignment comes to rest at S W (W^T S W + c)^-1, so it too is turned away from W "
    "by inputs that are not white",
    LAYER,
    at_ends("IA"),
)
def _information(result):
    found = conditions(result)
    for condition in found:
        measured, expected = (
            average(rests(result, "IA", condition, what)) for what in ("angle", "predicted")
        )
        yield f"within 2 degrees of the prediction at {condition}", abs(measured - expected) <= 2
    ends = min(found, default=None), max(found, default=None)
    first, last = (average(rests(result, "IA", condition)) for condition in ends)
    yield "further from W at the end", last > first + 5


def long_enough(result):
    """A condition on the scale: BP has learned most of what it can."""
    yield from flat(result, task="training", rule="BP")


def bp_learns(result):
    """A guard: there is something to learn for the hidden layers."""
    bp, last = (result.mean(task="training", rule=rule) for rule in ("BP", "last layer only"))
    yield "BP at least 3 points above the last layer alone", bp >= last + 3


def ours(*rules):
    """A function from a Result to the accuracies of rules, in words."""
    return words({rule: {"task": "training", "rule": rule} for rule in rules})


@claim(
    "SA and AA, which need weights from elsewhere, match BP",
    SETTING,
    ours("BP", "SA", "AA"),
    published="up to the deepest networks on ImageNet (abstract and figures; no number read)",
    guards=bp_learns,
    scale=long_enough,
)
def _symmetric(result):
    bp = result.mean(task="training", rule="BP")
    for rule in ("SA", "AA"):
        gap = bp - result.mean(task="training", rule=rule)
        yield f"{rule} within 0.7 points of BP", abs(gap) <= 0.7


@claim(
    "The local rules fall behind BP",
    SETTING,
    ours("BP", *LOCAL, "FA"),
    published="a gap that grows with depth (abstract; no number read)",
    guards=bp_learns,
    scale=long_enough,
)
def _gap(result):
    bp = result.mean(task="training", rule="BP")
    for rule in LOCAL:
        yield (
            f"{rule} at least 0.5 points below",
            result.mean(task="training", rule=rule) <= bp - 0.5,
        )


@claim(
    "The weight mirror is highly sensitive to its metaparameters, IA less so",
    "the same, 3 epochs, learning rate 0.02, rates times 1/3 to 3, that of decay times 0.1 to 10",
    lambda result: (
        "points between best and worst: "
        + ", ".join(f"{rule} {as_text(range_of(result, rule))}" for rule in LOCAL)
    ),
    published="in words (abstract)",
    guards=bp_learns,
)
def _sensitive(result):
    wm, ia = (range_of(result, rule) for rule in LOCAL)
    yield "WM: 5 points or more between best and worst", wm >= 5
    yield "IA: at most half as many", ia <= wm / 2


@claim(
    "On real activities, too, noise is the better teacher: its B is nearer to W, and the network "
    "nearer to BP",
    SETTING,
    lambda result: (
        ours("BP", NOISE, "WM")(result)
        + "; degrees between W and B: "
        + ", ".join(f"{rule} {spread(hidden_angles(result, rule))}" for rule in (NOISE, "WM"))
    ),
    guards=bp_learns,
    scale=long_enough,
)
def _noise(result):
    bp, noise, wm = (result.mean(task="training", rule=rule) for rule in ("BP", NOISE, "WM"))
    near, far = (average(hidden_angles(result, rule)) for rule in (NOISE, "WM"))
    yield "noise: B within 20 degrees of W", near <= 20
    yield "activities: 40 degrees or more", far >= 40
    yield "noise: within 0.7 points of BP", abs(bp - noise) <= 0.7
    yield "activities: further from BP", abs(bp - wm) > abs(bp - noise)


# written before anything was measured
claims = listed(_not_white, _information, _symmetric, _gap, _sensitive, _noise)
