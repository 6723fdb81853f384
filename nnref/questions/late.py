"""Learning in time: images that are held for a while, errors that come late, no phases.

Time t runs in steps, of 10 ms, say. There are N streams, the rows of a batch; each shows an image
for T steps (`hold`), then the next one. They are staggered, so that at every step a share 1 / T of
them changes its image: no clock tells the network when. Activities follow their input at once. At
every step of time the network computes its delta (Eqs. 1 and 2, with the activities of now), and
every weight changes by

    dW/dt = -lr z(t)^T e(t)                             dE/dW_ij = x_i delta_j, in time
    smooth de/dt = -e + delta(t - delay)                the error, late and smoothed
    trace  dz/dt = -z + x                               the eligibility trace of the input

with `delay`, `smooth` and `trace` in steps. Each filter is integrated exactly for an input that is
constant during a step: e <- e + (1 - exp(-1 / smooth)) (delta - e). With a time constant of 0 it
passes its input as it is.

Both factors are linear in their inputs, so for weights that stand still the sum of all changes is
that of x_k^T delta_m over presentations k and m of a stream, times `overlap(clock, k - m)`: the
learning strength at lag 0, false pairings at all others. They sum to 1. What false pairs teach in
the mean is mean(x)^T mean(delta), which knows nothing of single images. Without filters the
strength is max(0, 1 - delay / hold): Bacvanski et al. 2025, arXiv 2510.18808, abstract. Eligibility
traces: Gerstner et al. 2018, "Eligibility traces and plasticity on behavioral time scales"
(recalled).
"""

import math
import time
from collections import deque
from typing import NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits

from nnref.backend import to_device, xp
from nnref.data.imageset import ImageSet, batches
from nnref.errors import InputError
from nnref.init import stream
from nnref.layers import Linear, Sequential
from nnref.losses import softmax_cross_entropy
from nnref.measure import weight_layers
from nnref.train import check_fits, evaluate


class Clock(NamedTuple):
    """How long an image is held, how late its error is; time constants. All in steps of time."""

    hold: int
    delay: int = 0
    smooth: float = 0.0
    trace: float = 0.0


class LowPass:
    """tau dy/dt = -y + x, one step at a time, from y = 0; with tau = 0, y = x."""

    def __init__(self, tau: float):
        self.share = 1 - math.exp(-1 / tau) if tau else 1.0
        self.y = 0.0

    def __call__(self, x):
        if self.share == 1:
            return x
        self.y = self.y + self.share * (x - self.y)
        return self.y


class Delay:
    """y(t) = x(t - steps), and 0 before there was any."""

    def __init__(self, steps: int):
        self.line = deque(maxlen=steps + 1)

    def __call__(self, x):
        self.line.append(x)
        return self.line[0] if len(self.line) == self.line.maxlen else 0 * x


class LateErrors:
    """A network with the errors that are on their way to its layers, and their traces.

    model    a Sequential of Linear layers and activations, such as models.mlp. Raises InputError
             for another, and for a clock that cannot be.
    """

    def __init__(self, model, clock: Clock):
        flat = isinstance(model, Sequential) and not any(layer.layers for layer in model.layers)
        if not flat or not all(isinstance(layer, Linear) for layer in weight_layers(model)):
            raise InputError("LateErrors: expected a network like models.mlp, of Linear layers")
        if clock.hold < 1 or min(clock) < 0:
            raise InputError(f"LateErrors: expected hold from 1 and no time below 0, found {clock}")
        self.model = model
        self.delays, self.smooths, self.traces = {}, {}, {}
        for layer in weight_layers(model):
            self.delays[layer] = Delay(clock.delay)
            self.smooths[layer], self.traces[layer] = LowPass(clock.smooth), LowPass(clock.trace)

    def step(self, x, labels, loss=softmax_cross_entropy):
        """One step of time, x (N, ...), labels (N,) of now: assigns `grads`, returns the loss."""
        value, delta = loss(self.model.forward(x), labels)
        for layer in reversed(self.model.layers):
            sent = layer.backward(delta)  # assigns the gradient of now, too
            if layer in self.delays:
                error = self.smooths[layer](self.delays[layer](delta))
                trace = self.traces[layer](layer.x)
                layer.grads = {"W": trace.T @ error, "b": error.sum(axis=0)}
            if sent is None:
                break
            delta = sent
        return value


