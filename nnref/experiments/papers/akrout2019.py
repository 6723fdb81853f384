"""Akrout et al. 2019: B learns as W does (Kolen-Pollack) or from noise (the weight mirror).

Under both, the network comes to match BP.

    Akrout et al.    784-500-10, sigmoid units and outputs, cross-entropy of each output, SGD
                     without momentum or weight decay, batches of 128, learning rate 0.2 (KP 0.3,
                     mirror 0.05), W and B normal with variance 1 / (n_in + n_out), 400 epochs, one
                     seed, images never shuffled; biases learn 128 times more slowly (their gradient
                     is divided by the batch twice). The mirror adds 0.01 x^T y after every batch,
                     and 468 times before training, for 128 rows of noise from U(-0.05, 0.05);
                     nothing bounds B, since the code's normalization of it has no effect
    nnref            the same, but shuffled, with biases that learn as weights do, and with a mirror
                     that subtracts the mean of y; three seeds

Both measure the accuracy on the test images after every epoch. nnref chooses nothing by it; "best"
stands in the table because Akrout et al. published the best.
"""

import math
from dataclasses import dataclass
from functools import partial

from nnref import plots
from nnref.data.imageset import batches
from nnref.experiments.claims import claim, listed
from nnref.experiments.network import born_from
from nnref.experiments.numbers import Number, average, counted, measured, spread
from nnref.experiments.plan import Part, Setting
from nnref.experiments.result import Result
from nnref.experiments.trial import Parts, usual_training, watch_layers
from nnref.feedback import Backprop, FeedbackAlignment, KolenPollack, NoFeedback
from nnref.init import normal, stream, uniform
from nnref.layers import Flatten, Linear, Sequential, Sigmoid
from nnref.losses import sigmoid_cross_entropy
from nnref.optim import SGD
from nnref.rules.mirror import WeightMirror, mirror

PAPER = (
    "Akrout, Wilson, Humphreys, Lillicrap & Tweed 2019, *Deep learning without weight transport* "
    "([arXiv 1904.05391](https://arxiv.org/abs/1904.05391)), the MNIST network of the paper's "
    "code: a B that changes by the same local product as W, or learns from noise, teaches as well "
    "as B = W."
)
PUBLISHED = {  # logs of Akrout et al.: test accuracy in % after 30 epochs, and the best of 400
    "BP": {30: 97.1, 400: 98.50},
    "FA": {30: 93.3, 400: 97.80},
    "KP": {30: 97.48, 400: 98.47},
    "WM": {
        1: 78.5, 5: 88.5, 10: 90.5, 20: 92.6, 30: 94.6, 50: 96.5, 100: 98.0, 200: 98.4, 400: 98.49,
    },
    "last layer only": {},  # not in the paper
}  # fmt: skip
# and degrees after so many epochs: between FA's delta and BP's; the mirror's; its last W and B
ANGLES = {1: 42, 10: 26, 400: 35}
MIRROR_ANGLES = {1: 63, 5: 26, 10: 17, 20: 8, 30: 13, 50: 13, 100: 9, 200: 5, 400: 3}
MIRROR_WEIGHTS = {1: 61, 5: 38, 10: 28, 20: 19, 30: 16, 50: 13, 100: 9, 200: 6, 400: 4}
NOISE = {"rows": 128, "bound": 0.05, "eta": 0.01, "before": 468}  # of the mirror


@dataclass(frozen=True, kw_only=True)
class AkroutPart(Part):
    """Training on digits; the test images take the place of the held-out ones."""

    held_out: float = 0
    batch_size: int = 128
    hidden: int = 500  # units of the hidden layer


TIERS = {
    "smoke": [AkroutPart(data="digits", take=300, hidden=20, epochs=1, long=2, seeds=2)],
    "small": [AkroutPart(data="mnist", epochs=30, seeds=3)],
    "full": [AkroutPart(data="mnist", epochs=30, long=400, seeds=3)],
}


def xavier_normal(rng, shape, fan_in, fan_out):
    """N(0, sqrt(1 / (n_in + n_out))): the distribution of W and of B at the start."""
    return normal(rng, shape, math.sqrt(1 / (fan_in + fan_out)))


class XavierAlignment(FeedbackAlignment):
    """Feedback alignment whose B is drawn from the distribution of W."""

    born = born_from(xavier_normal)


class XavierKolenPollack(KolenPollack):
    """Kolen-Pollack from such a B; there is no weight decay, so W - B never changes."""

    born = XavierAlignment.born


class AkroutMirror(WeightMirror):
    """The weight mirror from such a B, with uniform noise and no decay; it adds up the rows."""

    born = XavierAlignment.born

    def __init__(self):
        rows, bound = NOISE["rows"], NOISE["bound"]
        sigma, eta = bound / math.sqrt(3), NOISE["eta"] * (rows - 1)  # a sum, not a mean
        super().__init__(rows, sigma, eta, decay=0, activation=Sigmoid)

    def noise(self, shape):
        return uniform(self.rng, shape, NOISE["bound"])


