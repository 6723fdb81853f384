"""Lillicrap, Cownden, Tweed & Akerman 2016, "Random synaptic feedback weights support error
backpropagation for deep learning" (Nature Communications 7:13276): a network learns although its
errors travel back through random fixed synapses, because its forward weights align with them.

    theirs    a linear network 30-20-10 that learns a linear map online, learning rate 0.001,
              W uniform in +-0.01, B uniform in +-0.5; and 784-1000-10 sigmoid units on MNIST
    ours      the first as it was, ten seeds; the second in batches of 32, momentum 0.9, from
              Glorot's weights, B as in the first, learning rate chosen for every rule, three seeds

The 1000 hidden units are all about 1/2 at birth, so the first steps move the ten outputs together,
and at any rate that learns they overshoot: all become 0, where the slope of a sigmoid is 0 too. We
start the output biases at the log-odds of one class in ten.
"""

import math
import time
from functools import partial

import numpy as np
from matplotlib.figure import Figure

from nnref import measure
from nnref.backend import to_device, to_host
from nnref.errors import InputError
from nnref.experiments import images as sources
from nnref.experiments.result import Claim, at_edge, average, chosen, errors, holds, measured
from nnref.experiments.study import Parts, Study, by_layer, spread
from nnref.feedback import Backprop, FeedbackAlignment, NoFeedback
from nnref.init import glorot_uniform, stream, uniform
from nnref.layers import Flatten, Linear, Sequential, Sigmoid
from nnref.losses import mean_squared_error, squared_error
from nnref.optim import SGD
from nnref.plots import experiments as draw
from nnref.train import train_step

PAPER = (
    "Lillicrap, Cownden, Tweed & Akerman 2016, *Random synaptic feedback weights support error "
    "backpropagation for deep learning* ([doi](https://doi.org/10.1038/ncomms13276)): W comes to "
    "align with a fixed random B."
)
SIZES = 30, 20, 10
LR, LOOK_EVERY = 1e-3, 100  # per example; examples
BATCH, MOMENTUM, GRID = 32, 0.9, [0.003, 0.01, 0.03, 0.1]  # on MNIST
LOG_ODDS = math.log(0.1 / 0.9)
TIERS = {  # examples and seeds of the linear task; hidden units, images, epochs, seeds on MNIST
    "smoke": (400, 2, 20, 300, 1, 1),
    "small": (5000, 10, 1000, 20_000, 10, 3),
    "full": (5000, 10, 1000, None, 30, 3),
}
MINUTES = {"smoke": "a few seconds", "small": "6 minutes", "full": "half an hour on 2 cores"}


class TheirAlignment(FeedbackAlignment):
    """Feedback alignment with B uniform in +-0.5, theirs on the linear task."""

    def born(self, W, scale, draw):
        self.B = to_device(uniform(self.rng, W.shape, 0.5).astype(W.dtype))


RULES = {"BP": Backprop(), "FA": TheirAlignment(), "last layer only": NoFeedback()}


def run(study: Study, places: sources.Sources, seeds: int | None = None):
    """The linear task from every seed, then MNIST."""
    examples, linear_seeds, hidden, count, epochs, mnist_seeds = TIERS[study.tier]
    for seed in range(seeds or linear_seeds):
        for rule in ("BP", "FA"):
            facts = {"task": "linear", "rule": rule, "examples": examples, "seed": seed}
            study.measurement(facts, partial(_learn_linear_map, rule, examples, seed))
    try:
        name = "digits" if study.tier == "smoke" else "mnist"
        images = sources.load(name, places, count)
    except InputError as error:
        study.left_out("mnist", error)
        return
    study.facts["data"].append(images.facts)
    settings = [
        ({"task": "mnist", "hidden": hidden, "rule": rule}, GRID, partial(_parts, hidden, rule))
        for rule in RULES
    ]
    study.compare(settings, images, (10_000, min(3, epochs)), epochs, seeds or mnist_seeds)


def _learn_linear_map(rule, examples, seed, _) -> dict:
    """Learn y = x T online; the loss and the angles after every 100 examples."""
    start, rng = time.monotonic(), stream(seed, "linear task")
    T = uniform(rng, (SIZES[0], SIZES[2]), 1).astype("float32")
    shown, looked_at = (to_device(rng.normal(size=(n, SIZES[0])).astype("float32"))
                        for n in (examples, 200))  # fmt: skip
    options = {"rng": stream(seed, "init"), "init": _small, "bias": False, "feedback": RULES[rule]}
    model = Sequential(Linear(*SIZES[:2], **options), Linear(*SIZES[1:], **options))
    model.send_no_error_below()
    optimizer, history = SGD(model, LR, momentum=0), []
    T = to_device(T)
    for step in range(examples + 1):
        if step % LOOK_EVERY == 0:
            history.append({"examples": step} | _angles(model, looked_at, looked_at @ T))
        if step < examples:
            x = shown[step : step + 1]
            train_step(model, optimizer, x, x @ T, mean_squared_error)
    return {"history": history, "seconds": time.monotonic() - start}


