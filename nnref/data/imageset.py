"""What every loader returns, and how training walks through it in batches, reading ahead."""

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

import numpy as np

from nnref.backend import accelerated, cores, to_device
from nnref.errors import InputError
from nnref.init import stream


class ImageSet(NamedTuple):
    """Images and labels, both on the host, and what turns an image into a network's input.

    images       an array (N, H, W, C), or anything else whose images[i] is an array (H, W, C): one
                 that reads a file when asked to, say, and gives None for a damaged one to skip
    labels       (N,), integers from 0
    names        the classes, in the order of their labels
    transform    crops and flips one image, as transform(image, rng) (transforms.py); None: nothing
    normalize    makes floating-point numbers of a batch of bytes, on the device; None: nothing
    """

    images: Sequence
    labels: np.ndarray
    names: Sequence[str] = ()
    transform: Callable | None = None
    normalize: Callable | None = None


def check_data(data: ImageSet):
    """Raise InputError if there are no images, or one holds a number that is not finite.

    Labels are held to the number of images and classes by `losses.check_labels`.
    """
    if not isinstance(data, ImageSet) or isinstance(data.images, list | tuple):
        raise InputError("data: expected an ImageSet(images, labels) of two NumPy arrays")
    images = data.images
    if len(images) == 0:
        raise InputError("data: expected at least one image, found none")
    if isinstance(images, np.ndarray) and images.dtype.kind == "f":
        finite = np.isfinite(images).reshape(len(images), -1).all(axis=1)
        if not finite.all():
            raise InputError(f"data: image {finite.argmin()} holds a number that is not finite")


def split(train: ImageSet, test: ImageSet, share: float, seed: int):
    """(images to train on, a share of them held out to choose by or None), drawn by `seed`.

    What is held out is looked at as the test images are, without random crops.
    """
    count = round(share * len(train.labels))
    if count == 0:
        return train, None
    order = stream(seed, "split").permutation(len(train.labels))
    kept, held_out = np.sort(order[count:]), np.sort(order[:count])
    return choose(train, kept), choose(train, held_out)._replace(
        transform=test.transform, normalize=test.normalize
    )


def choose(data: ImageSet, indices) -> ImageSet:
    """The images with these indices; of an array, and of files that are read when asked for."""
    plain = isinstance(data.images, np.ndarray)
    images = data.images[indices] if plain else _Some(data.images, indices)
    return data._replace(images=images, labels=data.labels[indices])


class _Some:
    """Some images of a set that reads them when asked to."""

    def __init__(self, images, indices):
        self.images, self.indices = images, indices

    def __len__(self):
        return len(self.indices)

    def __getitem__(self, i):
        return self.images[self.indices[i]]


def batches(data: ImageSet, batch_size: int, order=None, key=(0, 0), threads: int | None = None):
    """Yield (x on the device, labels on the host), in the `order` of these indices or as they are.

    Threads prepare the next batches while you use this one. What is random about an image comes
    from `key` = (seed, epoch) and its index, so their number (None: one per core) changes nothing.
    The last batch holds what is left (see `batch_starts`).
    """
    order = np.arange(len(data.labels)) if order is None else order
    starts = batch_starts(len(order), batch_size)
    chosen = [order[a:b] for a, b in zip(starts, [*starts, len(order)][1:], strict=True)]
    work = partial(collect, data, key)
    ready = map(work, chosen) if _is_plain(data) else ahead(work, chosen, threads or cores())
    whole = ((images, labels) for images, labels in ready if len(labels))  # else all are damaged
    for x, labels in staged(whole):
        yield x if data.normalize is None else data.normalize(x), labels


@accelerated
def staged(ready):
    """(images, labels), one batch after the other, the images moved to the device."""
    for images, labels in ready:
        yield to_device(images), labels


def collect(data: ImageSet, key, chosen):
    """The images with these indices, transformed, as one array, and their labels."""
    if _is_plain(data):
        return data.images[chosen], data.labels[chosen]
    prepared = [_prepare(data, key, i) for i in chosen]
    images = [image for image in prepared if image is not None]
    shapes = sorted({image.shape for image in images})
    if len(shapes) > 1:
        raise InputError(
            f"batches: expected images of one shape, found {shapes[0]} and {shapes[-1]}; "
            "a transform such as ResizeCenterCrop(64) gives them one"
        )
    labels = data.labels[
        [i for i, image in zip(chosen, prepared, strict=True) if image is not None]
    ]
    return np.array(images), labels


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


def _is_plain(data):
    """Is there nothing to do but to pick rows of an array?"""
    return data.transform is None and isinstance(data.images, np.ndarray)


def _prepare(data, key, i):
    """Image i, transformed with random numbers of its own."""
    image = data.images[i]
    if image is None or data.transform is None:
        return image
    seed, epoch = key
    # Philox is a function of (key, counter): no state, so no order in which to draw
    rng = np.random.Generator(np.random.Philox(key=[seed % 2**64, epoch], counter=[0, 0, 0, i]))
    return data.transform(image, rng)


def ahead(work, jobs, threads):
    """Yield work(job) for each job, in order, while threads work on the next ones.

    At most threads + 2 results wait at any time.
    """
    waiting = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for job in jobs:
                waiting.append(pool.submit(work, job))
                if len(waiting) > threads + 1:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
