"""Decoding: every kind of image becomes RGB, and whatever is no image is one line with its name."""

import io
import warnings

import numpy as np
import pytest
from pictures import picture
from PIL import Image

from nnref.data.files import decode
from nnref.data.files.decode import ImageFiles
from nnref.errors import InputError


def pixels(content, mode="RGB"):
    return np.asarray(Image.open(io.BytesIO(content)).convert(mode))


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA", "LA", "1"])
def test_every_mode_of_a_png_becomes_rgb(mode):
    content = picture(mode)
    found = decode.decode(content, "x.png")
    assert found.dtype == np.uint8
    assert found.shape == (16, 20, 3)
    np.testing.assert_array_equal(found, pixels(content))


def test_gray_has_three_equal_channels():
    found = decode.decode(picture("L"), "x.png")
    for channel in (1, 2):
        np.testing.assert_array_equal(found[:, :, channel], found[:, :, 0])
    np.testing.assert_array_equal(found[:, :, 0], pixels(picture("L"), "L"))


def test_cmyk_jpeg_becomes_rgb():
    """Pure cyan ink is (0, 255, 255), and pure black ink is black."""
    for ink, rgb in (((255, 0, 0, 0), (0, 255, 255)), ((0, 0, 0, 255), (0, 0, 0))):
        content = io.BytesIO()
        Image.new("CMYK", (16, 16), ink).save(content, "JPEG", quality=95)
        found = decode.decode(content.getvalue(), "x.JPEG").astype(int)
        assert abs(found - rgb).max() <= 6


def test_transparency_is_dropped_and_nothing_is_printed(recwarn):
    palette = Image.new("P", (4, 4), 1)
    palette.putpalette([0, 0, 0, 200, 100, 50] + [0] * 762)
    content = io.BytesIO()
    palette.save(content, "PNG", transparency=bytes([0, 10]))
    assert decode.decode(content.getvalue(), "x.png")[0, 0].tolist() == [200, 100, 50]
    assert not recwarn.list


def test_sixteen_bit_gray_keeps_its_upper_byte():
    values = np.array([[0, 255, 256, 65535]], np.uint16)
    content = io.BytesIO()
    Image.fromarray(values).save(content, "PNG")
    assert decode.decode(content.getvalue(), "x.png")[0, :, 0].tolist() == [0, 0, 1, 255]


def test_a_png_called_jpeg_is_read():
    content = picture(kind="PNG")
    np.testing.assert_array_equal(decode.decode(content, "n0/n0_1.JPEG"), pixels(content))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no image at all",
        picture(kind="JPEG", size=(200, 200))[:-3000],
        picture(kind="PNG", size=(90, 90))[:-3000],
        picture(kind="TIFF"),
    ],
    ids=["empty", "text", "cut-jpeg", "cut-png", "other-format"],
)
def test_what_is_not_a_whole_image_is_one_line_with_its_name(content):
    with pytest.raises(InputError, match=r"^here/x.JPEG: not a readable image: ") as caught:
        decode.decode(content, "here/x.JPEG")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("limit", [100, 10**9])
def test_a_decompression_bomb_is_an_error(limit, monkeypatch):
    """Both by our limit, which is lower, and by Pillow's, which is twice MAX_IMAGE_PIXELS."""
    monkeypatch.setattr(decode, "MOST_PIXELS", limit)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(InputError, match=r"^bomb.png: expected at most [\d,]+ pixels, found"):
            decode.decode(picture(size=(20, 20)), "bomb.png")


def test_an_image_above_our_limit_but_below_pillows(monkeypatch):
    monkeypatch.setattr(decode, "MOST_PIXELS", 399)
    with pytest.raises(InputError, match="expected at most 399 pixels, found 20 x 20"):
        decode.decode(picture(size=(20, 20)), "large.png")
    monkeypatch.setattr(decode, "MOST_PIXELS", 400)
    assert decode.decode(picture(size=(20, 20)), "large.png").shape == (20, 20, 3)


class Shelf:
    """A store in memory; every image whose name is in `bad` is damaged."""

    def __init__(self, count, bad=()):
        self.names = [f"{i}.png" for i in range(count)]
        self.bad = bad

    def read(self, name):
        return b"damaged" if name in self.bad else picture(size=(2, 2), seed=int(name[:-4]))

    def __str__(self):
        return "shelf"


def test_a_damaged_image_stops_with_its_name():
    files = ImageFiles(Shelf(3, bad=["1.png"]), Shelf(3).names)
    assert files[0].shape == (2, 2, 3)
    with pytest.raises(InputError, match=r"^shelf/1.png: not a readable image"):
        files[1]


def test_skipping_counts_and_lists_and_gives_up_past_one_in_a_hundred():
    shelf = Shelf(200, bad=["7.png", "8.png", "9.png"])
    files = ImageFiles(shelf, shelf.names, on_bad="skip")
    for _ in range(2):  # asking again does not count again
        assert files[7] is None
        assert files[8] is None
    assert list(files.bad) == ["7.png", "8.png"]
    assert "shelf/7.png: not a readable image" in files.bad["7.png"]
    with pytest.raises(InputError, match=r"^shelf: 3 of 200 images are damaged, more than 1%"):
        files[9]


def test_on_bad_is_stop_or_skip():
    with pytest.raises(InputError, match=r"^on_bad: expected stop or skip, found 'ignore'"):
        ImageFiles(Shelf(1), ["0.png"], on_bad="ignore")
