"""Image folders: every published layout, subsets by name and by count, one-line errors."""

import io
import os
from pathlib import Path

import numpy as np
import pytest
from pictures import (
    class_folders,
    content_of,
    picture,
    tar_bytes,
    write_folder,
    write_tar,
    write_zip,
)

from nnref.data import imagefolder
from nnref.data.files import decode
from nnref.data.files.decode import decode as decode_bytes
from nnref.data.notices import Notice
from nnref.data.transforms import PadCropFlip, RandomResizedCropFlip, ResizeCenterCrop
from nnref.errors import InputError

DATA = os.environ.get("NNREF_DATA")  # read before a fixture hides it
PARTS = ("train", "val")
WRITERS = {
    "folder": lambda path, tree: write_folder(path / "set", tree),
    "zip": lambda path, tree: write_zip(path / "set.zip", tree),
    "tar": lambda path, tree: write_tar(path / "set.tar", tree),
}


def pixels(data):
    return [np.asarray(data.images[i]) for i in range(len(data.labels))]


def expect(data, tree, names):
    """The images of the data set are those of these files, in this order."""
    content = content_of(tree)
    assert len(data.labels) == len(data.images) == len(names)
    for image, name in zip(pixels(data), names, strict=True):
        np.testing.assert_array_equal(image, decode_bytes(content[name], name))


@pytest.mark.parametrize("cached", [True, False])
@pytest.mark.parametrize("inside", ["", "wrapper/deeper/"])
@pytest.mark.parametrize("kind", WRITERS)
def test_class_folders_in_a_folder_or_an_archive(kind, inside, cached, tmp_path):
    tree = class_folders(("dog", "cat", "ant"))
    path = WRITERS[kind](tmp_path, {inside + name: seed for name, seed in tree.items()})
    train, val = imagefolder.load(path, cache=cached)
    assert train.names == ["ant", "cat", "dog"]  # sorted
    assert train.labels.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert val.labels.tolist() == [0, 0, 1, 1, 2, 2]
    expect(train, tree, sorted(name for name in tree if "train" in name))
    expect(val, tree, sorted(name for name in tree if "val" in name))


def test_what_is_no_image_is_left_aside_and_said(tmp_path):
    tree = class_folders()
    others = {"train/cat/boxes.txt": b"1 2", "train/cat/._0.png": b"", "README.md": b"", "x.png": 1}
    with pytest.warns(Notice, match=r"set.zip: not used: .*: 1; .*: 1; .*: 1$"):
        train, _ = imagefolder.load(write_zip(tmp_path / "set.zip", tree | others))
    expect(train, tree, sorted(name for name in tree if "train" in name))


def test_a_class_may_be_called_images(tmp_path):
    train, val = imagefolder.load(write_folder(tmp_path / "set", class_folders(("images", "dog"))))
    assert train.names == ["dog", "images"]
    assert val.labels.tolist() == [0, 0, 1, 1]


def test_test_stands_in_for_a_missing_val_and_neither_for_none(tmp_path):
    tree = {name.replace("val/", "test/"): seed for name, seed in class_folders().items()}
    train, test = imagefolder.load(write_folder(tmp_path / "set", tree))
    assert len(test.labels) == 4
    only = {name: seed for name, seed in tree.items() if "train" in name}
    train, test = imagefolder.load(write_folder(tmp_path / "only", only))
    assert len(train.labels) == 6
    assert test is None


@pytest.mark.parametrize("ending", [".jfif", ".JPE", ".tif", ".ppm"])
def test_images_of_every_ending_are_loaded(ending, tmp_path, recwarn):
    kind = {".tif": "TIFF", ".ppm": "PPM"}.get(ending, "JPEG")
    tree = class_folders() | {f"{part}/bird/0{ending}": picture(kind=kind) for part in PARTS}
    train, val = imagefolder.load(write_folder(tmp_path / "set", tree))
    assert train.names == ["bird", "cat", "dog"]
    expect(train, tree, sorted(name for name in tree if "train" in name))
    assert val.labels.tolist() == [0, 1, 1, 2, 2]
    assert not [warning for warning in recwarn if warning.category is Notice]


