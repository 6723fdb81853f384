"""The demo, `python -m nnref`: train the same network under several rules; only B differs.

It uses the 10,000 training and 2,000 test digits that ship with nnref. The learning rate, the same
for every rule, is chosen on training digits alone; `python -m nnref.tools.demo` repeats the search
(minutes). Adam divides a gradient by its size, so a rule whose B is small needs no rate of its own.
"""

import math
import time

import numpy as np

from nnref import measure, models
from nnref.backend import to_device, versions
from nnref.data import mnist
from nnref.data.imageset import ImageSet
from nnref.feedback import Backprop, FeedbackAlignment, SignSymmetry
from nnref.optim import Adam, cosine
from nnref.rules.own import rule_named, short
from nnref.train import fit

SIZES = [784, 256, 128, 10]
EPOCHS = 12
BATCH_SIZE = 32
LEARNING_RATE = 0.003  # at the start; it falls to 0 along half a cosine
WATCHED = 500  # training digits on which the delta angles are measured
WATCH_EVERY = 0.2  # epochs


def run(rules: list[str], seed: int = 0, epochs: int = EPOCHS) -> dict:
    """Train the network once under each of these rules, by name; return the record.

    The record is plain data, ready for JSON: settings, versions, and one object for each rule.
    Accuracies run from 0 to 1; angles are in degrees, one for each layer, bottom first, and None
    where there is no direction to measure.
    """
    start = time.perf_counter()
    train, test = mnist.load_subset()
    results = [run_rule(name, train, test, seed, epochs) for name in rules]
    digit = int(np.bincount(train.labels).argmax())
    return {
        "data": f"{len(train.labels):,} training and {len(test.labels):,} test digits of MNIST",
        "network": SIZES,
        "seed": seed,
        "epochs": epochs,
        "batch_size": BATCH_SIZE,
        "learning_rate": LEARNING_RATE,
        "guess": {"digit": digit, "test_accuracy": float((test.labels == digit).mean())},
        "rules": results,
        "wall_s": time.perf_counter() - start,
        "versions": versions(),
    }


def run_rule(name, train, test, seed, epochs) -> dict:
    """Train under one rule; return its record: the curves and their last values."""
    start = time.perf_counter()
    known, x = rule_named(name), to_device(train.images[:WATCHED])
    model = known.network(models.mlp(SIZES[1:-1], feedback=known.rule, seed=seed), x)
    watch = Watch(model, x, train.labels[:WATCHED])
    history = train_model(model, train, test, seed, epochs, on_step=watch, label=f"{name:<20}")
    return {
        "name": short(name),
        "test_accuracy": history[-1]["held_out_accuracy"],
        "weight_angle_deg": watch.weight_angles[-1],
        "delta_angle_deg": watch.delta_angles[-1],
        "wall_s": time.perf_counter() - start,
        "history": history,
        "watched": {
            "epoch": watch.epochs,
            "weight_angle_deg": watch.weight_angles,
            "delta_angle_deg": watch.delta_angles,
        },
    }


def train_model(model, train, held_out, seed, epochs, lr=LEARNING_RATE, **options) -> list[dict]:
    """Train as the demo does, the same for every rule; `options` are those of train.Training."""
    return fit(
        model, Adam(model, lr), train, held_out, epochs=epochs, batch_size=BATCH_SIZE,
        schedule=cosine(lr, epochs), seed=seed, **options,
    )  # fmt: skip


class Watch:
    """Measures both angles of every layer before training and then every WATCH_EVERY epochs."""

    def __init__(self, model, x, labels):
        self.model, self.x, self.labels = model, x, labels
        self.epochs, self.weight_angles, self.delta_angles = [], [], []
        self(0.0)

    def __call__(self, epoch):
        if epoch + 1e-9 < WATCH_EVERY * len(self.epochs):
            return
        weight_angles = measure.weight_angles(self.model)
        delta_angles = measure.delta_angles(self.model, self.x, self.labels)
        self.epochs.append(epoch)
        self.weight_angles.append([None if math.isnan(a) else a for a in weight_angles])
        self.delta_angles.append([None if math.isnan(a) else a for a in delta_angles])


def table(record: dict) -> str:
    """Accuracy of each rule, and one angle: between the delta of layer 1 and backpropagation's."""
    wide = _name_width(record)
    lines = [f"{'rule':<{wide}}{'test accuracy':>13}{'angle':>9}"]
    for rule in record["rules"]:
        angle = rule["delta_angle_deg"][0]
        shown = "-" if angle is None else f"{angle:.0f}"
        lines.append(f"{rule['name']:<{wide}}{rule['test_accuracy']:>13.1%}{shown:>9}")
    return "\n".join([*lines, _guess(record, wide, 13)])


def table_of_angles(record: dict) -> str:
    """The record with both angles of every layer, and the time."""
    layers, wide = len(record["network"]) - 1, _name_width(record)
    width = 8 * layers
    numbers = "".join(f"{'layer ' + str(i):>8}" for i in range(1, layers + 1))
    lines = [
        f"{'':<{wide}}{'test':>9}  {'angle(W, B)':>{width}}  {'angle(delta, BP delta)':>{width}}",
        f"{'rule':<{wide}}{'accuracy':>9}  {numbers}  {numbers}{'seconds':>9}",
    ]
    for rule in record["rules"]:
        weight = [_degrees(angle) for angle in rule["weight_angle_deg"]]
        weight[0] = f"({weight[0]})"  # this B is never used
        delta = [_degrees(angle) for angle in rule["delta_angle_deg"]]
        cells = ["".join(f"{angle:>8}" for angle in angles) for angles in (weight, delta)]
        lines.append(
            f"{rule['name']:<{wide}}{rule['test_accuracy']:>9.1%}  {cells[0]}  {cells[1]}"
            f"{rule['wall_s']:>9.1f}"
        )
    return "\n".join([*lines, _guess(record, wide, 9)])


def _name_width(record) -> int:
    """The width of the column of names."""
    return max(20, *(2 + len(rule["name"]) for rule in record["rules"]))


def _guess(record, wide, numbers) -> str:
    """A line for a blind guess: always the digit that is most common."""
    guess = record["guess"]
    name = f"always {guess['digit']}, a guess"
    return f"{name:<{wide}}{guess['test_accuracy']:>{numbers}.1%}"


def _degrees(angle: float | None) -> str:
    """An angle with one decimal; a dash where it is undefined."""
    return "-" if angle is None else f"{angle:.1f}"


def search_learning_rate(rates=(0.001, 0.003, 0.01), seeds=(0, 1, 2), epochs=EPOCHS):
    """Print, for each rate, the mean accuracy (0 to 1) over rules and seeds on held-out digits.

    Trains on the first 8,000 training digits and evaluates on the other 2,000.
    """
    train, _ = mnist.load_subset()
    learn, judge = (
        ImageSet(train.images[part], train.labels[part])
        for part in (slice(None, 8000), slice(8000, None))
    )
    for rate in rates:
        accuracies = []
        for rule in (Backprop(), SignSymmetry(), FeedbackAlignment()):
            for seed in seeds:
                model = models.mlp(SIZES[1:-1], feedback=rule, seed=seed)
                history = train_model(model, learn, judge, seed, epochs, rate)
                accuracies.append(history[-1]["held_out_accuracy"])
        by_rule = np.reshape(accuracies, (3, -1)).mean(axis=1)
        print(f"lr {rate}: BP, SS, FA {by_rule.round(4)}, mean {by_rule.mean():.4f}")


if __name__ == "__main__":
    search_learning_rate()
