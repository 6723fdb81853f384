"""Decoding: every kind of image becomes RGB, and whatever is no image is one line with its name."""

import io
import warnings

import numpy as np
import pytest
from pictures import picture
from PIL import Image, PngImagePlugin

from nnref.data.files import decode
from nnref.data.files.decode import ImageFiles
from nnref.data.notices import Notice
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


def test_sixteen_bits_of_a_pgm_keep_the_upper_byte_and_wider_numbers_are_refused():
    """Pillow itself would make everything above 255 white."""
    values = np.array([[0, 255, 256, 65535]], ">u2")
    content = b"P5 4 1 65535 " + values.tobytes()
    assert decode.decode(content, "x.pgm")[0, :, 0].tolist() == [0, 0, 1, 255]
    for dtype in (np.int32, np.float32):
        wide = io.BytesIO()
        Image.fromarray(values.astype(dtype)).save(wide, "TIFF")
        with pytest.raises(InputError, match=r"^x.tif: expected 8 or 16 bits of gray, found 32"):
            decode.decode(wide.getvalue(), "x.tif")


def test_every_ending_that_pillow_knows_for_these_formats_is_known():
    Image.init()
    known = [e for e, kind in Image.registered_extensions().items() if kind in decode.FORMATS]
    assert {*known} - {*decode.SUFFIXES} == {".pfm"}
    assert {*decode.SUFFIXES} <= {*known}


@pytest.mark.parametrize("kind", decode.FORMATS)
def test_every_format_is_decoded(kind):
    content = picture(kind=kind, mode="P" if kind == "GIF" else "RGB")
    np.testing.assert_array_equal(decode.decode(content, "x"), pixels(content))


UPRIGHT = {  # orientation: what makes the stored pixels upright
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a, 2).swapaxes(0, 1),
    8: lambda a: np.rot90(a),
}
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="%d"/></x:xmpmeta>'


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize(
    ("mode", "options"),
    [
        ("RGB", {"format": "PNG"}),
        ("I;16", {"format": "PNG"}),
        ("P", {"format": "PNG"}),
        ("RGB", {"format": "TIFF"}),
        ("RGB", {"format": "WEBP", "lossless": True}),
        ("RGB", {"format": "WEBP", "lossless": True, "xmp": True}),
    ],
)
def test_photographs_stand_as_viewers_show_them(mode, options, orientation):
    image = Image.open(io.BytesIO(picture("L" if mode == "I;16" else mode)))
    if mode == "I;16":
        image = Image.fromarray(np.asarray(image).astype(np.uint16) * 256)
    stored = decode.decode(picture("L" if mode == "I;16" else mode), "x")
    exif, content = Image.Exif(), io.BytesIO()
    exif[0x0112] = orientation
    how = {"xmp": XMP % orientation} if "xmp" in options else {"exif": exif}
    image.save(content, **options | how)
    found = decode.decode(content.getvalue(), "x")
    np.testing.assert_array_equal(found, UPRIGHT[orientation](stored))


def test_a_jpeg_from_a_phone_stands_upright():
    exif, content = Image.Exif(), io.BytesIO()
    exif[0x0112] = 6
    Image.new("RGB", (80, 40)).save(content, "JPEG", exif=exif)
    assert decode.decode(content.getvalue(), "x.jpg").shape == (80, 40, 3)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
@pytest.mark.parametrize("exif", [b"garbage", b"II*\0\x08\0\0\0\xff\xff\x12\x01", b"MM\0*\xff"])
def test_damaged_exif_costs_no_pixel(exif):
    image, content = Image.open(io.BytesIO(picture())), io.BytesIO()
    image.save(content, "WEBP", lossless=True, exif=b"Exif\0\0" + exif)
    np.testing.assert_array_equal(decode.decode(content.getvalue(), "x"), np.asarray(image))


def test_large_texts_and_profiles_in_a_png_are_read_and_bounded(monkeypatch):
    text = PngImagePlugin.PngInfo()
    text.add_text("how it was made", "a long story " * 300_000, zip=True)
    image = Image.open(io.BytesIO(picture()))
    for options in ({"pnginfo": text}, {"icc_profile": bytes(3_000_000)}):
        content = io.BytesIO()
        image.save(content, "PNG", **options)
        np.testing.assert_array_equal(decode.decode(content.getvalue(), "x"), np.asarray(image))
        with monkeypatch.context() as patch:
            patch.setattr(PngImagePlugin, "MAX_TEXT_CHUNK", 1_000_000)
            with pytest.raises(InputError, match=r"^x.png: not a readable image: .* too large"):
                decode.decode(content.getvalue(), "x.png")


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
        picture(kind="PCX"),
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

    def size(self, name):
        return len(self.read(name))

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
    with pytest.warns(Notice) as said:
        for _ in range(2):  # asking again does not count again
            assert files[7] is None
            assert files[8] is None
    assert [str(one.message) for one in said] == [
        "shelf/7.png: not a readable image: unknown format; skipped, as are others like it "
        "(images.bad lists them)"
    ]
    assert list(files.bad) == ["7.png", "8.png"]
    assert "shelf/7.png: not a readable image" in files.bad["7.png"]
    with pytest.raises(InputError, match=r"^shelf: 3 of 200 images are damaged, more than 1%"):
        files[9]


def test_on_bad_is_stop_or_skip():
    with pytest.raises(InputError, match=r"^on_bad: expected stop or skip, found 'ignore'"):
        ImageFiles(Shelf(1), ["0.png"], on_bad="ignore")


def fingerprint(names=(1, 2, 3), **options):
    shelf = Shelf(4)
    return ImageFiles(shelf, [f"{i}.png" for i in names], **options).fingerprint


def test_the_fingerprint_is_of_what_the_files_hold_in_their_order(monkeypatch):
    first = fingerprint()
    assert fingerprint() == fingerprint(on_bad="skip") == first
    others = {first, fingerprint((1, 3, 2)), fingerprint((1, 2)), fingerprint((0, 2, 3))}
    assert len(others) == 4
    content = picture(size=(2, 2), seed=9)
    monkeypatch.setattr(Shelf, "read", lambda self, name: content)
    assert fingerprint() == fingerprint((3, 1, 0))  # whatever the files are called


def test_the_fingerprint_of_a_large_set_is_of_names_and_sizes(monkeypatch):
    monkeypatch.setattr(decode, "LARGEST", 10)
    sizes = {"1.png": 10, "2.png": 20, "3.png": 30}
    monkeypatch.setattr(Shelf, "size", lambda self, name: sizes[name])
    monkeypatch.setattr(Shelf, "read", None)  # calling it would be an error
    first = fingerprint()
    sizes["2.png"] = 21
    assert len({first, fingerprint(), fingerprint((1, 3, 2))}) == 3


def test_the_fingerprint_stops_at_files_that_cannot_be_read_unless_they_are_skipped(monkeypatch):
    def read(self, name):
        raise InputError(f"{name}: cannot be read")

    monkeypatch.setattr(Shelf, "size", lambda self, name: 1)
    monkeypatch.setattr(Shelf, "read", read)
    with pytest.raises(InputError, match=r"1.png: cannot be read"):
        fingerprint()
    assert fingerprint(on_bad="skip")
