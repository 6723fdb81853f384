"""Load images from a folder for each class: ImageNet, its subsets, and others of that layout.

    train/CLASS/*.jpg    and    val/CLASS/*.jpg    (or test/ in place of val/)

in a folder, a .zip or a .tar, which may hold further folders around these. What is found there and
not used is counted in one line (files/layout.py). Known variants:
Tiny-ImageNet-200 as published (images a folder deeper, val in one folder with a list), Imagenette,
and ILSVRC2012 as folders, as its tar of tars, or as Kaggle's tree. Terms: ImageNet and its subsets
are for research and education only; do not pass them on.
"""

import numpy as np

from nnref.data.files.cache import decoded
from nnref.data.files.decode import ImageFiles
from nnref.data.files.layout import find_images
from nnref.data.files.lists import class_names
from nnref.data.files.stores import open_store
from nnref.data.imageset import ImageSet
from nnref.data.transforms import Normalize, PadCropFlip, RandomResizedCropFlip, ResizeCenterCrop
from nnref.errors import InputError
from nnref.files import user_path
from nnref.init import stream
from nnref.layers.checks import check_counts

# mean and standard deviation of ImageNet's training pixels, as commonly used (Xiao et al. too)
IMAGENET = Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def load(
    path, size: int | None = None, classes=None, per_class: int | None = None,
    seed: int = 0, on_bad: str = "stop", cache: bool = True,
) -> tuple[ImageSet, ImageSet | None]:  # fmt: skip
    """Load (train, held out) from a folder, .zip or .tar; held out is val, or test without a val.

    size        train on random crops resized to size x size, test on central crops (as usual for
                ImageNet); None: images of equal size, shifted by up to 4 pixels in training. In
                training half of the images are mirrored, which suits photographs, not digits
    classes     a list of folder names or readable names, or the number to draw; None: all
    per_class   the number of training images to draw of each class; None: all. Held out: all
    seed        of these draws; the same seed gives the same subset, and larger ones contain it
    on_bad      "stop" at a damaged image, or "skip" up to 1 % of the images, listed in images.bad
    cache       decode once, into the user's cache folder, unless the set is too large

    Labels follow the sorted names of the folders. Raises InputError, naming the file, for missing
    or damaged files, and for classes that do not exist.
    """
    if size is not None:
        check_counts("imagefolder", size=size)
    store = open_store(user_path(path))
    found, held_out = find_images(store)
    readable = class_names(store)
    chosen = _choose(sorted(found), readable, classes, seed, store)
    if held_out:
        _check_classes(found, held_out, store)
    files = {name: _draw(found[name], per_class, seed, name, store) for name in chosen}
    train = _image_set(store, files, readable, on_bad, cache)
    train = train._replace(
        transform=PadCropFlip(4) if size is None else RandomResizedCropFlip(size)
    )
    if not held_out:
        return train, None
    files = {name: held_out[name] for name in chosen}
    test = _image_set(store, files, readable, on_bad, cache)
    return train, test if size is None else test._replace(transform=ResizeCenterCrop(size))


def _check_classes(train, held_out, store):
    """Raise InputError unless both parts have the same classes."""
    for some, others, what in ((train, held_out, "training"), (held_out, train, "held-out")):
        for name in some:
            if name not in others:
                raise InputError(
                    f"{store}: class {name}: expected images in both parts, found only {what} ones"
                )


def _choose(present, readable, classes, seed, store) -> list[str]:
    """The folders of the classes asked for, sorted."""
    if classes is None:
        return present
    if isinstance(classes, int | np.integer):
        if not 1 <= classes <= len(present):
            raise InputError(f"{store}: expected 1 to {len(present)} classes, found {classes}")
        return sorted(stream(seed, "classes").permutation(present)[:classes].tolist())
    names = [] if isinstance(classes, str) or not np.iterable(classes) else list(classes)
    if not names:
        raise InputError(f"classes: expected a list of names or a number, found {classes!r}")
    return sorted({_folder_of(name, present, readable, store) for name in names})


def _folder_of(wanted, present, readable, store) -> str:
    """The folder of one class, given its folder's name or one of its readable names."""
    if not isinstance(wanted, str):
        raise InputError(f"classes: expected names, found {wanted!r}")
    if wanted in present:
        return wanted
    found = [
        folder
        for folder in present
        if wanted.lower() in (name.strip().lower() for name in readable.get(folder, "").split(","))
    ]
    if len(found) != 1:
        what = " and ".join(found) or "none"
        raise InputError(f"{store}: expected one class called {wanted!r}, found {what}")
    return found[0]


def _draw(names, count, seed, name, store) -> list[str]:
    """Draw `count` of these image files by `seed`, keeping their order; None: all of them."""
    if count is None:
        return names
    if not isinstance(count, int | np.integer) or not 1 <= count <= len(names):
        raise InputError(
            f"{store}: expected per_class of 1 to {len(names)}, the images of {name}, found {count}"
        )
    drawn = stream(seed, f"images of {name}").permutation(len(names))[:count]
    return [names[i] for i in sorted(drawn)]


def _image_set(store, files, readable, on_bad, cache) -> ImageSet:
    """The image set of {class: [file, ...]}, labels in this order; `on_bad` as in `load`."""
    labels = np.repeat(np.arange(len(files)), [len(names) for names in files.values()])
    images = ImageFiles(store, [name for names in files.values() for name in names], on_bad)
    names = [readable[name].split(",")[0] if name in readable else name for name in files]
    return ImageSet(decoded(images) if cache else images, labels, names, normalize=IMAGENET)