RULES = {  # name -> rule, learning rate
    "BP": (Backprop(), 0.2),
    "FA": (XavierAlignment(), 0.2),
    "KP": (XavierKolenPollack(), 0.3),
    "WM": (AkroutMirror(), 0.05),
    "last layer only": (NoFeedback(), 0.2),
}


def plan(part: AkroutPart):
    """Every rule, at the learning rate of Akrout et al."""
    for rule, (_, lr) in RULES.items():
        yield Setting({"rule": rule, "hidden": part.hidden}, [lr])


def parts(part: AkroutPart, facts: dict, images) -> Parts:
    """One hidden layer of sigmoid units; the outputs are logits, the loss holds their sigmoid."""
    rule, _ = RULES[facts["rule"]]
    options = {"rng": stream(facts["seed"], "init"), "init": xavier_normal, "feedback": rule}
    hidden = Linear(math.prod(images.shape), part.hidden, **options)
    model = Sequential(Flatten(), hidden, Sigmoid(), Linear(part.hidden, 10, **options))
    model.send_no_error_below()
    if facts["rule"] == "WM":
        mirror(model, next(batches(images.train, 1))[0], NOISE["before"])
    optimizer, loss = SGD(model, facts["lr"], momentum=0), sigmoid_cross_entropy
    training = usual_training(model, part, facts, images, optimizer, schedule=None, loss=loss)
    also = (NOISE,) if facts["rule"] == "WM" else ()
    return Parts(training, images.test, look=partial(watch_layers, loss=loss), also=also)


def histories(result: Result, rule: str, epochs: int) -> list[list[dict]]:
    """The histories of the trials that took at least so many epochs, one for each seed."""
    return [t["history"] for t in result.trials(rule=rule) if len(t["history"]) > epochs]


def accuracy(entry: dict) -> float:
    """Test accuracy in % after one epoch, of its entry in a history."""
    return 100 * entry["held_out_accuracy"]


def angle(entry: dict) -> float | None:
    """Degrees between the hidden layer's delta and BP's after one epoch, if they were measured."""
    return entry.get("delta_angle_deg", [None])[0]


def weight_angle(entry: dict) -> float | None:
    """Degrees between the last layer's W and B after one epoch, if they were measured."""
    return entry.get("weight_angle_deg", [None])[-1]


def after(result: Result, rule: str, epochs: int, quantity=accuracy) -> list[float]:
    """A quantity (`accuracy`, `angle`, `weight_angle`) after so many epochs, for every seed."""
    return [quantity(history[epochs]) for history in histories(result, rule, epochs)]


def best(result: Result, rule: str) -> list[float]:
    """The best test accuracy in % of 400 epochs, which Akrout et al. published."""
    return [max(map(accuracy, history[1:401])) for history in histories(result, rule, 400)]


def mean_accuracy(result: Result, accuracies: list[float]) -> Number:
    """Their mean, with the binomial error of a single seed."""
    images = [data["test"] for data in result.record.get("data", [])]
    return counted(accuracies, images[0]) if images else average(accuracies)


def table(result: Result) -> str:
    """Test accuracy in %: that of Akrout et al. and that of nnref."""
    line = "{:<17}{:>12}{:>11}{:>14}{:>8}{:>11}".format
    lines = [line("", "30 epochs", "published", "400 epochs", "best", "published")]
    for rule, known in PUBLISHED.items():
        short, long = (spread(after(result, rule, epochs)) for epochs in (30, 400))
        highest = spread(best(result, rule))
        lines.append(line(rule, short, known.get(30, "-"), long, highest, known.get(400, "-")))
    return "\n".join([*lines, "test accuracy in %, mean ± standard deviation over the seeds"])


def curves(result: Result, rule: str, quantity) -> list[list[tuple]]:
    """(epoch, quantity) of all epochs after which it was measured, for every seed."""
    entries = [history[1:] for history in histories(result, rule, 0)]
    return [[(e["epoch"], quantity(e)) for e in es if quantity(e) is not None] for es in entries]


def figures(result: Result) -> dict:
    """Test error and the angle of the hidden layer's delta; stars: Akrout et al."""
    draw = plots.experiments
    errors = {rule: curves(result, rule, lambda e: 100 - accuracy(e)) for rule in PUBLISHED}
    angles = {rule: curves(result, rule, angle) for rule in ("FA", "KP", "WM")}
    stars = {rule: [(t, 100 - x) for t, x in known.items()] for rule, known in PUBLISHED.items()}
    degrees = {"FA": list(ANGLES.items()), "WM": list(MIRROR_ANGLES.items())}
    label = "angle of delta and BP's (degrees)"
    return {
        "error": draw.curves({"MNIST": errors}, "test error (%)", stars, "xy"),
        "angle": draw.curves({"hidden layer": angles}, label, degrees, "x"),
    }


SETTING = "MNIST, 60,000 images, 784-500-10 sigmoid, Akrout et al.'s learning rates"


def ours(quantity, *rules):
    """A function from a Result to a quantity under some rules, in words."""
    return lambda result: (
        ", ".join(f"{rule} {measured(quantity(result, rule))}" for rule in rules) + " %"
    )