def _small(rng, shape, fan_in, fan_out):
    """Their initial weights."""
    return uniform(rng, shape, 0.01)


def _angles(model, x, target) -> dict:
    """Error as a share of the target's power; the angles, in degrees, of the hidden layer's delta.

    To BP's delta, e W^T, and to the pseudo-inverse's, e W^+: the smallest change of the hidden
    units that would cancel the error e. `bp_to_pinv` is the angle between those two.
    """
    used = measure.deltas(model, x, target, mean_squared_error)
    W = model.layers[1].params["W"]
    exact, inverse = used[1] @ W.T, used[1] @ to_device(np.linalg.pinv(to_host(W)))
    power = float((target**2).sum())
    return {
        "error": float(((model.forward(x) - target) ** 2).sum()) / power,
        "delta_to_bp": measure.angle(used[0], exact),
        "delta_to_pinv": measure.angle(used[0], inverse),
        "bp_to_pinv": measure.angle(exact, inverse),
        "W_to_B": measure.weight_angles(model)[1],
    }


def _parts(hidden, rule, images, lr, epochs, seed) -> Parts:
    """One training on digits, 784-hidden-10, sigmoid units up to the outputs."""
    options = {"rng": stream(seed, "init"), "init": glorot_uniform, "feedback": RULES[rule]}
    model = Sequential(
        Flatten(),
        Linear(images.train.images[0].size, hidden, **options),
        Sigmoid(),
        Linear(hidden, 10, **options),
        Sigmoid(),
    )
    model.send_no_error_below()
    model.layers[3].params["b"][:] = LOG_ODDS
    return Parts(
        model, SGD(model, lr, MOMENTUM), images.train, images.val, images.test, epochs, BATCH,
        loss=squared_error, look=partial(by_layer, loss=squared_error),
    )  # fmt: skip


def linear(result, rule, quantity, examples) -> list[float]:
    """A quantity of `_angles` after so many examples, for every seed."""
    trials = chosen(result, task="linear", rule=rule)
    found = [e[quantity] for t in trials for e in t["history"] if e["examples"] == examples]
    return [value for value in found if value is not None]


def on_mnist(result, rule) -> list[float]:
    """Test errors on MNIST in %, for every seed."""
    return errors(chosen(result, task="mnist", rule=rule))


def table(result: dict) -> str:
    """The linear task over time, then MNIST."""
    times = [e["examples"] for e in result["trials"][0]["history"]]
    times = [times[round(i * (len(times) - 1))] for i in (0, 0.06, 0.1, 0.2, 0.5, 1)]
    lines = [f"{'linear 30-20-10, after examples':<34}" + "".join(f"{t:>13}" for t in times)]
    for rule, quantity in (
        ("BP", "error"), ("FA", "error"), ("FA", "delta_to_bp"), ("FA", "delta_to_pinv"),
        ("FA", "bp_to_pinv"), ("FA", "W_to_B"),
    ):  # fmt: skip
        factor = 100 if quantity == "error" else 1
        values = [[factor * v for v in linear(result, rule, quantity, t)] for t in times]
        lines.append(f"{rule + ' ' + quantity:<34}" + "".join(f"{spread(v):>13}" for v in values))
    lines.append(f"\n{'MNIST, 784-1000-10, test error':<34}{'':>13}{'learning rate':>15}")
    for rule in RULES:
        found = chosen(result, task="mnist", rule=rule)
        rate = (
            f"{found[0]['lr']}{'*' * at_edge(result, found[0], 'task', 'rule')}" if found else "-"
        )
        lines.append(f"{rule:<34}{spread(on_mnist(result, rule)):>13}{rate:>15}")
    lines.append("mean ± standard deviation over the seeds; error in %, angles in °")
    return "\n".join([*lines, "*: the smallest or largest learning rate that was tried"])


