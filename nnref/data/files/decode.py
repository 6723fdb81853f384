"""Decode image files to RGB pixels, trusting neither a file's name nor its header.

Among ImageNet's JPEGs are gray ones, CMYK ones, and a PNG.
"""

import contextlib
import hashlib
import io
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property

import numpy as np
from PIL import Image, ImageOps, PngImagePlugin

from nnref.backend import thread_count
from nnref.data.notices import notice
from nnref.errors import InputError

FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
SUFFIXES = (  # all that Pillow knows for these formats, but for .pfm, which holds no bytes
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".bmp", ".gif", ".webp", ".tif",
    ".tiff", ".ppm", ".pgm", ".pbm", ".pnm",
)  # fmt: skip
MOST_PIXELS = 50_000_000  # ImageNet's largest image has fewer; a decompression bomb has more
MOST_BAD = 0.01  # of a data set
LARGEST = 8 * 2**30  # bytes of files; a larger set takes too long to be read before training
TURNING = {"exif", "xmp", "XML:com.adobe.xmp", "Raw profile type exif"}  # may say how to turn it
# texts and color profiles in a .png: 64 MiB in place of 1, which programs do exceed
PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY


def decode(content: bytes, where: str) -> np.ndarray:
    """Decode the bytes of an image file to RGB, uint8 (H, W, 3); `where` names it in errors.

    Gray, CMYK and palette images become RGB, transparency is dropped, 16-bit gray loses its lower
    byte. The image is turned as its EXIF orientation says; of several in one file, it is the first.
    Raises InputError for anything that is not a whole image of at most MOST_PIXELS.
    """
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            if image.width * image.height > MOST_PIXELS:
                raise InputError(
                    f"{where}: expected at most {MOST_PIXELS:,} pixels, "
                    f"found {image.width} x {image.height}"
                )
            image.load()
            if TURNING & image.info.keys():
                with contextlib.suppress(Exception):  # damaged EXIF: the pixels are all there
                    ImageOps.exif_transpose(image, in_place=True)
            if image.mode.startswith("I;16") or (image.mode == "I" and image.format != "TIFF"):
                gray = (np.asarray(image) >> 8).astype(np.uint8)
                return np.repeat(gray[:, :, None], 3, axis=2)
            if image.mode in ("I", "F"):  # Pillow would cut them off at 255
                raise InputError(f"{where}: expected 8 or 16 bits of gray, found 32")
            if image.mode == "P":  # a palette may hold transparency, which only RGBA can express
                image = image.convert("RGBA")
            return np.asarray(image.convert("RGB"))
    except InputError:
        raise
    except Image.DecompressionBombError:
        raise InputError(f"{where}: expected at most {MOST_PIXELS:,} pixels, found more") from None
    except Exception as error:  # Pillow's decoders raise many kinds for damaged bytes
        reason = "unknown format" if isinstance(error, Image.UnidentifiedImageError) else error
        raise InputError(f"{where}: not a readable image: {reason}") from None


class ImageFiles:
    """Image files of a store (stores.py), decoded on demand: files[i] is uint8 (H, W, 3).

    on_bad = "stop": a damaged image raises InputError. on_bad = "skip": files[i] is None and `bad`
    lists the reason by name; more than 1 % of damaged images raise InputError too.
    """

    def __init__(self, store, names: list[str], on_bad: str = "stop"):
        if on_bad not in ("stop", "skip"):
            raise InputError(f"on_bad: expected stop or skip, found {on_bad!r}")
        self.store, self.names, self.on_bad = store, names, on_bad
        self.bad, self.lock = {}, threading.Lock()

    def __len__(self):
        return len(self.names)

    def __getitem__(self, i):
        name = self.names[i]
        try:
            return decode(self.store.read(name), f"{self.store}/{name}")
        except InputError as error:
            if self.on_bad == "stop":
                raise
            self._note(name, str(error))

    @cached_property
    def sizes(self) -> list[int]:
        """The bytes of each file."""
        return [self.store.size(name) for name in self.names]

    @cached_property
    def fingerprint(self) -> str:
        """A hash of all files in their order: of what they hold; above LARGEST, of names and sizes.

        The same on every machine and for every state of the cache.
        """
        whole = hashlib.sha256()
        if sum(self.sizes) > LARGEST:
            for name, size in zip(self.names, self.sizes, strict=True):
                whole.update(f"{size} {name}\n".encode(errors="surrogateescape"))
            return whole.hexdigest()
        with ThreadPoolExecutor(thread_count()) as pool:
            for content in pool.map(self._hash, self.names):
                whole.update(content)
        return whole.hexdigest()

    def _hash(self, name) -> bytes:
        """The hash of one file."""
        try:
            return hashlib.sha256(self.store.read(name)).digest()
        except InputError:
            if self.on_bad == "stop":
                raise
            return b"cannot be read"

    def _note(self, name, reason):
        """Count and list a damaged image; several threads may call this at the same time."""
        with self.lock:
            self.bad[name] = reason
            if len(self.bad) > MOST_BAD * len(self.names):
                raise InputError(
                    f"{self.store}: {len(self.bad)} of {len(self.names)} images are damaged, more "
                    f"than {MOST_BAD:.0%}; the last one: {reason}"
                )
            if len(self.bad) == 1:
                notice(f"{reason}; skipped, as are others like it (images.bad lists them)")
