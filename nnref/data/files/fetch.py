"""Find the folder of a data set on this machine; download missing files into it."""

import os
import sys
from pathlib import Path

import pooch

from nnref.errors import InputError
from nnref.files import check_writable, make_folder, user_path


def user_cache() -> Path:
    """nnref's folder in the user's cache folder; InputError if this user has none."""
    try:
        return Path(pooch.os_cache("nnref"))
    except RuntimeError:
        raise InputError("this user has no home folder: set HOME or XDG_CACHE_HOME") from None


def data_folder(name: str) -> Path:
    """The folder of the data set `name`: under $NNREF_DATA, else under the user's cache folder."""
    return user_path(os.environ.get("NNREF_DATA") or user_cache()) / name


def fetch(urls: list[str], known_hash: str, folder: Path) -> Path:
    """Download a file from the first of its mirrors that serves the right bytes; return its path.

    `known_hash` is "sha256:..." or "md5:..."; a file of another hash is never kept. If all
    mirrors fail, raises InputError that says how to do it by hand.
    """
    make_folder(folder)
    name = urls[0].rsplit("/", 1)[1]
    check_writable(folder / name)
    failures, shown = [], sys.stderr is not None and sys.stderr.isatty()
    for url in urls:
        if not shown:  # no bar in a pipe or a notebook
            print(f"nnref: downloading {name} to {folder}", file=sys.stderr)
        try:
            return Path(pooch.retrieve(url, known_hash, name, folder, progressbar=shown))
        except (OSError, ValueError) as error:  # no network or no file; a wrong hash
            failures.append(f"{url} ({type(error).__name__})")
    raise InputError(
        f"{name}: cannot be downloaded from {' or '.join(failures)}; put it into {folder} by hand "
        f"({known_hash}), or set NNREF_DATA to a folder that holds {folder.name}/{name}"
    )
