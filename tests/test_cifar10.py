"""CIFAR-10's binary version: channels, labels, both ways to find it, and every wrong file."""

import hashlib
import io
import tarfile

import numpy as np
import pytest

from nnref.data import cifar10
from nnref.data.transforms import PadCropFlip
from nnref.errors import InputError


@pytest.fixture
def records(monkeypatch):
    """The six files, 20 images each, as many of each class in training and in testing."""
    monkeypatch.setattr(cifar10, "PER_FILE", 20)
    rng = np.random.default_rng(0)
    files = {}
    for name in cifar10.TRAIN + cifar10.TEST:
        labels = rng.permutation(np.repeat(np.arange(10, dtype=np.uint8), 2))
        planes = rng.integers(0, 256, (20, 3072), np.uint8)
        files[name] = np.concatenate([labels[:, None], planes], axis=1)
    return files


@pytest.fixture
def folder(records, tmp_path):
    for name, array in records.items():
        (tmp_path / name).write_bytes(array.tobytes())
    return tmp_path


@pytest.fixture
def archive(records, tmp_path, monkeypatch):
    path = tmp_path / cifar10.ARCHIVE
    with tarfile.open(path, "w:gz") as tar:
        for name, array in records.items():
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            member.size = array.nbytes
            tar.addfile(member, io.BytesIO(array.tobytes()))
    monkeypatch.setattr(cifar10, "SHA256", hashlib.sha256(path.read_bytes()).hexdigest())
    return path


def test_a_record_is_a_label_then_red_green_and_blue_row_by_row(folder, records):
    train, test = cifar10.load(folder)
    assert train.images.shape == (100, 32, 32, 3)
    assert test.images.shape == (20, 32, 32, 3)
    assert train.images.dtype == "uint8"
    record = records["data_batch_2.bin"][5]
    assert train.labels[25] == record[0]
    for channel, row, column in ((0, 0, 0), (1, 3, 7), (2, 31, 30)):
        value = record[1 + 1024 * channel + 32 * row + column]
        assert train.images[25, row, column, channel] == value
    assert train.names[3] == "cat"
    assert isinstance(train.transform, PadCropFlip)
    assert test.transform is None


def test_the_archive_and_both_kinds_of_folder_give_the_same(archive, records, tmp_path):
    from_archive = cifar10.load(tmp_path)
    inner = tmp_path / "cifar-10-batches-bin"
    inner.mkdir()
    for name, array in records.items():
        (inner / name).write_bytes(array.tobytes())
    archive.unlink()
    for place in (tmp_path, inner):
        for a, b in zip(from_archive, cifar10.load(place), strict=True):
            np.testing.assert_array_equal(a.images, b.images)
            np.testing.assert_array_equal(a.labels, b.labels)


def test_the_default_place_is_under_nnref_data(folder, monkeypatch, tmp_path_factory):
    root = tmp_path_factory.mktemp("root")
    folder.rename(root / "cifar10")
    monkeypatch.setenv("NNREF_DATA", str(root))
    assert len(cifar10.load()[0].labels) == 100


def test_without_a_network_the_message_names_file_address_hash_and_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("NNREF_DATA", str(tmp_path))
    monkeypatch.setattr(cifar10, "URL", f"http://127.0.0.1:1/{cifar10.ARCHIVE}")
    with pytest.raises(InputError) as caught:
        cifar10.load()
    for part in (cifar10.ARCHIVE, "127.0.0.1:1", cifar10.SHA256, str(tmp_path / "cifar10")):
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_changed_archive_is_refused(archive, tmp_path):
    archive.write_bytes(archive.read_bytes() + b"more")
    with pytest.raises(InputError, match=r"tar.gz: not CIFAR-10's: expected sha256 "):
        cifar10.load(tmp_path)


def test_files_of_another_size_or_balance_are_refused(folder, records):
    (folder / "data_batch_3.bin").write_bytes(records["data_batch_3.bin"].tobytes()[:-1])
    with pytest.raises(InputError, match=r"data_batch_3.bin: expected 61,460 bytes, found 61,459"):
        cifar10.load(folder)
    wrong = records["data_batch_3.bin"].copy()
    wrong[0, 0] = (wrong[0, 0] + 1) % 10
    (folder / "data_batch_3.bin").write_bytes(wrong.tobytes())
    with pytest.raises(InputError, match="expected 10 images of each of 10 classes"):
        cifar10.load(folder)
    (folder / "data_batch_3.bin").unlink()
    with pytest.raises(InputError, match=r"data_batch_3.bin: cannot be read: No such file"):
        cifar10.load(folder)


def test_an_empty_folder_is_one_line_that_says_what_is_expected(tmp_path):
    with pytest.raises(InputError) as caught:
        cifar10.load(tmp_path)
    expected = f"{tmp_path}: expected CIFAR-10's binary version, cifar-10-binary.tar.gz (from https"
    assert str(caught.value).startswith(expected)
    assert str(caught.value).endswith("or its .bin files, found neither")


@pytest.mark.parametrize(
    "name", ["cifar-10-python.tar.gz", "cifar-10-batches-py/data_batch_1", "data_batch_1"]
)
def test_the_python_version_is_called_by_its_name(name, tmp_path):
    """Other libraries download it."""
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(b"(dp1")
    with pytest.raises(InputError, match=r"found the Python version, a pickle, which nnref never"):
        cifar10.load(tmp_path)


@pytest.mark.parametrize("name", ["cifar-10-binary.tar.gz", "data_batch_3.bin"])
def test_no_file_is_read_without_bound(name, folder, monkeypatch):
    if "tar" in name:
        (folder / "test_batch.bin").unlink()
    with (folder / name).open("wb") as file:
        file.truncate(2**40)  # takes no room on the disk
    with pytest.raises(InputError, match=f"{name}: expected at most 268,435,456 bytes, found 1,"):
        cifar10.load(folder)


def test_a_label_above_nine_is_refused(folder, records):
    wrong = records["test_batch.bin"].copy()
    wrong[0, 0] = 77
    (folder / "test_batch.bin").write_bytes(wrong.tobytes())
    with pytest.raises(InputError, match="expected 2 images of each of 10 classes"):
        cifar10.load(folder)