@pytest.mark.parametrize("name", ["owl, snowy", "@home", "#1", "polar bear", "a.b", "train", "Ü"])
@pytest.mark.parametrize("kind", WRITERS)
def test_class_names_stay_what_the_folders_say(kind, name, tmp_path, recwarn):
    train, _ = imagefolder.load(WRITERS[kind](tmp_path, class_folders((name, "zebra"))))
    assert train.names == sorted([name, "zebra"])
    assert not [warning for warning in recwarn if warning.category is Notice]


def test_a_list_that_cannot_be_read_costs_no_image(tmp_path):
    tree = class_folders() | {"classes.txt": b"cat\tMieze\0"}
    with pytest.warns(Notice, match=r"classes.txt: expected text"):
        train, _ = imagefolder.load(write_folder(tmp_path / "set", tree))
    assert train.names == ["cat", "dog"]
    assert len(train.labels) == 6


WNIDS = ("n01443537", "n01629819", "n01641577")
WORDS = "n00000001\tentity\nn01641577\tbullfrog, Rana\nn01443537\tgoldfish\nn01629819\tnewt\n"


def tiny_imagenet():
    """The layout of tiny-imagenet-200.zip, and the class of each file in val."""
    tree = class_folders(WNIDS, val=0, images="images/")
    flat = {f"val_{i}.JPEG": WNIDS[(7 * i) % 3] for i in range(6)}
    tree |= {f"val/images/{name}": 100 + i for i, name in enumerate(flat)}
    tree |= {f"test/images/test_{i}.JPEG": 200 + i for i in range(2)}
    rows = [f"{name}\t{wnid}\t0\t32\t44\t62\n" for name, wnid in flat.items()]
    tree |= {"val/val_annotations.txt": "".join(rows).encode(), "words.txt": WORDS.encode()}
    tree |= {"train/n01443537/n01443537_boxes.txt": b"n01443537_0.JPEG\t0\t10\t63\t58\n"}
    return {f"tiny-imagenet-200/{name}": value for name, value in tree.items()}, flat


@pytest.mark.parametrize("kind", WRITERS)
def test_tiny_imagenet_as_published(kind, tmp_path):
    tree, flat = tiny_imagenet()
    with pytest.warns(
        Notice, match=r"not used: images of test \(there is a val\): 2; files \*.txt: 1"
    ):
        train, val = imagefolder.load(WRITERS[kind](tmp_path, tree))
    assert train.names == ["goldfish", "newt", "bullfrog"]
    assert train.labels.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert val.labels.tolist() == [0, 0, 1, 1, 2, 2]
    by_class = sorted((wnid, name) for name, wnid in flat.items())
    expect(val, tree, [f"tiny-imagenet-200/val/images/{name}" for _, name in by_class])


def test_imagenet_at_kaggle(tmp_path):
    flat = {f"ILSVRC2012_val_{i:08d}": WNIDS[i % 3] for i in range(1, 7)}
    tree = class_folders(WNIDS, val=0) | {f"val/{name}.JPEG": 50 for name in flat}
    tree |= {"test/ILSVRC2012_test_00000001.JPEG": 9}
    tree = {f"ILSVRC/Data/CLS-LOC/{name}": value for name, value in tree.items()}
    rows = "".join(f"{name},{wnid} 85 1 499 272 \n" for name, wnid in flat.items())
    tree["LOC_val_solution.csv"] = f"ImageId,PredictionString\n{rows}".encode()
    tree["LOC_synset_mapping.txt"] = b"n01443537 goldfish, Carassius auratus\n"
    with pytest.warns(Notice, match=r"set: not used: images of test \(there is a val\): 1$"):
        train, val = imagefolder.load(write_folder(tmp_path / "set", tree))
    assert train.names == ["goldfish", "n01629819", "n01641577"]
    assert val.labels.tolist() == [0, 0, 1, 1, 2, 2]


