"""Train in time: every image is shown for a while, errors come late, and there are no phases.

Time t runs in steps, of 10 ms, say. There are N streams, the rows of a batch; each shows an image
for T steps (`hold`), then the next one. They are staggered, so that at every step a share 1 / T of
them changes its image, and no clock tells the network when. Activities follow their input without
delay. At every step of time the network computes delta by Eqs. 1 and 2 from the present activities,
and every weight changes by

    dW/dt = -lr z(t)^T late(t)                          dE/dW_ij = x_i delta_j, in time
    smooth dlate/dt = -late + delta(t - delay)          delta, late and smoothed
    trace dz/dt = -z + x                                the eligibility trace of the input

with `delay`, `smooth` and `trace` in steps. Each filter is integrated exactly for an input that is
constant during a step: late <- late + (1 - exp(-1 / smooth)) (delta - late). With a time constant
of 0 it passes its input unchanged.

Both factors are linear in their inputs. So, for constant weights, the sum of all changes is -lr
hold times a sum of x_k^T delta_m over presentations k and m of a stream, each times `overlap(clock,
k - m)`: the learning strength at lag 0, false pairings at other lags. The overlaps sum to 1. The
mean effect of false pairs is mean(x)^T mean(delta), which does not depend on single images. Without
filters the strength is max(0, 1 - delay / hold): Bacvanski et al. 2025, arXiv 2510.18808, abstract.
Eligibility traces: Gerstner et al. 2018, "Eligibility traces and plasticity on behavioral time
scales" (recalled).
"""

import math
import time
from collections import deque
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from nnref.backend import one_blas_thread, to_device, xp
from nnref.data.imageset import batches
from nnref.errors import InputError
from nnref.layers import Linear, Sequential
from nnref.losses import softmax_cross_entropy
from nnref.measure import deltas, weight_layers
from nnref.train import Training


class Clock(NamedTuple):
    """The time an image is held, the delay of its error, two time constants; in steps of time."""

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
    """y(t) = x(t - steps), and 0 during the first `steps` steps."""

    def __init__(self, steps: int):
        self.line = deque(maxlen=steps + 1)

    def __call__(self, x):
        self.line.append(x)
        return self.line[0] if len(self.line) == self.line.maxlen else 0 * x


class LateErrors:
    """A network with the delayed errors of its layers, and the traces of their inputs.

    model    a Sequential of Linear layers and activations, such as models.mlp. Raises InputError
             for another model, and for an impossible clock.
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
        """One step of time with x (N, ...), labels (N,): assign `grads`, return the loss."""
        value, delta = loss(self.model.forward(x), labels)
        for layer in reversed(self.model.layers):
            sent = layer.backward(delta)  # also assigns grads, without delay
            if layer in self.delays:
                error = self.smooths[layer](self.delays[layer](delta))
                trace = self.traces[layer](layer.x)
                layer.grads = {"W": trace.T @ error, "b": error.sum(axis=0)}
            if sent is None:
                break
            delta = sent
        return value


def show(images, labels, streams: int, hold: int):
    """Yield (x, labels) at every step of time: `streams` rows, staggered, each held `hold` steps.

    images (K * streams, ...) and labels: presentation k of all streams is the k-th slice of
    `streams`. Every image is shown for `hold` steps in all: a stream that starts in the middle of
    its first image shows that image again at the end, for the steps that were missing.
    """
    rows, count = np.arange(streams), len(labels) // streams
    for t in range(count * hold):
        now = (t + rows % hold) // hold % count * streams + rows
        yield images[to_device(now)], labels[now]


@dataclass(kw_only=True)
class LateTraining(Training):
    """A `Training` on streams of images, with a step of the optimizer at every step of time.

    `batch_size` is the number of streams; images that do not fill a presentation of all streams
    are left out. It always starts at the beginning of an epoch: errors that are under way and
    traces are not saved.
    """

    resumable = False
    clock: Clock

    def run(self) -> list[dict]:
        """Train to the end; return the history. Raises what `Training.run` does."""
        self.check()
        late, hold = LateErrors(self.model, self.clock), self.clock.hold
        presentations = len(self.train.labels) // self.batch_size
        steps = presentations * hold
        with one_blas_thread():  # as in train.py
            for epoch, order in self._orders():
                start, total = time.perf_counter(), 0.0
                shown = order[: presentations * self.batch_size]
                images, labels = next(batches(self.train, len(shown), shown, (self.seed, epoch)))
                for t, (x, now) in enumerate(show(images, labels, self.batch_size, hold)):
                    if self.schedule:
                        self.optimizer.lr = self.schedule(epoch + (t + 0.5) / steps)
                    value = float(late.step(x, now, self.loss))
                    if not math.isfinite(value):
                        raise self._diverged(f"step {t + 1} of epoch {epoch + 1}, loss {value}")
                    self.optimizer.step()
                    total += value
                    if self.on_step:
                        self.on_step(epoch + (t + 1) / steps)
                self._end_epoch(total / steps, time.perf_counter() - start)
        return self.progress.history


@one_blas_thread()
def summed_gradient(model, images, labels, clock: Clock, streams: int) -> list:
    """The sum of the gradients of each layer's W, bottom first, over a stream.

    No weight changes. images (count, ...) and labels as in `show`. The last errors have not yet
    arrived when it ends.
    """
    late, layers = LateErrors(model, clock), weight_layers(model)
    sums = [xp.zeros_like(layer.params["W"]) for layer in layers]
    for x, now in show(images, labels, streams, clock.hold):
        late.step(x, now)
        for total, layer in zip(sums, layers, strict=True):
            total += layer.grads["W"]
    return sums


def learning_strengths(model, images, labels, clocks: list[Clock], streams: int) -> list[dict]:
    """For each clock: how much of what a stream teaches without delay it still teaches, as a share.

    No weight changes. All clocks have the same `hold`; images and labels as in `show`. The entry of
    a clock has a list with a number for each layer, bottom first, under two names:

    all       the projection of the sum of gradients on the sum without delay
    images    the same after subtracting from both what false pairs teach, mean(x)^T mean(delta)
    """
    (hold,) = {clock.hold for clock in clocks}
    without_delay = summed_gradient(model, images, labels, Clock(hold), streams)
    means = _taught_by_means(model, images, labels, hold * len(labels) / streams)
    entries = []
    for clock in clocks:
        sums = summed_gradient(model, images, labels, clock, streams)
        layers = list(zip(sums, without_delay, means, strict=True))
        shares = [_projection(late, now) for late, now, _ in layers]
        of_images = [_projection(late - mean, now - mean) for late, now, mean in layers]
        entries.append({"all": shares, "images": of_images})
    return entries


def _taught_by_means(model, images, labels, steps) -> list:
    """What the mean input and the mean delta of each layer would teach in so many steps."""
    errors = deltas(model, images, labels)
    model.forward(images)
    return [
        steps * layer.x.mean(axis=0)[:, None] * len(images) * delta.mean(axis=0)
        for layer, delta in zip(weight_layers(model), errors, strict=True)
    ]


def _projection(a, b) -> float:
    """The share of b that a contains."""
    return float((a * b).sum() / (b * b).sum())


def overlap(clock: Clock, lag: int = 0) -> float:
    """The overlap of an image's trace with the late error of the image `lag` presentations before.

    The sum over all time of trace times late error, divided by `hold`, for an input and an error
    that are 1 while their image is shown. lag = 0 is the learning strength.
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
