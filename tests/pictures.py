"""Small image files and folders of them, made for the tests."""

import io
import tarfile
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image


def picture(mode="RGB", size=(20, 16), kind="PNG", seed=0):
    """The bytes of a small picture, `size` wide and high."""
    rng = np.random.default_rng(seed)
    width, height = size
    pixels = rng.integers(0, 256, (height, width, 3), np.uint8)
    image = Image.fromarray(pixels).convert(mode)
    content = io.BytesIO()
    image.save(content, kind)
    return content.getvalue()


def content_of(tree):
    """{name: bytes} of {name: bytes or seed of a picture}."""
    return {
        name: value if isinstance(value, bytes) else picture(seed=value)
        for name, value in tree.items()
    }


def class_folders(classes=("cat", "dog"), train=3, val=2, images=""):
    """{name: seed} of train/CLASS/i.png and val/CLASS/i.png."""
    tree, seed = {}, 0
    for part, count in (("train", train), ("val", val)):
        for name in classes:
            for i in range(count):
                tree[f"{part}/{name}/{images}{i}.png"] = seed
                seed += 1
    return tree


def write_folder(path: Path, tree):
    """Write these files, and folders if a name ends with a slash, into a folder."""
    for name, content in content_of(tree).items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        if name.endswith("/"):
            (path / name).mkdir()
        else:
            (path / name).write_bytes(content)
    return path


def write_zip(path: Path, tree):
    """Write these files into a .zip."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in content_of(tree).items():
            archive.writestr(name, content)
    return path


def tar_bytes(tree, mode="w"):
    """The bytes of a .tar with these files."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode=mode) as archive:
        for name, value in content_of(tree).items():
            member = tarfile.TarInfo(name)
            if name.endswith(("/", "\\")):
                member.type = tarfile.DIRTYPE
            member.size = len(value)
            archive.addfile(member, io.BytesIO(value))
    return content.getvalue()


def write_tar(path: Path, tree, mode="w"):
    """Write these files into a .tar."""
    path.write_bytes(tar_bytes(tree, mode))
    return path
