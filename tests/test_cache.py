"""The cache of decoded images: equal to decoding, keyed by content, whole or not there."""

import os
import re
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from pictures import class_folders, picture, write_folder

from nnref.data.files import cache, decode, fetch
from nnref.data.files.decode import ImageFiles
from nnref.data.files.stores import open_store
from nnref.data.notices import Notice
from nnref.errors import InputError

CACHE_FOLDER = cache.cache_folder  # before a fixture hides it


@pytest.fixture
def folder(tmp_path):
    """Six training pictures of three sizes."""
    tree = class_folders()
    tree = {name: picture(size=(9 + seed % 3, 7), seed=seed) for name, seed in tree.items()}
    return write_folder(tmp_path / "set", tree)


def files_of(folder, **options):
    store = open_store(folder)
    return ImageFiles(store, [name for name in store.names if "train" in name], **options)


def caches():
    return sorted(path.name for path in cache.cache_folder().glob("*"))


def test_cached_images_equal_decoded_ones_the_second_time_without_decoding(folder, monkeypatch):
    files = files_of(folder)
    for _ in range(2):
        images = cache.decoded(files)
        assert len(images) == 6
        for i in range(6):
            np.testing.assert_array_equal(images[i], files[i])
        assert len(caches()) == 1
        monkeypatch.setattr(cache, "_build", None)  # calling it would be an error


def test_pixels_are_mapped_and_cannot_be_written(folder):
    images = cache.decoded(files_of(folder))
    assert isinstance(images.pixels, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        images[0][0, 0, 0] = 1


def test_other_content_has_a_cache_of_its_own(folder):
    before = cache.decoded(files_of(folder))[0].copy()
    (folder / "train/cat/0.png").write_bytes(picture(size=(9, 7), seed=99))
    after = cache.decoded(files_of(folder))[0]
    assert not np.array_equal(before, after)
    assert len(caches()) == 2


def test_the_same_content_elsewhere_shares_the_cache(folder, tmp_path):
    cache.decoded(files_of(folder))
    folder.rename(tmp_path / "moved")
    cache.decoded(files_of(tmp_path / "moved"))
    assert len(caches()) == 1


def test_two_processes_may_build_the_same_cache(folder, monkeypatch):
    """The other one finishes first: its cache serves, ours is thrown away."""
    write = cache._write_pixels

    def overtaken(files, path):
        monkeypatch.setattr(cache, "_write_pixels", write)
        cache.decoded(files_of(folder))
        return write(files, path)

    monkeypatch.setattr(cache, "_write_pixels", overtaken)
    files = files_of(folder)
    np.testing.assert_array_equal(cache.decoded(files)[2], files[2])
    assert len(caches()) == 1


def test_a_cache_that_is_there_serves_although_the_disk_is_full(folder, monkeypatch):
    cache.decoded(files_of(folder))
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda path: SimpleNamespace(free=10))
    files = files_of(folder)
    assert cache.decoded(files) is not files
    (folder / "train/cat/0.png").write_bytes(picture(size=(9, 7), seed=99))
    files = files_of(folder)
    with pytest.warns(Notice, match="No space left on device"):
        assert cache.decoded(files) is files  # a new one would not fit


def test_skipping_holds_for_files_that_cannot_be_read(folder, monkeypatch):
    monkeypatch.setattr(decode, "MOST_BAD", 0.2)
    files = files_of(folder, on_bad="skip")
    (folder / "train/dog/1.png").unlink()
    with pytest.warns(Notice, match=r"dog/1.png: cannot be read: .*; skipped"):
        images = cache.decoded(files)
    assert [i for i in range(6) if images[i] is None] == [4]
    assert "cannot be read" in images.bad["train/dog/1.png"]


class Interrupted(BaseException):
    """Like KeyboardInterrupt."""


