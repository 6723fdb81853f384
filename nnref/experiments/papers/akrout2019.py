"""Akrout, Wilson, Humphreys, Lillicrap & Tweed 2019, "Deep learning without weight transport"
(arXiv 1904.05391), the MNIST network of their code: B need not be fixed. Under Kolen-Pollack it
learns by the same local product as W, and the network comes to match backpropagation.

    theirs    784-500-10, sigmoid units and outputs, cross-entropy of each output, SGD without
              momentum, batch 128, learning rate 0.2 (Kolen-Pollack 0.3), no weight decay, W and B
              normal with variance 1 / (n_in + n_out), 400 epochs, one seed, images never shuffled;
              biases learn 128 times more slowly (their gradient is divided by the batch twice)
    ours      the same, but shuffled, with biases that learn as weights do; three seeds

Both look at the test set after every epoch. Nothing of ours is chosen by it; "best" stands in the
table because it is what they published.
"""

import math
from functools import partial

from matplotlib.figure import Figure

from nnref.backend import to_device
from nnref.errors import InputError
from nnref.experiments import images as sources
from nnref.experiments.result import Claim, average, chosen, holds, measured
from nnref.experiments.study import Parts, Study, by_layer, spread
from nnref.feedback import Backprop, FeedbackAlignment, KolenPollack, NoFeedback
from nnref.init import normal, stream
from nnref.layers import Flatten, Linear, Sequential, Sigmoid
from nnref.losses import sigmoid_cross_entropy
from nnref.optim import SGD
from nnref.plots import experiments as draw

PAPER = (
    "Akrout, Wilson, Humphreys, Lillicrap & Tweed 2019, *Deep learning without weight transport* "
    "([arXiv 1904.05391](https://arxiv.org/abs/1904.05391)), the MNIST network of their code: a B "
    "that learns by the same local product as W does as well as W itself."
)
BATCH = 128
PUBLISHED = {  # their logs: test accuracy in % after 30 epochs, and the best of 400
    "BP": (97.1, 98.50),
    "FA": (93.3, 97.80),
    "KP": (None, 98.47),
    "last layer only": (None, None),  # ours
}
TIERS = {  # hidden units, images, seeds, epochs; epochs of seed 0
    "smoke": (20, 300, 2, 1, 2),
    "small": (500, None, 3, 30, 30),
    "full": (500, None, 3, 30, 400),
}
MINUTES = {"smoke": "a few seconds", "small": "20 minutes", "full": "2 hours on 2 cores"}


def their_normal(rng, shape, fan_in, fan_out):
    """N(0, sqrt(1 / (n_in + n_out))): the law of W and of B in their code."""
    return normal(rng, shape, math.sqrt(1 / (fan_in + fan_out)))


class _TheirB:
    """A rule whose B is born by their law."""

    def born(self, W, scale, draw):
        self.B = to_device(their_normal(self.rng, W.shape, *W.shape).astype(W.dtype))


class TheirAlignment(_TheirB, FeedbackAlignment):
    """Feedback alignment from such a B."""


class TheirKolenPollack(_TheirB, KolenPollack):
    """Kolen-Pollack from such a B; no weight decay, so W - B stays as it was born."""


RULES = {  # name -> (rule, learning rate)
    "BP": (Backprop(), 0.2),
    "FA": (TheirAlignment(), 0.2),
    "KP": (TheirKolenPollack(), 0.3),
    "last layer only": (NoFeedback(), 0.2),
}


def run(study: Study, places: sources.Sources, seeds: int | None = None):
    """Train under every rule, from every seed; the short trainings first."""
    hidden, count, usual, short, long = TIERS[study.tier]
    try:
        name = "digits" if study.tier == "smoke" else "mnist"
        images = sources.load(name, places, count, share=0)
    except InputError as error:
        study.left_out("mnist", error)
        return
    study.facts["data"].append(images.facts)
    for seed in reversed(range(seeds or usual)):  # the long one last
        epochs = short if seed else long
        for rule, (_, lr) in RULES.items():
            facts = {"rule": rule, "hidden": hidden, "epochs": epochs, "lr": lr, "seed": seed}
            study.trial(facts, partial(_parts, images, hidden, rule, epochs, seed))


def network(hidden, inputs, feedback, seed) -> Sequential:
    """Their network; its outputs are logits, since the loss holds the last sigmoid."""
    options = {"rng": stream(seed, "init"), "init": their_normal, "feedback": feedback}
    model = Sequential(
        Flatten(), Linear(inputs, hidden, **options), Sigmoid(), Linear(hidden, 10, **options)
    )
    model.send_no_error_below()
    return model


def _parts(images, hidden, rule, epochs, seed) -> Parts:
    feedback, lr = RULES[rule]
    model = network(hidden, images.train.images[0].size, feedback, seed)
    return Parts(
        model, SGD(model, lr, momentum=0), images.train, images.test, images.test, epochs, BATCH,
        loss=sigmoid_cross_entropy, look=partial(by_layer, loss=sigmoid_cross_entropy),
    )  # fmt: skip


def after(result, rule, epochs) -> list[float]:
    """Test accuracy in % after so many epochs, for every seed."""
    trials = [t for t in chosen(result, rule=rule) if len(t["history"]) > epochs]
    return [100 * t["history"][epochs]["val_accuracy"] for t in trials]


