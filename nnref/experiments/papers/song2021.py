"""Song, Xu & Lafferty 2021: FA's error goes to zero without alignment; weight decay makes it align.

    Song et al.    a wide network with one hidden layer and one output, f(x) = b . h(W x) / sqrt(p),
                   squared error, gradient descent on all samples at once; W by FA with a fixed b.
                   They prove both statements of the claims for a large width p
    nnref          the same network with ReLU, 50 random points on a sphere in 30 dimensions with
                   random targets, 4000 steps; weight decay on both layers; three seeds

The weights start standard normal, and the factor 1 / sqrt(p) stands behind the hidden layer (the
scaling of the neural tangent kernel), so that a network of any width learns as fast as another one.
Conditions were written before an angle had been seen; the learning rate was chosen by the errors.
"""

import math
from dataclasses import dataclass
from itertools import product

from nnref import plots
from nnref.experiments.claims import claim, listed
from nnref.experiments.network import born_from
from nnref.experiments.numbers import average, measured, spread
from nnref.experiments.plan import Part, Setting
from nnref.experiments.result import Result
from nnref.feedback import Backprop, FeedbackAlignment
from nnref.init import normal, sample, stream
from nnref.layers import Layer, Linear, ReLU, Sequential
from nnref.losses import mean_squared_error
from nnref.measure import weight_angles
from nnref.optim import SGD
from nnref.train import train_step

PAPER = (
    "Song, Xu & Lafferty 2021, *Convergence and alignment of gradient descent with random "
    "backpropagation weights* ([NeurIPS](https://proceedings.neurips.cc/paper/2021/hash/"
    "a576eafbce762079f7d1f77fca1c5cc2-Abstract.html)): in a wide network FA drives the error to "
    "zero, and only regularization aligns W with B."
)
SAMPLES, INPUTS = 50, 30
LEARNING_RATE = 3.0
DECAYS = [0, 1e-4, 1e-3]  # weight decay, of both layers
SECONDS = 3e-6  # for a hidden unit and a step, on one core
LOOKS = 40  # how often a training is looked at


@dataclass(frozen=True, kw_only=True)
class WidePart(Part):
    """Trainings on random points, without images."""

    widths: tuple = (256, 1024, 4096)  # hidden units
    steps: int = 4000
    seeds: int = 3


TIERS = {
    "smoke": [WidePart(widths=(16, 32), steps=80, seeds=1)],
    "small": [WidePart()],
    "full": [WidePart(widths=(256, 1024, 4096, 16_384), seeds=10)],
}


def standard_normal(rng, shape, fan_in, fan_out):
    """N(0, 1): the distribution of all weights and of B."""
    return normal(rng, shape, 1)


class NormalAlignment(FeedbackAlignment):
    """Feedback alignment with a standard normal B, as the weights are."""

    born = born_from(standard_normal)


class Scale(Layer):
    """y = factor x: the factor 1 / sqrt(p) behind the hidden layer."""

    exact_backward = True

    def __init__(self, factor: float):
        super().__init__()
        self.factor = factor

    def forward(self, x):
        return self.factor * x

    def backward(self, delta):
        return self.factor * delta


RULES = {"BP": Backprop(), "FA": NormalAlignment()}


def plan(part: WidePart):
    """FA at every width and decay; BP without decay."""
    runs = [("BP", width, 0) for width in part.widths]
    runs += [("FA", width, decay) for width, decay in product(part.widths, DECAYS)]
    for rule, width, decay in runs:
        facts = {"rule": rule, "width": width, "decay": decay, "steps": part.steps}
        yield Setting(facts, seconds=SECONDS * width * part.steps)


def network(width: int, rule, seed: int) -> Sequential:
    """30-width-1 with ReLU, standard normal weights, and 1 / sqrt(width) behind the ReLU."""
    options = {"rng": stream(seed, "init"), "init": standard_normal, "bias": False}
    options["feedback"] = rule
    hidden, top = Linear(INPUTS, width, **options), Linear(width, 1, **options)
    model = Sequential(hidden, ReLU(), Scale(1 / math.sqrt(width)), top)
    model.send_no_error_below()
    return model


def points(seed: int):
    """(x (50, 30) of length 1, targets (50, 1)), both drawn from a normal distribution."""
    rng = stream(seed, "points")
    x = sample(normal, rng, (SAMPLES, INPUTS), 1, "float32")
    x /= (x**2).sum(axis=1, keepdims=True) ** 0.5
    return x, sample(normal, rng, (SAMPLES, 1), 1, "float32")


def measure(part: WidePart, facts: dict, images) -> list[dict]:
    """Gradient descent on all points; 40 times, the error and the angle between W and B."""
    x, target = points(facts["seed"])
    model = network(facts["width"], RULES[facts["rule"]], facts["seed"])
    optimizer = SGD(model, LEARNING_RATE, momentum=0, weight_decay=facts["decay"])
    history, every = [], facts["steps"] // LOOKS
    for step in range(facts["steps"] + 1):
        if step % every == 0:
            error = ((model.forward(x) - target) ** 2).sum() / (target**2).sum()
            entry = {"step": step, "error": float(error), "angle": weight_angles(model)[1]}
            history.append(entry)
        if step < facts["steps"]:
            train_step(model, optimizer, x, target, mean_squared_error)
    return history


