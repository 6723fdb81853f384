"""Layouts of image folders: every image is used or counted, classes are called as their folders."""

import itertools
import re
import warnings

import numpy as np
import pytest
from pictures import write_folder, write_tar, write_zip
from PIL import Image

from nnref.data.files.layout import PARTS, find_images
from nnref.data.files.stores import open_store
from nnref.data.notices import Notice
from nnref.errors import InputError


class Shelf:
    """A store of names alone."""

    def __init__(self, names, folders=()):
        self.names, self.folders = sorted(names), list(folders)

    def __str__(self):
        return "shelf"


def found(*names, folders=()):
    """(train, held out, what was said) of a store with these names."""
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        train, held_out = find_images(Shelf(names, folders))
    said = [str(warning.message) for warning in heard if warning.category is Notice]
    assert len(said) <= 1  # one line for all
    return train, held_out, "".join(said)


CATS = ("train/cat/1.jpg", "train/dog/2.jpg")
VAL = ("val/cat/3.jpg", "val/dog/4.jpg")


def test_what_is_as_expected_is_found_without_a_word():
    assert found(*CATS, *VAL, "README.md", "words.txt", "train/.DS_Store", "val/cat/Thumbs.db") == (
        {"cat": ["train/cat/1.jpg"], "dog": ["train/dog/2.jpg"]},
        {"cat": ["val/cat/3.jpg"], "dog": ["val/dog/4.jpg"]},
        "",
    )


@pytest.mark.parametrize("letters", [str.lower, str.title, str.upper])
@pytest.mark.parametrize("held_out", [name for name, part in PARTS.items() if part != "train"])
@pytest.mark.parametrize("train", ["train", "training"])
def test_parts_have_the_names_of_many_tools(train, held_out, letters):
    names = [f"{letters(train)}/cat/1.jpg", f"{letters(held_out)}/cat/1.jpg"]
    assert found(*names) == ({"cat": names[:1]}, {"cat": names[1:]}, "")


def test_test_is_counted_where_there_is_a_val():
    _, held_out, said = found(*CATS, *VAL, "test/cat/1.jpg", "test/2.jpg", "test/images/3.jpg")
    assert sorted(held_out) == ["cat", "dog"]
    assert said == "shelf: not used: images of test (there is a val): 3"


@pytest.mark.parametrize("name", ["test/1.jpg", "test/images/1.jpg", "train/1.jpg"])
def test_images_without_a_class_are_counted(name):
    train, held_out, said = found(*CATS, name)
    assert (sorted(train), held_out) == (["cat", "dog"], {})
    assert said == "shelf: not used: images without a class: 1"


def test_an_image_beside_the_classes_of_val_is_counted_and_a_val_of_them_refused():
    assert "images without a class: 1" in found(*CATS, *VAL, "val/all.jpg")[2]
    with pytest.raises(InputError, match=r"val/all.jpg: expected its class in a folder or list"):
        found(*CATS, "val/all.jpg")


@pytest.mark.parametrize(
    "outer", [["train"], ["test"], ["a", "Train", "validation"], ["train"] * 3]
)
def test_a_level_too_many_is_none(outer):
    names = ["/".join([*outer, name]) for name in (*CATS, *VAL)]
    train, held_out, said = found(*names, folders=outer[:1])
    assert (sorted(train), sorted(held_out), said) == (["cat", "dog"], ["cat", "dog"], "")


def test_a_class_may_have_the_name_of_a_part():
    names = [f"{part}/{name}/1.jpg" for part in ("train", "val") for name in ("train", "bus")]
    train, held_out, said = found(*names)
    assert (sorted(train), sorted(held_out), said) == (["bus", "train"], ["bus", "train"], "")
    names = [f"{part}/{name}/a/1.jpg" for part in ("train", "val") for name in ("val", "bus")]
    assert sorted(found(*names)[0]) == ["bus", "val"]