def best(result, rule, epochs) -> list[float]:
    """The best test accuracy in % of the first so many epochs, as they published it."""
    trials = [t for t in chosen(result, rule=rule) if len(t["history"]) > epochs]
    return [100 * max(e["val_accuracy"] for e in t["history"][1 : epochs + 1]) for t in trials]


def delta_angle(result, rule, epochs) -> list[float]:
    """The angle between the hidden layer's delta and BP's, in degrees, for every seed."""
    trials = [t for t in chosen(result, rule=rule) if len(t["history"]) > epochs]
    return [t["history"][epochs]["delta_angle_deg"][0] for t in trials]


def table(result: dict) -> str:
    """Test accuracy in %: theirs and ours."""
    lines = [f"{'':<17}{'30 epochs':>12}{'theirs':>8}{'400 epochs':>14}{'best':>8}{'theirs':>8}"]
    for rule, (short, long) in PUBLISHED.items():
        lines.append(
            f"{rule:<17}{spread(after(result, rule, 30)):>12}{short or '-':>8}"
            f"{spread(after(result, rule, 400)):>14}{spread(best(result, rule, 400)):>8}"
            f"{long or '-':>8}"
        )
    return "\n".join([*lines, "test accuracy in %, mean ± standard deviation over the seeds"])


def figures(result: dict) -> dict[str, Figure]:
    """Test error, theirs as stars, and the angle of the hidden layer's delta."""
    trials = {rule: [t["history"][1:] for t in chosen(result, rule=rule)] for rule in PUBLISHED}
    error = {
        rule: [[(e["epoch"], 100 - 100 * e["val_accuracy"]) for e in history] for history in runs]
        for rule, runs in trials.items()
    }
    angle = {
        rule: [
            [(e["epoch"], e["delta_angle_deg"][0]) for e in history if "delta_angle_deg" in e]
            for history in trials[rule]
        ]
        for rule in ("FA", "KP")
    }
    stars = {
        rule: [(epochs, 100 - accuracy) for epochs, accuracy in zip((30, 400), known, strict=True)
               if accuracy]
        for rule, known in PUBLISHED.items()
    }  # fmt: skip
    theirs = {"FA": [(1, 42), (10, 26), (400, 35)]}
    drawn = {
        "error": draw.curves({"MNIST": error}, "test error (%)", stars),
        "angle": draw.curves({"hidden layer": angle}, "angle of delta and BP's (degrees)", theirs),
    }
    for axes in (drawn["error"].axes[0], drawn["angle"].axes[0]):
        axes.set_xscale("log")
        draw.plain_ticks(axes.xaxis)
    drawn["error"].axes[0].set_yscale("log")
    draw.plain_ticks(drawn["error"].axes[0].yaxis)
    return drawn


def claims(result: dict | None) -> list[Claim]:
    """What their logs say, held against ours."""
    short = {rule: average(after(result, rule, 30)) for rule in PUBLISHED}
    long = {rule: average(best(result, rule, 400)) for rule in PUBLISHED}
    angles = {epochs: average(delta_angle(result, "FA", epochs)) for epochs in (1, 10, 400)}
    setting = "MNIST, 60,000 images, 784-500-10 sigmoid, their learning rates"
    return [
        Claim(
            "After 30 epochs FA is 4 points behind BP",
            "BP 97.1, FA 93.3 % (logs of their code)",
            setting,
            ", ".join(f"{rule} {measured(after(result, rule, 30))}" for rule in ("BP", "FA"))
            + " %",
            [
                (
                    "BP within 0.7 points of theirs",
                    holds(lambda a: abs(a - 97.1) < 0.7, short["BP"]),
                ),
                (
                    "FA within 1.5 points of theirs",
                    holds(lambda a: abs(a - 93.3) < 1.5, short["FA"]),
                ),
            ],
        ),
        Claim(
            "In the end FA comes close, and Kolen-Pollack matches BP",
            "best of 400 epochs: BP 98.50, FA 97.80, KP 98.47 % (logs of their code)",
            setting,
            ", ".join(f"{rule} {measured(best(result, rule, 400))}" for rule in ("BP", "FA", "KP"))
            + " %",
            [
                (
                    "KP within 0.2 points of BP",
                    holds(lambda a, b: abs(a - b) < 0.2, long["KP"], long["BP"]),
                ),
                (
                    "FA 0.3 to 1.5 points behind BP",
                    holds(lambda a, b: 0.3 < b - a < 1.5, long["FA"], long["BP"]),
                ),
            ],
        ),
        Claim(
            "FA's delta turns toward BP's at once, then slowly away again",
            "42 degrees after epoch 1, 26 after 10, 35 after 400 (logs of their code, one digit)",
            setting + ", 128 digits",
            ", ".join(
                f"{measured(delta_angle(result, 'FA', epochs))} after {epochs}" for epochs in angles
            ),
            [
                ("within 10 degrees after epoch 1", holds(lambda a: abs(a - 42) < 10, angles[1])),
                ("within 10 degrees after 10", holds(lambda a: abs(a - 26) < 10, angles[10])),
                (
                    "larger after 400 than after 10",
                    holds(lambda a, b: b > a, angles[10], angles[400]),
                ),
            ],
        ),
    ]
