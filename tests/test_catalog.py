"""The data sets by name: listed, fetched from a mirror on this machine, verified."""

import gzip
import hashlib

import pytest
from mirror import serving
from pictures import class_folders, write_tar, write_zip

from nnref.data import catalog, imagefolder
from nnref.data.catalog import DataSet, Remote
from nnref.errors import InputError

DEAD = "http://127.0.0.1:1/"


@pytest.fixture
def shop(tmp_path, monkeypatch):
    """Two data sets on a mirror; `shop` is the folder that it serves. The data folder is empty."""
    shop = tmp_path / "shop"
    shop.mkdir()
    write_zip(shop / "pets.zip", class_folders())
    write_tar(shop / "birds.tar", class_folders(("crow", "owl")))
    (shop / "birds.tgz").write_bytes(gzip.compress((shop / "birds.tar").read_bytes()))
    monkeypatch.setenv("NNREF_DATA", str(tmp_path / "data"))
    with serving(shop) as mirror:

        def remote(name, algorithm):
            content = (shop / name).read_bytes()
            known_hash = f"{algorithm}:{hashlib.new(algorithm, content).hexdigest()}"
            return Remote([DEAD + name, mirror + name], len(content), known_hash)

        sets = {
            "pets": DataSet("pets", "none", [remote("pets.zip", "md5")], "{folder}/pets.zip"),
            "birds": DataSet(
                "birds", "none", [remote("birds.tgz", "sha256")], "{folder}/birds.tgz"
            ),
            "byhand": DataSet("by hand", "accept them", [], "{folder}"),
        }
        monkeypatch.setattr(catalog, "DATA_SETS", sets)
        yield shop


@pytest.mark.parametrize(("name", "first"), [("pets", "cat"), ("birds", "crow")])
def test_what_is_fetched_can_be_loaded_and_is_not_fetched_again(name, first, shop):
    path = catalog.fetch_by_name(name)
    train, _ = imagefolder.load(path)
    assert train.names[0] == first
    for file in shop.iterdir():
        file.unlink()
    assert catalog.fetch_by_name(name) == path


def test_other_bytes_on_the_mirror_are_refused_and_not_kept(shop, tmp_path):
    (shop / "pets.zip").write_bytes(b"other bytes")
    with pytest.raises(InputError) as caught:
        catalog.fetch_by_name("pets")
    for part in ("pets.zip", DEAD, "md5:", str(tmp_path / "data" / "pets")):
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not any((tmp_path / "data" / "pets").iterdir())


def test_a_set_that_needs_an_account_says_where_to_put_it(shop, tmp_path):
    with pytest.raises(InputError, match="byhand: cannot be downloaded without an account"):
        catalog.fetch_by_name("byhand")
    with pytest.raises(InputError, match="expected one of pets, birds, byhand, found 'fish'"):
        catalog.fetch_by_name("fish")


def test_the_list_says_what_is_here_and_what_is_not(shop):
    catalog.fetch_by_name("pets")
    text = catalog.describe()
    assert "here: " + str(catalog.data_folder("pets")) in text
    assert "not in " + str(catalog.data_folder("birds")) in text
    assert "mnist-subset" in text
    assert "terms: accept them" in text
    assert "none yet" in text  # no images decoded


def test_the_list_goes_on_past_what_cannot_be_measured(shop, tmp_path):
    catalog.fetch_by_name("pets")
    (catalog.data_folder("pets") / "link").symlink_to(tmp_path / "nowhere")
    assert "here: " + str(catalog.data_folder("pets")) in catalog.describe()


def test_the_data_folder_may_begin_at_home(monkeypatch):
    monkeypatch.setenv("HOME", "/home/of/me")
    monkeypatch.setenv("NNREF_DATA", "~/data")
    assert str(catalog.data_folder("pets")) == "/home/of/me/data/pets"


def test_verify_holds_fetched_files_to_their_published_hash(shop):
    catalog.fetch_by_name("pets")
    folder = catalog.data_folder("pets")
    assert catalog.verify_by_name("pets") == (False, folder, 1, [])
    (folder / "pets.zip").write_bytes(b"changed")
    _, _, _, wrong = catalog.verify_by_name("pets")
    assert len(wrong) == 1
    assert wrong[0].startswith("pets.zip: not the published file (md5:")
    (folder / "pets.zip").unlink()
    assert catalog.verify_by_name("pets")[3] == ["pets.zip: missing"]


def test_verify_takes_copies_that_were_unzipped_or_zipped_anew(tmp_path, monkeypatch):
    content = b"what the file holds"
    remote = Remote([DEAD + "x.gz"], 1, "sha256:0", hashlib.sha256(content).hexdigest())
    monkeypatch.setattr(catalog, "DATA_SETS", {"x": DataSet("x", "none", [remote], "")})
    monkeypatch.setenv("NNREF_DATA", str(tmp_path))
    (tmp_path / "x").mkdir()
    (tmp_path / "x/x.gz").write_bytes(gzip.compress(content, 1))
    assert catalog.verify_by_name("x")[3] == []
    (tmp_path / "x/x.gz").rename(tmp_path / "x/other")
    (tmp_path / "x/x").write_bytes(content)
    assert catalog.verify_by_name("x")[3] == []
    (tmp_path / "x/x").write_bytes(content + b"!")
    assert catalog.verify_by_name("x")[3] == ["x: not the published file (sha256:0)"]


def test_verify_writes_a_manifest_for_what_came_by_hand(shop, tmp_path):
    folder = tmp_path / "data" / "byhand"
    folder.mkdir(parents=True)
    (folder / "a.jpg").write_bytes(b"a")
    assert catalog.verify_by_name("byhand") == (True, folder / "SHA256SUMS", 1, [])
    assert catalog.verify_by_name("byhand") == (False, folder / "SHA256SUMS", 1, [])
    assert catalog.verify_by_name(str(folder))[0] is False


def test_published_sizes_and_hashes_are_those_of_the_facts():
    """Every file has a full hash, and the sizes add up to what the README promises."""
    digits = {"md5": 32, "sha256": 64}
    for data in catalog.DATA_SETS.values():
        for remote in data.files:
            algorithm, _, value = remote.known_hash.partition(":")
            assert len(value) == digits[algorithm]
            assert all(url.endswith("/" + remote.name) for url in remote.urls)
    mnist_bytes = sum(remote.size for remote in catalog.DATA_SETS["mnist"].files)
    assert round(mnist_bytes / 1e6, 1) == 11.6
