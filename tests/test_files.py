"""Files appear whole or not at all; a folder has one owner; nothing is read without end."""

import os
import signal
import subprocess
import sys

import pytest
from test_house import ROOT

from nnref import files
from nnref.errors import InputError
from nnref.files import (
    NUMBER,
    check_writable,
    make_folder,
    owned,
    read_json,
    read_text,
    user_path,
    write_whole,
)


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


SHAPE = {
    "name": str, "rows": [{"x": NUMBER, "y": NUMBER | None}], "more": [list, ...],
    "facts": dict | None,
}  # fmt: skip


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[]", "expected all of it to be an object, found []"),
        ("{}", "expected name to be a text, found None"),
        ('{"name": 1}', "expected name to be a text, found 1"),
        ('{"name": "a", "rows": {}}', "expected rows to be a list, found {}"),
        ('{"name": "a", "rows": []}', "expected entries in rows, found none"),
        ('{"name": "a", "rows": [1]}', "expected an entry of rows to be an object, found 1"),
        ('{"name": "a", "rows": [{"x": 1}, {"y": 1}]}', "expected x to be a number, found None"),
        ('{"name": "a", "rows": [{"x": 1, "y": ""}]}', "expected y to be a number, found ''"),
        ('{"name": "a", "rows": [{"x": 1, "y": null}]}', "expected a value of y, found null"),
        ('{"name": "a", "rows": null}', "expected a value of rows, found null"),
        ('{"name": "a", "rows": [{"x": 1}]}', "expected more to be a list, found None"),
        (
            '{"name": "a", "rows": [{"x": 1}], "more": [], "facts": []}',
            "expected facts to be an object, found []",
        ),
        *(
            (
                f'{{"name": "a", "rows": [{{"x": {number}}}]}}',
                f"expected x to be below 1e300, found {shown}",
            )
            for number, shown in (("9" * 400, "9" * 60), ("NaN", "nan"), ("-Infinity", "-inf"))
        ),
    ],
)
def test_json_of_another_shape_is_one_line_that_says_where(text, problem, tmp_path):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(InputError) as raised:
        read_json(tmp_path / "a.json", SHAPE)
    assert str(raised.value) == f"{tmp_path / 'a.json'}: damaged: {problem}"


def test_json_of_the_right_shape_may_hold_more(tmp_path):
    (tmp_path / "a.json").write_text('{"name": "a", "rows": [{"x": 0.5}], "more": [], "z": 1}')
    assert read_json(tmp_path / "a.json", SHAPE)["z"] == 1


@pytest.mark.skipif(not os.path.exists("/dev/zero"), reason="there is no file without end")
def test_a_file_without_end_is_one_line():
    with pytest.raises(InputError, match="/dev/zero: cannot be read: expected at most 10 bytes"):
        read_text("/dev/zero", most=10)


def test_the_home_folder_is_found_and_no_path_is_one_line(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert user_path("~/runs") == tmp_path / "runs"
    for nothing in ("", None, 3):
        with pytest.raises(InputError, match="expected the path of a file or folder, found "):
            user_path(nothing)


with_locks = pytest.mark.skipif(files.fcntl is None, reason="this system has no locks of files")


@with_locks
def test_a_folder_has_one_owner_at_a_time(tmp_path):
    folder = tmp_path / "new" / "run"
    with owned(folder):
        with (
            pytest.raises(InputError, match="run: another training is writing in it"),
            owned(folder),
        ):
            pass
        with owned(tmp_path / "other"):
            pass
    with owned(folder):
        pass


@with_locks
def test_a_killed_owner_owns_nothing(tmp_path):
    code = (
        "import sys, time, pathlib\nfrom nnref.files import owned\n"
        "with owned(pathlib.Path(sys.argv[1])):\n    print('mine', flush=True)\n    time.sleep(60)"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"mine\n"
        with pytest.raises(InputError, match="another training"), owned(tmp_path):
            pass
        process.send_signal(signal.SIGKILL)
    with owned(tmp_path):
        pass


@with_locks
def test_a_disk_without_locks_is_used_all_the_same(tmp_path, monkeypatch):
    def none(*_):
        raise OSError(37, "No locks available")

    monkeypatch.setattr(files.fcntl, "flock", none)
    with owned(tmp_path):
        pass
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="the folder cannot be made"), owned(tmp_path / "file"):
        pass
