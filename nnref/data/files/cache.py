"""Decode a set of images once, into a file of bytes that later runs map into memory.

Decoding costs more than all other preparation together. The folder of a cache is named by a hash of
the files' contents, so that other files, or one changed byte, get another cache. It is written
under a temporary name and renamed when complete, so that an interrupted run leaves no incomplete
cache under the final name. It holds

    pixels.rgb    one byte per value, all images one after the other, row by row
    shapes.npy    (N, 2): height and width of each; 0 x 0 for a damaged one
    sums.txt      checksums of these two files, which are held to them whenever the cache is opened

It only saves time: a damaged one is made anew, and where none can be written there is none.
"""

import contextlib
import errno
import hashlib
import os
import shutil
import tempfile
import time
import zlib
from pathlib import Path

import numpy as np
import PIL
from tqdm import tqdm

from nnref.backend import thread_count
from nnref.data.files import decode
from nnref.data.files.decode import ImageFiles
from nnref.data.files.fetch import user_cache
from nnref.data.files.stores import read_file
from nnref.data.imageset import ahead
from nnref.data.notices import notice
from nnref.errors import InputError

VERSION = 2  # of what a cache holds, and of how `decode` makes it from the files
LARGEST = 8 * 2**30  # bytes of pixels; a larger set is decoded anew in every epoch
SAMPLE = 32  # images that are decoded to estimate the size of a cache


def cache_folder() -> Path:
    """The folder of all caches, inside the user's cache folder."""
    return user_cache() / "decoded"


class DecodedImages:
    """The images of a cache: images[i] is uint8 (H, W, 3), or None where the file was damaged."""

    def __init__(self, folder: Path, files: ImageFiles):
        if read_file(folder / "sums.txt", 100) != _sums(folder):
            raise ValueError("its checksums differ")
        self.bad, self.fingerprint = files.bad, files.fingerprint
        self.pixels = np.memmap(folder / "pixels.rgb", np.uint8, mode="r")
        self.shapes = np.load(folder / "shapes.npy", allow_pickle=False)
        self.ends = np.cumsum(3 * self.shapes.prod(axis=1))

    def __len__(self):
        return len(self.shapes)

    def __getitem__(self, i):
        H, W = self.shapes[i]
        end = self.ends[i]
        return self.pixels[end - 3 * H * W : end].reshape(H, W, 3) if H else None


def decoded(files: ImageFiles):
    """These images from their cache, made if missing; `files` itself where there can be none.

    There is none of a set that would be too large (LARGEST) and, as a notice says, where no cache
    can be written. `files.on_bad` applies to damaged images.
    """
    if sum(files.sizes) > decode.LARGEST:
        return files  # pixels take more than files, so there is no need to read any
    try:
        folder = cache_folder()
    except InputError as error:
        return _without(files, error)
    folder = folder / _key(files)
    try:
        images = _open(folder, files)
        if images is None:
            return _make(folder, files)
    except OSError as error:
        return _without(files, f"{folder.parent} cannot be written to: {error.strerror or error}")
    for i in np.flatnonzero(images.shapes[:, 0] == 0):
        files[i]  # stop at it or count it, as when the cache was made
    return images


def _without(files, problem) -> ImageFiles:
    """`files` itself, since there can be no cache: say so."""
    notice(f"images are decoded again in every epoch, as there can be no cache: {problem}")
    return files


def _open(folder, files) -> DecodedImages | None:
    """The images of the cache in `folder`; None if there is none, or it was damaged and removed."""
    if not os.path.lexists(folder):
        return None
    try:
        return DecodedImages(folder, files)
    except (OSError, ValueError) as error:
        notice(f"{folder}: this cache of decoded images is damaged, so it is made anew: {error}")
        shutil.rmtree(folder, ignore_errors=True)
        return None


def _make(folder, files):
    """Make the cache in `folder`, and open it; `files` itself if it would be too large."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    expected = _expected_size(files)
    if expected > LARGEST:
        return files
    if expected > 0.8 * shutil.disk_usage(folder.parent).free:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    _build(files, folder)
    images = _open(folder, files)
    return _without(files, f"{folder} cannot be replaced") if images is None else images


def _expected_size(files) -> float:
    """The bytes of all pixels, estimated from a sample."""
    picked = np.linspace(0, len(files) - 1, min(SAMPLE, len(files))).astype(int)
    sizes = [image.size for image in (files[i] for i in picked) if image is not None]
    return np.mean(sizes or [0]) * len(files)


def _key(files) -> str:
    """The name of the cache of these files, as this version decodes them."""
    made_by = f"{VERSION}, Pillow {PIL.__version__}, {files.fingerprint}"
    return hashlib.sha256(made_by.encode()).hexdigest()[:32]


def _sums(folder) -> bytes:
    """The content of sums.txt, as it should be: a line for the pixels, one for the shapes."""
    lines = b""
    for name in ("pixels.rgb", "shapes.npy"):
        found = 0
        with (folder / name).open("rb") as file:
            while block := file.read(2**20):
                found = zlib.crc32(block, found)
        lines += b"%08x %s\n" % (found, name.encode())
    return lines


def _build(files, folder):
    """Decode all images in threads into a temporary folder, then rename it."""
    _sweep(folder.parent)
    with tempfile.TemporaryDirectory(".partial", dir=folder.parent) as partial:
        whole = Path(partial, "whole")
        whole.mkdir()
        np.save(whole / "shapes.npy", _write_pixels(files, whole / "pixels.rgb"))
        (whole / "sums.txt").write_bytes(_sums(whole))
        try:
            whole.rename(folder)
        except OSError:
            if not folder.is_dir():  # else another process has made the same cache before
                raise


def _write_pixels(files, path) -> np.ndarray:
    """Write the pixels of all images, one after the other; return their heights and widths."""
    shapes = []
    with path.open("wb") as out:
        images = ahead(files.__getitem__, range(len(files)), thread_count())
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
