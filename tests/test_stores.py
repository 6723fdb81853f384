"""Folders, .zip and .tar: the same files from each; hostile archives are refused."""

import os
import stat
import tarfile
import threading
import zipfile

import pytest
from pictures import content_of, tar_bytes, write_folder, write_tar, write_zip

from nnref.data.files import stores
from nnref.data.notices import Notice
from nnref.errors import InputError

TREE = {"train/cat/1.png": 1, "train/dog/2.png": 2, "words.txt": b"cat\ta cat\n"}
WRITERS = {
    "folder": lambda path: write_folder(path / "set", TREE),
    "zip": lambda path: write_zip(path / "set.zip", TREE),
    "tar": lambda path: write_tar(path / "set.tar", TREE),
}


@pytest.mark.parametrize("kind", WRITERS)
def test_every_store_lists_and_reads_the_same_files(kind, tmp_path):
    store = stores.open_store(WRITERS[kind](tmp_path))
    content = content_of(TREE)
    assert store.names == sorted(TREE)
    for name in TREE:
        assert store.read(name) == content[name]
    assert str(store).startswith(str(tmp_path))


@pytest.mark.parametrize("kind", WRITERS)
def test_threads_may_read_at_the_same_time(kind, tmp_path):
    store = stores.open_store(WRITERS[kind](tmp_path))
    content, wrong = content_of(TREE), []

    def read():
        for _ in range(100):
            wrong.extend(name for name in TREE if store.read(name) != content[name])

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.parametrize("write", [write_zip, write_tar])
@pytest.mark.parametrize(
    "spelled",
    [
        lambda name: f"./{name}",
        lambda name: name.replace("/", "\\"),
        lambda name: name.replace("/", "//"),
        lambda name: f".\\{name}".replace("/", "\\"),
        lambda name: name.replace("/", "/./"),
    ],
    ids=["dot", "backslash", "double", "dot-backslash", "inner-dot"],
)
def test_names_are_the_same_however_a_tool_spells_them(spelled, write, tmp_path):
    tree = {spelled(name): content for name, content in content_of(TREE).items()}
    tree |= {spelled("./"): b"", spelled("train/"): b"", spelled("train/owl/"): b""}
    store = stores.open_store(write(tmp_path / "set", tree))
    assert store.names == sorted(TREE)
    assert {"train", "train/owl"} <= {*store.folders}
    assert [store.read(name) for name in sorted(TREE)] == [
        content_of(TREE)[n] for n in sorted(TREE)
    ]


@pytest.mark.parametrize("kind", WRITERS)
def test_folders_without_a_file_are_listed(kind, tmp_path):
    write = {"folder": write_folder, "zip": write_zip, "tar": write_tar}[kind]
    store = stores.open_store(write(tmp_path / "set", TREE | {"train/owl/": b"", "val/": b""}))
    assert {"train/owl", "val"} <= {*store.folders}
    assert store.names == sorted(TREE)


def zip_with_raw_names(path, raw):
    """A .zip whose names are these bytes, without the mark that says that they are UTF-8."""
    stand_ins = {f"{i}".rjust(len(name), "x"): name for i, name in enumerate(raw)}
    write_zip(path, dict.fromkeys(stand_ins, b"content"))
    content = path.read_bytes()
    for stand_in, name in stand_ins.items():
        content = content.replace(stand_in.encode(), name)
    path.write_bytes(content)
    return path


def test_names_in_utf_8_without_the_mark_are_read_as_they_are_meant(tmp_path, recwarn):
    names = ["train/café/1.png", "train/狗/2.png"]
    store = stores.open_store(zip_with_raw_names(tmp_path / "a.zip", [n.encode() for n in names]))
    assert store.names == names
    assert [store.read(name) for name in names] == [b"content"] * 2
    assert not [warning for warning in recwarn if warning.category is Notice]


def test_names_in_another_encoding_are_said_to_be_misread(tmp_path):
    path = zip_with_raw_names(tmp_path / "a.zip", ["train/狗/1.png".encode("gbk")])
    with pytest.warns(Notice, match=r"a.zip: its names are not in UTF-8, so some may be misread"):
        store = stores.open_store(path)
    assert store.read(store.names[0]) == b"content"


@pytest.mark.parametrize("mode", ["w:gz", "w:bz2", "w:xz"])
def test_compressed_tars_are_read_bounded_and_noticed_if_cut(mode, tmp_path, monkeypatch):
    path = write_tar(tmp_path / "set", TREE, mode)
    store = stores.open_store(path)
    assert [store.read(name) for name in store.names] == [content_of(TREE)[n] for n in sorted(TREE)]
    monkeypatch.setattr(stores, "LARGEST_TGZ", 1000)
    with pytest.raises(InputError, match=r"set: expected at most 1,000 bytes in it"):
        stores.open_store(path)
    monkeypatch.undo()
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match=r"set: cannot be read as a .tar archive"):
        stores.open_store(path)


@pytest.mark.parametrize("name", ["PK.png", "BZ/1.png", "BZ2.png"])
def test_a_tar_whose_first_name_begins_as_another_archive_is_a_tar(name, tmp_path):
    assert stores.open_store(write_tar(tmp_path / "set", {name: 1})).names == [name]


