"""Read files with one-line errors; write them atomically; keep a folder for one process."""

import json
import os
import typing
from contextlib import contextmanager
from pathlib import Path

from nnref.errors import InputError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

LARGEST = 2**28  # bytes of a text file; a device such as /dev/zero has no end
LARGEST_NUMBER = 10**300  # a larger whole number is no float
NUMBER = int | float  # a shape


def user_path(path) -> Path:
    """A path as the user gave it, ~ replaced by the home folder; InputError if there is none."""
    if not isinstance(path, str | os.PathLike) or not str(path):
        raise InputError(f"expected the path of a file or folder, found {path!r}")
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


@contextmanager
def owned(folder: Path):
    """Make this folder and own it inside the context; InputError if another training owns it.

    The lock ends with its process, even by a kill; its file stays. Where there are no locks, on
    Windows and on some network disks, the folder is not protected.
    """
    make_folder(folder)
    path = folder / ".lock"
    try:
        file = open(path, "a")  # noqa: SIM115
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}") from None
    with file:
        try:
            if fcntl:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            raise InputError(f"{folder}: another training is writing in it") from None
        except OSError:
            pass  # a disk without locks
        yield


def read_text(path: Path, most: int = LARGEST) -> str:
    """The content of a text file of at most `most` bytes; InputError if it cannot be read."""
    try:
        with open(path, "rb") as file:
            content = file.read(most + 1)
        if len(content) > most:
            raise InputError(f"{path}: cannot be read: expected at most {most:,} bytes, found more")
        return content.decode("utf-8-sig")  # a mark of the byte order, as of Notepad, is no text
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: cannot be read: it is not text") from None


def read_json(path: Path, shape=object):
    """The content of a JSON file; InputError that names the file if it is damaged."""
    text = read_text(path)
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: damaged: {error}") from None
    return check_shape(content, shape, path)


def check_shape(content, shape, path):
    """The content of a file; InputError that names the file unless the content has this shape.

    A shape is a type, {name: shape} for an object with at least these names, [shape] for a list of
    at least one entry, [shape, ...] for a list that may be empty. A name that may be missing has a
    type with None in it.
    """
    if wrong := _misfit(content, shape, "all of it"):
        raise InputError(f"{path}: damaged: {wrong}")
    return content


def _misfit(content, shape, place) -> str:
    """Where content does not have this shape, and what is there; empty if it has."""
    kind = type(shape) if isinstance(shape, dict | list) else shape
    parts = []
    if not isinstance(content, kind):
        named = [KINDS[one] for one in typing.get_args(kind) or (kind,) if one in KINDS]
        wanted = " or ".join(named) or "a number"
        return f"expected {place} to be {wanted}, found {content!r:.60}"
    if isinstance(content, NUMBER) and not abs(content) < LARGEST_NUMBER:  # or NaN
        return f"expected {place} to be below 1e300, found {content!r:.60}"
    if isinstance(shape, dict):
        if null := next((name for name in shape if content.get(name, 0) is None), ""):
            return f"expected a value of {null}, found null"
        parts = [(content.get(name), inner, name) for name, inner in shape.items()]
    elif isinstance(shape, list):
        if not content and ... not in shape:
            return f"expected entries in {place}, found none"
        if isinstance(shape[0], type) and all(type(item) is shape[0] for item in content):
            return ""  # quickly: a confusion matrix has a million numbers
        parts = [(item, shape[0], f"an entry of {place}") for item in content]
    return next(filter(None, (_misfit(*part) for part in parts)), "")


KINDS = {dict: "an object", list: "a list", str: "a text"}


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
