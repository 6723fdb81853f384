"""Read image files from a folder, a .zip or a .tar; archives are read in place, never unpacked.

A store lists the `names` of its files, with / between folders, and `read`s one of them. So no
archive can write to the disk. It lists `folders` too, at least those that hold no file. An archive
with a link, a device, a path that leaves its folder, or too many files is refused.
"""

import bz2
import gzip
import io
import itertools
import lzma
import os
import stat
import tarfile
import threading
import zipfile
import zlib
from pathlib import Path

from nnref.data.notices import notice
from nnref.errors import InputError

MOST_FILES = 3_000_000  # twice ImageNet
LARGEST_FILE = 256 * 2**20  # bytes, of one image
LARGEST_TGZ = 2 * 2**30  # bytes, unzipped
LARGEST_HEADER = 64 * 2**20  # bytes, of what a .tar says about one file
DEEPEST = 8  # folders in folders

ZIP = (b"PK\x03\x04", b"PK\x05\x06")  # the first bytes of a .zip, and of an empty one
UNPACKERS = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\x00": lzma.open}


def read_file(path: str | Path, largest: int = LARGEST_FILE) -> bytes:
    """The content of a file; InputError if it cannot be read, is too large, or is a device."""
    try:
        found = os.stat(path)
        if not stat.S_ISREG(found.st_mode):  # a pipe would be waited for, a device may never end
            raise InputError(f"{path}: expected a file, found a folder, a pipe or a device")
        _check_size(path, found.st_size, largest)
        with open(path, "rb") as file:
            return file.read(found.st_size)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None


class Folder:
    """The files of a folder; links are followed, since the user made them."""

    def __init__(self, path: Path):
        self.path, self.folders = path, []
        try:
            self.names = sorted(itertools.islice(self._walk(path, ""), MOST_FILES + 1))
        except OSError as error:
            raise InputError(f"{error.filename}: cannot be read: {error.strerror}") from None
        _check_count(self, self.names)

    def _walk(self, folder, prefix):
        """Yield the names of the files below `folder`, with `prefix` before each."""
        for entry in os.scandir(folder):
            if not entry.is_dir():  # a link to nothing counts too: `read` says what is wrong
                yield prefix + entry.name
                continue
            if prefix.count("/") == DEEPEST:
                raise InputError(f"{entry.path}: expected at most {DEEPEST} folders in folders")
            self.folders.append(prefix + entry.name)
            yield from self._walk(entry.path, f"{prefix}{entry.name}/")

    def read(self, name: str) -> bytes:
        """The content of one file."""
        return read_file(os.path.join(self.path, name), LARGEST_FILE)  # a Path would take longer

    def size(self, name: str) -> int:
        """Bytes of one file; 0 if that is unknown, and then `read` raises InputError."""
        try:
            return os.stat(os.path.join(self.path, name)).st_size
        except OSError:
            return 0

    def __str__(self):
        return str(self.path)


class Zip:
    """The files in a .zip archive."""

    def __init__(self, path: Path):
        self.path, self.folders = path, []
        try:
            self.archive = _open_zip(path)
        except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile) as error:
            raise InputError(f"{path}: cannot be read as a .zip archive: {error}") from None
        members = self.archive.infolist()
        _check_count(self, members)
        self.members = {}
        for member in members:
            kind = stat.S_IFMT(member.external_attr >> 16)  # 0 where the archive does not say
            name = _inside(self, member.filename, kind in (0, stat.S_IFREG, stat.S_IFDIR))
            if not member.filename.endswith(("/", "\\")):
                self.members[name] = member
            elif name:  # else it is the folder "." of the archive
                self.folders.append(name)
        self.names = sorted(self.members)

    def read(self, name: str) -> bytes:
        """The content of one file, checked against the checksum in the archive."""
        _check_size(f"{self}/{name}", self.size(name), LARGEST_FILE)
        try:
            with self.archive.open(self.members[name]) as file:
                return file.read(self.size(name) + 1)  # one byte more, in case its size is wrong
        except Exception as error:  # each kind of compression raises its own errors
            raise InputError(f"{self}/{name}: cannot be read: {error}") from None

    def size(self, name: str) -> int:
        """Bytes of one file."""
        return self.members[name].file_size

    def __str__(self):
        return str(self.path)


