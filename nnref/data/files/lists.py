"""Read the lists that come with image folders: the class of each file, the names of each class.

ImageNet names its classes by WordNet's numbers (wnids such as n01443537), and keeps the labels of
some images in a list instead of in folders. Three formats of each list are in use.
"""

import codecs
import csv
import gzip
import io
import tarfile

from nnref.data.files.stores import LARGEST_FILE
from nnref.data.notices import notice
from nnref.errors import InputError

LARGEST_LIST = 16 * 2**20  # bytes; ImageNet's largest has 3 MB
NAME_LISTS = ("words.txt", "classes.txt", "LOC_synset_mapping.txt")  # each line: wnid, names
ANNOTATIONS = "val_annotations.txt"  # Tiny-ImageNet: file, wnid and box, separated by tabs
SOLUTION = "LOC_val_solution.csv"  # ILSVRC2012 at Kaggle: ImageId, and "wnid box wnid box ..."
DEVKIT = "ILSVRC2012_devkit_t12.tar.gz"  # ILSVRC2012 itself: class numbers, and their wnids
LISTS = (*NAME_LISTS, ANNOTATIONS, SOLUTION, DEVKIT)

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
    """Class (its folder's name) -> readable names, separated by commas, where a list has them.

    The folders' names are enough, so a list that cannot be read is only named in a notice.
    """
    path = _find(store, *NAME_LISTS)
    if path is None:
        return IMAGENETTE
    try:
        text = _text(store, path)
    except InputError as error:
        notice(f"{error}; the folders' names are used instead of it")
        return {}
    lines = [line.split("\t" if "\t" in line else None, 1) for line in text.splitlines()]
    pairs = [[word.strip() for word in line] for line in lines if len(line) == 2]
    return {folder: names for folder, names in pairs if names}


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
    if any(len(row) < 2 for row in rows):
        raise ValueError("expected a file, a tab and its class in every line")
    return {row[0]: row[1] for row in rows}


def _solution(store, path):
    """Kaggle's list, which leaves out the suffix .JPEG."""
    rows = csv.DictReader(io.StringIO(_text(store, path)))
    if not {"ImageId", "PredictionString"} <= set(rows.fieldnames or ()):
        raise ValueError("expected columns ImageId and PredictionString, separated by a comma")
    return {f"{row['ImageId']}.JPEG": row["PredictionString"].split()[0] for row in rows}


def _devkit(store, path):
    """ILSVRC2012's own list: a class number per line, and a MATLAB file with the wnid of each.

    The numbers do not follow the order of the wnids. SciPy reads the MATLAB file.
    """
    try:
        from scipy.io import loadmat
    except ImportError:
        raise InputError(f"{store}/{path}: needs SciPy to be read: pip install scipy") from None
    with gzip.open(io.BytesIO(store.read(path))) as file:
        unpacked = _bounded(file.read(LARGEST_FILE + 1), LARGEST_FILE, store, path)
    with tarfile.open(fileobj=io.BytesIO(unpacked)) as archive:
        files = {member.name.rsplit("/", 1)[-1]: member for member in archive if member.isreg()}
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
    """The content of a list as text, in whichever encoding its tool wrote it."""
    content = _bounded(store.read(path), LARGEST_LIST, store, path)
    encoding = _encoding(content)
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError:
        encoding = "Latin-1"  # there, every byte is a character
        text = content.decode(encoding)
    if "\0" in text:
        raise InputError(f"{store}/{path}: expected text, found other bytes")
    if encoding == "Latin-1":
        notice(f"{store}/{path}: expected UTF-8; read as Latin-1, so some names may be misread")
    return text


def _encoding(content) -> str:
    """UTF-16 if a byte order mark or a first letter of two bytes says so, else UTF-8."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"  # without the mark, as the other two
    letter = content[:2].find(0)
    return {0: "utf-16-be", 1: "utf-16-le"}.get(letter, "utf-8-sig")


def _bounded(content, largest, store, path) -> bytes:
    """The content of a list; InputError if it is too large."""
    if len(content) > largest:
        raise InputError(f"{store}/{path}: expected a list of at most {largest:,} bytes")
    return content
