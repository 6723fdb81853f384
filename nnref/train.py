"""The training loop: forward, backward, step; after every epoch, an evaluation on held-out images.

fit(model, optimizer, train, held_out, epochs=2)    trains; `Training` has all its options
evaluate(model, images)                             measures loss and accuracy
"""

import math
import time
from collections.abc import Callable
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar

import numpy as np
from tqdm import tqdm

from nnref.backend import one_blas_thread, to_device, xp
from nnref.data.imageset import ImageSet, batch_starts, batches, check_data, cut, load
from nnref.errors import InputError
from nnref.init import stream
from nnref.layers import Layer
from nnref.layers.base import check_network
from nnref.layers.checks import check_counts, check_labels, number, shown
from nnref.losses import softmax_cross_entropy
from nnref.measure import trouble
from nnref.optim import Optimizer


def fit(model, optimizer, train, held_out=None, **options) -> list[dict]:
    """Train `model` in place and return its history; `options` are those of `Training`."""
    return Training(model, optimizer, train, held_out, **options).run()


@one_blas_thread()
def train_step(model, optimizer, x, labels, loss=softmax_cross_entropy):
    """One step on one batch: forward (Eq. 1), backward (Eq. 2), update; returns the loss.

    Raises FloatingPointError, before any parameter is changed, if the loss is not finite; on a GPU
    this is not checked, since it would have to wait for the GPU.
    """
    outputs = model.forward(x)
    value, delta = loss(outputs, labels)
    if xp is np and not math.isfinite(value):
        raise FloatingPointError(f"the loss is {value}, {trouble(model, x)}")
    model.backward(delta)
    optimizer.step()
    return value


@dataclass
class Progress:
    """How far a training has come: with the model and the optimizer, enough to continue it."""

    epoch: int = 0  # finished epochs
    step: int = 0  # finished steps of the current epoch
    loss_sum: np.ndarray | np.floating = field(default_factory=lambda: np.float32(0))
    seen: int = 0  # images of these steps; their losses add up to loss_sum
    seconds: float = 0.0  # that these steps took
    history: list[dict] = field(default_factory=list)  # an entry for every finished epoch


