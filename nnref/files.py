"""Read files with one-line errors; write them atomically."""

import json
import os
from pathlib import Path

from nnref.errors import InputError


def user_path(path) -> Path:
    """A path as the user gave it, ~ replaced by the home folder; InputError if there is none."""
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise InputError(f"{path}: {error}") from None


def make_folder(path: Path):
    """Make a folder and those above it, unless they exist; InputError if that cannot be done."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{path}: the folder cannot be made: {error.strerror}") from None


def check_writable(path: Path):
    """Raise InputError if a file at `path` could not be written; call it before long work."""
    if path.exists() and not path.is_file():
        raise InputError(f"{path}: expected the name of a file, found a folder or a device")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise InputError(f"{path}: the folder {path.parent} does not exist or is not writable")


def read_json(path: Path):
    """The content of a JSON file; InputError that names it if it cannot be read."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise InputError(f"{path}: damaged: {error}") from None


def write_whole(path: Path, content: bytes):
    """Write `content` atomically: to a temporary file beside `path`, which is then renamed.

    A link stays a link. Raises InputError that names the path if it cannot be written.
    """
    path = path.resolve()
    check_writable(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())  # else a power cut could leave an incomplete file
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise InputError(f"{path}: cannot be written: {error.strerror}") from None