def test_an_interrupted_run_leaves_no_cache_and_the_next_one_makes_it(folder, monkeypatch):
    files, calls = files_of(folder), []
    read = files.store.read

    def interrupt(name):
        calls.append(name)
        if len(calls) > 14:  # 6 to hash, 6 to guess the size, then in the middle of decoding
            raise Interrupted
        return read(name)

    monkeypatch.setattr(files.store, "read", interrupt)
    with pytest.raises(Interrupted):
        cache.decoded(files)
    assert len(calls) > 14
    assert caches() == []
    images = cache.decoded(files_of(folder))
    np.testing.assert_array_equal(images[5], files_of(folder)[5])


def pixels_of(images):
    return [None if image is None else np.array(image) for image in images]


def assert_same_images(images, files):
    for ours, theirs in zip(pixels_of(images), pixels_of(files), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def with_shapes(change):
    """A damage that changes the heights and widths."""
    return lambda place: np.save(place / "shapes.npy", change(np.load(place / "shapes.npy")))


def merged(shapes):
    """The second image's pixels are the first one's, and it is taken for a damaged file."""
    return np.array([[1, shapes[:2].prod(axis=1).sum()], [0, 0], *shapes[2:]])


DAMAGES = {
    "cut pixels": lambda place: os.truncate(place / "pixels.rgb", 100),
    "no pixels": lambda place: (place / "pixels.rgb").unlink(),
    "empty pixels": lambda place: (place / "pixels.rgb").write_bytes(b""),
    "cut shapes": lambda place: os.truncate(place / "shapes.npy", 10),
    "no shapes": lambda place: (place / "shapes.npy").unlink(),
    "empty shapes": lambda place: (place / "shapes.npy").write_bytes(b""),
    "a pickle": lambda place: np.save(place / "shapes.npy", np.array([{}]), allow_pickle=True),
    "a zip": lambda place: np.savez((place / "shapes.npy").open("wb"), a=1),
    "no sums": lambda place: (place / "sums.txt").unlink(),
    "endless sums": lambda place: os.truncate(place / "sums.txt", 2**40),
    "negative": with_shapes(lambda shapes: -shapes),
    "floats": with_shapes(lambda shapes: shapes * 1.0),
    "none": with_shapes(lambda shapes: shapes[:0]),
    "fewer": with_shapes(lambda shapes: shapes[:-1]),
    "of one number": with_shapes(lambda shapes: shapes.sum()),
    "huge": with_shapes(lambda shapes: shapes + 2**40),
    "exchanged": with_shapes(lambda shapes: shapes[::-1].copy()),
    "swapped": with_shapes(lambda shapes: shapes[:, ::-1].copy()),
    "merged": with_shapes(merged),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_cache_never_gives_other_pixels_and_is_made_anew(damage, folder):
    cache.decoded(files_of(folder))
    place = cache.cache_folder() / caches()[0]
    damage(place)
    files = files_of(folder)
    with pytest.warns(Notice, match=f"{place}: this cache of .* is damaged") as said:
        assert_same_images(cache.decoded(files), files)
    assert all("\n" not in str(one.message) for one in said)
    assert_sound_again(folder)


def assert_sound_again(folder):
    """At the next start the cache is whole, made anew if need be, and nothing is said."""
    files = files_of(folder)
    with warnings.catch_warnings(action="error", category=Notice):
        for _ in range(2):
            images = cache.decoded(files)
            assert_same_images(images, files)
    assert isinstance(images, cache.DecodedImages)


def test_whichever_byte_is_changed_the_pixels_are_those_of_the_files(folder, rng):
    files = files_of(folder)
    cache.decoded(files)
    place = cache.cache_folder() / caches()[0]
    for name in ("pixels.rgb", "shapes.npy", "sums.txt"):
        for position in rng.integers((place / name).stat().st_size, size=20):
            content = bytearray((place / name).read_bytes())
            content[position] ^= 1 << rng.integers(8)
            (place / name).write_bytes(content)
            with pytest.warns(Notice, match="its checksums differ"):
                assert_same_images(cache.decoded(files), files)
    assert_sound_again(folder)


def test_leftovers_of_killed_runs_are_swept_away_after_a_day(folder):
    old, new = (cache.cache_folder() / f"{name}.1.partial" for name in ("old", "new"))
    for path in (old, new):
        path.mkdir(parents=True)
    os.utime(old, (0, 0))
    cache.decoded(files_of(folder))
    assert not old.exists()
    assert new.exists()  # another process may be at work there


def test_a_set_that_is_too_large_is_decoded_when_asked_for(folder, monkeypatch):
    monkeypatch.setattr(cache, "LARGEST", 100)
    files = files_of(folder)
    assert cache.decoded(files) is files
    assert caches() == []


def test_a_damaged_image_stops_the_making_of_a_cache(folder):
    (folder / "train/dog/1.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"train/dog/1.png: not a readable image"):
        cache.decoded(files_of(folder))
    assert caches() == []


def test_a_skipped_image_is_skipped_from_the_cache_and_still_counted(folder, monkeypatch):
    monkeypatch.setattr(decode, "MOST_BAD", 0.2)
    (folder / "train/dog/1.png").write_bytes(b"no picture")
    for _ in range(2):
        files = files_of(folder, on_bad="skip")
        with pytest.warns(Notice, match=r"dog/1.png: not a readable image: .*; skipped"):
            images = cache.decoded(files)
        assert [i for i in range(6) if images[i] is None] == [4]
        assert list(images.bad) == ["train/dog/1.png"]
    with pytest.raises(InputError, match=r"train/dog/1.png: not a readable image"):
        cache.decoded(files_of(folder))  # stop, although the cache is there


def a_file_in_its_place(monkeypatch, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setattr(cache, "cache_folder", lambda: tmp_path / "file")


def no_such_disk(monkeypatch, tmp_path):
    monkeypatch.setattr(cache, "cache_folder", lambda: Path("/dev/null/cache"))


def a_disk_that_fills_up(monkeypatch, tmp_path):
    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)


def a_full_disk(monkeypatch, tmp_path):
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda path: SimpleNamespace(free=10))


def no_home(monkeypatch, tmp_path):
    monkeypatch.setattr(cache, "cache_folder", CACHE_FOLDER)
    monkeypatch.setattr(fetch.pooch, "os_cache", homeless)


def homeless(name):
    raise RuntimeError("could not determine the home directory")


def a_file_in_the_caches_place(monkeypatch, tmp_path):
    key = cache._key(files_of(tmp_path / "set"))
    cache.cache_folder().mkdir(parents=True)
    (cache.cache_folder() / key).write_bytes(b"")


def last_of(said):
    """The text of the last notice."""
    return str(said[-1].message)


@pytest.mark.parametrize(
    ("obstacle", "reason"),
    [
        (a_file_in_its_place, "file cannot be written to: "),
        (no_such_disk, "/dev/null/cache cannot be written to: Not a directory"),
        (a_disk_that_fills_up, "cannot be written to: No space left on device"),
        (a_full_disk, "cannot be written to: No space left on device"),
        (no_home, "no home folder: "),
        (a_file_in_the_caches_place, "cannot be written to: "),
    ],
    ids=lambda value: getattr(value, "__name__", "reason"),
)
def test_a_cache_that_cannot_be_written_is_done_without(
    obstacle, reason, folder, tmp_path, monkeypatch
):
    obstacle(monkeypatch, tmp_path)
    files = files_of(folder)
    with pytest.warns(Notice) as said:
        assert cache.decoded(files) is files
    assert re.search("again in every epoch, as there can be no cache: .*" + reason, last_of(said))
    assert files[5].shape == (7, 11, 3)
    if obstacle is a_disk_that_fills_up:
        assert caches() == []  # nothing half-written
