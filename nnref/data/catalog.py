"""The data sets that nnref knows by name: `python -m nnref data list | fetch | verify`."""

import contextlib
import hashlib
import os
from pathlib import Path
from typing import NamedTuple

from nnref.data import cifar10, mnist
from nnref.data.files import cache, idx
from nnref.data.files.fetch import data_folder, fetch
from nnref.data.files.manifest import file_hash, manifest_path, verify
from nnref.errors import InputError, one_line
from nnref.files import user_path


class Remote(NamedTuple):
    """One published file: its mirrors, size in bytes, and hash as "sha256:..." or "md5:...".

    content_sha256 is the hash of the unzipped content, for copies that were zipped anew.
    """

    urls: list[str]
    size: int
    known_hash: str
    content_sha256: str = ""

    @property
    def name(self) -> str:
        """The file's name on this machine."""
        return self.urls[0].rsplit("/", 1)[1]


class DataSet(NamedTuple):
    """A data set: its description, its terms of use, its files, and how to load it (`use`)."""

    about: str
    terms: str
    files: list[Remote]
    use: str


RESEARCH = "research and education only; do not pass it on"
TINY_URL = "http://cs231n.stanford.edu/tiny-imagenet-200.zip"
IMAGENETTE_URL = "https://s3.amazonaws.com/fast-ai-imageclas/imagenette2-160.tgz"
MNIST_SIZES = (9_912_422, 28_881, 1_648_877, 4_542)  # bytes, in the order of mnist.FILES

DATA_SETS = {
    "mnist": DataSet(
        "70,000 digits, 28 x 28 gray, 10 classes",
        "CC BY-SA 3.0",
        [
            Remote(
                [f"{mirror}{name}.gz" for mirror in mnist.MIRRORS], size, f"sha256:{gz}", content
            )
            for (name, (gz, content)), size in zip(mnist.FILES.items(), MNIST_SIZES, strict=True)
        ],
        "mnist.load()",
    ),
    "cifar10": DataSet(
        "60,000 photographs, 32 x 32 RGB, 10 classes",
        RESEARCH,
        [Remote([cifar10.URL], 170_052_171, f"sha256:{cifar10.SHA256}")],
        "cifar10.load()",
    ),
    "tiny-imagenet-200": DataSet(
        "110,000 photographs, 64 x 64 RGB, 200 classes",
        RESEARCH,
        [Remote([TINY_URL], 248_100_043, "md5:90528d7ca1a48142e341f4ef8d21d0de")],
        'imagefolder.load("{folder}/tiny-imagenet-200.zip", size=64)',
    ),
    "imagenette": DataSet(
        "13,394 photographs, 160 pixels on the shorter side, 10 classes of ImageNet",
        RESEARCH,
        [
            Remote(
                [IMAGENETTE_URL],
                99_003_388,
                "sha256:64d0c4859f35a461889e0147755a999a48b49bf38a7e0f9bd27003f10db02fe5",
            )
        ],
        'imagefolder.load("{folder}/imagenette2-160.tgz", size=128)',
    ),
    "imagenet": DataSet(
        "ILSVRC2012, 1,331,167 photographs of any size, 1,000 classes: by hand, from image-net.org",
        RESEARCH + "; accept its terms first",
        [],
        'imagefolder.load("{folder}", size=224)',
    ),
}


def describe() -> str:
    """The table of `data list`: the folder, the size and the terms of every data set."""
    lines = ["mnist-subset: 12,000 digits of MNIST, 28 x 28 gray, 10 classes"]
    lines += [f"    here: {mnist.SUBSET_FOLDER}, {_size(mnist.SUBSET_FOLDER)} (ships with nnref)"]
    lines += ["    terms: CC BY-SA 3.0", "    use: mnist.load_subset()"]
    for name, data in DATA_SETS.items():
        folder = data_folder(name)
        size = sum(remote.size for remote in data.files)
        to_fetch = f", {size / 1e6:,.0f} MB to fetch" if size else ""
        size_here = _size(folder)
        here = f"here: {folder}, {size_here}" if size_here else f"not in {folder}{to_fetch}"
        lines += [f"{name}: {data.about}", f"    {here}", f"    terms: {data.terms}"]
        lines += [f"    use: {data.use.format(folder=folder)}"]
    folder = cache.cache_folder()
    cached = _size(folder) or "none yet"
    lines += [f"images decoded once and kept (delete them as you like): {folder}, {cached}"]
    return "\n".join(map(one_line, lines))


def fetch_by_name(name: str) -> str:
    """Download and verify the missing files of a data set; return how to load it.

    No archive is unpacked: the loaders read it in place.
    """
    data, folder = _data_set(name), data_folder(name)
    if not data.files:
        raise InputError(
            f"{name}: cannot be downloaded without an account; accept its terms at "
            f"https://image-net.org, then put its folders or its tars into {folder}"
        )
    for remote in data.files:
        fetch(remote.urls, remote.known_hash, folder)
    return data.use.format(folder=folder)


def verify_by_name(name: str) -> tuple[bool, Path, int, list[str]]:
    """Verify a data set by name or path: (is the manifest new?, path, number of files, problems).

    Files that nnref can download are checked against published hashes, others against a manifest.
    """
    if name not in DATA_SETS or not DATA_SETS[name].files:
        path = data_folder(name) if name in DATA_SETS else user_path(name)
        return not manifest_path(path).exists(), manifest_path(path), *verify(path)
    folder, files = data_folder(name), DATA_SETS[name].files
    problems = [_problem(folder, remote) for remote in files]
    return False, folder, len(files), [problem for problem in problems if problem]


def _problem(folder, remote) -> str | None:
    """The problem with a published file in this folder (zipped or not), or None."""
    path = folder / remote.name
    if not path.is_file() and remote.content_sha256:
        path = path.with_suffix("")
    if not path.is_file():
        return f"{remote.name}: missing"
    algorithm, _, expected = remote.known_hash.partition(":")
    if file_hash(path, algorithm) == expected:
        return None
    if remote.content_sha256:
        try:
            if hashlib.sha256(idx.read_bytes(path)).hexdigest() == remote.content_sha256:
                return None
        except InputError as error:
            return str(error)
    return f"{path.name}: not the published file ({remote.known_hash})"


def _data_set(name) -> DataSet:
    """The data set of this name; InputError if there is none."""
    if name not in DATA_SETS:
        raise InputError(f"data: expected one of {', '.join(DATA_SETS)}, found {name!r}")
    return DATA_SETS[name]


def _size(folder) -> str:
    """The size of all files of a folder, in MB; empty if there are none or no folder."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):  # a link to nothing, or removed meanwhile
                total += os.stat(os.path.join(place, name)).st_size
    return f"{total / 1e6:,.1f} MB" if total else ""
