"""The images of the experiments: downloaded data sets, or files that the user has.

The smoke tier uses the digits that ship with nnref in place of every data set: it shows that an
experiment runs from end to end, and says nothing about the question of the experiment.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from nnref.data import catalog, cifar10, imagefolder, mnist
from nnref.data.imageset import ImageSet, batches, choose, split
from nnref.errors import InputError
from nnref.init import stream

TITLES = {
    "digits": "digits", "mnist": "MNIST", "cifar10": "CIFAR-10", "tiny-imagenet": "Tiny-ImageNet",
}  # fmt: skip


class Sources(NamedTuple):
    """Class folders (or a .zip, .tar of them) to use in place of what `data fetch` downloads."""

    cifar10: Path | None = None
    tiny_imagenet: Path | None = None

    def of(self, name: str) -> Path | None:
        """The path given for the data set of this name; None: to be downloaded."""
        return {"cifar10": self.cifar10, "tiny-imagenet": self.tiny_imagenet}.get(name)


class Images(NamedTuple):
    """The images of one part of an experiment: for training, for choices, and for the test."""

    train: ImageSet
    held_out: ImageSet
    test: ImageSet | None
    facts: dict  # names and numbers, for the result

    @property
    def shape(self) -> tuple[int, int, int]:
        """(H, W, C) of one image, as a network gets it."""
        x, _ = next(batches(self.held_out, 1))
        return x.shape[1:]

    def fewer(self, count: int) -> "Images":
        """The same with only `count` training images, drawn at random."""
        drawn = stream(0, "fewer").permutation(len(self.train.labels))[:count]
        return self._replace(train=choose(self.train, np.sort(drawn)))


def load(name: str, sources: Sources, count: int | None = None, held_out: float = 0.1) -> Images:
    """Images by name, the same for every seed.

    name        "digits" (shipped, padded to 32 x 32), "mnist", "cifar10" or "tiny-imagenet"
    count       how many training images, held-out ones included; None: all
    held_out    the share of the training images that is held out; 0: the test images take its place

    Raises InputError if they are not on this machine and cannot be downloaded.
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
        train, test = imagefolder.load(path)
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
        "held_out": held_out,
    }
    ours, val = split(train, test, held_out, seed=0)
    return Images(ours, test if val is None else val, test, facts)


def _padded(digits: ImageSet) -> ImageSet:
    """Digits of 32 x 32 pixels, so that networks for photographs take them."""
    return digits._replace(images=np.pad(digits.images, ((0, 0), (2, 2), (2, 2), (0, 0))))