def test_imagenet_as_its_tars_with_the_devkit(tmp_path):
    """Its numbers do not follow the order of the wnids, and parents of classes have numbers too."""
    scipy_io = pytest.importorskip("scipy.io", reason="SciPy is not installed: pip install scipy")
    numbers = {"n01443537": 3, "n01629819": 1, "n01641577": 2}
    kind = [("ILSVRC2012_ID", "O"), ("WNID", "O"), ("words", "O"), ("num_children", "O")]
    rows = [(n, wnid, "words", 0) for wnid, n in numbers.items()] + [(4, "n00000001", "parent", 3)]
    meta = io.BytesIO()
    scipy_io.savemat(meta, {"synsets": np.array(rows, kind)[:, None]})
    devkit = {
        "ILSVRC2012_devkit_t12/data/meta.mat": meta.getvalue(),
        "ILSVRC2012_devkit_t12/data/ILSVRC2012_validation_ground_truth.txt": b"2\n3\n1\n",
    }
    (tmp_path / "ILSVRC2012_devkit_t12.tar.gz").write_bytes(tar_bytes(devkit, "w:gz"))
    inner = {f"{w}.tar": tar_bytes({f"{w}_{i}.JPEG": i for i in range(2)}) for w in WNIDS}
    write_tar(tmp_path / "ILSVRC2012_img_train.tar", inner)
    flat = {f"ILSVRC2012_val_0000000{i}.JPEG": 60 + i for i in (1, 2, 3)}
    write_tar(tmp_path / "ILSVRC2012_img_val.tar", flat)
    train, val = imagefolder.load(tmp_path)
    assert train.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert val.labels.tolist() == [0, 1, 2]
    expect(val, flat, [f"ILSVRC2012_val_0000000{i}.JPEG" for i in (2, 3, 1)])


def test_imagenette_has_names_although_it_comes_without_a_list(tmp_path):
    tree = {f"imagenette2-160/{n}": s for n, s in class_folders(("n03888257", "n01440764")).items()}
    train, _ = imagefolder.load(write_tar(tmp_path / "imagenette2-160.tar", tree))
    assert train.names == ["tench", "parachute"]


@pytest.fixture
def many(tmp_path):
    """Twelve classes of five and two pictures, with a list in which two are called crane."""
    classes = [f"n{i:02d}" for i in range(12)]
    names = ["crane", "crane, lifting", "sea lion, seal", *(f"thing {i}" for i in range(3, 12))]
    lines = "".join(f"{c}\t{name}\n" for c, name in zip(classes, names, strict=True))
    tree = class_folders(classes, train=5, val=2) | {"classes.txt": lines.encode()}
    return write_folder(tmp_path / "many", tree)


def files(data):
    return data.images.names


def test_classes_by_folder_or_by_readable_name(many):
    train, val = imagefolder.load(many, classes=["Seal", "n07", "sea lion"], cache=False)
    assert train.names == ["sea lion", "thing 7"]
    assert train.labels.tolist() == [0] * 5 + [1] * 5
    assert val.labels.tolist() == [0, 0, 1, 1]
    assert {name.split("/")[1] for name in files(train)} == {"n02", "n07"}


