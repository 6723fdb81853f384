"""Read and write IDX, the format of MNIST: a magic number, the sizes, then one byte per value.

    bytes 0-3    magic: 2051 for images, 2049 for labels (big-endian)
    bytes 4-     one 4-byte length for each dimension: count, and for images rows and columns
    the rest     unsigned bytes, row by row

Described at http://yann.lecun.com/exdb/mnist/; files are usually gzipped.
"""

import gzip
import io
import zlib
from math import prod
from pathlib import Path

import numpy as np

from nnref.data.files.stores import LARGEST_FILE, read_file
from nnref.errors import InputError

MAGIC = {3: 2051, 1: 2049}  # by number of dimensions
MEANING = {2051: "images", 2049: "labels"}


def read_bytes(path: Path) -> bytes:
    """The content of a file, unpacked if it is gzipped; InputError if damaged or too large."""
    content = read_file(path)
    if content[:2] != b"\x1f\x8b":
        return content
    try:
        with gzip.open(io.BytesIO(content)) as file:
            content = file.read(LARGEST_FILE + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: cannot be read or unpacked: {error}") from None
    if len(content) > LARGEST_FILE:
        raise InputError(f"{path}: expected at most {LARGEST_FILE:,} bytes in it")
    return content


def parse(content: bytes, ndim: int, path: Path) -> np.ndarray:
    """IDX bytes -> uint8 array with `ndim` dimensions (3: images, 1: labels).

    Raises InputError, naming `path`, for another magic number or a length that does not fit.
    """
    header = 4 + 4 * ndim
    if len(content) < header:
        raise InputError(f"{path}: expected a header of {header} bytes, found {len(content)}")
    magic, *shape = np.frombuffer(content[:header], ">u4").tolist()
    if magic != MAGIC[ndim]:
        raise InputError(
            f"{path}: expected magic number {MAGIC[ndim]} ({MEANING[MAGIC[ndim]]}), "
            f"found {magic} ({MEANING.get(magic, 'neither images nor labels')})"
        )
    if len(content) != header + prod(shape):
        raise InputError(
            f"{path}: expected {header + prod(shape)} bytes for shape {tuple(shape)}, "
            f"found {len(content)}"
        )
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)


def check_pair(images: np.ndarray, labels: np.ndarray, classes: int, path: Path):
    """Raise InputError, naming the file of labels, unless labels and images belong together."""
    if len(labels) != len(images):
        raise InputError(
            f"{path}: expected {len(images)} labels, one per image, found {len(labels)}"
        )
    if labels.max(initial=0) >= classes:
        raise InputError(f"{path}: expected labels 0 to {classes - 1}, found {labels.max()}")


def dump(array: np.ndarray) -> bytes:
    """A uint8 array with 3 dimensions (images) or 1 (labels) -> IDX bytes; inverse of `parse`."""
    header = np.array([MAGIC[array.ndim], *array.shape], ">u4")
    return header.tobytes() + array.tobytes()
