"""Turn an image of any size into an input of the network: crop, flip, resize; then normalize.

A transform takes one image, uint8 (H, W, 3), and a random generator, and returns another image. In
training every epoch shows another crop of each image (augmentation); in testing, the central crop.
Resizing is Pillow's bilinear filter, which averages over all pixels that become one.
"""

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image

from nnref.backend import xp
from nnref.errors import InputError


@dataclass(frozen=True)
class PadCropFlip:
    """Pad with `pad` black pixels, crop to the old size at a random place, flip half the time.

    The augmentation of CIFAR-10 (He et al. 2015, section 4.2).
    """

    pad: int = 4

    def __call__(self, image, rng):
        (H, W, C), pad = image.shape, self.pad
        padded = np.zeros((H + 2 * pad, W + 2 * pad, C), image.dtype)
        padded[pad : pad + H, pad : pad + W] = image
        top, left = rng.integers(0, 2 * pad + 1, size=2)
        return _flip_every_second(padded[top : top + H, left : left + W], rng)


WIDEST = 4 / 3  # width / height of a crop; the narrowest is 1 / WIDEST
TRIES = 10  # to find a crop that lies in the image; then the largest central one


@dataclass(frozen=True)
class RandomResizedCropFlip:
    """Crop 8 to 100 % of the area, 3:4 to 4:3 in shape; resize to size x size; flip half the time.

    The augmentation of ImageNet (Szegedy et al. 2015, section 6; also Xiao et al.'s).
    """

    size: int
    smallest_area: float = 0.08

    def __call__(self, image, rng):
        top, left, height, width = self._box(image.shape[0], image.shape[1], rng)
        crop = image[top : top + height, left : left + width]
        return _flip_every_second(_resize(crop, self.size, self.size), rng)

    def _box(self, H, W, rng):
        """(top, left, height, width) of the crop."""
        limit = math.log(WIDEST)
        for _ in range(TRIES):
            area = H * W * rng.uniform(self.smallest_area, 1)
            ratio = math.exp(rng.uniform(-limit, limit))
            width, height = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if 0 < width <= W and 0 < height <= H:
                return rng.integers(H - height + 1), rng.integers(W - width + 1), height, width
        height, width = min(H, round(W * WIDEST)), min(W, round(H * WIDEST))
        return (H - height) // 2, (W - width) // 2, height, width


@dataclass(frozen=True)
class ResizeCenterCrop:
    """Resize the shorter side to `resize`, then take the central size x size pixels.

    For testing; nothing is random. Default `resize`: size * 256 / 224 (ImageNet; Xiao et al. too).
    """

    size: int
    resize: int | None = None

    def __post_init__(self):
        if self.resize is not None and self.resize < self.size:
            raise InputError(
                f"ResizeCenterCrop: expected resize of at least size = {self.size}, "
                f"found {self.resize}"
            )

    def __call__(self, image, rng):
        H, W, _ = image.shape
        shorter = self.size * 256 / 224 if self.resize is None else self.resize
        side = min(H, W) * self.size / shorter  # of the square that the crop shows
        left, top = (W - side) / 2, (H - side) / 2
        return _resize(image, self.size, self.size, box=(left, top, left + side, top + side))


@dataclass(frozen=True)
class Normalize:
    """Bytes (N, H, W, C) -> (byte / 255 - mean) / std, per channel; mean and std on that scale."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    dtype: str = "float32"

    def __call__(self, images):
        if images.shape[3:] != (len(self.mean),):
            expected = f"(N, H, W, {len(self.mean)})"
            raise InputError(f"Normalize: expected images {expected}, found {images.shape}")
        N, H, W, C = images.shape
        mean, std = (
            xp.broadcast_to(xp.asarray(values, self.dtype), (W, C)).reshape(W * C)
            for values in (self.mean, self.std)
        )
        rows = images.reshape(N, H, W * C).astype(self.dtype)  # long rows: NumPy's loops are quick
        return ((rows / 255 - mean) / std).reshape(images.shape)


def _resize(image, height, width, box=None):
    """Pillow's bilinear resizing of the image, or of a box in it."""
    resized = Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR, box)
    return np.asarray(resized)


def _flip_every_second(image, rng):
    """The image, or with probability 1/2 its mirror image (left and right swapped)."""
    return image[:, ::-1] if rng.random() < 0.5 else image