def test_parts_without_classes_are_refused_with_what_there_is():
    with pytest.raises(
        InputError, match=r"NAME.jpg, found classes: train; images outside of .*: 1"
    ):
        found("train/train/cat.0.jpg", "test1/1.jpg")
    with pytest.raises(InputError, match=r"found classes: none; images outside of .*: 2$"):
        found("cat/1.jpg", "dog/1.jpg")


SYSTEMS = ["@eaDir", "#recycle", "__MACOSX", "$RECYCLE.BIN", "System Volume Information", ".cache"]


@pytest.mark.parametrize("place", ["{}/1.jpg", "train/{}/1.jpg", "train/cat/{}/1.jpg/thumb.jpg"])
@pytest.mark.parametrize("name", SYSTEMS)
def test_what_a_system_put_there_is_no_class_and_no_image(name, place):
    train, held_out, said = found(*CATS, *VAL, place.format(name), folders=[f"train/{name}"])
    assert train == {"cat": [CATS[0]], "dog": [CATS[1]]}
    assert said == "shelf: not used: images that are hidden or the system's: 1"


@pytest.mark.parametrize("write", [write_folder, write_zip, write_tar])
def test_classes_without_an_image_are_named(write, tmp_path):
    tree = {"set/train/cat/1.png": 1, "set/val/cat/1.png": 2, "set/train/owl/notes.xml": b"owl"}
    tree |= dict.fromkeys(["set/train/bear/", "set/val/bear/", "set/train/ant/deep/"], b"")
    with pytest.warns(Notice) as heard:
        train, held_out = find_images(open_store(write(tmp_path / "all", tree)))
    assert list(train) == list(held_out) == ["cat"]
    named = "set/train/ant, set/train/bear, set/train/owl, set/val/bear"
    assert f"files *.xml: 1; class folders without an image: 4 ({named})" in str(heard[0].message)


def test_a_long_list_of_what_is_left_out_stays_one_short_line():
    names = [f"train/cat/{i}.x{i % 7}" for i in range(70)]
    folders = [f"train/empty{i}" for i in range(30)]
    *_, said = found(*CATS, *names, folders=folders)
    assert re.search(r"used: (files \*\.x\d: 10; ){4}others: 30; class folders", said)
    assert said.endswith(
        "image: 30 (train/empty0, train/empty1, train/empty10, train/empty11, ...)"
    )


def random_names(rng):
    """Names made of everything that may be a folder."""
    steps = [
        "train",
        "train",
        "val",
        "valid",
        "test",
        "cat",
        "dog",
        "images",
        "@eaDir",
        ".x",
        "set",
    ]
    endings = [".jpg", ".PNG", ".tif", ".jfif", ".txt", ".avif", ""]
    for i in range(rng.integers(1, 30)):
        folders = rng.choice(steps, rng.integers(0, 5))
        yield "/".join([*folders, f"{'.' * (rng.random() < 0.1)}{i}{rng.choice(endings)}"])


def test_every_image_is_used_or_counted(monkeypatch):
    """300 trees at random: what was found and what was said add up to what is there."""
    Image.init()
    read = ("JPEG", "PNG", "TIFF")
    images = tuple(e for e, kind in Image.registered_extensions().items() if kind in read)
    monkeypatch.setattr("nnref.data.files.layout.MOST_NAMED", 1000)
    both = 0
    for seed in range(300):
        names = list(random_names(np.random.default_rng(seed)))
        try:
            train, held_out, said = found(*names)
        except InputError:
            continue
        both += bool(held_out)
        used = [*itertools.chain(*train.values(), *held_out.values())]
        assert len(set(used)) == len(used)
        counted = sum(int(count) for count in re.findall(r"images[^:;]*: (\d+)", said))
        assert len(used) + counted == sum(name.lower().endswith(images) for name in names), names
        assert not {"@eaDir", ".x"} & {*train, *held_out}
        assert all(class_ in name.split("/") for class_ in train for name in train[class_])
    assert both > 20
