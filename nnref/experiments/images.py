"""Where the replications find their images: data that were fetched, or folders that the user has.

The smoke tier stands on the digits that ship with nnref in place of all of them: it shows that an
experiment runs from end to end, and nothing about what it is to find.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from nnref.data import catalog, cifar10, imagefolder, mnist
from nnref.data.imageset import ImageSet, choose, split
from nnref.errors import InputError
from nnref.init import stream

TITLES = {
    "digits": "digits", "mnist": "MNIST", "cifar10": "CIFAR-10", "tiny-imagenet": "Tiny-ImageNet",
}  # fmt: skip


class Sources(NamedTuple):
    """Class folders (or a .zip, .tar of them) to take in place of what `data fetch` gets."""

    cifar10: Path | None = None
    tiny_imagenet: Path | None = None

    def of(self, name: str) -> Path | None:
        """The place that was given for the data of this name."""
        return {"cifar10": self.cifar10, "tiny-imagenet": self.tiny_imagenet}.get(name)


class Images(NamedTuple):
    """The images of one experiment: to learn from, to choose by, and to test with at the end."""

    train: ImageSet
    val: ImageSet
    test: ImageSet
    facts: dict  # what they are, for the result

    def fewer(self, count: int) -> "Images":
        """The same with only the first `count` training images, in a drawn order."""
        drawn = stream(0, "fewer").permutation(len(self.train.labels))[:count]
        return self._replace(train=choose(self.train, np.sort(drawn)))


def each(study, parts: list, places: Sources):
    """(part, its images) of every part of a tier; one whose images are not to be had is left out.

    InputError, though, if they are not at a place that was given.
    A part names its `data`, and in `take` how many images, of how many classes (`load`).
    """
    for part in parts:
        try:
            images = load(part.data, places, *part.take)
        except InputError as error:
            if places.of(part.data) is not None:
                raise
            study.left_out(part.data, error)
            continue
        study.facts["data"].append(images.facts)
        yield part, images


def load(name: str, sources: Sources, count=None, classes=None, share: float = 0.1) -> Images:
    """Images by name, the same for every seed: a `share` of the training set is held out.

    name       "digits" (shipped, padded to 32 x 32), "mnist", "cifar10" or "tiny-imagenet"
    count      how many training images, held-out ones included; None: all
    classes    tiny-imagenet: how many classes to draw; None: all

    Raises InputError if they are neither here nor to be had.
    """
    if name == "digits":
        train, test = (_padded(part) for part in mnist.load_subset())
    elif name == "mnist":
        train, test = mnist.load()
    elif name == "cifar10" and sources.cifar10 is None:
        train, test = cifar10.load()
    else:
        path = sources.of(name)
        if path is None:
            catalog.fetch_by_name("tiny-imagenet-200")
            path = catalog.data_folder("tiny-imagenet-200") / "tiny-imagenet-200.zip"
        train, test = imagefolder.load(path, classes=classes)
        if test is None:
            raise InputError(f"{path}: expected images in val or test, found none")
    found = len(np.unique(train.labels))
    if name == "cifar10" and found != 10:
        raise InputError(f"--cifar10 {sources.cifar10}: expected 10 classes, found {found}")
    if count is not None:
        if count > len(train.labels):
            raise InputError(f"{name}: expected {count} images, found {len(train.labels)}")
        train = choose(train, np.sort(stream(0, "count").permutation(len(train.labels))[:count]))
    if name == "digits" and count is not None:
        test = choose(test, np.arange(min(count, len(test.labels))))
    facts = {
        "name": name if sources.of(name) is None else f"{name}, files",
        "train": len(train.labels),
        "test": len(test.labels),
        "classes": found,
        "held_out": share,
    }
    ours, val = split(train, test, share, seed=0)
    return Images(ours, val, test, facts)


def _padded(digits: ImageSet) -> ImageSet:
    """Digits of 32 x 32 pixels, so that networks for photographs take them."""
    return digits._replace(images=np.pad(digits.images, ((0, 0), (2, 2), (2, 2), (0, 0))))