def show(images, labels, streams: int, hold: int):
    """(x, labels) at every step of time: `streams` rows, each held for `hold` steps, staggered.

    images (K * streams, ...) and labels: presentation k of all streams is a slice of `streams`.
    Every image is shown for `hold` steps in all; that of the first presentation, where the stream
    starts in its midst, for the rest of them at the end.
    """
    rows, count = np.arange(streams), len(labels) // streams
    for t in range(count * hold):
        now = (t + rows % hold) // hold % count * streams + rows
        yield images[to_device(now)], labels[now]


@threadpool_limits.wrap(limits=1, user_api="blas")  # as in train.py
def fit(
    model, optimizer, train: ImageSet, test: ImageSet, clock: Clock, epochs: int = 1,
    streams: int = 32, schedule=None, seed: int = 0, on_epoch=None, loss=softmax_cross_entropy,
    history: list | None = None,
) -> list[dict]:  # fmt: skip
    """Train `model` in place on streams of all images; return its history, as train.fit does.

    streams     how many images are shown at the same time; what is left over is not shown
    history     a list to append to

    The optimizer steps at every step of time, `clock.hold` times for an image. Raises
    FloatingPointError when the loss is no longer a number.
    """
    for data in (train, test):
        check_fits(model, data)
    rng, history = stream(seed, "order"), [] if history is None else history
    count = len(train.labels) // streams * streams
    if count == 0:
        raise InputError(f"fit: expected at least {streams} images, found {len(train.labels)}")
    late, steps = LateErrors(model, clock), count // streams * clock.hold
    for epoch in range(epochs):
        start, total = time.perf_counter(), 0.0
        order = rng.permutation(len(train.labels))[:count]
        images, labels = next(batches(train, count, order, (seed, epoch)))
        for t, (x, now) in enumerate(show(images, labels, streams, clock.hold)):
            if schedule:
                optimizer.lr = schedule(epoch + (t + 0.5) / steps)
            value = float(late.step(x, now, loss))
            if not math.isfinite(value):
                raise FloatingPointError(f"training diverged at time {t} of epoch {epoch + 1}")
            optimizer.step()
            total += value
        entry = {"epoch": epoch + 1, "train_loss": total / steps}
        entry["seconds"] = time.perf_counter() - start
        entry["test_loss"], entry["test_accuracy"] = evaluate(model, test, loss=loss)
        history.append(entry)
        if on_epoch:
            on_epoch(entry)
    return history


@threadpool_limits.wrap(limits=1, user_api="blas")
def summed_gradient(model, images, labels, clock: Clock, streams: int) -> list:
    """The sum of the gradients of each layer's W, bottom first, over a stream.

    No weight changes. images (count, ...) and labels as in `show`. The last errors are still
    on their way when it ends.
    """
    late, layers = LateErrors(model, clock), weight_layers(model)
    sums = [xp.zeros_like(layer.params["W"]) for layer in layers]
    for x, now in show(images, labels, streams, clock.hold):
        late.step(x, now)
        for total, layer in zip(sums, layers, strict=True):
            total += layer.grads["W"]
    return sums


def overlap(clock: Clock, lag: int = 0) -> float:
    """How much of an image's input meets the error of the image `lag` presentations before it.

    Both are 1 while their image is shown; the sum over all time of trace times late error, divided
    by `hold`. lag = 0 is the learning strength.
    """
    trace, smooth, late = LowPass(clock.trace), LowPass(clock.smooth), Delay(clock.delay)
    first, forever = -max(lag, 0) * clock.hold, 40 * (clock.trace + clock.smooth)
    last = (1 + abs(lag)) * clock.hold + clock.delay + math.ceil(forever)
    total = 0.0
    for t in range(first, last):
        shown = 1.0 * (0 <= t < clock.hold)
        other = 1.0 * (0 <= t + lag * clock.hold < clock.hold)
        total += trace(shown) * smooth(late(other))
    return total / clock.hold
