"""Manifests: what has changed since the hashes were written."""

import os
import shutil
import subprocess

import pytest
from pictures import class_folders, write_folder, write_zip

from nnref.data.files import manifest
from nnref.errors import InputError


@pytest.fixture
def folder(tmp_path):
    return write_folder(tmp_path / "set", class_folders())


def test_the_first_time_writes_and_the_next_finds_everything_as_it_was(folder):
    assert manifest.verify(folder) == (10, [])
    before = (folder / "SHA256SUMS").read_bytes()
    assert len(before.splitlines()) == 10
    assert manifest.verify(folder) == (10, [])
    assert (folder / "SHA256SUMS").read_bytes() == before


def test_a_flipped_byte_a_missing_and_a_new_file_are_named(folder):
    manifest.verify(folder)
    changed = folder / "train/cat/1.png"
    content = bytearray(changed.read_bytes())
    content[-20] ^= 1
    changed.write_bytes(content)
    (folder / "val/dog/0.png").unlink()
    (folder / "val/dog/new.png").write_bytes(b"")
    assert manifest.verify(folder) == (
        10,
        [
            "val/dog/0.png: missing",
            "val/dog/new.png: not in the manifest",
            "train/cat/1.png: changed",
        ],
    )


def test_an_archive_has_its_manifest_beside_it(tmp_path):
    path = write_zip(tmp_path / "set.zip", class_folders())
    assert manifest.verify(path) == (1, [])
    assert (tmp_path / "set.zip.sha256").read_text().endswith("  set.zip\n")
    path.write_bytes(path.read_bytes() + b"x")
    assert manifest.verify(path) == (1, ["set.zip: changed"])


@pytest.mark.skipif(not shutil.which("sha256sum"), reason="sha256sum is not installed")
def test_sha256sum_reads_it_too(folder):
    manifest.verify(folder)
    command = ["sha256sum", "--check", "--quiet", "SHA256SUMS"]
    assert subprocess.run(command, cwd=folder).returncode == 0


@pytest.mark.parametrize(
    "rewritten",
    [
        lambda text: text.replace(b"  ", b" *"),  # sha256sum --binary
        lambda text: text.replace(b"\n", b"\r\n"),
        lambda text: b"\xef\xbb\xbf" + text,
        lambda text: text[:-1],
    ],
    ids=["binary", "line-ends", "byte-order-mark", "no-last-end"],
)
def test_manifests_are_read_as_other_tools_write_them(rewritten, folder):
    manifest.verify(folder)
    path = folder / "SHA256SUMS"
    path.write_bytes(rewritten(path.read_bytes()))
    assert manifest.verify(folder) == (10, [])


def test_neither_a_manifest_nor_a_file_is_waited_for_or_read_without_bound(folder, monkeypatch):
    os.mkfifo(folder / "pipe")
    with pytest.raises(InputError, match="pipe: expected a file, found a folder, a pipe or a dev"):
        manifest.verify(folder)
    (folder / "pipe").unlink()
    manifest.verify(folder)
    monkeypatch.setattr(manifest, "LARGEST", 100)
    with pytest.raises(InputError, match="SHA256SUMS: expected at most 100 bytes, found"):
        manifest.verify(folder)


def test_links_are_followed_as_they_are_in_loading(folder, tmp_path):
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked/train").symlink_to(folder / "train")
    assert manifest.verify(tmp_path / "linked") == (6, [])
    (folder / "train/cat/0.png").write_bytes(b"changed")
    assert manifest.verify(tmp_path / "linked") == (6, ["train/cat/0.png: changed"])


def test_names_of_more_than_one_line_and_empty_folders_are_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty: expected files, with names of one line each"):
        manifest.verify(tmp_path / "empty")
    (tmp_path / "empty/a\nb").write_bytes(b"")
    with pytest.raises(InputError, match="empty: expected files, with names of one line each"):
        manifest.verify(tmp_path / "empty")
    (tmp_path / "empty/a\nb").rename(tmp_path / "empty/a\u2028b")
    assert manifest.verify(tmp_path / "empty") == (1, [])
    assert manifest.verify(tmp_path / "empty") == (1, [])


def test_nothing_there_or_a_manifest_that_is_none(folder, tmp_path):
    with pytest.raises(InputError, match="gone: expected a file or a folder, found nothing"):
        manifest.verify(tmp_path / "gone")
    (folder / "SHA256SUMS").write_text("what is  this\n")
    with pytest.raises(InputError, match="SHA256SUMS: not a manifest"):
        manifest.verify(folder)
