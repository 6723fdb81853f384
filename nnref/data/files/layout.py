"""Find the images of an image folder by part and class; count what is left out.

The names of parts and of system folders are those of common tools. All other names are classes, as
the user wrote them.
"""

import os
from collections import Counter, defaultdict
from functools import cache

from nnref.data.files.decode import SUFFIXES
from nnref.data.files.lists import LISTS, labels_by_file
from nnref.data.notices import notice
from nnref.errors import InputError

PARTS = {  # the name of a part's folder, in small or large letters: the part
    "train": "train", "training": "train",
    "val": "val", "valid": "val", "validation": "val",
    "test": "test", "testing": "test",
}  # fmt: skip
SYSTEM = {  # what systems, not users, put beside photographs; so is what begins with a dot
    "@eadir", "@recycle", "#recycle", "#snapshot", "$recycle.bin", "__macosx", "lost+found",
    "system volume information", "thumbs.db", "ehthumbs.db", "desktop.ini",
}  # fmt: skip
MOST_NAMED = 4  # kinds of files that are not used, and empty folders, that a notice names


def find_images(store) -> tuple[dict, dict]:
    """The image files of a store: (train, held out), each {class: [name, ...]}.

    Held out is val, or test without a val. What is not used is counted in a notice. Raises
    InputError if there are no classes to train on, or only images without a class in val.
    """
    unused = Counter()  # what: how many
    placed = _by_part(store, unused)
    part = "val" if any(images for _, _, images in placed["val"]) else "test"
    if part == "val":
        unused["images of test (there is a val)"] = sum(len(i) for _, _, i in placed["test"])
    labels = cache(lambda: labels_by_file(store))  # read when first needed
    train, stray = _by_class(placed["train"], labels, ["images"])
    held_out, others = _by_class(placed[part], labels, train)
    unused["images without a class"] = len(stray) + len(others)
    said = _said(unused, _empty(placed["train"], train) + _empty(placed[part], held_out))
    if all(_part(name) for name in train):  # none at all, or train/train/NAME.jpg
        found = "; ".join([f"classes: {', '.join(train) or 'none'}", *said])
        raise InputError(f"{store}: expected images as train/CLASS/NAME.jpg, found {found}")
    if part == "val" and not held_out:
        raise InputError(f"{store}/{others[0]}: expected its class in a folder or list, found none")
    if said:
        notice(f"{store}: not used: {'; '.join(said)}")
    return train, held_out


def _by_part(store, unused) -> dict[str, list]:
    """{part: [(names of the folders below the part's, folder, image files), ...]}."""
    folders = _by_folder(store, unused)
    images = {folder: [f for f in files if _is_image(f)] for folder, files in folders.items()}
    outer = _outer([folder for folder, files in images.items() if files])
    placed = {"train": [], "val": [], "test": []}
    for folder, files in folders.items():
        part, below = _place(folder, outer)
        if part is None:
            unused["images outside of train, val and test"] += len(images[folder])
            continue
        placed[part].append((below, folder, images[folder]))
        if len(images[folder]) < len(files):
            others = [file for file in files if not _is_image(file) and file not in LISTS]
            endings = [os.path.splitext(file)[1].lower() for file in others]
            unused.update(f"files *{end}" if end else "files without an ending" for end in endings)
    return placed


def _by_folder(store, unused) -> dict[str, list[str]]:
    """{folder: [file, ...]} without those of the system, of which images are counted."""
    folders = {folder: [] for folder in store.folders}
    for name in store.names:
        folder, _, file = name.rpartition("/")
        folders.setdefault(folder, []).append(file)
    users = {folder for folder in folders if not any(map(_is_system, folder.split("/")))}
    for folder, files in folders.items():
        hidden = [file for file in files if folder not in users or _is_system(file)]
        unused["images that are hidden or the system's"] += sum(map(_is_image, hidden))
    return {
        folder: [file for file in files if not _is_system(file)]
        for folder, files in folders.items()
        if folder in users
    }


def _outer(folders) -> set[str]:
    """The folders with the name of a part that hold only parts: train/train/CLASS, train/val/CLASS.

    `folders` are those with images. train/train/NAME.jpg is an image of a class called train.
    """
    held = defaultdict(set)  # folder: the folders in it, "" for images
    for folder in folders:
        steps = [*folder.split("/"), ""]
        for i, step in enumerate(steps[:-1]):
            if _part(step):
                held["/".join(steps[: i + 1])].add(steps[i + 1])
    return {
        folder
        for folder, names in held.items()
        if all(map(_part, names)) and any("" not in held[f"{folder}/{name}"] for name in names)
    }


def _place(folder, outer) -> tuple[str | None, list[str]]:
    """(part, names of the folders below the part's) of a folder; (None, []) outside of all."""
    steps = folder.split("/")
    for i, step in enumerate(steps):
        if _part(step) and "/".join(steps[: i + 1]) not in outer:
            return _part(step), steps[i + 1 :]
    return None, []


def _by_class(placed, labels, known) -> tuple[dict, list]:
    """({class: [name, ...]}, names without a class) of one part.

    Images in the part's folder itself, or in a folder called images, have their class in a list,
    `labels()`; but images may be the name of a class, if it is among `known`.
    """
    classes, without = defaultdict(list), []
    for below, folder, files in placed:
        names = [f"{folder}/{file}" for file in files]
        if below not in ([], ["images"]):
            classes[below[0]] += names
            continue
        for file, name in zip(files, names, strict=True):
            itself = below[0] if below and below[0] in known else None
            found = labels().get(file, itself)
            (without if found is None else classes[found]).append(name)
    return {name: sorted(names) for name, names in classes.items() if names}, without


def _empty(placed, classes) -> list[str]:
    """The folders of classes that have no image in this part."""
    return sorted(
        {
            "/".join(folder.split("/")[: 1 - len(below) or None])
            for below, folder, _ in placed
            if below and below != ["images"] and below[0] not in classes
        }
    )


def _said(unused, empty) -> list[str]:
    """What is not used, in words."""
    counts = [(what, count) for what, count in unused.most_common() if count]
    said = [f"{what}: {count:,}" for what, count in counts[:MOST_NAMED]]
    if counts[MOST_NAMED:]:
        said.append(f"others: {sum(count for _, count in counts[MOST_NAMED:]):,}")
    if empty:
        named = ", ".join([*empty[:MOST_NAMED], *(["..."] if empty[MOST_NAMED:] else [])])
        said.append(f"class folders without an image: {len(empty):,} ({named})")
    return said


def _part(folder) -> str | None:
    """The part that a folder's name stands for, or None."""
    return PARTS.get(folder.lower())


def _is_system(name) -> bool:
    """Whether a folder or file is the system's, or hidden."""
    return name.startswith(".") or name.lower() in SYSTEM


def _is_image(file) -> bool:
    """Whether a file is an image, by its ending."""
    return file.lower().endswith(SUFFIXES)