@dataclass
class Training:
    """The model, images and options of a training; `run` is the training loop.

    The order of the images depends on `seed` alone, not on the feedback rule. An entry of the
    history holds `epoch`, `train_loss` (the mean over the epoch, in the units of `loss`), `seconds`
    and, where images are held out, `held_out_loss` and `held_out_accuracy` (0 to 1).
    """

    model: Layer
    optimizer: Optimizer
    train: ImageSet
    held_out: ImageSet | None = None  # evaluated after every epoch: validation or test images
    epochs: int = 1
    batch_size: int = 32
    schedule: Callable | None = None  # from time in epochs to the learning rate (optim.py)
    seed: int = 0  # of the order of the images and of their crops
    loss: Callable = softmax_cross_entropy  # of (outputs, labels), as in losses.py
    on_step: Callable | None = None  # called as on_step(time in epochs) after every step
    on_epoch: Callable | None = None  # called as on_epoch(entry) with the new entry of the history
    label: str | None = None  # a name for a progress bar in a terminal; None: no bar
    progress: Progress = field(default_factory=Progress)  # where to start; kept up to date

    resumable: ClassVar[bool] = True  # from the middle of an epoch, by model, optimizer, progress

    def run(self) -> list[dict]:
        """Train to the end; return the history.

        Raises InputError for data or options that cannot be used, and FloatingPointError when a
        loss is not finite: on a CPU before the weights change again, on a GPU at the end of the
        epoch.
        """
        self.check()
        now = self.progress
        with one_blas_thread(), self._bar() as bar:
            for epoch, order in self._orders():
                start = time.perf_counter() - now.seconds
                rest = order[self._starts[now.step] :]
                for x, labels, count in self._batches(rest, epoch):
                    if count:  # 0: every image of the batch is damaged
                        self._step(x, labels, count)
                    now.step += 1
                    now.seconds = time.perf_counter() - start
                    if self.on_step:
                        self.on_step(epoch + now.step / self._steps)
                    bar.update()
                    if not bar.disable and now.seen and now.step % 50 == 0:
                        self._show(bar)  # reads the loss, and so waits for a GPU
                if not now.seen:
                    raise InputError("fit: expected images that can be read, found none")
                train_loss = float(now.loss_sum) / now.seen  # waits for a GPU's last step
                self._end_epoch(train_loss, time.perf_counter() - start)
                if not bar.disable:
                    self._show(bar)
        return now.history

    def check(self):
        """Raise InputError, before anything is changed, if this cannot be trained."""
        for data in (self.train,) if self.held_out is None else (self.train, self.held_out):
            check_fits(self.model, data)
        self._check_options()
        now, steps = self.progress, self._steps
        if not (0 <= now.epoch <= self.epochs and 0 <= now.step <= steps):
            raise InputError(
                f"fit: expected progress within {self.epochs} epochs of {steps} steps, found epoch "
                f"{now.epoch}, step {now.step}"
            )

    def _check_options(self):
        """Raise InputError for an option of a wrong kind, or a batch larger than the data."""
        check_counts("fit", epochs=self.epochs, batch_size=self.batch_size)
        check_counts("fit", smallest=0, seed=self.seed)
        count = len(self.train.labels)
        if self.batch_size > count:
            raise InputError(
                f"fit: expected a batch_size of at most the {count} images to train on, "
                f"found {self.batch_size}"
            )
        for name, kind in (("optimizer", Optimizer), ("progress", Progress)):
            found = getattr(self, name)
            if not isinstance(found, kind):
                what = f"an object of {kind.__name__}"
                raise InputError(f"fit: expected {name} to be {what}, found {shown(found)}")
        for name in ("loss", "schedule", "on_step", "on_epoch"):
            found = getattr(self, name)
            if not callable(found) and (found is not None or name == "loss"):
                raise InputError(f"fit: expected {name} to be a function, found {shown(found)}")

    @cached_property
    def _starts(self) -> list[int]:
        """Where the batches of an epoch start, and where the last one ends."""
        count = len(self.train.labels)
        return [*batch_starts(count, self.batch_size), count]

    @property
    def _steps(self) -> int:
        """How many steps an epoch has."""
        return len(self._starts) - 1

    def _orders(self):
        """(epoch, order of the images) of every epoch that is not finished yet."""
        rng = stream(self.seed, "order")
        for epoch in range(self.epochs):
            order = rng.permutation(len(self.train.labels))  # drawn for finished epochs as well
            if epoch >= self.progress.epoch:
                yield epoch, order

    def _batches(self, rest, epoch):
        """(x, labels, number of images) of every batch of the `rest` of an epoch's order.

        Also of batches without an image left: a batch counts as a step, so that an epoch that is
        resumed goes on where it stopped.
        """
        chosen = cut(rest, self.batch_size)
        with closing(load(self.train, chosen, (self.seed, epoch))) as ready:
            for x, labels in ready:
                yield x, labels, len(labels)

    def _step(self, x, labels, count):
        """One step at the scheduled learning rate, added to the progress."""
        now = self.progress
        if self.schedule:  # its value in the middle of the step
            rate = self.schedule(now.epoch + (now.step + 0.5) / self._steps)
            self.optimizer.lr = number("schedule", rate, "a rate of 0 or more", lambda v: v >= 0)
        try:
            value = self._train_step(x, labels)
        except FloatingPointError as error:
            raise self._diverged(f"step {now.step + 1} of epoch {now.epoch + 1}: {error}") from None
        now.loss_sum = now.loss_sum + value * count  # stays on the device until it is needed
        now.seen += count  # less than a batch where damaged images were left out

    def _train_step(self, x, labels):
        """Learn from this batch; its loss."""
        return train_step(self.model, self.optimizer, x, labels, self.loss)

    def _evaluate(self):
        """(loss, accuracy) on the held-out images."""
        return evaluate(self.model, self.held_out, loss=self.loss)

    def _end_epoch(self, train_loss, seconds):
        """Add an entry to the history, evaluate the held-out images, start the next epoch."""
        now = self.progress
        if not math.isfinite(train_loss):  # on a GPU it is found here, not in the step
            raise self._diverged(f"epoch {now.epoch + 1}: its mean loss is {train_loss}")
        entry = {"epoch": now.epoch + 1, "train_loss": train_loss, "seconds": seconds}
        if self.held_out is not None:
            loss, accuracy = self._evaluate()
            if not math.isfinite(loss):  # NaN has no largest output: its accuracy means nothing
                raise self._diverged(f"epoch {now.epoch + 1}: its held-out loss is {loss}")
            entry |= {"held_out_loss": loss, "held_out_accuracy": accuracy}
        now.history.append(entry)
        now.epoch, now.step, now.seen, now.seconds = now.epoch + 1, 0, 0, 0.0
        now.loss_sum = np.float32(0)
        if self.on_epoch:
            self.on_epoch(entry)

    def _diverged(self, where):
        """The error for a training that diverged, with a remedy."""
        return FloatingPointError(
            f"training diverged in {where}; a lower learning rate than {self.optimizer.lr:g} "
            "may help"
        )

    def _bar(self):
        """A progress bar over all steps, hidden without a label, and in a pipe or a log."""
        done = self.progress.epoch * self._steps + self.progress.step
        return tqdm(
            desc=self.label, total=self.epochs * self._steps, initial=done,
            disable=None if self.label else True, unit="step",  # None: unless in a terminal
        )  # fmt: skip

    def _show(self, bar):
        """Beside the bar: the loss of this epoch, the last held-out accuracy, the speed."""
        now = self.progress
        if now.seen:  # within an epoch
            loss, speed = float(now.loss_sum) / now.seen, now.seen / now.seconds
        else:
            entry = now.history[-1]
            loss, speed = entry["train_loss"], len(self.train.labels) / entry["seconds"]
        accuracies = [e["held_out_accuracy"] for e in now.history if "held_out_accuracy" in e]
        accuracy = f", accuracy {accuracies[-1]:.1%}" if accuracies else ""
        bar.set_postfix_str(f"loss {loss:.3f}{accuracy}, {speed:.0f} images/s", refresh=False)


