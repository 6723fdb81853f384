"""What becomes of learning under BP, SS and FA where the error comes late, in a stream of images?

After Bacvanski et al. 2025 (arXiv 2510.18808); questions/late.py has the equations, tutorial 8 the
mathematics. An MLP on digits, each image held for `hold` steps of time:

    strength    weights stand still: the projection of what a stream teaches on what it teaches
                without delay; all of it, and without what mean input and mean delta alone teach
    delay       accuracy against delay / hold, without and with an eligibility trace
    trace       accuracy against the length of the trace, where the delay is one `hold`
    smooth      accuracy against the time constant of the error, without delay or trace
"""

from functools import partial
from itertools import product
from typing import NamedTuple

from matplotlib.figure import Figure

from nnref import models
from nnref.data.imageset import batches
from nnref.experiments import images as sources
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
from nnref.experiments.study import Parts, Study
from nnref.feedback import Backprop, FeedbackAlignment, NoFeedback, SignSymmetry
from nnref.init import stream
from nnref.measure import deltas, weight_layers
from nnref.optim import SGD, cosine
from nnref.plots import experiments as draw
from nnref.questions import late
from nnref.questions.late import Clock, overlap, summed_gradient
from nnref.train import fit

PAPER = (
    "Bacvanski et al. 2025, *On biologically plausible learning in continuous time* "
    "([arXiv 2510.18808](https://arxiv.org/abs/2510.18808)), abstract: with inputs that are held, "
    "learning falls linearly as the delay of the error approaches the time T for which an input is "
    "held, so that seconds-long eligibility traces are needed. Here under BP, SS and FA."
)
RULES = {"BP": Backprop(), "SS": SignSymmetry(), "FA": FeedbackAlignment()}


class Part(NamedTuple):
    """One data set, and what is tried on it. Times in steps; `hold` is T."""

    data: str
    units: list  # of the hidden layers
    hold: int
    delays: list
    traces: list  # swept at a delay of T; the one that equals T goes with every delay
    smooths: list  # swept without delay
    rates: list  # learning rates for a step of time
    search: tuple  # training images and epochs of their choice
    epochs: int
    streams: int
    still: int  # images of the streams in which no weight changes
    seeds: int
    take: tuple = ()  # how many images (sources.load); all


TIERS = {
    "smoke": [Part("digits", [8, 6], 4, [0, 2, 4], [4], [4], [0.01], (0, 0), 1, 20, 40, 2, (60,))],
    "small": [
        Part("mnist", [100, 100], 10, [0, 2, 5, 8, 10, 15], [2, 10, 20, 50], [5, 20],
             [0.003, 0.01, 0.03, 0.1], (5_000, 1), 2, 32, 4_000, 3, (10_000,)),
    ],
    "full": [
        Part("mnist", [256, 256], 20, [0, 5, 10, 15, 20, 30, 40], [5, 10, 20, 40, 80, 160],
             [5, 10, 20, 40], [1e-3, 3e-3, 0.01, 0.03], (10_000, 1), 10, 32, 20_000, 5),
    ],
}  # fmt: skip
MINUTES = {"smoke": "10 seconds", "small": "25 minutes on one core", "full": "a day on one core"}


def run(study: Study, places: sources.Sources, seeds: int | None = None):
    """The strength in streams where no weight changes; then training with every clock."""
    for part, images in sources.each(study, TIERS[study.tier], places):
        study.facts["hold"] = part.hold
        for seed, rule in product(range(seeds or part.seeds), RULES):
            facts = {"task": "strength", "data": part.data, "rule": rule, "seed": seed}
            study.measurement(facts, partial(_strengths, part, images, rule, seed))
        settings = [_setting(part, rule, clock) for clock in clocks(part) for rule in RULES]
        settings.append(_setting(part, "last layer only", Clock(part.hold)))
        study.compare(settings, images, part.search, part.epochs, seeds or part.seeds)


def clocks(part: Part) -> list[Clock]:
    """Every clock that is trained with, each once."""
    T = part.hold
    found = [Clock(T, delay) for delay in part.delays]
    found += [Clock(T, delay, 0, T) for delay in part.delays]
    found += [Clock(T, T, 0, trace) for trace in part.traces]
    found += [Clock(T, 0, smooth) for smooth in part.smooths]
    return list(dict.fromkeys(found))


