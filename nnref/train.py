"""The training loop: forward, backward, step; and after every epoch a look at held-out images."""

import math
import time
from contextlib import contextmanager

from threadpoolctl import threadpool_limits
from tqdm import tqdm

from nnref.backend import to_device
from nnref.data.imageset import ImageSet, batch_starts, batches, check_data
from nnref.errors import InputError
from nnref.init import stream
from nnref.losses import check_labels, softmax_cross_entropy


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
    label: str | None = None,
) -> list[dict]:
    """Train `model` in place; return its history, one dictionary for each epoch.

    schedule    a function from epochs to the learning rate (optim.py); None leaves the optimizer's
    seed        of the order of the images, and of their crops; the same whatever the feedback rule
    on_step     called as on_step(epochs so far) after every step
    label       a name to show on a progress bar; None shows none

    A history entry holds `epoch`, `train_loss` (nats, the mean over the epoch), `seconds` and,
    given `test`, `test_loss` and `test_accuracy` (0 to 1). Raises InputError for bad data, and
    FloatingPointError when the loss is no longer a number.
    """
    for data in (train,) if test is None else (train, test):
        check_fits(model, data)
    if epochs < 1 or not 1 <= batch_size <= len(train.labels):
        raise InputError(
            f"fit: expected epochs of at least 1 and a batch_size from 1 to {len(train.labels)}, "
            f"found {epochs} and {batch_size}"
        )
    rng, history = stream(seed, "order"), []
    steps = len(batch_starts(len(train.labels), batch_size))
    with (
        # On networks as small as the demo's a second thread of BLAS gains nothing, and on a busy
        # machine loses much; with one, the number of cores does not change the rounding.
        threadpool_limits(1, user_api="blas"),
        tqdm(total=epochs * steps, desc=label, disable=label is None) as bar,
    ):
        for epoch in range(epochs):
            start, total_loss, seen = time.perf_counter(), 0.0, 0
            order = rng.permutation(len(train.labels))
            ready = batches(train, batch_size, order, key=(seed, epoch))
            for step, (x, labels) in enumerate(ready):
                if schedule:  # its value in the middle of the step
                    optimizer.lr = schedule(epoch + (step + 0.5) / steps)
                loss = train_step(model, optimizer, x, labels)
                total_loss = total_loss + loss * len(labels)  # stays on the device until it is read
                seen += len(labels)  # damaged images may have been left out
                if on_step:
                    on_step(epoch + (step + 1) / steps)
                bar.update()
            entry = {"epoch": epoch + 1, "train_loss": float(total_loss) / seen}
            if not math.isfinite(entry["train_loss"]):
                raise FloatingPointError(
                    f"training diverged: the mean loss of epoch {epoch + 1} is "
                    f"{entry['train_loss']}; a lower learning rate than {optimizer.lr:g} may help"
                )
            entry["seconds"] = time.perf_counter() - start
            if test is not None:
                entry["test_loss"], entry["test_accuracy"] = evaluate(model, test)
                bar.set_postfix_str(f"test accuracy {entry['test_accuracy']:.1%}")
            history.append(entry)
    return history


def train_step(model, optimizer, x, labels):
    """One step on one batch: forward (Eq. 1), backward (Eq. 2), update; returns the loss."""
    logits = model.forward(x)
    loss, delta = softmax_cross_entropy(logits, labels)
    model.backward(delta)
    optimizer.step()
    return loss


def evaluate(model, data: ImageSet, batch_size: int = 500) -> tuple[float, float]:
    """(mean loss in nats, accuracy from 0 to 1) on held-out images, BatchNorm in evaluation."""
    check_fits(model, data)
    total_loss, correct, seen = 0.0, 0, 0
    with evaluation(model):
        for x, labels in batches(data, batch_size):
            logits = model.forward(x)
            total_loss = total_loss + softmax_cross_entropy(logits, labels)[0] * len(labels)
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
