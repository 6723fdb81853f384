"""MNIST: the shipped digits, the full set from a folder or a mirror, and every damaged file."""

import gzip
import hashlib
import os
from pathlib import Path

import numpy as np
import pytest
from mirror import serving

from nnref.data import mnist
from nnref.data.files import cut_mnist_subset, fetch, idx
from nnref.errors import InputError

NAMES = list(mnist.FILES)
FULL = os.environ.get("NNREF_DATA")  # read before a fixture hides it


def test_the_shipped_subset_holds_real_digits(digits):
    train, test = digits
    assert train.images.shape == (10_000, 28, 28, 1)
    assert test.images.shape == (2_000, 28, 28, 1)
    assert train.images.dtype == "float32"
    assert (train.images.min(), train.images.max()) == (0, 1)
    # the first labels of the published files
    assert train.labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert test.labels[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    assert set(train.labels) == set(test.labels) == set(range(10))


def test_the_shipped_files_fit_the_repository_and_state_their_license():
    size = sum(path.stat().st_size for path in mnist.SUBSET_FOLDER.iterdir())
    assert size <= 2.5 * 2**20
    text = (mnist.SUBSET_FOLDER / "README.md").read_text()
    assert "CC BY-SA 3.0" in text
    assert "python -m nnref.data.files.cut_mnist_subset" in text


def test_the_subset_in_float64_holds_the_same_bytes():
    train, _ = mnist.load_subset("float64")
    assert train.images.dtype == "float64"
    np.testing.assert_array_equal(train.images * 255, np.rint(train.images * 255))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with four small, valid files, whose hashes stand in for MNIST's."""
    rng = np.random.default_rng(0)
    for part, count in (("train", 30), ("t10k", 20)):
        for kind, array in (
            ("images-idx3", rng.integers(0, 256, (count, 28, 28), np.uint8)),
            ("labels-idx1", rng.integers(0, 10, count, np.uint8)),
        ):
            name = f"{part}-{kind}-ubyte"
            content = idx.dump(array)
            (tmp_path / f"{name}.gz").write_bytes(gzip.compress(content))
            hashes = tuple(
                hashlib.sha256(data).hexdigest()
                for data in ((tmp_path / f"{name}.gz").read_bytes(), content)
            )
            monkeypatch.setitem(mnist.FILES, name, hashes)
    return tmp_path


def unpack(path: Path) -> bytes:
    return gzip.decompress(path.read_bytes())


def test_a_folder_of_gzipped_or_plain_files_is_read(folder):
    (train, test) = mnist.load(folder)
    assert train.images.shape == (30, 28, 28, 1)
    assert test.labels.shape == (20,)
    for name in NAMES:
        (folder / name).write_bytes(unpack(folder / f"{name}.gz"))
        (folder / f"{name}.gz").unlink()
    np.testing.assert_array_equal(mnist.load(folder)[0].images, train.images)


def test_nnref_data_names_the_folder_of_all_data_sets(folder, monkeypatch, tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    (root / "mnist").symlink_to(folder)
    monkeypatch.setenv("NNREF_DATA", str(root))
    assert len(mnist.load()[0].labels) == 30


def rewrite(path, change):
    """Put what `change` makes of the unpacked content in place of a gzipped file."""
    path.write_bytes(gzip.compress(change(unpack(path))))


def damage_truncated_gzip(folder):
    path = folder / f"{NAMES[0]}.gz"
    path.write_bytes(path.read_bytes()[:-5000])
    return path, "cannot be read or unpacked: Compressed file ended before"


def damage_flipped_bit_in_gzip(folder):
    path = folder / f"{NAMES[0]}.gz"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    return path, "cannot be read or unpacked: "


def damage_truncated_content(folder):
    path = folder / f"{NAMES[0]}.gz"
    rewrite(path, lambda content: content[:-10])
    return path, "expected 23536 bytes for shape (30, 28, 28), found 23526"


def damage_trailing_bytes(folder):
    path = folder / f"{NAMES[3]}.gz"
    rewrite(path, lambda content: content + b"x")
    return path, "expected 28 bytes for shape (20,), found 29"


def damage_empty(folder):
    path = folder / f"{NAMES[1]}.gz"
    path.write_bytes(b"")
    return path, "expected a header of 8 bytes, found 0"


def damage_web_page(folder):
    path = folder / f"{NAMES[1]}.gz"
    path.write_bytes(b"<!DOCTYPE html><html>Not found</html>")
    return path, (
        "expected magic number 2049 (labels), found 1008813135 (neither images nor labels)"
    )


def damage_images_and_labels_swapped(folder):
    path, labels = (folder / f"{name}.gz" for name in NAMES[:2])
    path.write_bytes(labels.read_bytes())
    return path, "expected magic number 2051 (images), found 2049 (labels)"


def damage_labels_of_the_other_part(folder):
    path, other = folder / f"{NAMES[1]}.gz", folder / f"{NAMES[3]}.gz"
    path.write_bytes(other.read_bytes())
    return path, "expected 30 labels, one per image, found 20"


def damage_label_out_of_range(folder):
    path = folder / f"{NAMES[1]}.gz"
    rewrite(path, lambda content: content[:-1] + b"\x0a")
    return path, "expected labels 0 to 9, found 10"


def damage_one_pixel(folder):
    path = folder / f"{NAMES[2]}.gz"
    rewrite(path, lambda content: content[:-1] + bytes([content[-1] ^ 1]))
    return path, "not MNIST's (Fashion-MNIST has the same file names): expected content of sha256"


def damage_fashion_mnist(folder):
    """Another data set with the same names, shapes and format."""
    path = folder / f"{NAMES[0]}.gz"
    images = np.random.default_rng(9).integers(0, 256, (30, 28, 28), np.uint8)
    path.write_bytes(gzip.compress(idx.dump(images)))
    return path, "not MNIST's (Fashion-MNIST has the same file names): expected content of sha256"


DAMAGES = [value for name, value in list(globals().items()) if name.startswith("damage_")]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_a_damaged_file_is_one_line_that_names_it(damage, folder):
    path, message = damage(folder)
    with pytest.raises(InputError) as caught:
        mnist.load(folder)
    assert str(caught.value).startswith(f"{path}: {message}")
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_one_line_that_names_folder_and_file(folder):
    (folder / f"{NAMES[2]}.gz").unlink()
    with pytest.raises(InputError) as caught:
        mnist.load(folder)
    expected = f"{folder}: expected MNIST's file {NAMES[2]} or {NAMES[2]}.gz, found neither"
    assert str(caught.value) == expected


def test_copies_with_a_dot_in_their_names_are_read(folder):
    expected = mnist.load(folder)
    for name in NAMES:
        content = gzip.decompress((folder / f"{name}.gz").read_bytes())
        (folder / f"{name}.gz").unlink()
        (folder / name.replace("-idx", ".idx")).write_bytes(content)
    for part, other in zip(mnist.load(folder), expected, strict=True):
        np.testing.assert_array_equal(part.images, other.images)


def test_a_file_that_unpacks_without_end_is_refused(folder, monkeypatch):
    monkeypatch.setattr(idx, "LARGEST_FILE", 20_000)
    (folder / f"{NAMES[0]}.gz").write_bytes(gzip.compress(bytes(20_001)))
    with pytest.raises(InputError, match=f"{NAMES[0]}.gz: expected at most 20,000 bytes in it"):
        mnist.load(folder)


def test_a_damaged_shipped_file_is_noticed(tmp_path, monkeypatch):
    for path in mnist.SUBSET_FOLDER.glob("*.gz"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    rewrite(tmp_path / f"{NAMES[0]}.gz", lambda content: content[:-1] + b"\xff")
    monkeypatch.setattr(mnist, "SUBSET_FOLDER", tmp_path)
    with pytest.raises(InputError, match=f"{NAMES[0]}.gz: not MNIST's"):
        mnist.load_subset()


@pytest.fixture
def mirror(folder):
    """A mirror on this machine that serves `folder`; yields its address."""
    with serving(folder) as address:
        yield address


@pytest.fixture
def cache(tmp_path_factory, monkeypatch):
    cache = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("NNREF_DATA", str(cache))
    return cache / "mnist"


DEAD = "http://127.0.0.1:1/"


def test_the_second_mirror_serves_where_the_first_is_down(mirror, cache, monkeypatch):
    monkeypatch.setattr(mnist, "MIRRORS", (DEAD, mirror))
    train, _ = mnist.load()
    assert len(train.labels) == 30
    monkeypatch.setattr(mnist, "MIRRORS", (DEAD,))
    np.testing.assert_array_equal(mnist.load()[0].images, train.images)  # from the cache now


def test_a_mirror_with_other_bytes_is_not_kept(mirror, cache, folder, monkeypatch):
    damage_one_pixel(folder)
    monkeypatch.setattr(mnist, "MIRRORS", (mirror,))
    with pytest.raises(InputError, match=f"^{NAMES[2]}.gz: cannot be downloaded from"):
        mnist.load()
    assert sorted(os.listdir(cache)) == sorted(f"{name}.gz" for name in NAMES[:2])


def test_without_a_network_the_message_names_file_address_hash_and_folder(cache, monkeypatch):
    monkeypatch.setattr(mnist, "MIRRORS", (DEAD, "http://127.0.0.1:2/"))
    with pytest.raises(InputError) as caught:
        mnist.load()
    text = str(caught.value)
    for part in (f"{NAMES[0]}.gz", DEAD, ":2/", str(cache), mnist.FILES[NAMES[0]][0]):
        assert part in text
    assert "\n" not in text


def test_the_default_folder_is_the_users_cache(monkeypatch):
    assert fetch.data_folder("mnist").parent.name == "nnref"


def test_idx_reads_what_it_writes(rng):
    for array in (rng.integers(0, 256, (3, 4, 5), np.uint8), rng.integers(0, 9, 7, np.uint8)):
        parsed = idx.parse(idx.dump(array), array.ndim, Path("file"))
        np.testing.assert_array_equal(parsed, array)


def test_the_cut_takes_the_first_digits_and_writes_the_same_bytes_again(tmp_path, capsys, folder):
    train, _ = mnist.load(folder, "float64")
    outputs = []
    for name in ("once", "twice"):
        (tmp_path / name).mkdir()
        cut_mnist_subset.cut(train, "train", 12, tmp_path / name)
        outputs.append([path.read_bytes() for path in sorted((tmp_path / name).iterdir())])
    assert outputs[0] == outputs[1]
    full = idx.parse(unpack(folder / f"{NAMES[0]}.gz"), 3, Path("full"))
    cut = idx.parse(gzip.decompress(outputs[0][0]), 3, Path("cut"))
    np.testing.assert_array_equal(cut, full[:12])
    assert hashlib.sha256(idx.dump(cut)).hexdigest() in capsys.readouterr().out


@pytest.mark.skipif(
    not FULL or not Path(FULL, "mnist").is_dir(), reason="set NNREF_DATA to a folder with mnist/"
)
def test_the_shipped_digits_are_the_first_of_the_canonical_files(digits):
    full = mnist.load(Path(FULL) / "mnist")
    for part, whole in zip(digits, full, strict=True):
        np.testing.assert_array_equal(part.images, whole.images[: len(part.images)])
        np.testing.assert_array_equal(part.labels, whole.labels[: len(part.labels)])
