"""Files appear whole or not at all."""

import os

import pytest

from nnref.errors import InputError
from nnref.files import check_writable, write_whole


def test_a_file_is_replaced_and_nothing_else_is_left(tmp_path):
    path = tmp_path / "file"
    for content in (b"old", b"new"):
        write_whole(path, content)
    assert path.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["file"]


def test_a_failing_write_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_whole(path, b"old")

    def full(self, content):
        with open(self, "wb") as file:
            file.write(content[:1])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(type(path), "write_bytes", full)
    with pytest.raises(InputError, match="file: cannot be written: No space left on device"):
        write_whole(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_what_cannot_be_written_is_said_before_the_work(tmp_path):
    check_writable(tmp_path / "file")
    with pytest.raises(InputError, match="expected the name of a file, found a folder"):
        check_writable(tmp_path)
    with pytest.raises(InputError, match=r"the folder .*missing does not exist"):
        check_writable(tmp_path / "missing" / "file")
