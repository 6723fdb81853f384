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
    """Raise InputError if images and labels do not match, or an image holds a NaN (and which)."""
    images, labels = data
    if len(images) == 0:
        raise InputError("data: expected at least one image, found none")
    if len(images) != len(labels):
        raise InputError(
            f"data: expected as many images as labels, found {len(images)} and {len(labels)}"
        )
    finite = np.isfinite(images).reshape(len(images), -1).all(axis=1)
    if not finite.all():
        raise InputError(f"data: image {finite.argmin()} holds a number that is not finite")


def batches(data: ImageSet, batch_size: int, rng: np.random.Generator | None = None):
    """Yield (x on the device, labels on the host), in an order drawn from `rng` or as they stand.

    The last batch holds what is left, so it may be smaller.
    """
    images, labels = data
    order = np.arange(len(images)) if rng is None else rng.permutation(len(images))
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        yield to_device(images[chosen]), labels[chosen]