def _setting(part, rule, clock):
    """What Study.compare takes: facts, learning rates, and what makes the parts of a trial."""
    times = {name: float(value) for name, value in clock._asdict().items()}
    facts = {"data": part.data, "network": "-".join(map(str, part.units)), "rule": rule, **times}
    return facts, part.rates, partial(_parts, part, rule, clock)


def _parts(part, rule, clock, images, lr, epochs, seed) -> Parts:
    feedback = {"last layer only": NoFeedback()} | RULES
    shape = images.train.images[0].shape
    model = models.mlp(part.units, shape, feedback=feedback[rule], seed=seed)
    return Parts(
        model, SGD(model, lr, momentum=0), images.train, images.val, images.test, epochs,
        part.streams, cosine(lr, epochs), fit=partial(_fit, clock),
    )  # fmt: skip


def _fit(
    clock, model, optimizer, train, val, epochs, streams, schedule, seed, on_step, on_epoch, label,
    progress, loss,
):  # fmt: skip
    """late.fit, called as train.fit is: without checkpoints, since it does not take long."""
    late.fit(
        model, optimizer, train, val, clock, epochs, streams, schedule, seed, on_epoch, loss,
        progress.history,
    )  # fmt: skip


def _strengths(part, images, rule, seed, _) -> dict:
    """For every delay, without and with a trace: strengths of each layer above the first.

    Of a network that ordinary training has given a few percent of the images. "all" is the
    projection of the sum of gradients on that without delay. "images" is the same after
    mean(x)^T mean(delta) has been subtracted from both, which the false pairs teach.
    """
    model = models.mlp(part.units, images.train.images[0].shape, feedback=RULES[rule], seed=seed)
    order = stream(seed, "still").permutation(len(images.train.labels))
    fit(model, SGD(model, 0.01), images.fewer(max(32, len(order) // 20)).train, seed=seed)
    x, labels = next(batches(images.train, part.still, order[: part.still]))
    streams = part.still // 20
    exact = summed_gradient(model, x, labels, Clock(part.hold), streams)
    means = _of_means(model, x, labels, part.hold * len(labels) / streams)
    entries = []
    for delay, trace in product(part.delays, (0, part.hold)):
        clock = Clock(part.hold, delay, 0, trace)
        found = summed_gradient(model, x, labels, clock, streams)
        entry = {"delay": delay, "trace": trace, "predicted": overlap(clock)}
        entry["all"] = [_projection(a, b) for a, b in zip(found, exact, strict=True)]
        entry["images"] = [
            _projection(a - mean, b - mean) for a, b, mean in zip(found, exact, means, strict=True)
        ]
        entries.append(entry)
    return {"history": entries, "seconds": 0.0}


def _of_means(model, x, labels, steps) -> list:
    """What mean input and mean delta of every layer teach in so many steps, streams averaged."""
    errors = deltas(model, x, labels)
    model.forward(x)
    layers = weight_layers(model)
    return [
        steps * layer.x.mean(axis=0)[:, None] * len(x) * delta.mean(axis=0)
        for layer, delta in zip(layers, errors, strict=True)
    ]


def _projection(a, b) -> float:
    """How much of b is in a."""
    return float((a * b).sum() / (b * b).sum())


def strengths(result, kind, rule, delay, trace) -> list[float]:
    """The mean strength over all layers, for each seed; kind is "all", "images" or "predicted"."""
    found = []
    for trial in chosen(result, task="strength", rule=rule):
        for entry in trial["history"]:
            if (entry["delay"], entry["trace"]) == (delay, trace):
                value = entry[kind]
                found.append(average(value) if isinstance(value, list) else value)
    return found


def trials_of(result, rule, delay=0, smooth=0, trace=0) -> list[dict]:
    """The trials of a setting, one for each seed; those of strengths have no smoothing."""
    return chosen(result, rule=rule, delay=delay, smooth=smooth, trace=trace)


def found(result, *setting, **named) -> list[float]:
    """Test accuracies in %, one for each seed."""
    return accuracies(trials_of(result, *setting, **named))


def part_of(result) -> Part:
    """What was run."""
    return TIERS[result["tier"]][0]


def table(result: dict) -> str:
    """Strengths against delay; accuracy against delay, trace and smoothing."""
    part = part_of(result)
    lines = ["learning strength, no weight changes: T = " + str(part.hold)]
    lines.append(f"  {'delay / T':<27}" + _row(f"{d / part.hold:g}" for d in part.delays))
    for trace in (0, part.hold):
        note = f", trace {trace}" if trace else ""
        cells = [f"{overlap(Clock(part.hold, d, 0, trace)):.2f}" for d in part.delays]
        lines.append(f"  {f'predicted{note}':<27}" + _row(cells))
        for rule, kind in product(RULES, ("images", "all")):
            cells = [_mean_of(strengths(result, kind, rule, d, trace)) for d in part.delays]
            lines.append(f"  {f'{rule}, {kind}{note}':<27}" + _row(cells))
    first = chosen(result, data=part.data, rule="last layer only")[0]
    lines.append(headline(first))
    for title, places, name, rest in (
        ("delay / T", part.delays, "delay", {}),
        (f"the same, trace {part.hold}", part.delays, "delay", {"trace": part.hold}),
        ("trace / T, delay T", [0, *part.traces], "trace", {"delay": part.hold}),
        ("smoothing / T", [0, *part.smooths], "smooth", {}),
    ):
        lines.append(f"  {title:<27}" + _row(f"{place / part.hold:g}" for place in places))
        for rule in RULES:
            cells = [_cell(result, rule, **rest | {name: place}) for place in places]
            lines.append(f"  {rule:<27}" + _row(cells))
    lines.append(f"  last layer only, no delay: {_cell(result, 'last layer only')}")
    return "\n".join([*lines, *FOOT])


def _row(cells) -> str:
    return "".join(f"{cell:>14}" for cell in cells)


def _mean_of(values) -> str:
    """Two digits of a mean."""
    return f"{average(values):.2f}" if values else "-"


def _cell(result, rule, **times) -> str:
    names = "data", "rule", "hold", "delay", "smooth", "trace"
    return starred(result, trials_of(result, rule, **times), *names)


def figures(result: dict) -> dict[str, Figure]:
    """Strength and accuracy against the delay; accuracy against the length of the trace."""
    part = part_of(result)
    T, lines = part.hold, {"": [], ", with a trace": []}
    for note, trace in (("", 0), (", with a trace", T)):
        predicted = {d / T: [overlap(Clock(T, d, 0, trace))] for d in part.delays}
        lines[note].append(("predicted", "black", "--", predicted))
        for rule in RULES:
            values = {d / T: strengths(result, "images", rule, d, trace) for d in part.delays}
            lines[note].append((rule, *draw.STYLES[rule], values))
    panels = {f"learning strength{note}": found for note, found in lines.items()}
    for note, trace in (("", 0), (", with a trace", T)):
        panels[f"accuracy (%){note}"] = [
            (rule, *draw.STYLES[rule],
             {d / T: found(result, rule, delay=d, trace=trace) for d in part.delays})
            for rule in RULES
        ]  # fmt: skip
    traces = [
        (rule, *draw.STYLES[rule],
         {tau / T: found(result, rule, delay=T, trace=tau) for tau in [0, *part.traces]})
        for rule in RULES
    ]  # fmt: skip
    return {
        "delay": draw.against("delay of the error / T", panels),
        "trace": draw.against("length of the trace / T", {"accuracy (%), delay T": traces}),
    }


def claims(result: dict | None) -> list[Claim]:
    """What the mathematics of tutorial 8 lets us expect, written before anything was trained."""
    return [_linear(result), _late(result), _bridge(result), _long(result), _alike(result)]


ABSTRACT = "stated in the abstract"
NONE = "none in print"
SETTING = "an MLP on MNIST, each image held for T = 10 steps"


def _accuracy(result, rule, **times):
    return average(found(result, rule, **times))


def _words(result, settings: dict) -> str:
    """Accuracies under all rules; settings: words -> times."""
    return "; ".join(
        f"{rule} "
        + ", ".join(f"{words} {measured(found(result, rule, **times))}"
                    for words, times in settings.items())
        for rule in RULES
    )  # fmt: skip


def _linear(result) -> Claim:
    """Written after one seed had shown that the two parts behave differently."""
    worst = {}
    for rule, kind in product(RULES, ("images", "all")):
        off = [
            abs(average(values) - max(0, 1 - delay / 10))
            for delay in TIERS["small"][0].delays
            if (values := strengths(result, kind, rule, delay, 0))
        ]
        worst[rule, kind] = max(off) if off else None
    known = None not in worst.values()
    return Claim(
        "The learning strength falls as max(0, 1 - d/T)",
        ABSTRACT,
        SETTING + "; weights that stand still",
        "largest deviation, of what tells images apart (of all): "
        + ", ".join(f"{r} {worst[r, 'images']:.2f} ({worst[r, 'all']:.2f})" for r in RULES)
        if known
        else "-",
        [
            (f"{rule}: of what tells images apart, within 0.05", holds(lambda v: v <= 0.05, off))
            for (rule, kind), off in worst.items()
            if kind == "images"
        ]
        + [
            (f"{rule}: of all that is taught, within 0.05", holds(lambda v: v <= 0.05, off))
            for (rule, kind), off in worst.items()
            if kind == "all"
        ],
    )


def _late(result) -> Claim:
    conditions = []
    for rule in RULES:
        none, half, full, more = (_accuracy(result, rule, delay=d) for d in (0, 5, 10, 15))
        conditions += [
            (
                f"{rule}: at T/2 within 5 points of no delay",
                holds(lambda a, b: b >= a - 5, none, half),
            ),
            (
                f"{rule}: at most 30 % from d = T on",
                holds(lambda a, b: max(a, b) <= 30, full, more),
            ),
        ]
    return Claim(
        "Learning survives a delay of T/2, and fails from T on, in the last layer too",
        "robustness and failure are stated in the abstract, without a number",
        SETTING,
        _words(result, {f"d = {d}": {"delay": d} for d in (0, 5, 10, 15)}),
        conditions,
    )


def _bridge(result) -> Claim:
    conditions = []
    for rule in RULES:
        none, full = (_accuracy(result, rule, delay=d, trace=t) for d, t in ((0, 0), (10, 10)))
        conditions.append(
            (
                f"{rule}: with a trace, d = T within 10 points of no delay",
                holds(lambda a, b: b >= a - 10, none, full),
            )
        )
    return Claim(
        "An eligibility trace of length T bridges a delay of T",
        "that traces are needed is stated in the abstract",
        SETTING,
        _words(
            result,
            {
                "without delay": {},
                "d = T": {"delay": 10},
                "and a trace": {"delay": 10, "trace": 10},
            },
        ),
        conditions,
    )


def _long(result) -> Claim:
    conditions = []
    for rule in RULES:
        short, equal, long = (_accuracy(result, rule, delay=10, trace=t) for t in (2, 10, 50))
        conditions.append(
            (
                f"{rule}: best at T, of 0.2, 1 and 5 T",
                holds(lambda a, b, c: b > max(a, c), short, equal, long),
            )
        )
    return Claim(
        "The trace should be about as long as the delay: a longer one pairs the error with the "
        "images in between as well",
        "the abstract asks for a plasticity timescale one to two orders of magnitude longer than "
        "the stimulus",
        SETTING + ", d = T",
        _words(result, {f"{t / 10:g} T": {"delay": 10, "trace": t} for t in (2, 10, 20, 50)}),
        conditions,
    )


def _alike(result) -> Claim:
    losses = {}
    for rule, (delay, trace) in product(RULES, ((5, 0), (10, 10))):
        none, some = _accuracy(result, rule), _accuracy(result, rule, delay=delay, trace=trace)
        losses[rule, delay] = None if None in (none, some) else none - some
    conditions = [
        (
            f"d = {delay}{', with a trace' if delay == 10 else ''}: losses within 4 points",
            holds(
                lambda *values: max(values) - min(values) <= 4,
                *(losses[rule, delay] for rule in RULES),
            ),
        )
        for delay in (5, 10)
    ]
    known = None not in losses.values()
    return Claim(
        "BP, SS and FA suffer alike: the delay comes after B",
        NONE,
        SETTING,
        "points lost at d = 5, and at d = 10 with a trace: "
        + ", ".join(f"{rule} {losses[rule, 5]:.1f}, {losses[rule, 10]:.1f}" for rule in RULES)
        if known
        else "-",
        conditions,
    )
