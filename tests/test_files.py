"""Files appear whole or not at all."""

import os

import pytest

from nnref.errors import InputError
from nnref.files import check_writable, make_folder, read_json, write_whole


def test_a_file_is_replaced_and_nothing_else_is_left(tmp_path):
    path = tmp_path / "file"
    for content in (b"old", b"new"):
        write_whole(path, content)
    assert path.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["file"]


def test_a_failing_write_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_whole(path, b"old")

    def full(_):
        assert sorted(os.listdir(tmp_path)) != ["file"]  # a part of it lies there already
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match="file: cannot be written: No space left on device"):
        write_whole(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "target").write_bytes(b"old")
    (tmp_path / "link").symlink_to(tmp_path / "target")
    write_whole(tmp_path / "link", b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_bytes() == b"new"


def test_a_device_or_pipe_is_not_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="expected the name of a file, found a folder or a device"):
        write_whole(tmp_path / "pipe", b"new")
    assert os.listdir(tmp_path) == ["pipe"]


def test_what_cannot_be_written_is_said_before_the_work(tmp_path):
    check_writable(tmp_path / "file")
    with pytest.raises(InputError, match="expected the name of a file, found a folder"):
        check_writable(tmp_path)
    (tmp_path / "plain").write_bytes(b"")
    with pytest.raises(InputError, match="plain/sub: the folder cannot be made: Not a directory"):
        make_folder(tmp_path / "plain" / "sub")
    with pytest.raises(InputError, match=r"the folder .*missing does not exist"):
        check_writable(tmp_path / "missing" / "file")


def test_json_that_cannot_be_read_is_one_line(tmp_path):
    with pytest.raises(InputError, match=r"a\.json: cannot be read: No such file"):
        read_json(tmp_path / "a.json")
    (tmp_path / "a.json").write_bytes(b"{\xff")
    with pytest.raises(InputError, match=r"a\.json: cannot be read: it is not text"):
        read_json(tmp_path / "a.json")
    for text in ("{", "[" * 5000, "9" * 5000):
        (tmp_path / "a.json").write_text(text)
        with pytest.raises(InputError, match=r"a\.json: damaged: "):
            read_json(tmp_path / "a.json")
