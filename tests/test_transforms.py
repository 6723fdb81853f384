"""Crops, flips and sizes: where the pixels of an augmented image come from."""

import dataclasses
import itertools

import numpy as np
import pytest
from PIL import Image

from nnref.data.transforms import (
    TRIES,
    WIDEST,
    Normalize,
    PadCropFlip,
    RandomResizedCropFlip,
    ResizeCenterCrop,
)
from nnref.errors import InputError


def test_pad_crop_flip_gives_every_shift_of_both_mirror_images_about_as_often(rng):
    image = np.arange(1, 65, dtype=np.uint8).reshape(8, 8, 1)
    padded = np.pad(image, ((2, 2), (2, 2), (0, 0)))
    expected = {}
    for top, left, flip in itertools.product(range(5), range(5), (1, -1)):
        crop = padded[top : top + 8, left : left + 8][:, ::flip]
        expected[crop.tobytes()] = 0
    assert len(expected) == 50
    for _ in range(5000):
        expected[PadCropFlip(2)(image, rng).tobytes()] += 1  # KeyError: not such a crop
    assert 60 < min(expected.values()) <= max(expected.values()) < 145  # 100 +- 4 sigma


def test_random_resized_crop_takes_the_areas_and_shapes_of_the_paper(rng):
    crop = RandomResizedCropFlip(8)
    boxes = np.array([crop._box(200, 200, rng) for _ in range(4000)])
    top, left, height, width = boxes.T
    assert (top >= 0).all()
    assert (left >= 0).all()
    assert (top + height <= 200).all()
    assert (left + width <= 200).all()
    area, shape = height * width / 200**2, width / height
    assert 0.08 * 0.98 < area.min() < 0.09
    assert 0.97 < area.max() <= 1
    assert 3 / 4 * 0.98 < shape.min() < 0.76
    assert 1.32 < shape.max() < 4 / 3 * 1.02
    # a uniform area, but for the crops that are too wide or too high and so are drawn again
    inside = area[area < 0.7]
    assert np.quantile(inside, 0.5) == pytest.approx((0.08 + 0.7) / 2, abs=0.02)
    assert np.log(shape).mean() == pytest.approx(0, abs=0.02)


def test_a_crop_of_a_strip_falls_back_to_the_widest_central_one(rng):
    crop = RandomResizedCropFlip(8, smallest_area=0.99)
    assert crop._box(10, 100, rng) == (0, 43, 10, 13)
    assert crop._box(100, 10, rng) == (43, 0, 13, 10)


def test_a_random_crop_is_the_resized_box_or_its_mirror_image():
    image = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)
    crop = RandomResizedCropFlip(16)
    for seed in range(6):
        top, left, height, width = crop._box(30, 40, np.random.default_rng(seed))
        box = Image.fromarray(image).crop((left, top, left + width, top + height))
        expected = np.asarray(box.resize((16, 16), Image.Resampling.BILINEAR))
        found = crop(image, np.random.default_rng(seed))
        assert np.array_equal(found, expected) or np.array_equal(found, expected[:, ::-1])


@pytest.mark.parametrize("shape", [(100, 100), (100, 150), (150, 100), (64, 64), (40, 300)])
def test_the_central_crop_has_the_size_asked_for_whatever_the_shape(shape, rng):
    image = rng.integers(0, 256, (*shape, 3), np.uint8)
    assert ResizeCenterCrop(64)(image, rng).shape == (64, 64, 3)


def test_the_central_crop_is_central_and_deterministic():
    """A picture of twice the size, its halves black and white: the edge stays in the middle."""
    image = np.zeros((512, 512, 3), np.uint8)
    image[:, 256:] = 255
    crop = ResizeCenterCrop(224)(image, None)
    assert crop.shape == (224, 224, 3)
    assert crop[:, :111].max() == 0
    assert crop[:, 113:].min() == 255
    assert ResizeCenterCrop(10, resize=10)(image, None).shape == (10, 10, 3)


def test_by_default_the_crop_shows_224_of_256_parts_of_the_shorter_side():
    """White lines 32 pixels from the edges of a 512 x 512 picture lie just outside or inside."""
    image = np.zeros((512, 512, 3), np.uint8)
    image[:, 30] = image[:, 481] = 255
    assert ResizeCenterCrop(448)(image, None).max() == 0
    image[:, 33] = 255
    assert ResizeCenterCrop(448)(image, None)[:, 1].min() > 200


def test_a_very_thin_image_costs_no_memory():
    assert ResizeCenterCrop(224)(np.zeros((1, 1_000_000, 3), np.uint8), None).shape == (224, 224, 3)


def test_a_crop_cannot_be_larger_than_what_it_is_cut_from():
    with pytest.raises(InputError, match="expected resize of at least size = 10, found 5"):
        ResizeCenterCrop(10, resize=5)


def test_with_nothing_to_resize_the_center_is_cut_out_as_it_is(rng):
    image = rng.integers(0, 256, (20, 20, 3), np.uint8)
    np.testing.assert_array_equal(ResizeCenterCrop(10, resize=20)(image, rng), image[5:15, 5:15])


@pytest.mark.parametrize("shape", [(40, 40), (32, 60), (60, 32)])
def test_crops_lie_where_they_should_whatever_the_shape(shape):
    """An image that holds its own rows and columns says where a crop was taken."""
    H, W = shape
    image = np.zeros((H, W, 3), np.uint8)
    image[..., 0], image[..., 1] = np.arange(H)[:, None], np.arange(W)
    shorter = min(shape)
    center = ResizeCenterCrop(shorter // 2, resize=shorter)(image, None)
    top, left = (H - shorter // 2) // 2, (W - shorter // 2) // 2
    np.testing.assert_array_equal(center, image[top:, left:][: shorter // 2, : shorter // 2])
    crop = RandomResizedCropFlip(9)
    areas, corners = [], []
    for seed in range(300):
        box = crop._box(H, W, np.random.default_rng(seed))
        top, left, height, width = map(int, box)
        areas.append(height * width / (H * W))
        corners.append((top / (H - height or 1), left / (W - width or 1)))
        cut = crop(image, np.random.default_rng(seed))
        for rows in (cut[..., 0].max(), cut[..., 0].min()):
            assert top <= rows < top + height
        for columns in (cut[..., 1].max(), cut[..., 1].min()):
            assert left <= columns < left + width
    assert 0.25 < np.mean(areas) < 0.55
    assert np.mean(corners, axis=0) == pytest.approx([0.5, 0.5], abs=0.1)
    assert (np.max(corners, axis=0) == 1).all() and (np.min(corners, axis=0) == 0).all()


def test_defaults_are_those_of_the_papers():
    assert PadCropFlip().pad == 4
    crop = RandomResizedCropFlip(8)
    assert (crop.smallest_area, WIDEST, TRIES) == (0.08, 4 / 3, 10)


@pytest.mark.parametrize(
    "transform",
    [PadCropFlip(), RandomResizedCropFlip(8), ResizeCenterCrop(8), Normalize((0.5,), (0.2,))],
    ids=repr,
)
def test_a_transform_that_threads_and_data_sets_share_cannot_be_changed(transform):
    for field in dataclasses.fields(transform):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(transform, field.name, 3)
