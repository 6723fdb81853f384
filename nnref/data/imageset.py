"""Sets of labeled images, and the batches of them, which threads prepare ahead of training."""

import hashlib
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from typing import NamedTuple

import numpy as np

from nnref.backend import accelerated, thread_count, to_device
from nnref.errors import InputError
from nnref.init import stream
from nnref.layers.checks import check_counts, number


class ImageSet(NamedTuple):
    """Images and labels, both on the host, and how to turn an image into a network's input.

    images       an array (N, H, W, C), or an object whose images[i] is an array (H, W, C), read
                 from a file on demand, say, or None for a damaged image, which is skipped; a run
                 in a folder asks such an object for its `fingerprint`, a hash, before it resumes
    labels       (N,), integers from 0
    names        the classes, in the order of their labels
    transform    crops and flips one image: transform(image, rng) (transforms.py); None: no change
    normalize    turns a batch of bytes into floats, on the device; None: no change
    """

    images: Sequence
    labels: np.ndarray
    names: Sequence[str] = ()
    transform: Callable | None = None
    normalize: Callable | None = None


def check_data(data: ImageSet):
    """Raise InputError if there are no images, or an array of them has a number that is not finite.

    `check_labels` (layers/checks.py) checks the labels.
    """
    if (
        not isinstance(data, ImageSet)
        or isinstance(data.images, list | tuple | str | dict)
        or not hasattr(data.images, "__len__")
    ):
        found = type(data.images if isinstance(data, ImageSet) else data).__name__
        raise InputError(f"data: expected an ImageSet(images, labels) of arrays, found {found}")
    images = data.images
    if len(images) == 0:
        raise InputError("data: expected at least one image, found none")
    if isinstance(images, np.ndarray) and images.dtype.kind == "f":
        finite = np.isfinite(images).reshape(len(images), -1).all(axis=1)
        if not finite.all():
            raise InputError(f"data: image {finite.argmin()} holds a number that is not finite")


def split(train: ImageSet, test: ImageSet, share: float, seed: int):
    """Split off a `share` of the training images by `seed`: (train, validation set or None).

    The validation images are transformed as the test images are, without random crops.
    """
    share = number("split", share, "a share from 0 to below 1", lambda value: 0 <= value < 1)
    count = round(share * len(train.labels))
    if count == 0:
        return train, None
    order = stream(seed, "split").permutation(len(train.labels))
    kept, held_out = np.sort(order[count:]), np.sort(order[:count])
    return choose(train, kept), choose(train, held_out)._replace(
        transform=test.transform, normalize=test.normalize
    )


def choose(data: ImageSet, indices) -> ImageSet:
    """The images with these indices, from an array or from files that are read on demand."""
    plain = isinstance(data.images, np.ndarray)
    images = data.images[indices] if plain else _Some(data.images, indices)
    return data._replace(images=images, labels=data.labels[indices])


class _Some:
    """Some images of a set that reads them on demand."""

    def __init__(self, images, indices):
        self.images, self.indices = images, indices

    def __len__(self):
        return len(self.indices)

    def __getitem__(self, i):
        return self.images[self.indices[i]]

    @property
    def fingerprint(self) -> str:
        """A hash of which images of which set these are."""
        chosen = np.ascontiguousarray(self.indices, np.int64).tobytes()
        return hashlib.sha256(self.images.fingerprint.encode() + chosen).hexdigest()


def batches(data: ImageSet, batch_size: int, order=None, key=(0, 0), threads: int | None = None):
    """Yield batches (x on the device, labels on the host), in this `order` of indices or as stored.

    Threads prepare the next batches while you use this one. Random crops and flips depend on `key`
    = (seed, epoch) and an image's index alone, so the number of `threads` (None: `thread_count`)
    changes no result. The last batch holds the remaining images (see `batch_starts`).
    """
    order = np.arange(len(data.labels)) if order is None else order
    with closing(load(data, cut(order, batch_size), key, threads)) as loaded:
        for x, labels in loaded:
            if len(labels):  # unless all are damaged
                yield x, labels


def watched(images: ImageSet, count: int, transform: Callable | None):
    """(x, labels) of `count` training images to measure angles on, as `transform` prepares a test.

    They are drawn, always the same, since files may be sorted by class.
    """
    drawn = stream(0, "watched").permutation(len(images.labels))[:count]
    return next(batches(images._replace(transform=transform), count, np.sort(drawn)))


def cut(order, batch_size: int) -> list:
    """The indices of each batch: `order` in parts, that start where `batch_starts` says."""
    starts = batch_starts(len(order), batch_size)
    return [order[a:b] for a, b in zip(starts, [*starts, len(order)][1:], strict=True)]


def load(data: ImageSet, chosen: list, key, threads: int | None = None):
    """Yield (x, labels) for each list of indices in `chosen`, prepared as `batches` says.

    Damaged images are left out, so there may be fewer images than indices, or none.
    """
    work = partial(collect, data, key)
    ready = map(work, chosen) if _is_plain(data) else ahead(work, chosen, threads or thread_count())
    with closing(staged(ready)) as moved:  # a reader that stops early stops the threads at once
        for x, labels in moved:
            yield x if data.normalize is None or not len(labels) else data.normalize(x), labels


@accelerated
def staged(ready):
    """Yield (images, labels) for each batch, with the images moved to the device."""
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
            f"batches: expected images of the same shape, found {shapes[0]} and {shapes[-1]}; "
            "crop them to one: --size 64 in the shell, imagefolder.load(..., size=64) in Python"
        )
    labels = data.labels[
        [i for i, image in zip(chosen, prepared, strict=True) if image is not None]
    ]
    return np.array(images), labels


def batch_starts(count: int, batch_size: int) -> list[int]:
    """The indices at which the batches of an epoch of `count` images start.

    A single image that is left over joins the batch before it, since BatchNorm cannot normalize a
    batch of one. Raises InputError for a batch_size below 1.
    """
    check_counts("batches", batch_size=batch_size)
    starts = list(range(0, count, batch_size))
    if len(starts) > 1 and count - starts[-1] == 1 and batch_size > 1:
        starts.pop()
    return starts


def _is_plain(data):
    """Whether a batch is just rows of an array, without a transform."""
    return data.transform is None and isinstance(data.images, np.ndarray)


def _prepare(data, key, i):
    """Image i, transformed with its own random numbers."""
    image = data.images[i]
    if image is None or data.transform is None:
        return image
    seed, epoch = key
    # Philox is a function of (key, counter) without state, so the order of images is free
    key = np.array([seed % 2**64, epoch], "uint64")
    rng = np.random.Generator(np.random.Philox(key=key, counter=[0, 0, 0, i]))
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