def test_headers_of_a_tar_are_bounded(tmp_path, monkeypatch):
    member = tarfile.TarInfo("train/cat/1.png")
    member.pax_headers = {"comment": "x" * 3000}
    with tarfile.open(tmp_path / "set.tar", "w", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(member)
    assert stores.open_store(tmp_path / "set.tar").names == ["train/cat/1.png"]
    monkeypatch.setattr(stores, "LARGEST_HEADER", 2000)
    with pytest.raises(InputError, match=r"set.tar: expected headers of at most 2,000 bytes"):
        stores.open_store(tmp_path / "set.tar")


def test_what_is_no_file_is_listed_and_refused_when_it_is_read(tmp_path):
    """A pipe would be waited for, a device may never end, a link may lead nowhere."""
    folder = write_folder(tmp_path / "set", TREE)
    os.mkfifo(folder / "pipe.png")
    (folder / "zero.png").symlink_to("/dev/zero")
    (folder / "gone.png").symlink_to(tmp_path / "nowhere.png")
    store = stores.open_store(folder)
    assert {"pipe.png", "zero.png", "gone.png"} < {*store.names}
    for name in ("pipe.png", "zero.png"):
        with pytest.raises(InputError, match=f"{name}: expected a file, found a folder, a pipe"):
            store.read(name)
    with pytest.raises(InputError, match=r"gone.png: cannot be read: No such file"):
        store.read("gone.png")
    assert store.size("gone.png") == 0


def test_a_tar_of_tars_reads_as_folders(tmp_path):
    tree = {
        "n1.tar": tar_bytes({"n1_1.JPEG": 1, "n1_2.JPEG": 2}),
        "n2.tar": tar_bytes({"n2_1.JPEG": 3}),
    }
    store = stores.open_store(write_tar(tmp_path / "set.tar", tree))
    assert store.names == ["n1/n1_1.JPEG", "n1/n1_2.JPEG", "n2/n2_1.JPEG"]
    assert [store.read(name) for name in store.names] == list(
        content_of({1: 1, 2: 2, 3: 3}).values()
    )


@pytest.mark.parametrize("write", [write_zip, write_tar])
def test_the_folder_dot_of_an_archive_is_not_one_of_its_folders(write, tmp_path):
    """As `tar -C folder -cf x.tar .` lists it; also in a tar in a tar, and in a folder of tars."""
    tree = {"./": b"", "./n1/": b"", "./n1/1.JPEG": 1}
    store = stores.open_store(write(tmp_path / "set", tree))
    assert (store.names, store.folders) == (["n1/1.JPEG"], ["n1"])
    outer = {"./": b"", "./n1.tar": tar_bytes({"./": b"", "./1.JPEG": 1})}
    store = stores.open_store(write_tar(tmp_path / "outer.tar", outer))
    assert (store.names, {*store.folders}) == (["n1/1.JPEG"], {"n1"})
    (tmp_path / "net").mkdir()
    write_tar(tmp_path / "net" / "ILSVRC2012_img_train.tar", outer)
    store = stores.open_store(tmp_path / "net")
    assert "train/n1/1.JPEG" in store.names
    assert all(folder.strip("/") == folder for folder in store.folders)


def test_a_folder_of_imagenets_tars_reads_as_train_and_val(tmp_path):
    write_tar(tmp_path / "ILSVRC2012_img_train.tar", {"n1.tar": tar_bytes({"n1_1.JPEG": 1})})
    write_tar(tmp_path / "ILSVRC2012_img_val.tar", {"ILSVRC2012_val_00000001.JPEG": 2})
    (tmp_path / "words.txt").write_text("n1\tone\n")
    store = stores.open_store(tmp_path)
    assert "train/n1/n1_1.JPEG" in store.names
    assert store.read("val/ILSVRC2012_val_00000001.JPEG") == content_of({0: 2})[0]
    assert store.read("words.txt") == b"n1\tone\n"


HOSTILE_NAMES = ["../out.png", "/etc/out.png", "a/../../out.png", "a\\..\\out.png", "C:out.png"]


@pytest.mark.parametrize("name", HOSTILE_NAMES)
@pytest.mark.parametrize("write", [write_zip, write_tar])
def test_a_path_that_leaves_the_archive_is_refused(name, write, tmp_path):
    path = write(tmp_path / "set", {"train/cat/1.png": 1, name: 2})
    with pytest.raises(InputError, match="expected paths inside the archive, found"):
        stores.open_store(path)


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE]
)
def test_links_and_devices_in_a_tar_are_refused(kind, tmp_path):
    with tarfile.open(tmp_path / "set.tar", "w") as archive:
        member = tarfile.TarInfo("train/cat/1.png")
        member.type, member.linkname = kind, "/etc/passwd"
        archive.addfile(member)
    with pytest.raises(InputError, match=r"'train/cat/1.png' is neither"):
        stores.open_store(tmp_path / "set.tar")


