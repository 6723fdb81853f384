"""The images of the replications: what is held out stays out, and a wrong place is said at once."""

import numpy as np
import pytest
from PIL import Image
from test_cli import nnref_command

from nnref.errors import InputError
from nnref.experiments.images import Sources, load


def rows(images):
    return {image.tobytes() for image in images.images}


def folders(place, classes, part, count=4):
    """Class folders of random photographs."""
    rng = np.random.default_rng(classes)
    for name in range(classes):
        (place / part / f"class{name}").mkdir(parents=True)
        for i in range(count):
            pixels = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(place / part / f"class{name}" / f"{i}.png")


def test_training_validation_and_test_images_are_apart():
    images = load("digits", Sources(), 500)
    parts = [rows(part) for part in (images.train, images.held_out, images.test)]
    assert (len(images.train.labels), len(images.held_out.labels)) == (450, 50)
    assert not parts[0] & parts[1] and not parts[0] & parts[2] and not parts[1] & parts[2]


def test_fewer_images_are_some_of_the_training_images_alone():
    images = load("digits", Sources(), 500)
    few = images.fewer(40)
    assert len(few.train.labels) == 40 and rows(few.train) < rows(images.train)
    assert few.held_out is images.held_out


def test_where_nothing_is_held_out_the_test_images_take_its_place():
    images = load("digits", Sources(), 300, held_out=0)
    assert len(images.train.labels) == 300
    assert images.held_out is images.test


def test_the_shape_of_an_image_is_the_one_that_a_network_gets():
    assert load("digits", Sources(), 100).shape == (32, 32, 1)


def test_cifar10_has_ten_classes(tmp_path):
    for part in ("train", "test"):
        folders(tmp_path, 2, part)
    with pytest.raises(InputError, match=r"--cifar10 .*: expected 10 classes, found 2"):
        load("cifar10", Sources(cifar10=tmp_path))


def test_the_command_says_at_once_that_there_is_no_such_place(tmp_path):
    done = nnref_command(
        "replicate", "xiao2018", "--cifar10", tmp_path / "none", "--out", tmp_path / "out",
        check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.startswith("nnref: error: --cifar10: expected class folders or an archive")
    assert not (tmp_path / "out").exists()
