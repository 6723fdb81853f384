"""Sacramento et al. 2018: apical dendrites and interneurons bring errors to hidden cells.

    Sacramento et al.    784-500-500-10 logistic cells on MNIST, 55,000 + 5,000 images, in the
                         steady state, from a self-predicting start, minibatches of 10, targets 0.1
                         and 0.8; and a network 30-50-10 that learns a network 30-20-10 in time,
                         from a random start, about 10 million presentations
    nnref                the same MNIST network and teacher, SGD with momentum 0.9 (the paper's low-
                         pass filter of plasticity, in steps), batches of 50, few epochs; the small
                         task in the steady state, logistic cells, from a self-predicting start, and
                         the self-prediction from a random start apart

The mixing factors are nnref's (rules/microcircuit.py), W starts by Glorot's rule, B is uniform in
+-1. Every rule has its own learning rate on MNIST, chosen on validation images; the rates of the
small tasks were chosen with seed 0. The output biases start at the lower target, 0.1: else the
first steps move all outputs together.
"""

import math
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

from nnref import plots
from nnref.backend import xp
from nnref.experiments import budget
from nnref.experiments.claims import claim, listed
from nnref.experiments.network import born_from
from nnref.experiments.numbers import average, measured, spread
from nnref.experiments.plan import Part, Setting
from nnref.experiments.result import MARKS, Result
from nnref.experiments.trial import Parts, usual_training, watch_layers
from nnref.feedback import Backprop, FeedbackAlignment, NoFeedback
from nnref.init import glorot_uniform, sample, stream, uniform
from nnref.layers import Flatten, Linear, Sequential, Sigmoid
from nnref.measure import delta_angles, weight_angles
from nnref.optim import SGD
from nnref.rules.microcircuit import TARGETS, Microcircuit, teaching, toward
from nnref.train import train_step

PAPER = (
    "Sacramento, Costa, Bengio & Senn 2018, *Dendritic cortical microcircuits approximate the "
    "backpropagation algorithm* ([arXiv 1810.11393](https://arxiv.org/abs/1810.11393)): errors "
    "arise in apical dendrites, where interneurons fail to predict what is above."
)
PUBLISHED = {  # test error in %, from the text
    "microcircuit": 1.96,
    "BP": 1.53,
    "microcircuit, W2 frozen": 2.11,
    "single layer": 8.4,
}
TEACHER, STUDENT = (30, 20, 10), (30, 50, 10)  # units of the small task
TASK_RATE, TASK_BATCH = 0.2, 10  # of the small task
SECONDS = 6e-4  # for a step of the small task, on one core
LOOKS = 20  # how often the small task is looked at
SILENCE_RATES = {"WIP": 0.05, "bIP": 0.05, "WPI": 0.2}  # of learning the self-prediction


@dataclass(frozen=True, kw_only=True)
class TaskPart(Part):
    """The small tasks, which have no images."""

    steps: int = 20_000  # of TASK_BATCH presentations
    seeds: int = 3


@dataclass(frozen=True, kw_only=True)
class DigitsPart(Part):
    """Training on digits."""

    data: str = "mnist"
    hidden: int = 500  # units of each of the two hidden layers
    rates: tuple = (0.005, 0.02, 0.08)  # learning rates to choose from, for every rule
    held_out: float = 5 / 60
    search_images: int = 6_000
    search_epochs: int = 3
    batch_size: int = 50
    seeds: int = 3


TIERS = {
    "smoke": [
        TaskPart(steps=40, seeds=2),
        DigitsPart(data="digits", take=300, hidden=10, rates=(0.02,), epochs=2, seeds=1),
    ],
    "small": [TaskPart(), DigitsPart(epochs=6)],
    "full": [TaskPart(steps=1_000_000), DigitsPart(epochs=100, batch_size=10, search_epochs=5)],
}


def wide_uniform(rng, shape, fan_in, fan_out):
    """U(-1, 1): the distribution of all weights in the paper's small task."""
    return uniform(rng, shape, 1)


class UniformAlignment(FeedbackAlignment):
    """Feedback alignment with B uniform in +-1."""

    born = born_from(wide_uniform)


class FrozenCircuit(Microcircuit):
    """A microcircuit whose second layer of weights, and what predicts it, stays as it starts."""

    def backward(self, delta):
        super().backward(delta)
        self.linears[1].grads = {name: 0 * grad for name, grad in self.linears[1].grads.items()}
        self.grads |= {name: 0 * self.grads[name] for name in ("WIP1", "bIP1")}


