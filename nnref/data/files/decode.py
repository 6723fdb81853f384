"""Decode image files to RGB pixels, trusting neither a file's name nor its header.

Among ImageNet's JPEGs are gray ones, CMYK ones, and a PNG.
"""

import io
import threading

import numpy as np
from PIL import Image

from nnref.errors import InputError

FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP")
SUFFIXES = (".jpeg", ".jpg", ".png", ".bmp", ".gif", ".webp")
MOST_PIXELS = 50_000_000  # ImageNet's largest image has fewer; a decompression bomb has more
MOST_BAD = 0.01  # of a data set


def decode(content: bytes, where: str) -> np.ndarray:
    """Decode the bytes of an image file to RGB, uint8 (H, W, 3); `where` names it in errors.

    Gray, CMYK and palette images become RGB, transparency is dropped, 16-bit gray loses its lower
    byte. Raises InputError for anything that is not a whole image of at most MOST_PIXELS.
    """
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            if image.width * image.height > MOST_PIXELS:
                raise InputError(
                    f"{where}: expected at most {MOST_PIXELS:,} pixels, "
                    f"found {image.width} x {image.height}"
                )
            if image.mode.startswith("I;16"):
                gray = (np.asarray(image) >> 8).astype(np.uint8)
                return np.repeat(gray[:, :, None], 3, axis=2)
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

    def _note(self, name, reason):
        """Count and list a damaged image; several threads may call this at the same time."""
        with self.lock:
            self.bad[name] = reason
            if len(self.bad) > MOST_BAD * len(self.names):
                raise InputError(
                    f"{self.store}: {len(self.bad)} of {len(self.names)} images are damaged, more "
                    f"than {MOST_BAD:.0%}; the last one: {reason}"
                )
