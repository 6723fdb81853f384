"""The cache of decoded images: equal to decoding, keyed by content, whole or not there."""

import os
from types import SimpleNamespace

import numpy as np
import pytest
from pictures import class_folders, picture, write_folder

from nnref.data.files import cache, decode
from nnref.data.files.decode import ImageFiles
from nnref.data.files.stores import open_store
from nnref.errors import InputError


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
    assert cache.decoded(files) is files  # a new one would not fit


def test_skipping_holds_for_files_that_cannot_be_read(folder, monkeypatch):
    monkeypatch.setattr(decode, "MOST_BAD", 0.2)
    files = files_of(folder, on_bad="skip")
    (folder / "train/dog/1.png").unlink()
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


@pytest.mark.parametrize("damage", ["cut-pixels", "cut-shapes", "no-shapes", "empty"])
def test_a_damaged_cache_is_made_anew(damage, folder):
    cache.decoded(files_of(folder))
    place = cache.cache_folder() / caches()[0]
    if damage == "cut-pixels":
        os.truncate(place / "pixels.rgb", 100)
    elif damage == "cut-shapes":
        os.truncate(place / "shapes.npy", 10)
    elif damage == "no-shapes":
        (place / "shapes.npy").unlink()
    else:
        for name in ("shapes.npy", "pixels.rgb"):
            (place / name).write_bytes(b"")
    files = files_of(folder)
    np.testing.assert_array_equal(cache.decoded(files)[3], files[3])


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
        images = cache.decoded(files)
        assert [i for i in range(6) if images[i] is None] == [4]
        assert list(images.bad) == ["train/dog/1.png"]
    with pytest.raises(InputError, match=r"train/dog/1.png: not a readable image"):
        cache.decoded(files_of(folder))  # stop, although the cache is there


def test_a_full_disk_is_one_line_and_leaves_nothing(folder, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match="the cache cannot be written: No space left on device"):
        cache.decoded(files_of(folder))
    assert caches() == []