FREE, FROZEN, SINGLE, LAST = (
    "microcircuit", "microcircuit, W2 frozen", "single layer", "last layer only"
)  # fmt: skip
RULES = {  # name -> feedback, what is made of the network
    "BP": (Backprop(), None),
    "FA": (UniformAlignment(), None),
    FREE: (UniformAlignment(), Microcircuit),
    FROZEN: (UniformAlignment(), FrozenCircuit),
    SINGLE: (Backprop(), None),  # 784-10
    LAST: (NoFeedback(), None),
}
TASK_RULES = "BP", FREE, LAST


def plan(part: TaskPart | DigitsPart):
    """The small task and the self-prediction, then every rule on digits."""
    if part.data is None:
        seconds = SECONDS * part.steps
        for rule in TASK_RULES:
            facts = {"task": "teacher", "rule": rule, "steps": part.steps}
            yield Setting(facts, seconds=seconds)
        facts = {"task": "silence", "rule": FREE, "steps": part.steps}
        yield Setting(facts, seconds=seconds)
    else:
        for rule in RULES:
            facts = {"task": "mnist", "hidden": part.hidden, "rule": rule}
            yield Setting(facts, part.rates, [part.epochs // 2] if rule == "BP" else [])


def network(sizes, rule: str, seed: int, init=glorot_uniform, **options) -> Sequential:
    """Logistic cells of these numbers under a rule; `options` are those of a microcircuit."""
    feedback, kind = RULES[rule]
    shared = {"rng": stream(seed, "init"), "init": init, "feedback": feedback}
    layers = [Flatten()]
    for n_in, n_out in pairwise(sizes):
        layers += [Linear(n_in, n_out, **shared), Sigmoid()]
    layers[-2].params["b"][:] = math.log(TARGETS[0] / (1 - TARGETS[0]))
    model = Sequential(*layers)
    model.send_no_error_below()
    return kind(model, **options) if kind else model


def measure(part: TaskPart, facts: dict, images) -> list[dict]:
    """A small task: learn from a teacher, or learn the self-prediction without one."""
    seed = facts["seed"]
    if facts["task"] == "teacher":
        return list(learn_teacher(facts["rule"], part.steps, seed))
    return list(learn_silence(part.steps, seed))


def learn_teacher(rule: str, steps: int, seed: int):
    """Yield, LOOKS times and at the start: the error, and angles in degrees, as W learns.

    The teacher is r = phi((2 phi(2 x W1) - 1) W2) with W1, W2 uniform in +-1 and x uniform in +-1.
    The error is a share of the variance of its rates, on 500 inputs of their own.
    """
    rng, phi = stream(seed, "task"), Sigmoid().forward
    W1, W2 = (sample(uniform, rng, TEACHER[k : k + 2], 1, "float32") for k in (0, 1))

    def presentations(count):
        x = sample(uniform, rng, (count, TEACHER[0]), 1, "float32")
        return x, phi((2 * phi(2 * x @ W1) - 1) @ W2)

    model = network(STUDENT, rule, seed)
    optimizer = SGD(model, TASK_RATE, momentum=0)
    x_seen, t_seen = presentations(500)
    variance = float(((t_seen - t_seen.mean(axis=0)) ** 2).mean())
    for step in range(steps + 1):
        if step % (steps // LOOKS) == 0:
            error = float(((model.forward(x_seen) - t_seen) ** 2).mean()) / variance
            angles = {"W_to_B": weight_angles(model)[1]}
            angles["delta_to_bp"] = delta_angles(model, x_seen, t_seen, toward)[0]
            known = {} if rule == LAST else angles
            yield {"presentations": step * TASK_BATCH, "error": error} | known
        if step < steps:
            train_step(model, optimizer, *presentations(TASK_BATCH), toward)


def learn_silence(steps: int, seed: int):
    """Yield, LOOKS times and at the start: rms of vA, as WIP and WPI learn from random, no teacher.

    W is fixed; the inputs are those of the small task.
    """
    rng = stream(seed, "task")
    model = network(STUDENT, FREE, seed, wide_uniform, self_predicting=False)
    for step in range(steps + 1):
        x = sample(uniform, rng, (TASK_BATCH, STUDENT[0]), 1, "float32")
        model.backward(xp.zeros_like(model.forward(x)))
        if step % (steps // LOOKS) == 0:
            loud = math.sqrt(float((model.apical[0] ** 2).mean()))
            yield {"presentations": step * TASK_BATCH, "apical": loud}
        for name, param in model.params.items():
            param -= SILENCE_RATES[name[:3]] * model.grads[name]


def parts(part: DigitsPart, facts: dict, images) -> Parts:
    """One training on digits under the paper's teacher."""
    hidden = () if facts["rule"] == SINGLE else (part.hidden, part.hidden)
    model = network((math.prod(images.shape), *hidden, 10), facts["rule"], facts["seed"])
    training = usual_training(model, part, facts, images, loss=teaching)
    return Parts(training, images.test, look=partial(watch_layers, loss=teaching))


def over_time(result: Result, task: str, rule: str, quantity: str) -> dict[int, list[float]]:
    """Presentations -> a quantity of a small task, for every seed; the error in %."""
    found, scale = {}, 100 if quantity == "error" else 1
    for trial in result.trials(task=task, rule=rule):
        for entry in trial["history"]:
            if entry.get(quantity) is not None:
                found.setdefault(entry["presentations"], []).append(scale * entry[quantity])
    return found


def at_end(result: Result, task: str, rule: str, quantity: str) -> list[float]:
    """A quantity of a small task at its end, for every seed."""
    return list(over_time(result, task, rule, quantity).values() or [[]])[-1]


def at_start(result: Result, task: str, rule: str, quantity: str) -> list[float]:
    """A quantity of a small task before learning, for every seed."""
    return next(iter(over_time(result, task, rule, quantity).values()), [])


def errors(result: Result, rule: str) -> list[float]:
    """Test errors on MNIST in %, for every seed."""
    return result.errors(task="mnist", rule=rule)


def table(result: Result) -> str:
    """MNIST, then the small tasks."""
    line = "{:<26}{:>14}{:>12}{:>16}".format
    lines = [line(setting(result), "test error", "published", "learning rate")]
    for rule in RULES:
        facts = {"task": "mnist", "rule": rule}
        rate = f"{next(iter(result.values('lr', **facts)), '-')}{result.mark(**facts)}"
        published = PUBLISHED.get(rule, "-")
        lines.append(line(rule, spread(errors(result, rule)), published, rate))
    lines.append("\n" + line("30-50-10 learns 30-20-10", "error", "W to B", "delta to BP's"))
    for rule in TASK_RULES:
        cells = (at_end(result, "teacher", rule, q) for q in ("error", "W_to_B", "delta_to_bp"))
        lines.append(line(rule, *map(spread, cells)))
    loud = (spread(at(result, "silence", FREE, "apical")) for at in (at_start, at_end))
    lines.append("\nrms of vA without a teacher, from a random start: {}, then {}".format(*loud))
    lines.append("mean ± standard deviation over the seeds; error in %, angles in degrees")
    return "\n".join([*lines, *MARKS])


def figures(result: Result) -> dict:
    """The small task: error, and the microcircuit's angles, over the presentations."""
    draw = plots.experiments
    if not result.trials(task="teacher"):
        return {}

    def line(rule, style, quantity, name=None):
        look = draw.LOOKS[rule]._replace(line=style)
        found = over_time(result, "teacher", rule, quantity)
        return name or rule, look, {place / 1000: values for place, values in found.items()}

    errors = [line(rule, "-", "error") for rule in TASK_RULES]
    for _, _, found in errors:
        found.pop(0, None)  # an untaught network is wrong by twice the variance and more
    angles = [
        line(FREE, ":", "W_to_B", "W and B"),
        line(FREE, "--", "delta_to_bp", "its delta\nand BP's"),
    ]
    panels = [
        draw.Panel("What is learned", "error (% of the variance)", errors),
        draw.Panel("In the microcircuit", "angle (degrees)", angles),
    ]
    return {"teacher": draw.against("presentations, in thousands", panels)}


def setting(result: Result) -> str:
    """Our setting on MNIST, in words."""
    for first in result.trials(task="mnist")[:1]:
        return "MNIST, {images:,} images, {epochs} epochs".format(**first)
    return "MNIST"


def ours(*rules):
    """A function from a Result to test errors on MNIST, in words."""
    return lambda result: (
        ", ".join(f"{rule} {measured(errors(result, rule))}" for rule in rules) + " %"
    )


def mean_error(result, rule):
    """The mean test error on MNIST in %."""
    return result.error(task="mnist", rule=rule)


def learned(result):
    """The scale: BP must have learned most of what it can, or a slower rule lacks only time."""
    yield from budget.flat(result, task="mnist", rule="BP")


def near_published(result):
    """The scale: BP must come near its published error, or the distance to it says little."""
    yield from budget.near(mean_error(result, "BP"), PUBLISHED["BP"])


def beats_last(*rules):
    """Guards: hidden layers must learn something."""

    def guards(result):
        for rule in rules:
            below = mean_error(result, rule) < mean_error(result, LAST)
            yield f"{rule} below the last layer alone", below

    return guards


@claim(
    "On MNIST a microcircuit with random feedback comes close to BP",
    setting,
    ours(FREE, "BP", LAST),
    published="test error 1.96 %, BP 1.53 %",
    guards=beats_last(FREE),
    scale=lambda result: [*learned(result), *near_published(result)],
)
def _close(result):
    free, bp = mean_error(result, FREE), mean_error(result, "BP")
    yield "within 1 point of BP", abs(free - bp) <= 1


@claim(
    "Its test error is 1.96 %",
    setting,
    ours(FREE, "BP"),
    published="1.96 %, BP 1.53 %",
    scale=near_published,
)
def _number(result):
    off = abs(mean_error(result, FREE) - PUBLISHED[FREE])
    yield "within 0.5 points", off <= 0.5


@claim(
    "It needs its hidden layers: a single layer is far worse",
    setting,
    ours(FREE, SINGLE),
    published="single layer 8.4 %",
)
def _single_layer(result):
    free, single = mean_error(result, FREE), mean_error(result, SINGLE)
    yield "the single layer within 1.5 points of 8.4 %", abs(single - PUBLISHED[SINGLE]) <= 1.5
    yield "the microcircuit has less than half of its error", free < single / 2


@claim(
    "With the weights between the hidden layers frozen it loses little",
    setting,
    ours(FROZEN, FREE),
    published="2.11 %, against 1.96 %",
    guards=beats_last(FROZEN),
    scale=near_published,
)
def _frozen(result):
    frozen, free = mean_error(result, FROZEN), mean_error(result, FREE)
    yield "at most 0.5 points above the free one", frozen <= free + 0.5
    yield "not below it by more than 0.2 points", frozen >= free - 0.2


@claim(
    "It learns as feedback alignment does with the same B",
    setting,
    ours(FREE, "FA"),
    published="none in print: follows from the steady state, for weak nudges",
    guards=beats_last(FREE, "FA"),
)
def _alignment(result):
    distance = abs(mean_error(result, FREE) - mean_error(result, "FA"))
    yield "within 0.5 points of FA", distance <= 0.5


@claim(
    "A network 30-50-10 learns another network, while W turns toward B",
    "30-20-10 logistic cells as teacher, in the steady state, from a self-predicting start",
    lambda result: (
        f"error in % of the variance {measured(at_end(result, 'teacher', FREE, 'error'))}, "
        f"last layer only {measured(at_end(result, 'teacher', LAST, 'error'))}; angle of W and B "
        f"{measured(at_end(result, 'teacher', FREE, 'W_to_B'))} degrees"
    ),
    published="W within about 45 degrees of B",
)
def _teacher(result):
    error, last = (average(at_end(result, "teacher", rule, "error")) for rule in (FREE, LAST))
    yield "at most half the error of the last layer alone", error <= last / 2
    yield "W within 60 degrees of B", average(at_end(result, "teacher", FREE, "W_to_B")) < 60


@claim(
    "Without a teacher, apical dendrites learn to be silent",
    "30-50-10, WIP and WPI from a random start, W fixed",
    lambda result: "rms of vA {}, then {}".format(
        *(measured(at(result, "silence", FREE, "apical")) for at in (at_start, at_end))
    ),
    published="shown as curves",
)
def _silence(result):
    before, after = (average(at(result, "silence", FREE, "apical")) for at in (at_start, at_end))
    yield "to less than a tenth", after < before / 10


claims = listed(_close, _number, _single_layer, _frozen, _alignment, _teacher, _silence)