class Tar:
    """The files in a .tar archive; a .tar in it counts as a folder (ILSVRC2012 is a tar of tars).

    A .tar.gz, .tar.bz2 or .tar.xz can only be read from its beginning, so it is unpacked into
    memory.
    """

    def __init__(self, path: Path):
        self.path, self.lock, self.folders = path, threading.Lock(), []
        self.places = {}  # name -> (first byte, number of bytes)
        damaged = (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError, tarfile.TarError)
        try:
            self.file = path.open("rb")
            begins = self.file.read(6)
            for magic, unpack in UNPACKERS.items():
                if begins.startswith(magic):
                    self.file = io.BytesIO(_unpacked(path, unpack))
            self._index(0, self.file.seek(0, os.SEEK_END), "")
        except InputError:
            raise
        except damaged as error:
            raise InputError(f"{path}: cannot be read as a .tar archive: {error}") from None
        self.names = sorted(self.places)

    def _index(self, start, end, prefix):
        """Record the position of every file of the archive in bytes start to end."""
        self.file.seek(start)
        inner = []
        with tarfile.TarFile(fileobj=_Headers(self.file, self)) as archive:
            for member in archive:
                plain = member.isreg() and not member.issparse()
                name = prefix + _inside(self, member.name, plain or member.isdir())
                first, last = member.offset_data, member.offset_data + member.size
                if not first <= last <= end:
                    raise InputError(f"{self}: {name!r} does not end inside the archive")
                if plain and name.endswith(".tar") and not prefix:
                    inner.append((first, last, name.removesuffix(".tar") + "/"))
                    self.folders.append(name.removesuffix(".tar"))
                elif plain:
                    self.places[name] = first, member.size
                elif name != prefix:  # else it is the folder "." of an archive
                    self.folders.append(name)
                _check_count(self, self.places)
                _check_count(self, self.folders)
            # a damaged header looks like the end, but the end is a block of zeros
            self.file.seek(archive.offset)
            if self.file.read(512) != bytes(512):
                raise InputError(f"{self}: damaged at byte {archive.offset:,}, or cut there")
        for place in inner:
            self._index(*place)

    def read(self, name: str) -> bytes:
        """The content of one file."""
        start, size = self.places[name]
        _check_size(f"{self}/{name}", size, LARGEST_FILE)
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
        self.folders = [prefix + name for prefix, store in stores.items() for name in store.folders]

    def _place(self, name):
        """The store that holds `name`, and the file's name in it."""
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

    Raises InputError if there is none, or if an archive is refused or damaged.
    """
    try:
        if path.is_dir():
            return _open_folder(path)
        if not path.is_file():
            raise InputError(f"{path}: expected a folder, a .zip or a .tar, found nothing")
        return Zip(path) if _begins_as_zip(path) else Tar(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None


def _open_folder(path):
    """The store of a folder, with ILSVRC2012's tars in it seen as folders."""
    mounts = {}
    for part in ("train", "val"):
        tar = path / f"ILSVRC2012_img_{part}.tar"
        if tar.is_file() and not (path / part).is_dir():
            mounts[f"{part}/"] = Tar(tar)
    return Mounted(path, {**mounts, "": Folder(path)}) if mounts else Folder(path)


def _begins_as_zip(path) -> bool:
    """Whether this is a .zip, by its first bytes, since a .tar may end with a .zip."""
    with path.open("rb") as file:
        return file.read(4) in ZIP


def _open_zip(path) -> zipfile.ZipFile:
    """The archive, its names read as UTF-8, which many tools write without saying so."""
    try:
        return zipfile.ZipFile(path, metadata_encoding="utf-8")
    except UnicodeDecodeError:
        notice(f"{path}: its names are not in UTF-8, so some may be misread")
        return zipfile.ZipFile(path)


class _Headers:
    """The file of a .tar as `tarfile` reads it: its headers alone, and none that is very large."""

    def __init__(self, file, store):
        self.file, self.store = file, store
        self.seek, self.tell = file.seek, file.tell

    def read(self, size):
        """The next bytes of the file."""
        if size > LARGEST_HEADER:
            raise InputError(
                f"{self.store}: expected headers of at most {LARGEST_HEADER:,} bytes, "
                f"found {size:,}"
            )
        return self.file.read(size)


def _unpacked(path, unpack) -> bytes:
    """The content of a compressed .tar; InputError if it is too large for memory."""
    with unpack(path) as file:
        content = file.read(LARGEST_TGZ + 1)
    if len(content) > LARGEST_TGZ:
        raise InputError(f"{path}: expected at most {LARGEST_TGZ:,} bytes in it: unpack it first")
    return content


def _inside(store, name, allowed) -> str:
    """The path of a member, / between folders and no ./ before them, as every tool means it.

    Raises InputError unless it is a file or folder, with a path inside the archive.
    """
    steps = name.replace("\\", "/").split("/")
    if steps[0] == "" or ".." in steps or name[1:2] == ":":
        raise InputError(f"{store}: expected paths inside the archive, found {name!r}")
    if not allowed:
        raise InputError(f"{store}: expected only files and folders, {name!r} is neither")
    return "/".join(step for step in steps if step not in ("", "."))


def _check_count(store, members):
    """Raise InputError if there are too many files."""
    if len(members) > MOST_FILES:
        raise InputError(f"{store}: expected at most {MOST_FILES:,} files, found more")


def _check_size(path, size, largest):
    """Raise InputError if a file is too large to be read."""
    if size > largest:
        raise InputError(f"{path}: expected at most {largest:,} bytes, found {size:,}")
