"""Compute the SHA-256 of every file of a data set once, and verify the files on later calls.

A flipped byte in a JPEG usually decodes, without an error, to wrong pixels; only a hash reveals it.
The manifest is a text file that `sha256sum --check` reads too: a hash and a name in every line.
"""

import hashlib
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tqdm import tqdm

from nnref.backend import thread_count
from nnref.data.files.stores import MOST_FILES, Folder, read_file
from nnref.errors import InputError
from nnref.files import check_writable, write_whole

NAME = "SHA256SUMS"
LINE = re.compile(r"([0-9a-f]{64}) [ *](.+)", re.DOTALL)  # the * is that of `sha256sum -b`
LARGEST = 300 * MOST_FILES  # bytes


def manifest_path(path: Path) -> Path:
    """The path of a manifest: inside a folder, or beside a single file."""
    return path / NAME if path.is_dir() else path.with_name(f"{path.name}.sha256")


def verify(path: Path) -> tuple[int, list[str]]:
    """Check files against the manifest, written if missing: (number of files, problems).

    Raises InputError if there is nothing at `path`, or a manifest cannot be read or written.
    """
    if not path.is_dir() and not path.is_file():
        raise InputError(f"{path}: expected a file or a folder, found nothing")
    manifest = manifest_path(path)
    if not manifest.exists():
        check_writable(manifest)
        found = _hashes(path)
        lines = "".join(f"{value}  {name}\n" for name, value in found.items())
        write_whole(manifest, lines.encode(errors="surrogateescape"))
        return len(found), []
    expected = _read(manifest)
    found = _hashes(path)
    wrong = [f"{name}: missing" for name in expected if name not in found]
    wrong += [f"{name}: not in the manifest" for name in found if name not in expected]
    wrong += [
        f"{name}: changed" for name in found if expected.get(name, found[name]) != found[name]
    ]
    return len(found), wrong


def file_hash(path: Path, algorithm: str = "sha256") -> str:
    """The hash of one file; InputError if it cannot be read."""
    try:
        if path.exists() and not path.is_file():  # a pipe would be waited for
            raise InputError(f"{path}: expected a file, found a folder, a pipe or a device")
        with path.open("rb") as file:
            return hashlib.file_digest(file, algorithm).hexdigest()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None


def _hashes(path) -> dict[str, str]:
    """Name -> hash of all files at `path`, except the manifest itself."""
    folder = path if path.is_dir() else path.parent
    names = Folder(path).names if path.is_dir() else [path.name]
    names = [name for name in names if name != NAME]
    if not names or any("\n" in name for name in names):
        raise InputError(f"{path}: expected files, with names of one line each")
    with ThreadPoolExecutor(thread_count()) as pool:
        hashes = pool.map(file_hash, [folder / name for name in names])
        hashes = tqdm(hashes, "hashing", len(names), disable=None, delay=1, unit=" files")
        return dict(zip(names, hashes, strict=True))


def _read(manifest) -> dict[str, str]:
    """Name -> hash, read from the manifest."""
    text = read_file(manifest, LARGEST).decode("utf-8-sig", errors="surrogateescape")
    lines = text.replace("\r\n", "\n").removesuffix("\n").split("\n")
    found = [LINE.fullmatch(line) for line in lines]
    if None in found:
        raise InputError(f"{manifest}: not a manifest (a SHA-256, two spaces, a name in each line)")
    return {line[2]: line[1] for line in found}