def test_a_link_in_a_zip_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        link = zipfile.ZipInfo("train/cat/1.png")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(InputError, match=r"'train/cat/1.png' is neither"):
        stores.open_store(tmp_path / "set.zip")


@pytest.mark.parametrize("kind", WRITERS)
def test_counts_and_sizes_are_bounded(kind, tmp_path, monkeypatch):
    path = WRITERS[kind](tmp_path)
    monkeypatch.setattr(stores, "LARGEST_FILE", 50)
    with pytest.raises(InputError, match=r"train/cat/1.png: expected at most 50 bytes, found"):
        stores.open_store(path).read("train/cat/1.png")
    monkeypatch.setattr(stores, "MOST_FILES", 2)
    with pytest.raises(InputError, match="expected at most 2 files, found more"):
        stores.open_store(path)


def test_a_zip_that_unpacks_to_more_than_it_says_is_refused(tmp_path):
    """The directory of the archive says 10 bytes where a megabyte of zeros is packed."""
    path = tmp_path / "set.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("train/cat/1.png", bytes(2**20))
    content = path.read_bytes()
    assert content.count((2**20).to_bytes(4, "little")) == 2
    path.write_bytes(content.replace((2**20).to_bytes(4, "little"), (10).to_bytes(4, "little")))
    with pytest.raises(InputError, match=r"train/cat/1.png: cannot be read"):
        stores.open_store(path).read("train/cat/1.png")


def test_a_damaged_header_does_not_pass_for_the_end(tmp_path):
    path = write_tar(tmp_path / "set.tar", TREE)
    with tarfile.open(path) as archive:
        second = archive.getmembers()[1].offset
    flip(path, second + 20)
    with pytest.raises(InputError, match=f"set.tar: damaged at byte {second:,}, or cut there"):
        stores.open_store(path)
    with open(path, "r+b") as file:
        file.truncate(second)
    with pytest.raises(InputError, match=f"set.tar: damaged at byte {second:,}, or cut there"):
        stores.open_store(path)


@pytest.mark.parametrize("keep", [0, 1])
def test_a_damaged_tar_in_a_tar_is_noticed(keep, tmp_path):
    """Garbage, or without its end, so that it would run on into the outer archive."""
    blocks = 1 + -(-len(content_of({"a": 1})["a"]) // 512)  # the header, then the picture
    cut = tar_bytes({"n1_1.JPEG": 1})[: 512 * blocks] if keep else b"garbage " * 100
    path = write_tar(tmp_path / "set.tar", {"n1.tar": cut, "n2.tar": tar_bytes({"n2_1.JPEG": 2})})
    with pytest.raises(InputError, match=r"set.tar"):
        stores.open_store(path)


def test_a_tar_whose_last_file_is_a_zip_is_a_tar(tmp_path):
    inner = write_zip(tmp_path / "inner.zip", {"a.png": 1}).read_bytes()
    path = write_tar(tmp_path / "set.tar", {"train/cat/1.png": 1, "z.zip": inner})
    assert stores.open_store(path).names == ["train/cat/1.png", "z.zip"]


def test_folders_without_end_are_refused(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a/loop").symlink_to(tmp_path)
    with pytest.raises(InputError, match="expected at most 8 folders in folders"):
        stores.open_store(tmp_path)


def flip(path, position):
    content = bytearray(path.read_bytes())
    content[position] ^= 255
    path.write_bytes(content)


def test_a_flipped_byte_in_a_zip_is_noticed(tmp_path):
    path = WRITERS["zip"](tmp_path)
    flip(path, 200)
    with pytest.raises(InputError, match=r"train/cat/1.png: cannot be read: Bad CRC"):
        stores.open_store(path).read("train/cat/1.png")


def test_archives_that_are_none_or_cut_or_compressed(tmp_path):
    (tmp_path / "no.tar").write_bytes(b"nothing of the kind" * 100)
    with pytest.raises(InputError, match=r"no.tar: cannot be read as a .tar archive"):
        stores.open_store(tmp_path / "no.tar")
    with pytest.raises(
        InputError, match=r"gone: expected a folder, a .zip or a .tar, found nothing"
    ):
        stores.open_store(tmp_path / "gone")
    write_tar(tmp_path / "set.tgz", TREE, "w:gz")
    whole = write_tar(tmp_path / "cut.tar", {"train/cat/1.png": bytes(5000)}).read_bytes()
    (tmp_path / "cut.tar").write_bytes(whole[:2000])
    with pytest.raises(InputError, match=r"cut.tar"):
        stores.open_store(tmp_path / "cut.tar").read("train/cat/1.png")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read all")
def test_a_folder_that_may_not_be_read(tmp_path):
    (tmp_path / "closed").mkdir(mode=0)
    with pytest.raises(InputError, match="closed: cannot be read: Permission denied"):
        stores.open_store(tmp_path)


def test_a_file_that_is_gone_when_it_is_wanted(tmp_path):
    store = stores.open_store(WRITERS["folder"](tmp_path))
    (tmp_path / "set/train/cat/1.png").unlink()
    with pytest.raises(InputError, match=r"1.png: cannot be read: No such file"):
        store.read("train/cat/1.png")