def test_classes_and_images_by_count_depend_on_the_seed_alone(many):
    def subset(**options):
        train, val = imagefolder.load(many, cache=False, **options)
        return files(train), files(val)

    train, val = subset(classes=4, per_class=3, seed=1)
    assert len(train) == 12
    assert len(val) == 8  # held-out images are always all there
    assert subset(classes=4, per_class=3, seed=1) == (train, val)
    assert subset(classes=4, per_class=3, seed=2) != (train, val)
    more, _ = subset(classes=6, per_class=4, seed=1)
    assert set(train) < set(more)
    assert train == sorted(train)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"classes": 13}, "expected 1 to 12 classes, found 13"),
        ({"classes": 0}, "expected 1 to 12 classes, found 0"),
        ({"classes": ["cow"]}, "expected one class called 'cow', found none"),
        ({"classes": ["crane"]}, "expected one class called 'crane', found n00 and n01"),
        ({"per_class": 6}, "expected per_class of 1 to 5, the images of n00, found 6"),
        ({"per_class": 2.0}, "found 2.0"),
        ({"classes": []}, "classes: expected a list of names or a number, found []"),
        ({"classes": "n00"}, "classes: expected a list of names or a number, found 'n00'"),
        ({"classes": 1.5}, "classes: expected a list of names or a number, found 1.5"),
        ({"size": 0}, "imagefolder: expected size to be a whole number of at least 1, found 0"),
        ({"size": "8"}, "imagefolder: expected size to be a whole number of at least 1, found '8'"),
        ({"classes": [5]}, "classes: expected names, found 5"),
        ({"on_bad": "hide"}, "on_bad: expected stop or skip, found 'hide'"),
    ],
)
def test_impossible_subsets_are_one_line(many, options, message):
    with pytest.raises(InputError) as caught:
        imagefolder.load(many, **options)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_folders_without_training_images_or_with_other_classes(tmp_path):
    with pytest.raises(InputError, match=r"empty: expected images as train/CLASS/NAME.jpg"):
        imagefolder.load(write_folder(tmp_path / "empty", {"pictures/1.png": 1}))
    tree = class_folders() | {"train/eel/1.png": 1}
    with pytest.raises(InputError, match=r"class eel: expected .*, found only training ones"):
        imagefolder.load(write_folder(tmp_path / "eel", tree))
    tree = class_folders() | {"val/fox/1.png": 1}
    with pytest.raises(InputError, match=r"class fox: expected .*, found only held-out ones"):
        imagefolder.load(write_folder(tmp_path / "fox", tree))
    tree = class_folders(val=0) | {"val/1.png": 1}
    with pytest.raises(InputError, match=r"val/1.png: expected its class in a folder or list"):
        imagefolder.load(write_folder(tmp_path / "flat", tree))
    with pytest.raises(InputError, match="nowhere: expected a folder"):
        imagefolder.load(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("name", "content"),
    [("val_annotations.txt", b"val_0.JPEG no tabs"), ("LOC_val_solution.csv", b"a;b\n1;2\n")],
)
def test_a_broken_list_is_one_line_that_names_it(name, content, tmp_path):
    tree = class_folders(WNIDS, val=0) | {"val/val_0.JPEG": 1, name: content}
    with pytest.raises(InputError, match=f"{name}: not a readable list: expected "):
        imagefolder.load(write_folder(tmp_path / "set", tree))


def test_a_size_chooses_imagenets_crops_and_none_those_of_cifar(many):
    train, val = imagefolder.load(many, size=8)
    assert isinstance(train.transform, RandomResizedCropFlip)
    assert isinstance(val.transform, ResizeCenterCrop)
    assert train.transform.size == val.transform.size == 8
    train, val = imagefolder.load(many)
    assert isinstance(train.transform, PadCropFlip)
    assert val.transform is None


def test_skipped_images_are_listed(many, monkeypatch):
    monkeypatch.setattr(decode, "MOST_BAD", 0.05)
    (many / "train/n03/1.png").write_bytes(picture(kind="JPEG")[:200])
    with pytest.raises(InputError, match=r"train/n03/1.png: not a readable image"):
        imagefolder.load(many)
    with pytest.warns(Notice, match=r"train/n03/1.png: not a readable image: .*; skipped, as are"):
        train, _ = imagefolder.load(many, on_bad="skip")
    assert list(train.images.bad) == ["train/n03/1.png"]


REAL = DATA and Path(DATA, "tiny-imagenet-part1.zip")


@pytest.mark.skipif(
    not REAL or not REAL.is_file(), reason="set NNREF_DATA to a folder with tiny-imagenet-part1.zip"
)
def test_real_photographs_of_tiny_imagenet():
    """500 and 50 of each class, read out of the zip; among the trilobites some are gray."""
    train, val = imagefolder.load(REAL, size=64, classes=["goldfish", "n01641577", "trilobite"])
    assert train.names == ["goldfish", "bullfrog", "trilobite"]
    assert np.bincount(train.labels).tolist() == [500, 500, 500]
    assert np.bincount(val.labels).tolist() == [50, 50, 50]
    images = pixels(train)
    assert {image.shape for image in images} == {(64, 64, 3)}
    gray = [(image[..., 0] == image[..., 1]).all() for image in images]
    assert 0 < sum(gray) < 20
    # goldfish are red and bullfrogs green
    red, green = (
        np.mean([image[..., channel].mean() for image in images[:500]])
        - np.mean([image[..., channel].mean() for image in images[500:1000]])
        for channel in (0, 1)
    )
    assert red > green + 10