@claim(
    "After 30 epochs FA is 4 points behind BP",
    SETTING,
    ours(partial(after, epochs=30), "BP", "FA"),
    published="BP 97.1, FA 93.3 % (logs of Akrout et al.'s code)",
)
def _thirty_epochs(result):
    bp, fa = (mean_accuracy(result, after(result, rule, 30)) for rule in ("BP", "FA"))
    yield "BP within 0.7 points of the published", abs(bp - 97.1) < 0.7
    yield "FA within 1.5 points of the published", abs(fa - 93.3) < 1.5


@claim(
    "In the end FA comes close, and Kolen-Pollack matches BP",
    SETTING,
    ours(best, "BP", "FA", "KP"),
    published="best of 400 epochs: BP 98.50, FA 97.80, KP 98.47 % (logs of Akrout et al.'s code)",
)
def _in_the_end(result):
    bp, fa, kp = (mean_accuracy(result, best(result, rule)) for rule in ("BP", "FA", "KP"))
    yield "KP within 0.2 points of BP", abs(kp - bp) < 0.2
    yield "FA 0.3 to 1.5 points behind BP", 0.3 < bp - fa < 1.5


@claim(
    "FA's delta turns toward BP's at once, then slowly away again",
    SETTING + ", 128 digits",
    lambda result: ", ".join(
        f"{measured(after(result, 'FA', t, angle))} after {t}" for t in ANGLES
    ),
    published="42 degrees after epoch 1, 26 after 10, 35 after 400 (logs of Akrout et al.'s code, "
    "one digit)",
)
def _turn(result):
    first, tenth, last = (average(after(result, "FA", epochs, angle)) for epochs in ANGLES)
    yield "within 10 degrees after epoch 1", abs(first - ANGLES[1]) < 10
    yield "within 10 degrees after 10", abs(tenth - ANGLES[10]) < 10
    yield "larger after 400 than after 10", last > tenth


def of_mirror(quantity, *epochs):
    """A function from a Result to a quantity under the mirror after these epochs, in words."""
    return lambda result: ", ".join(
        f"{measured(after(result, 'WM', t, quantity))} after {t}" for t in epochs
    )


@claim(
    "The weight mirror starts behind FA, at a quarter of its learning rate, and is ahead of it "
    "after 30 epochs",
    SETTING,
    lambda result: (
        f"WM {of_mirror(accuracy, 1, 30)(result)}; FA "
        f"{measured(after(result, 'FA', 1))}, {measured(after(result, 'FA', 30))} %"
    ),
    published="WM 78.5 after epoch 1, 94.6 after 30; FA 85.5, 93.3 % (logs of Akrout et al.'s "
    "code)",
)
def _mirror_overtakes(result):
    (fa_first, fa), (wm_first, wm) = (
        [mean_accuracy(result, after(result, rule, epochs)) for epochs in (1, 30)]
        for rule in ("FA", "WM")
    )
    yield "behind FA after epoch 1", wm_first < fa_first
    yield "ahead of FA after 30", wm > fa
    yield "within 1.5 points of the published after 30", abs(wm - PUBLISHED["WM"][30]) < 1.5


@claim(
    "Under the weight mirror delta turns to BP's and stays there",
    SETTING + ", 128 digits",
    of_mirror(angle, 1, 10, 30, 400),
    published="63 degrees after epoch 1, 17 after 10, 13 after 30, 3 after 400 (logs of Akrout et "
    "al.'s code, one digit)",
)
def _mirror_turns(result):
    first, tenth, last = (average(after(result, "WM", epochs, angle)) for epochs in (1, 10, 30))
    fa = average(after(result, "FA", 30, angle))
    yield "within 10 degrees after epoch 1", abs(first - MIRROR_ANGLES[1]) < 10
    yield "within 10 degrees after 10", abs(tenth - MIRROR_ANGLES[10]) < 10
    yield "within 10 degrees after 30", abs(last - MIRROR_ANGLES[30]) < 10
    yield "10 degrees or more below FA's after 30", last <= fa - 10


@claim(
    "The last layer's B turns to W epoch by epoch",
    SETTING,
    of_mirror(weight_angle, 1, 10, 30, 400),
    published="61 degrees after epoch 1, 28 after 10, 16 after 30, 4 after 400 (logs of Akrout et "
    "al.'s code)",
)
def _mirror_aligns(result):
    for epochs in (1, 10, 30):
        found = average(after(result, "WM", epochs, weight_angle))
        yield (
            f"within 8 degrees of the published after {epochs}",
            abs(found - MIRROR_WEIGHTS[epochs]) < 8,
        )


@claim(
    "In the end the weight mirror matches BP",
    SETTING,
    ours(best, "BP", "WM"),
    published="best of 400 epochs: BP 98.50, WM 98.49 % (logs of Akrout et al.'s code)",
)
def _mirror_in_the_end(result):
    bp, wm = (mean_accuracy(result, best(result, rule)) for rule in ("BP", "WM"))
    yield "WM within 0.2 points of BP", abs(wm - bp) < 0.2


claims = listed(
    _thirty_epochs, _in_the_end, _turn,
    _mirror_overtakes, _mirror_turns, _mirror_aligns, _mirror_in_the_end,
)  # fmt: skip
