"""Where image files lie: a folder, a .zip or a .tar. Archives are read in place, never unpacked.

A store lists the `names` of its files, with / between folders, and `read`s one of them. So nothing
that an archive says can write anywhere; and one that holds a link, a device, a path that leaves its
folder, or too much is refused altogether.
"""

import os
import stat
import tarfile
import threading
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from nnref.errors import InputError

MOST_FILES = 3_000_000  # twice ImageNet
LARGEST_FILE = 256 * 2**20  # bytes, of one image or list
DEEPEST = 8  # folders in folders


class Folder:
    """The files of a folder; links are followed, as they are the user's own."""

    def __init__(self, path: Path):
        self.path = path
        try:
            self.names = sorted(self._walk(path, ""))
        except OSError as error:
            raise InputError(f"{error.filename}: cannot be read: {error.strerror}") from None
        _check_count(self, self.names)

    def _walk(self, folder, prefix):
        """The names of the files below `folder`, which is called `prefix`."""
        for entry in os.scandir(folder):
            if entry.is_file():
                yield prefix + entry.name
            elif entry.is_dir() and prefix.count("/") < DEEPEST:
                yield from self._walk(entry.path, f"{prefix}{entry.name}/")

    def read(self, name: str) -> bytes:
        """The content of one file."""
        path = self.path / name
        try:
            _check_size(self, name, path.stat().st_size)
            return path.read_bytes()
        except OSError as error:
            raise InputError(f"{path}: cannot be read: {error.strerror}") from None

    def size(self, name: str) -> int:
        """Bytes of one file."""
        return (self.path / name).stat().st_size

    def __str__(self):
        return str(self.path)


class Zip:
    """The files in a .zip archive."""

    def __init__(self, path: Path):
        self.path = path
        try:
            self.archive = zipfile.ZipFile(path)
        except (OSError, zipfile.BadZipFile) as error:
            raise InputError(f"{path}: cannot be read as a .zip archive: {error}") from None
        members = self.archive.infolist()
        _check_count(self, members)
        self.members = {}
        for member in members:
            kind = stat.S_IFMT(member.external_attr >> 16)  # 0 where the archive does not say
            _check_member(self, member.filename, kind in (0, stat.S_IFREG, stat.S_IFDIR))
            if not member.is_dir():
                self.members[member.filename] = member
        self.names = sorted(self.members)

    def read(self, name: str) -> bytes:
        """The content of one file, held to the checksum in the archive."""
        _check_size(self, name, self.size(name))
        try:
            return self.archive.read(self.members[name])
        except (OSError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
            raise InputError(f"{self}/{name}: cannot be read: {error}") from None

    def size(self, name: str) -> int:
        """Bytes of one file."""
        return self.members[name].file_size

    def __str__(self):
        return str(self.path)


class Tar:
    """The files in a .tar archive; a .tar in it counts as a folder (ILSVRC2012 is one of tars)."""

    def __init__(self, path: Path):
        self.path, self.lock = path, threading.Lock()
        self.places = {}  # name -> (first byte, number of bytes)
        try:
            self.file = path.open("rb")
            if self.file.read(2) == b"\x1f\x8b":
                raise InputError(
                    f"{path}: expected a plain .tar, found a compressed one: gunzip it"
                )
            self._index(0, "")
        except (OSError, tarfile.TarError) as error:
            raise InputError(f"{path}: cannot be read as a .tar archive: {error}") from None
        self.names = sorted(self.places)

    def _index(self, start, prefix):
        """Note where the files of the archive that begins at byte `start` lie."""
        self.file.seek(start)
        inner = []
        with tarfile.TarFile(fileobj=self.file) as archive:
            for member in archive:
                name = prefix + member.name.removeprefix("./")
                plain = member.isreg() and not member.issparse()
                _check_member(self, name, plain or member.isdir())
                if plain and name.endswith(".tar") and not prefix:
                    inner.append((member.offset_data, name.removesuffix(".tar") + "/"))
                elif plain:
                    self.places[name] = member.offset_data, member.size
                _check_count(self, self.places)
        for place in inner:
            self._index(*place)

    def read(self, name: str) -> bytes:
        """The content of one file."""
        start, size = self.places[name]
        _check_size(self, name, size)
        with self.lock:  # threads share one position in the file
            self.file.seek(start)
            content = self.file.read(size)
        if len(content) < size:
            raise InputError(f"{self}/{name}: expected {size} bytes, found {len(content)}")
        return content

    def size(self, name: str) -> int:
        """Bytes of one file."""
        return self.places[name][1]

    def __str__(self):
        return str(self.path)


class Mounted:
    """Several stores seen as one folder: {"train/": store, "val/": store, "": store}."""

    def __init__(self, path: Path, stores: dict):
        self.path, self.stores = path, stores
        self.names = sorted(
            prefix + name for prefix, store in stores.items() for name in store.names
        )

    def _place(self, name):
        """The store that holds `name`, and what it calls it."""
        prefix = next(prefix for prefix in self.stores if name.startswith(prefix))
        return self.stores[prefix], name.removeprefix(prefix)

    def read(self, name: str) -> bytes:
        """The content of one file."""
        store, inner = self._place(name)
        return store.read(inner)

    def size(self, name: str) -> int:
        """Bytes of one file."""
        store, inner = self._place(name)
        return store.size(inner)

    def __str__(self):
        return str(self.path)


def open_store(path: Path):
    """The store at `path`: a folder, a .zip, a .tar, or a folder that holds ILSVRC2012's tars.

    Raises InputError where there is none, or where an archive holds what no data set needs.
    """
    if path.is_dir():
        mounts = {}
        for part in ("train", "val"):
            tar = path / f"ILSVRC2012_img_{part}.tar"
            if tar.is_file() and not (path / part).is_dir():
                mounts[f"{part}/"] = Tar(tar)
        return Mounted(path, {**mounts, "": Folder(path)}) if mounts else Folder(path)
    if not path.is_file():
        raise InputError(f"{path}: expected a folder, a .zip or a .tar, found nothing")
    return Zip(path) if zipfile.is_zipfile(path) else Tar(path)


def _check_member(store, name, allowed):
    """Raise InputError unless a member is a file or folder with a path inside the archive."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or name[1:2] == ":":
        raise InputError(f"{store}: expected paths inside the archive, found {name!r}")
    if not allowed:
        raise InputError(f"{store}: expected files and folders alone, {name!r} is something else")


def _check_count(store, members):
    """Raise InputError if there are too many files."""
    if len(members) > MOST_FILES:
        raise InputError(f"{store}: expected at most {MOST_FILES:,} files, found more")


def _check_size(store, name, size):
    """Raise InputError if a file is too large to be read."""
    if size > LARGEST_FILE:
        raise InputError(f"{store}/{name}: expected at most {LARGEST_FILE:,} bytes, found {size:,}")