def evaluate(
    model, data: ImageSet, batch_size: int = 500, loss=softmax_cross_entropy
) -> tuple[float, float]:
    """(mean of `loss`, accuracy from 0 to 1) on held-out images, layers in evaluation mode."""
    total_loss, correct, seen = totals(model, data, batch_size, loss)
    return total_loss / seen, correct / seen


@one_blas_thread()
def totals(model, data: ImageSet, batch_size: int = 500, loss=softmax_cross_entropy):
    """(sum of `loss`, right answers, images) on held-out images, as `evaluate` divides them."""
    total_loss, correct, seen = 0.0, 0, 0
    for outputs, labels in outputs_of(model, data, batch_size):
        total_loss = total_loss + loss(outputs, labels)[0] * len(labels)
        correct = correct + (outputs.argmax(axis=1) == to_device(labels)).sum()
        seen += len(labels)
    return float(total_loss), float(correct), seen


def outputs_of(model, data: ImageSet, batch_size: int = 500):
    """Yield (outputs, labels) of held-out images, batch by batch, layers in evaluation mode."""
    check_counts("evaluate", batch_size=batch_size)
    check_fits(model, data)
    with evaluation(model):
        for x, labels in batches(data, batch_size):
            yield model.forward(x), labels


def check_fits(model, data: ImageSet):
    """Raise InputError if the model cannot learn from this data, before anything is changed."""
    check_network("fit", model)
    check_data(data)
    check_labels(data.labels, len(data.images))
    with evaluation(model), closing(batches(data, 1)) as ready:
        x, _ = next(ready, (None, None))
        if x is None:
            raise InputError("data: expected at least one image that can be read, found none")
        outputs = model.forward(x)
    check_labels(data.labels, len(data.images), outputs.shape[1])


@contextmanager
def evaluation(model):
    """Inside, BatchNorm uses its running averages; afterward all layers are as they were."""
    before = [(layer, layer.training) for layer in model.walk()]
    try:
        for layer, _ in before:
            layer.training = False
        yield
    finally:
        for layer, training in before:
            layer.training = training
