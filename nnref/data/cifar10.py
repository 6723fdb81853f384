"""CIFAR-10: 32 x 32 color photographs of ten kinds, 50,000 to train on and 10,000 to test with.

Krizhevsky 2009 (Learning Multiple Layers of Features from Tiny Images). This reads the binary
version, https://www.cs.toronto.edu/~kriz/cifar.html: for each image a byte of label, then 1,024
bytes of red, 1,024 of green and 1,024 of blue, row by row. (The Python version is a pickle, which
can run any code, and nnref never loads one.) Terms: none are stated, so use it for research and
education, and do not pass it on.
"""

import hashlib
import io
import tarfile

import numpy as np

from nnref.data.files.fetch import data_folder, fetch
from nnref.data.files.stores import read_file
from nnref.data.imageset import ImageSet
from nnref.data.transforms import Normalize, PadCropFlip
from nnref.errors import InputError
from nnref.files import user_path

URL = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
ARCHIVE = "cifar-10-binary.tar.gz"
PYTHON = ("cifar-10-python.tar.gz", "cifar-10-batches-py", "data_batch_1")  # other tools fetch it
SHA256 = "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"
TRAIN = [f"data_batch_{i}.bin" for i in range(1, 6)]
TEST = ["test_batch.bin"]
PER_FILE = 10_000  # images
RECORD = 1 + 3 * 32 * 32  # bytes of a label and its image
NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

# mean and standard deviation of all training pixels, by channel, on a scale from 0 to 1
STATISTICS = Normalize((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))


def load(data_dir=None) -> tuple[ImageSet, ImageSet]:
    """Load (train, test): uint8 images (N, 32, 32, 3), labels 0 to 9; training crops and flips.

    Looks for the archive, or for its six .bin files, in `data_dir`; without it, in the folder
    cifar10 under $NNREF_DATA or the user's cache, downloading (170 MB) any missing file.
    Raises InputError, naming the file, where one is missing, damaged or not CIFAR-10's.
    """
    folder = data_folder("cifar10") if data_dir is None else user_path(data_dir)
    loose = next(
        (f for f in (folder, folder / "cifar-10-batches-bin") if (f / TEST[0]).is_file()), None
    )
    if loose is None and data_dir is None and not (folder / ARCHIVE).is_file():
        fetch([URL], f"sha256:{SHA256}", folder)
    if loose is None and not (folder / ARCHIVE).is_file():
        raise InputError(_missing(folder))
    contents = _read_archive(folder / ARCHIVE) if loose is None else _read_loose(loose)
    train, test = (_parse(contents, names, folder) for names in (TRAIN, TEST))
    return train._replace(transform=PadCropFlip(4)), test


def _missing(folder) -> str:
    """What to say of a folder without the binary version; the Python version is often there."""
    python = any((folder / name).exists() for name in PYTHON)
    found = "the Python version, a pickle, which nnref never loads" if python else "neither"
    return (
        f"{folder}: expected CIFAR-10's binary version, {ARCHIVE} (from {URL}) or its .bin files, "
        f"found {found}"
    )


def _read_archive(path) -> dict[str, bytes]:
    """The six files of the archive by name; nothing is unpacked to disk."""
    content = read_file(path)
    found = hashlib.sha256(content).hexdigest()
    if found != SHA256:
        raise InputError(f"{path}: not CIFAR-10's: expected sha256 {SHA256}, found {found}")
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        members = {member.name.rsplit("/", 1)[-1]: member for member in archive if member.isreg()}
        return {name: archive.extractfile(members[name]).read() for name in TRAIN + TEST}


def _read_loose(folder) -> dict[str, bytes]:
    """The six files of a folder by name."""
    return {name: read_file(folder / name) for name in TRAIN + TEST}


def _parse(contents, names, folder) -> ImageSet:
    """The images of these files; checks their sizes and the number of images of each class."""
    for name in names:
        if len(contents[name]) != PER_FILE * RECORD:
            raise InputError(
                f"{folder}/{name}: expected {PER_FILE * RECORD:,} bytes, "
                f"found {len(contents[name]):,}"
            )
    records = np.frombuffer(b"".join(contents[name] for name in names), np.uint8)
    records = records.reshape(-1, RECORD)
    counts = np.bincount(records[:, 0], minlength=10).tolist()
    if counts != [len(records) // 10] * 10:
        raise InputError(
            f"{folder}: not CIFAR-10's: expected {len(records) // 10} images of each of 10 classes "
            f"in {', '.join(names)}, found {counts}"
        )
    images = records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)  # channels last
    return ImageSet(
        np.ascontiguousarray(images), records[:, 0].astype("int64"), NAMES, normalize=STATISTICS
    )