def figures(result: dict) -> dict[str, Figure]:
    """The linear task: error under both rules, and FA's angles, over the examples."""

    first = chosen(result, task="linear")[:1]
    if not first:
        return {}

    def over_time(rule, quantity, factor=1):
        times = [e["examples"] for t in first for e in t["history"]]
        return {t: [factor * v for v in linear(result, rule, quantity, t)] for t in times}

    blue, black = draw.STYLES["FA"][0], draw.STYLES["BP"][0]
    error = [
        ("BP", black, "-", over_time("BP", "error", 100)),
        ("FA", blue, "-", over_time("FA", "error", 100)),
    ]
    angles = [
        ("FA's delta and BP's", blue, "-", over_time("FA", "delta_to_bp")),
        ("FA's delta and the pseudo-inverse's", blue, "--", over_time("FA", "delta_to_pinv")),
        ("BP's delta and the pseudo-inverse's", black, "--", over_time("FA", "bp_to_pinv")),
        ("W and B", blue, ":", over_time("FA", "W_to_B")),
    ]
    panels = {"error (% of the target's power)": error, "angle under FA (degrees)": angles}
    return {"linear": draw.against("examples", panels)}


def claims(result: dict | None) -> list[Claim]:
    """Alignment on the linear task; FA as good as BP on digits."""
    at = {
        (quantity, t): average(linear(result, "FA", quantity, t))
        for quantity in ("error", "delta_to_bp", "delta_to_pinv", "bp_to_pinv", "W_to_B")
        for t in (300, 1000, 5000)
    }
    bp_error = average(linear(result, "BP", "error", 1000))
    ours = {rule: average(on_mnist(result, rule)) for rule in RULES}
    seeds = len(chosen(result, task="linear", rule="FA"))
    setting = "linear 30-20-10, learning rate 0.001, online"
    return [
        Claim(
            "FA's delta, at first unrelated to BP's, turns to within 45 degrees of it",
            "from about 85 to below 35 degrees by example 300 (a reproduction of theirs)",
            setting,
            ", ".join(
                f"{spread(linear(result, 'FA', 'delta_to_bp', t))} after {t}"
                for t in (0, 300, 5000)
            )
            + f" ({seeds} seeds)",
            [
                ("below 45 by example 300", holds(lambda a: a < 45, at["delta_to_bp", 300])),
                ("still so after 5000", holds(lambda a: a < 45, at["delta_to_bp", 5000])),
            ],
        ),
        Claim(
            "It does so because W aligns with B, and FA learns the map as BP does",
            "shown as curves",
            setting,
            f"angle of W and B {spread(linear(result, 'FA', 'W_to_B', 5000))}; error in % of the "
            f"target: FA {spread([100 * e for e in linear(result, 'FA', 'error', 5000)])}, "
            f"BP {spread([100 * e for e in linear(result, 'BP', 'error', 5000)])} after 5000",
            [
                ("W within 60 degrees of B", holds(lambda a: a < 60, at["W_to_B", 5000])),
                ("error below 1 %", holds(lambda a: a < 0.01, at["error", 5000])),
                (
                    "after 1000 no larger an error than BP's",
                    holds(lambda a, b: a <= b, at["error", 1000], bp_error),
                ),
            ],
        ),
        Claim(
            "B comes to act like the pseudo-inverse of W, more than W's transpose does",
            "shown as curves and derived",
            setting,
            "to the pseudo-inverse's delta, after 1000, in one network: "
            f"B's {spread(linear(result, 'FA', 'delta_to_pinv', 1000))}, "
            f"W's transpose's {spread(linear(result, 'FA', 'bp_to_pinv', 1000))} degrees",
            [
                (
                    "B's is closer to it than W's transpose's",
                    holds(lambda a, b: a < b, at["delta_to_pinv", 1000], at["bp_to_pinv", 1000]),
                ),
                ("within 45 degrees", holds(lambda a: a < 45, at["delta_to_pinv", 1000])),
            ],
        ),
        Claim(
            "On MNIST FA errs no more than BP",
            "FA 2.1, BP 2.4 % test error (recalled, not read again)",
            _mnist_setting(result),
            ", ".join(f"{rule} {measured(on_mnist(result, rule))}" for rule in RULES) + " %",
            [
                ("FA at most BP", holds(lambda a, b: a <= b, ours["FA"], ours["BP"])),
                ("FA at most 2.5 %", holds(lambda a: a <= 2.5, ours["FA"])),
            ],
        ),
    ]


def _mnist_setting(result) -> str:
    """Our setting in words."""
    first = next(iter(chosen(result, task="mnist")), None)
    if first is None:
        return "MNIST"
    hidden, images, epochs = first["hidden"], first["images"], first["epochs"]
    return f"MNIST, 784-{hidden}-10, {images:,} images, batches of {BATCH}, {epochs} epochs"
