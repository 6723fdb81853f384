"""The training loop: forward, backward, step; and after every epoch a look at held-out images."""

import math
import time
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from nnref.backend import to_device, xp
from nnref.data.imageset import ImageSet, batch_starts, batches, check_data
from nnref.errors import InputError
from nnref.init import stream
from nnref.losses import check_labels, softmax_cross_entropy
from nnref.measure import trouble


@dataclass
class Progress:
    """Where training stands: what `fit` needs, beside the model and the optimizer, to go on."""

    epoch: int = 0  # finished epochs
    step: int = 0  # finished steps of the epoch after those
    loss_sum: np.ndarray | np.floating = field(
        default_factory=lambda: np.float32(0)
    )  # of its images
    seen: int = 0  # images of that epoch so far; their losses sum up to loss_sum
    seconds: float = 0.0  # that it took so far
    history: list[dict] = field(default_factory=list)


def fit(
    model,
    optimizer,
    train: ImageSet,
    test: ImageSet | None = None,
    epochs: int = 1,
    batch_size: int = 32,
    schedule=None,
    seed: int = 0,
    on_step=None,
    on_epoch=None,
    label: str | None = None,
    progress: Progress | None = None,
    loss=softmax_cross_entropy,
) -> list[dict]:
    """Train `model` in place; return its history, one dictionary for each epoch.

    schedule    a function from epochs to the learning rate (optim.py); None leaves the optimizer's
    seed        of the order of the images, and of their crops; the same whatever the feedback rule
    on_step     called as on_step(epochs so far) after every step
    on_epoch    called as on_epoch(entry) with the new entry of the history
    label       a name to show on a progress bar; None shows none
    loss        a function of (outputs, labels) as in losses.py
    progress    where to go on from, kept up to date; None: at the start (checkpoint.py saves it)

    A history entry holds `epoch`, `train_loss` (nats, the mean over the epoch), `seconds` and,
    given `test`, `test_loss` and `test_accuracy` (0 to 1). Raises InputError for bad data, and
    FloatingPointError, with the weights as they were, when the loss is no longer a number.
    """
    for data in (train,) if test is None else (train, test):
        check_fits(model, data)
    if epochs < 1 or not 1 <= batch_size <= len(train.labels):
        raise InputError(
            f"fit: expected epochs of at least 1 and a batch_size from 1 to {len(train.labels)}, "
            f"found {epochs} and {batch_size}"
        )
    now, rng = progress or Progress(), stream(seed, "order")
    starts = [*batch_starts(len(train.labels), batch_size), len(train.labels)]
    steps = len(starts) - 1
    with (
        # On networks as small as the demo's a second thread of BLAS gains nothing, and on a busy
        # machine loses much; nnref/fast shares out large work itself.
        threadpool_limits(1, user_api="blas"),
        tqdm(
            desc=label, total=epochs * steps, initial=now.epoch * steps + now.step,
            disable=label is None, unit="step",
        ) as bar,
    ):  # fmt: skip
        for epoch in range(epochs):
            order = rng.permutation(len(train.labels))
            if epoch < now.epoch:
                continue  # done before: only its order had to be drawn, for those that follow
            start = time.perf_counter() - now.seconds
            for x, labels in batches(train, batch_size, order[starts[now.step] :], (seed, epoch)):
                if schedule:  # its value in the middle of the step
                    optimizer.lr = schedule(epoch + (now.step + 0.5) / steps)
                try:
                    step_loss = train_step(model, optimizer, x, labels, loss)
                except FloatingPointError as error:
                    where = f"step {now.step + 1} of epoch {epoch + 1}: {error}"
                    raise _diverged(where, optimizer) from None
                # stays on the device until it is read
                now.loss_sum = now.loss_sum + step_loss * len(labels)
                now.seen += len(labels)  # damaged images may have been left out
                now.step += 1
                now.seconds = time.perf_counter() - start
                if on_step:
                    on_step(epoch + now.step / steps)
                bar.update()
                if label and now.step % 50 == 0:  # reading a number from a GPU waits for it
                    bar.set_postfix_str(_standing(now), refresh=False)
            entry = {"epoch": epoch + 1, "train_loss": float(now.loss_sum) / now.seen}
            if not math.isfinite(entry["train_loss"]):  # found here alone on a GPU
                raise _diverged(
                    f"epoch {epoch + 1}: its mean loss is {entry['train_loss']}", optimizer
                )
            entry["seconds"] = time.perf_counter() - start
            if test is not None:
                entry["test_loss"], entry["test_accuracy"] = evaluate(model, test, loss=loss)
            now.history.append(entry)
            if label:
                bar.set_postfix_str(_standing(now))
            now.epoch, now.step, now.seen, now.seconds = epoch + 1, 0, 0, 0.0
            now.loss_sum = np.float32(0)
            if on_epoch:
                on_epoch(entry)
    return now.history


def _standing(now: Progress) -> str:
    """What the progress bar says: loss of this epoch, last accuracy on held-out images, speed."""
    accuracies = [e[name] for e in now.history for name in e if name.endswith("_accuracy")]
    accuracy = f", accuracy {accuracies[-1]:.1%}" if accuracies else ""
    loss, speed = float(now.loss_sum) / now.seen, now.seen / now.seconds
    return f"loss {loss:.3f}{accuracy}, {speed:.0f} images/s"


def _diverged(where, optimizer):
    """The error that says so, and what may help."""
    return FloatingPointError(
        f"training diverged in {where}; a lower learning rate than {optimizer.lr:g} may help"
    )


def train_step(model, optimizer, x, labels, loss=softmax_cross_entropy):
    """One step on one batch: forward (Eq. 1), backward (Eq. 2), update; returns the loss.

    Raises FloatingPointError, before anything is changed, if the loss is not finite; on a GPU it
    does not look, because it would have to wait.
    """
    logits = model.forward(x)
    value, delta = loss(logits, labels)
    if xp is np and not math.isfinite(value):
        raise FloatingPointError(f"the loss is {value}, {trouble(model, x)}")
    model.backward(delta)
    optimizer.step()
    return value


def evaluate(
    model, data: ImageSet, batch_size: int = 500, loss=softmax_cross_entropy
) -> tuple[float, float]:
    """(mean loss in nats, accuracy from 0 to 1) on held-out images, BatchNorm in evaluation."""
    check_fits(model, data)
    total_loss, correct, seen = 0.0, 0, 0
    with evaluation(model):
        for x, labels in batches(data, batch_size):
            logits = model.forward(x)
            total_loss = total_loss + loss(logits, labels)[0] * len(labels)
            correct = correct + (logits.argmax(axis=1) == to_device(labels)).sum()
            seen += len(labels)
    return float(total_loss) / seen, float(correct) / seen


def check_fits(model, data: ImageSet):
    """Raise InputError if the model cannot learn from this data, before anything is changed."""
    check_data(data)
    with evaluation(model):
        x, _ = next(batches(data, 1))
        logits = model.forward(x)
    check_labels(data.labels, len(data.images), logits.shape[1])


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