def over_time(result: Result, quantity: str, **facts) -> dict:
    """{step: a quantity of the history, for every seed}."""
    found = {}
    for trial in result.trials(**facts):
        for entry in trial["history"]:
            found.setdefault(entry["step"], []).append(entry[quantity])
    return found


def last(result: Result, quantity: str, **facts) -> list[float]:
    """A quantity at the end, for every seed."""
    return [trial["history"][-1][quantity] for trial in result.trials(**facts)]


def angles(result: Result, width: int, decay: float) -> list[float]:
    """The angle between W and B at the end under FA, for every seed."""
    return last(result, "angle", rule="FA", width=width, decay=decay)


def widest(result: Result) -> int:
    """The largest width that was run."""
    return max(result.values("width"), default=0)


def settings(result: Result) -> list[dict]:
    """The facts of every setting that was run."""
    keys = ("rule", "width", "decay")
    return [dict(zip(keys, key, strict=True)) for key in
            dict.fromkeys(tuple(t[k] for k in keys) for t in result.trials())]  # fmt: skip


def table(result: Result) -> str:
    """Error and angle at the end of every setting."""
    line = "{:<6}{:>8}{:>10}{:>22}{:>18}".format
    lines = [line("rule", "width", "decay", "error at the end", "angle of W and B")]
    for facts in settings(result):
        error = f"{average(last(result, 'error', **facts)):.1e}"
        angle = spread(last(result, "angle", **facts)) if facts["rule"] == "FA" else "0"
        lines.append(line(facts["rule"], facts["width"], f"{facts['decay']:g}", error, angle))
    lines.append("errors as a share of the targets' power; angles in °,")
    return "\n".join([*lines, "mean ± standard deviation over the seeds"])


def figures(result: Result) -> dict:
    """At the largest width: error and angle over the steps, for every decay."""
    draw, width = plots.experiments, widest(result)
    if not width:
        return {}
    styles = dict(zip(DECAYS, ("-", "--", ":"), strict=True))

    def lines(quantity, scale):
        for decay, style in styles.items():
            found = over_time(result, quantity, rule="FA", width=width, decay=decay)
            values = {step: [scale(v) for v in seeds] for step, seeds in found.items()}
            yield f"decay {decay:g}", draw.LOOKS["FA"]._replace(line=style), values

    panels = [
        draw.Panel("What is learned", "error (powers of ten)", list(lines("error", math.log10))),
        draw.Panel("Is B like W?", "angle of W and B (degrees)", list(lines("angle", float))),
    ]
    remark = f"FA with weight decay, {width:,} hidden units"
    return {"alignment": draw.against("steps", panels, remark=remark)}


def setting(result):
    """The network of the claims, in words."""
    return f"30-{widest(result)}-1, ReLU, 50 points, gradient descent without momentum"


@claim(
    "In a wide network FA's error goes to zero exponentially fast, without W aligning with B",
    setting,
    lambda result: (
        f"error {average(last(result, 'error', rule='FA', width=widest(result), decay=0)):.0e}, "
        f"angle {measured(angles(result, widest(result), 0))} degrees"
    ),
    published="proved for a large width (abstract)",
)
def _without_decay(result):
    facts = {"rule": "FA", "width": widest(result), "decay": 0}
    yield "error below 0.0001", average(last(result, "error", **facts)) < 1e-4
    found = over_time(result, "error", **facts)
    steps = max(found, default=0)
    start, quarter, half = (average(found.get(steps * i // 4, [])) for i in range(3))
    yield "the first quarter of the steps divides it by 10", start > 10 * quarter
    yield "the second does so again", quarter > 10 * half
    yield "the angle ends above 80 degrees", average(angles(result, widest(result), 0)) > 80


@claim(
    "Regularization makes W align with B",
    setting,
    lambda result: (
        ", ".join(
            f"decay {decay:g}: {measured(angles(result, widest(result), decay))}"
            for decay in DECAYS
        )
        + " degrees"
    ),
    published="proved: regularization is necessary for alignment (abstract)",
)
def _with_decay(result):
    width = widest(result)
    none, weak, strong = (average(angles(result, width, decay)) for decay in DECAYS)
    yield "below 60 degrees with decay 0.001", strong < 60
    yield "10 degrees less with 0.0001 than without", weak < none - 10
    error = average(last(result, "error", rule="FA", width=width, decay=DECAYS[-1]))
    yield "the error stays below a half", error < 0.5


@claim(
    "Without decay, the wider the network, the less W turns to B",
    lambda result: "widths " + ", ".join(map(str, sorted(result.values("width")))),
    lambda result: (
        ", ".join(
            f"{width}: {measured(angles(result, width, 0))}"
            for width in sorted(result.values("width"))
        )
        + " degrees"
    ),
)
def _width(result):
    narrowest = min(result.values("width"), default=0)
    narrow, wide = (average(angles(result, width, 0)) for width in (narrowest, widest(result)))
    yield "the angle is larger in the widest than in the narrowest", wide > narrow
    yield "in the widest it is above 85 degrees", wide > 85


claims = listed(_without_decay, _with_decay, _width)
