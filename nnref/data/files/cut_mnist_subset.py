"""Cut the digits that ship with nnref out of the canonical MNIST files.

    python -m nnref.data.files.cut_mnist_subset FOLDER

reads the four files in FOLDER, checks that they are MNIST's, writes the first 10,000 training and
2,000 test digits to nnref/data/mnist_subset/ and prints their hashes for mnist.py.
"""

import gzip
import hashlib
import sys
from pathlib import Path

import numpy as np

from nnref.data import mnist
from nnref.data.files import idx
from nnref.data.imageset import ImageSet
from nnref.errors import InputError


def cut(data: ImageSet, part: str, count: int, out: Path):
    """Write the first `count` images and labels as gzipped IDX files, without a time stamp."""
    images = np.rint(data.images[:count, :, :, 0] * 255).astype(np.uint8)
    labels = data.labels[:count].astype(np.uint8)
    for name, array in (
        (f"{part}-images-idx3-ubyte", images),
        (f"{part}-labels-idx1-ubyte", labels),
    ):
        content = idx.dump(array)
        (out / f"{name}.gz").write_bytes(gzip.compress(content, 9, mtime=0))
        print(f'    "{name}": "{hashlib.sha256(content).hexdigest()}",')


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m nnref.data.files.cut_mnist_subset FOLDER")
    try:
        train, test = mnist.load(sys.argv[1], dtype="float64")
    except InputError as error:
        sys.exit(str(error))
    mnist.SUBSET_FOLDER.mkdir(exist_ok=True)
    cut(train, "train", 10_000, mnist.SUBSET_FOLDER)
    cut(test, "t10k", 2_000, mnist.SUBSET_FOLDER)
