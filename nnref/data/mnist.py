"""MNIST: 28 x 28 gray digits, 60,000 to train on and 10,000 to test with (LeCun et al. 1998).

`load_subset()` reads the first 10,000 and 2,000 digits, which ship with nnref. `load()` reads the
full set from a folder of yours, or downloads it once. Every file is checked against the hash of
its content, since Fashion-MNIST has the same file names, sizes and format.

License of MNIST: CC BY-SA 3.0 (Yann LeCun and Corinna Cortes).
"""

import hashlib
from pathlib import Path

from nnref.data.files import idx
from nnref.data.files.fetch import data_folder, fetch
from nnref.data.imageset import ImageSet
from nnref.errors import InputError
from nnref.files import user_path

MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)

# file name -> (sha256 of the published .gz, sha256 of the content, the same in every copy)
FILES = {
    "train-images-idx3-ubyte": (
        "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    ),
    "train-labels-idx1-ubyte": (
        "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    ),
    "t10k-images-idx3-ubyte": (
        "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    ),
    "t10k-labels-idx1-ubyte": (
        "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ),
}

SUBSET_FOLDER = Path(__file__).parent / "mnist_subset"
SUBSET_HASHES = {  # of the content, as cut_mnist_subset.py prints them
    "train-images-idx3-ubyte": "2889698e6bc3614913e76901316712919d1998fc2b44512451bfe65bc1e668b1",
    "train-labels-idx1-ubyte": "651e38e2ac0632f5113ec18f1df4977117f953197819034009971a6675a0df78",
    "t10k-images-idx3-ubyte": "3f6bd66dee48df299584c67669bceee490faa25f931496bd7473b42106d7daed",
    "t10k-labels-idx1-ubyte": "7b098e5f6a3065807cebeabf36fb1724a8aff19f2673ac08b4923e0e8c715bce",
}


def load_subset(dtype="float32") -> tuple[ImageSet, ImageSet]:
    """Load the digits that ship with nnref: (train, test), the first 10,000 and 2,000 of MNIST.

    Images (N, 28, 28, 1) from 0 to 1, labels (N,) from 0 to 9.
    """
    return _load(SUBSET_FOLDER, SUBSET_HASHES, dtype)


def load(data_dir=None, dtype="float32") -> tuple[ImageSet, ImageSet]:
    """Load all of MNIST: (train, test) of 60,000 and 10,000, shapes as in `load_subset`.

    Looks for the four IDX files, gzipped or not, in `data_dir`; without it, in the folder mnist
    under $NNREF_DATA or the user's cache, downloading (11.6 MB) missing files. Raises
    InputError, naming the file, where one is missing, damaged or not MNIST's.
    """
    folder = data_folder("mnist") if data_dir is None else user_path(data_dir)
    if data_dir is None:
        for name, (sha256, _) in FILES.items():
            if not _find(folder, name):
                fetch([f"{mirror}{name}.gz" for mirror in MIRRORS], f"sha256:{sha256}", folder)
    return _load(folder, {name: content for name, (_, content) in FILES.items()}, dtype)


def _load(folder, hashes, dtype) -> tuple[ImageSet, ImageSet]:
    """(train, test) from the four files of a folder, checked against the hashes of content."""
    return _load_pair("train", folder, hashes, dtype), _load_pair("t10k", folder, hashes, dtype)


def _load_pair(part, folder, hashes, dtype) -> ImageSet:
    """Images and labels of one part, train or t10k (the test set)."""
    names = f"{part}-images-idx3-ubyte", f"{part}-labels-idx1-ubyte"
    paths = [_find(folder, name) for name in names]
    for name, path in zip(names, paths, strict=True):
        if path is None:
            raise InputError(f"{folder}: expected MNIST's file {name} or {name}.gz, found neither")
    contents = [idx.read_bytes(path) for path in paths]
    images, labels = idx.parse(contents[0], 3, paths[0]), idx.parse(contents[1], 1, paths[1])
    idx.check_pair(images, labels, 10, paths[1])
    for name, path, content in zip(names, paths, contents, strict=True):
        found = hashlib.sha256(content).hexdigest()
        if found != hashes[name]:
            raise InputError(
                f"{path}: not MNIST's (Fashion-MNIST has the same file names): "
                f"expected content of sha256 {hashes[name]}, found {found}"
            )
    return ImageSet(images[..., None].astype(dtype) / 255, labels.astype("int64"))


def _find(folder: Path, name: str) -> Path | None:
    """The file `name`, or `name`.gz, in this folder; None if there is neither.

    Some copies of it are called train-images.idx3-ubyte, with a dot.
    """
    names = name, f"{name}.gz", name.replace("-idx", ".idx")
    return next((folder / name for name in names if (folder / name).is_file()), None)
