"""Read the lists that come with image folders: the class of each file, the names of each class.

ImageNet names its classes by WordNet's numbers (wnids such as n01443537), and keeps the labels of
some images in a list instead of in folders. Three formats of each list are in use.
"""

import csv
import io
import tarfile

from nnref.data.files.stores import LARGEST_FILE
from nnref.errors import InputError

NAME_LISTS = ("words.txt", "classes.txt", "LOC_synset_mapping.txt")  # each line: wnid, names
ANNOTATIONS = "val_annotations.txt"  # Tiny-ImageNet: file, wnid and box, separated by tabs
SOLUTION = "LOC_val_solution.csv"  # ILSVRC2012 at Kaggle: ImageId, and "wnid box wnid box ..."
DEVKIT = "ILSVRC2012_devkit_t12.tar.gz"  # ILSVRC2012 itself: class numbers, and their wnids

IMAGENETTE = {  # comes without a list; https://github.com/fastai/imagenette
    "n01440764": "tench",
    "n02102040": "English springer",
    "n02979186": "cassette player",
    "n03000684": "chain saw",
    "n03028079": "church",
    "n03394916": "French horn",
    "n03417042": "garbage truck",
    "n03425413": "gas pump",
    "n03445777": "golf ball",
    "n03888257": "parachute",
}


def class_names(store) -> dict[str, str]:
    """Class (its folder's name) -> readable names, separated by commas, where a list has them."""
    path = _find(store, *NAME_LISTS)
    if path is None:
        return IMAGENETTE
    lines = [line.split(maxsplit=1) for line in _text(store, path).splitlines()]
    return {line[0]: line[1] for line in lines if len(line) == 2}


def labels_by_file(store) -> dict[str, str]:
    """File name -> class, for images without class folders, from the first list that exists."""
    for name, parse in ((ANNOTATIONS, _annotations), (SOLUTION, _solution), (DEVKIT, _devkit)):
        path = _find(store, name)
        if path is not None:
            try:
                return parse(store, path)
            except InputError:
                raise
            except Exception as error:  # each format raises its own errors
                reason = (str(error).splitlines() or ["damaged"])[0]
                raise InputError(f"{store}/{path}: not a readable list: {reason}") from None
    return {}


def _annotations(store, path):
    """Tiny-ImageNet's list."""
    rows = [line.split("\t") for line in _text(store, path).splitlines() if line]
    return {row[0]: row[1] for row in rows}


def _solution(store, path):
    """Kaggle's list, which leaves out the suffix .JPEG."""
    rows = csv.DictReader(io.StringIO(_text(store, path)))
    return {f"{row['ImageId']}.JPEG": row["PredictionString"].split()[0] for row in rows}


def _devkit(store, path):
    """ILSVRC2012's own list: a class number per line, and a MATLAB file with the wnid of each.

    The numbers do not follow the order of the wnids. SciPy reads the MATLAB file.
    """
    try:
        from scipy.io import loadmat
    except ImportError:
        raise InputError(f"{store}/{path}: needs SciPy to be read: pip install scipy") from None
    with tarfile.open(fileobj=io.BytesIO(store.read(path))) as archive:
        files = {member.name.rsplit("/", 1)[-1]: member for member in archive if member.isreg()}
        if max(member.size for member in files.values()) > LARGEST_FILE:
            raise InputError(f"{store}/{path}: holds a file of more than {LARGEST_FILE:,} bytes")
        truth = archive.extractfile(files["ILSVRC2012_validation_ground_truth.txt"]).read()
        meta = loadmat(archive.extractfile(files["meta.mat"]), squeeze_me=True)
    wnids = {int(synset["ILSVRC2012_ID"]): str(synset["WNID"]) for synset in meta["synsets"]}
    return {
        f"ILSVRC2012_val_{position:08d}.JPEG": wnids[int(number)]
        for position, number in enumerate(truth.split(), 1)
    }


def _find(store, *wanted) -> str | None:
    """The file with one of these names that is nested least deeply, or None."""
    found = [name for name in store.names if name.rsplit("/", 1)[-1] in wanted]
    return min(found, key=lambda name: name.count("/"), default=None)


def _text(store, path) -> str:
    """The content of a list; InputError if it is not text."""
    try:
        return store.read(path).decode()
    except UnicodeDecodeError as error:
        raise InputError(f"{store}/{path}: expected UTF-8 text: {error}") from None
