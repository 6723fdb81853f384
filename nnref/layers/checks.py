"""Checks of arrays, numbers and labels that a user passes in. Each error is one line.

They look at shapes and dtypes, not at the numbers in an array, so they cost nothing on a GPU.
Labels are on the host; their values are checked too.
"""

import functools
import sys
from decimal import Decimal
from numbers import Real

import numpy as np

from nnref.backend import xp
from nnref.errors import InputError


def check_input(layer, x, shape, dtype):
    """Raise a one-line InputError, naming the layer, unless x has this shape and dtype.

    None stands for any length (as the first entry `...` for any number of them) or any dtype. Only
    the type, shape and dtype of x are read, so this costs nothing on a GPU.
    """
    lengths = (None,) * (x.ndim - len(shape) + 1) + shape[1:] if shape[0] is ... else shape
    if len(x.shape) != len(lengths) or any(
        want not in (None, have) for want, have in zip(lengths, x.shape, strict=True)
    ):
        wanted = ", ".join({None: "any", ...: "..."}.get(n, str(n)) for n in shape)
        raise InputError(f"{layer}: expected input of shape ({wanted}), found {x.shape}")
    if dtype is not None and x.dtype != dtype:
        raise InputError(f"{layer}: expected input of dtype {dtype}, found {x.dtype}")


def check_array(owner, *arrays):
    """Raise InputError, naming the owner, unless all of these are arrays of the present backend."""
    for x in arrays:
        if not isinstance(x, xp.ndarray):
            found = f"{type(x).__module__}.{type(x).__name__}"
            raise InputError(f"{owner}: expected an array of {xp.__name__}, found {found}")


def noting(forward):
    """A layer's `forward`, which takes an array, and notes shape and dtype of what it returns."""

    @functools.wraps(forward)
    def noted(layer, x, *more, **named):
        check_array(layer, x)
        y = forward(layer, x, *more, **named)
        if type(layer).forward is noted:  # else a derived class may do more with y
            layer.made = y.shape, y.dtype
        return y

    noted.notes = True
    return noted


def checking(backward):
    """A layer's `backward`, which first checks that its delta is like what `forward` returned.

    A `backward` that another one calls, as that of a derived class may, may get any array.
    """

    @functools.wraps(backward)
    def checked(layer, delta, *more, **named):
        if type(layer).backward is checked and hasattr(type(layer).forward, "notes"):
            _check_delta(layer, delta)
        return backward(layer, delta, *more, **named)

    return checked


def _check_delta(layer, delta):
    """Raise InputError unless delta has the shape and the dtype of the layer's output."""
    if isinstance(delta, xp.ndarray) and (delta.shape, delta.dtype) == layer.made:
        return
    if layer.made is None:
        raise InputError(f"{layer}: expected a forward pass before the backward pass")
    check_array(layer, delta)
    shape, dtype = layer.made
    raise InputError(
        f"{layer}: expected delta of shape {shape} and dtype {dtype}, as the output, found "
        f"{delta.shape} and {delta.dtype}"
    )


def shown(value) -> str:
    """What Python prints of a value, as one line of at most 80 characters."""
    words = " ".join(repr(value).split())
    return words if len(words) <= 80 else f"{words[:77]}..."


def check_counts(owner, smallest=1, **counts):
    """Raise InputError, naming the owner, unless all of these are whole numbers >= `smallest`."""
    for name, count in counts.items():
        if isinstance(count, bool) or not isinstance(count, int | np.integer) or count < smallest:
            owner = owner if isinstance(owner, str) else type(owner).__name__
            raise InputError(
                f"{owner}: expected {name} to be a whole number of at least {smallest}, "
                f"found {shown(count)}"
            )


def plain(value):
    """A number of any kind (NumPy's, a Decimal) as Python's own; anything else as it is."""
    if isinstance(value, np.generic) or getattr(value, "ndim", None) == 0:
        value = value.item()
    if isinstance(value, Real | Decimal) and not isinstance(value, int):
        return float(value)
    return value


def number(what: str, value, expected: str, holds) -> float:
    """`value` as a number of Python's. Raises InputError unless it is finite and holds(value)."""
    found, largest = plain(value), sys.float_info.max
    if type(found) in (int, float) and -largest <= found <= largest and holds(found):
        return found
    raise InputError(f"{what}: expected {expected}, found {shown(value)}")


def positive(owner, **values) -> list[float]:
    """These values as numbers. Raises InputError, naming the owner, unless all are above 0."""
    return [
        number(f"{owner}: {name}", value, "a number above 0", lambda v: v > 0)
        for name, value in values.items()
    ]


def check_dtype(layer, dtype):
    """Raise InputError, naming the layer, unless dtype is a real floating dtype."""
    try:
        kind = np.dtype(dtype).kind
    except TypeError:
        kind = None
    if kind != "f":
        raise InputError(f"{layer}: expected a floating dtype, found {dtype}")


def check_image(layer, x, channels, dtype):
    """`check_input` for a batch of images (N, H, W, channels); also that a k x k patch fits."""
    check_input(layer, x, (None, None, None, channels), dtype)
    height, width = x.shape[1] + 2 * layer.padding, x.shape[2] + 2 * layer.padding
    if min(height, width) < layer.k:
        raise InputError(
            f"{layer}: expected images of at least {layer.k} x {layer.k} pixels (padding counted), "
            f"found {height} x {width}"
        )


def check_labels(labels, N: int, classes: int | None = None):
    """Raise InputError unless labels is a NumPy array of N integers.

    Where the number of classes is given, also unless they are from 0 to classes - 1.
    """
    if not isinstance(labels, np.ndarray) or labels.dtype.kind not in "iu":
        kind = getattr(labels, "dtype", type(labels).__name__)
        raise InputError(f"labels: expected a NumPy array of integers, found {kind}")
    if labels.shape != (N,):
        raise InputError(f"labels: expected shape ({N},), one per sample, found {labels.shape}")
    if classes is None:
        return
    if labels.min() < 0 or labels.max() >= classes:
        wrong = int(((labels < 0) | (labels >= classes)).argmax())
        raise InputError(
            f"labels: expected 0 to {classes - 1}, found {labels[wrong]} at position {wrong}"
        )
