"""What every loader returns, and how training walks through it."""

from typing import NamedTuple

import numpy as np

from nnref.backend import to_device
from nnref.errors import InputError


class ImageSet(NamedTuple):
    """Images (N, H, W, C), floating point, and labels (N,), integers; both on the host."""

    images: np.ndarray
    labels: np.ndarray


def check_data(data: ImageSet):
    """Raise InputError if there are no images, or one holds a number that is not finite.

    Labels are held to the number of images and classes by `losses.check_labels`.
    """
    if not isinstance(data, ImageSet) or not isinstance(data.images, np.ndarray):
        raise InputError("data: expected an ImageSet(images, labels) of two NumPy arrays")
    images = data.images
    if len(images) == 0:
        raise InputError("data: expected at least one image, found none")
    finite = np.isfinite(images).reshape(len(images), -1).all(axis=1)
    if not finite.all():
        raise InputError(f"data: image {finite.argmin()} holds a number that is not finite")


def batches(data: ImageSet, batch_size: int, rng: np.random.Generator | None = None):
    """Yield (x on the device, labels on the host), in an order drawn from `rng` or as they stand.

    The last batch holds what is left (see `batch_starts`).
    """
    images, labels = data
    order = np.arange(len(images)) if rng is None else rng.permutation(len(images))
    starts = batch_starts(len(images), batch_size)
    for start, stop in zip(starts, [*starts[1:], len(images)], strict=True):
        chosen = order[start:stop]
        yield to_device(images[chosen]), labels[chosen]


def batch_starts(count: int, batch_size: int) -> list[int]:
    """Where the batches of one epoch start, for `count` images.

    A single image that is left over joins the batch before it: BatchNorm could make nothing of a
    batch of one. Raises InputError for a batch_size below 1.
    """
    if batch_size < 1:
        raise InputError(f"batches: expected a batch_size of at least 1, found {batch_size}")
    starts = list(range(0, count, batch_size))
    if len(starts) > 1 and count - starts[-1] == 1 and batch_size > 1:
        starts.pop()
    return starts
