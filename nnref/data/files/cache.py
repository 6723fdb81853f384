"""Decode a set of images once, into a file of bytes that later runs map into memory.

Decoding costs more than all other preparation together. The folder of a cache is named by a hash of
the files' contents, so that other files, or one changed byte, get another cache. It is written
under a temporary name and renamed when complete, so that an interrupted run leaves no incomplete
cache under the final name. It holds

    pixels.rgb    one byte per value, all images one after the other, row by row
    shapes.npy    (N, 2): height and width of each; 0 x 0 for a damaged one
"""

import contextlib
import hashlib
import os
import shutil
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import PIL
import pooch
from tqdm import tqdm

from nnref.backend import cores
from nnref.data.files.decode import ImageFiles
from nnref.data.imageset import ahead
from nnref.errors import InputError
from nnref.files import make_folder

LARGEST = 8 * 2**30  # bytes of pixels; a larger set is decoded anew in every epoch
SAMPLE = 32  # images that are decoded to estimate the size of a cache


def cache_folder() -> Path:
    """The folder of all caches, inside the user's cache folder."""
    return Path(pooch.os_cache("nnref")) / "decoded"


class DecodedImages:
    """The images of a cache: images[i] is uint8 (H, W, 3), or None where the file was damaged."""

    def __init__(self, folder: Path, files: ImageFiles):
        self.bad = files.bad
        self.pixels = np.memmap(folder / "pixels.rgb", np.uint8, mode="r")
        self.shapes = np.load(folder / "shapes.npy", allow_pickle=False)
        self.ends = np.cumsum(3 * self.shapes.prod(axis=1))
        if len(self.pixels) != self.ends[-1]:
            raise ValueError("its pixels do not fit its shapes")

    def __len__(self):
        return len(self.shapes)

    def __getitem__(self, i):
        H, W = self.shapes[i]
        end = self.ends[i]
        return self.pixels[end - 3 * H * W : end].reshape(H, W, 3) if H else None


def decoded(files: ImageFiles):
    """These images from their cache, made if missing; `files` itself if it would be too large.

    `files.on_bad` applies to damaged images. Raises InputError if the cache cannot be written.
    """
    if sum(map(files.store.size, files.names)) > LARGEST:
        return files  # pixels take more than files, so there is no need to read any
    folder = cache_folder() / _key(files)
    images = _open(folder, files)
    if images is None:
        if not _fits(files):
            return files
        _build(files, folder)
        return _open(folder, files)
    for i in np.flatnonzero(images.shapes[:, 0] == 0):
        files[i]  # stop at it or count it, as when the cache was made
    return images


def _open(folder, files):
    """The images of the cache in `folder`; if incomplete, remove the folder and return None."""
    try:
        return DecodedImages(folder, files)
    except (OSError, ValueError, EOFError):
        shutil.rmtree(folder, ignore_errors=True)
        return None


def _fits(files) -> bool:
    """Whether a new cache would fit its limit and the disk, estimated from a sample."""
    make_folder(cache_folder())
    picked = np.linspace(0, len(files) - 1, min(SAMPLE, len(files))).astype(int)
    sizes = [image.size for image in (files[i] for i in picked) if image is not None]
    expected = np.mean(sizes or [0]) * len(files)
    return expected < min(LARGEST, 0.8 * shutil.disk_usage(cache_folder()).free)


def _key(files) -> str:
    """A hash of the contents of all files, in their order, and of the decoder's version."""

    def digest(name):
        try:
            return hashlib.sha256(files.store.read(name)).digest()
        except InputError as error:
            if files.on_bad == "stop":
                raise
            return str(error).encode()

    whole = hashlib.sha256(f"Pillow {PIL.__version__}".encode())
    with ThreadPoolExecutor(cores()) as pool:
        for content in pool.map(digest, files.names):
            whole.update(content)
    return whole.hexdigest()[:32]


def _build(files, folder):
    """Decode all images in threads into a temporary folder, then rename it."""
    _sweep(folder.parent)
    try:
        with tempfile.TemporaryDirectory(".partial", dir=folder.parent) as partial:
            shapes = _write_pixels(files, Path(partial, "pixels.rgb"))
            np.save(Path(partial, "shapes.npy"), shapes)
            _rename(Path(partial), folder)
    except OSError as error:
        raise InputError(f"{folder}: the cache cannot be written: {error.strerror}") from None


def _rename(partial, folder):
    """Rename a complete cache, unless another process has made the same cache before."""
    try:
        whole = partial / "whole"
        whole.mkdir()
        for name in ("pixels.rgb", "shapes.npy"):
            (partial / name).rename(whole / name)
        whole.rename(folder)
    except OSError:
        if not folder.is_dir():
            raise


def _write_pixels(files, path) -> np.ndarray:
    """Write the pixels of all images, one after the other; return their heights and widths."""
    shapes = []
    with path.open("wb") as out:
        images = ahead(files.__getitem__, range(len(files)), cores())
        for image in tqdm(images, "decoding", len(files), disable=None, delay=1, unit=" images"):
            shapes.append((0, 0) if image is None else image.shape[:2])
            if image is not None:
                out.write(image.tobytes())
        out.flush()
        os.fsync(out.fileno())
    return np.array(shapes)


def _sweep(folder):
    """Remove incomplete caches that interrupted runs left a day ago or earlier."""
    for partial in folder.glob("*.partial"):
        with contextlib.suppress(FileNotFoundError):  # its own process removed it
            if partial.stat().st_mtime < time.time() - 86_400:
                shutil.rmtree(partial, ignore_errors=True)
