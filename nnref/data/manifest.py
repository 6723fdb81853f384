"""Hashes of all files of a data set, written once and checked ever after.

A flipped byte in a JPEG usually decodes, without an error, to wrong pixels; only a hash tells. The
manifest is a text file that `sha256sum --check` reads too: a hash and a name in every line.
"""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tqdm import tqdm

from nnref.data.imageset import cores
from nnref.errors import InputError
from nnref.files import check_writable, write_whole

NAME = "SHA256SUMS"


def manifest_path(path: Path) -> Path:
    """Where the manifest of a folder, or of a single file, lies: in it, or beside it."""
    return path / NAME if path.is_dir() else path.with_name(f"{path.name}.sha256")


def verify(path: Path) -> tuple[int, list[str]]:
    """(number of files, what is wrong with them), by the manifest, which is written if missing.

    Raises InputError if there is nothing at `path`, or a manifest cannot be read or written.
    """
    manifest = manifest_path(path)
    if not path.exists():
        raise InputError(f"{path}: expected a file or a folder, found nothing")
    if not manifest.exists():
        check_writable(manifest)
        found = _hashes(path)
        write_whole(manifest, "".join(f"{h}  {name}\n" for name, h in found.items()).encode())
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
        with path.open("rb") as file:
            return hashlib.file_digest(file, algorithm).hexdigest()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None


def _hashes(path) -> dict[str, str]:
    """Name -> hash of all files at `path`, the manifest itself left out."""
    folder = path if path.is_dir() else path.parent
    files = sorted(f for f in path.rglob("*") if f.is_file()) if path.is_dir() else [path]
    files = [file for file in files if file != manifest_path(path)]
    with ThreadPoolExecutor(cores()) as pool:
        hashes = pool.map(file_hash, files)
        hashes = list(tqdm(hashes, "hashing", len(files), disable=None, delay=1, unit=" files"))
    names = [file.relative_to(folder).as_posix() for file in files]
    return dict(zip(names, hashes, strict=True))


def _read(manifest) -> dict[str, str]:
    """Name -> hash, as the manifest says."""
    try:
        lines = manifest.read_text().splitlines()
        return {name: h for h, name in (line.split("  ", 1) for line in lines)}
    except (OSError, ValueError) as error:
        raise InputError(f"{manifest}: not a manifest (hash, two spaces, name): {error}") from None
