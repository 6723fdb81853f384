"""One synapse whose LTP and LTD differ in strength: where does it come to rest?

The part of the experiment `plasticity` that needs no images. A synapse rests where the mean
gradient is not 0 but z(eta_plus / eta_minus) times its noise (resting_gradient in
nnref/questions/plasticity.py derives z); the noise falls as one over the root of the batch.
"""

import math
from dataclasses import dataclass
from itertools import product

from nnref.experiments.claims import claim
from nnref.experiments.numbers import as_text, average, largest
from nnref.experiments.plan import Part, Setting
from nnref.experiments.result import Result, Table
from nnref.init import stream
from nnref.questions import plasticity

STEPS = {  # how a gradient is used -> its optimizer, what a Gaussian gradient does to a synapse
    "SGD": (plasticity.Plasticity, plasticity.mean_change),
    "BM": (plasticity.ManhattanPlasticity, plasticity.mean_manhattan_change),
}
IN_WORDS = {"SGD": "SGD", "BM": "Batch Manhattan"}
RATIOS = [1, 1.25, 1.5, 2, 3, 5]  # eta_plus / eta_minus


@dataclass(frozen=True, kw_only=True)
class SynapsePart(Part):
    """Synapses that see normal gradients."""

    batches: list  # sizes of batches


def pair(ratio: float) -> tuple[float, float]:
    """Strengths (plus, minus) of this ratio, whose mean is 1."""
    return 2 * ratio / (1 + ratio), 2 / (1 + ratio)


def plan(part: SynapsePart):
    """Either way to use a gradient, in batches of every size."""
    for step, batch in product(STEPS, part.batches):
        yield Setting({"task": "one synapse", "step": step, "batch": batch})


def measure(part: SynapsePart, facts: dict, images) -> list[dict]:
    """The mean weight at rest for every ratio; each example has noise of standard deviation 1."""
    optimizer, _ = STEPS[facts["step"]]
    pairs, noise = [pair(ratio) for ratio in RATIOS], 1 / math.sqrt(facts["batch"])
    lr = 0.02 if facts["step"] == "SGD" else 0.02 * noise
    rng = stream(facts["seed"], "one synapse")
    rest = plasticity.weights_at_rest(optimizer, pairs, noise, rng, lr)
    return [{"rest": rest}]


def derived(step: str, batch: int, ratio: float) -> float:
    """Where a synapse comes to rest, by the formula."""
    _, change = STEPS[step]
    return plasticity.resting_gradient(change, *pair(ratio), 1 / math.sqrt(batch))


def rests(result: Result, step: str, batch: int, ratio: float) -> list[float]:
    """Where it came to rest, for every seed."""
    trials = result.trials(task="one synapse", step=step, batch=batch)
    return [trial["history"][-1]["rest"][RATIOS.index(ratio)] for trial in trials]


def sizes(result: Result) -> list[int]:
    """The sizes of the batches."""
    return sorted(result.values("batch", task="one synapse"))


def rows(result: Result) -> list[str]:
    """Lines of the table: synapses at rest, as measured and as derived."""
    table = Table(20, 16)
    table.lines.append("one synapse: the mean gradient at rest, in noises of one example (derived)")
    table.row("eta+ / eta-", [f"{ratio:g}" for ratio in RATIOS])
    for step, batch in product(STEPS, sizes(result)):
        cells = [
            f"{average(rests(result, step, batch, ratio)):.3f} ({derived(step, batch, ratio):.3f})"
            for ratio in RATIOS
        ]
        table.row(f"{step}, batches of {batch}", cells)
    return table.lines


def panels(result: Result, draw) -> list:
    """Panels of draw.against: the mean gradient at rest, in noises of a batch."""

    def lines(step):
        black = draw.Look("black")
        yield "derived", black, {ratio: [derived(step, 1, ratio)] for ratio in RATIOS}
        for batch, mark in zip(sizes(result), ("o", "x"), strict=True):
            found = {ratio: rests(result, step, batch, ratio) for ratio in RATIOS}
            noises = {ratio: [math.sqrt(batch) * w for w in rest] for ratio, rest in found.items()}
            yield f"batches of {batch}", draw.Look("black", "none", mark), noises

    label = "mean gradient at rest / its noise"
    return [draw.Panel(IN_WORDS[step], label, list(lines(step))) for step in STEPS]


def deviation(result: Result, step: str):
    """The largest deviation from the formula, in % of it."""
    return largest(
        abs(100 * average(rests(result, step, batch, ratio)) / derived(step, batch, ratio) - 100)
        for batch, ratio in product(sizes(result), RATIOS)
        if ratio != 1  # which rests at 0
    )


@claim(
    "A synapse comes to rest away from the minimum, at the derived distance: in proportion to the "
    "noise of the gradient, so to the root of 1 / batch, also under BM",
    "normal gradients, ratios up to 5",
    lambda result: (
        "largest deviation from the formula: "
        + ", ".join(f"{step} {as_text(deviation(result, step))} %" for step in STEPS)
    ),
    published="none in print; that SGD with asymmetric steps does not converge to the minimum is "
    "shown by Wu et al. 2024 ([arXiv 2406.12774](https://arxiv.org/abs/2406.12774), abstract)",
)
def rest(result):
    """The conditions of the claim on single synapses."""
    for step in STEPS:
        yield f"{step}: within 5 % everywhere", deviation(result, step) <= 5
