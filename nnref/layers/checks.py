"""Checks of arrays, counts and labels that a user passes in. Each error is one line.

They look at shapes and dtypes, not at the numbers in an array, so they cost nothing on a GPU.
Labels are on the host; their values are checked too.
"""

import numpy as np

from nnref.backend import xp
from nnref.errors import InputError


def check_input(layer, x, shape, dtype):
    """Raise a one-line InputError, naming the layer, unless x has this shape and dtype.

    None stands for any length (as the first entry `...` for any number of them) or any dtype. Only
    the type, shape and dtype of x are read, so this costs nothing on a GPU.
    """
    if not isinstance(x, xp.ndarray):
        found = f"{type(x).__module__}.{type(x).__name__}"
        raise InputError(f"{layer}: expected an array of {xp.__name__}, found {found}")
    lengths = (None,) * (x.ndim - len(shape) + 1) + shape[1:] if shape[0] is ... else shape
    if len(x.shape) != len(lengths) or any(
        want not in (None, have) for want, have in zip(lengths, x.shape, strict=True)
    ):
        wanted = ", ".join({None: "any", ...: "..."}.get(n, str(n)) for n in shape)
        raise InputError(f"{layer}: expected input of shape ({wanted}), found {x.shape}")
    if dtype is not None and x.dtype != dtype:
        raise InputError(f"{layer}: expected input of dtype {dtype}, found {x.dtype}")


def check_counts(layer, smallest=1, **counts):
    """Raise InputError, naming the layer, unless all of these are whole numbers >= `smallest`."""
    for name, count in counts.items():
        if isinstance(count, bool) or not isinstance(count, int | np.integer) or count < smallest:
            raise InputError(
                f"{type(layer).__name__}: expected {name} to be a whole number of at least "
                f"{smallest}, found {count!r}"
            )


def check_image(layer, x, channels, dtype):
    """`check_input` for a batch of images (N, H, W, channels); also that a k x k patch fits."""
    check_input(layer, x, (None, None, None, channels), dtype)
    height, width = x.shape[1] + 2 * layer.padding, x.shape[2] + 2 * layer.padding
    if min(height, width) < layer.k:
        raise InputError(
            f"{layer}: expected images of at least {layer.k} x {layer.k} pixels (padding counted), "
            f"found {height} x {width}"
        )


def check_labels(labels, N: int, classes: int):
    """Raise InputError unless labels is a NumPy array of N integers from 0 to classes - 1."""
    if not isinstance(labels, np.ndarray) or labels.dtype.kind not in "iu":
        kind = getattr(labels, "dtype", type(labels).__name__)
        raise InputError(f"labels: expected a NumPy array of integers, found {kind}")
    if labels.shape != (N,):
        raise InputError(f"labels: expected shape ({N},), one per sample, found {labels.shape}")
    if labels.min() < 0 or labels.max() >= classes:
        wrong = int(((labels < 0) | (labels >= classes)).argmax())
        raise InputError(
            f"labels: expected 0 to {classes - 1}, found {labels[wrong]} at position {wrong}"
        )
