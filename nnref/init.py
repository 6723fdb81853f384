"""Random numbers: a stream for each purpose, and the distributions of initial weights.

Everything is drawn by NumPy in float64 and then moved and cast, so that a network starts from the
same weights on a CPU and on a GPU, in float32 and in float64 (up to rounding).
"""

import math

import numpy as np

from nnref.backend import to_device
from nnref.errors import InputError


def stream(seed: int, purpose: str) -> np.random.Generator:
    """A generator for one purpose ("init", "order", ...); each purpose has its own, from one seed.

    Separate streams keep experiments comparable: drawing more numbers for one purpose, say a random
    feedback matrix, does not change the initial weights or the order of the data. Raises InputError
    for a seed that is no whole number of at least 0.
    """
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise InputError(f"seed: expected a whole number of at least 0, found {seed!r}")
    return np.random.default_rng([seed, *purpose.encode(errors="surrogateescape")])


def sample(distribution, rng, shape, scale, dtype):
    """Numbers drawn from `distribution` (uniform or normal), cast and moved to the device."""
    return to_device(distribution(rng, shape, scale).astype(dtype))


def uniform(rng, shape, scale):
    """U(-scale, scale): random feedback in Linear (Xiao et al.'s code, 2018)."""
    _check(rng)
    return rng.uniform(-scale, scale, shape)


def normal(rng, shape, scale):
    """Normal with standard deviation `scale`: random feedback in Conv2d (Xiao et al.'s code)."""
    _check(rng)
    return rng.normal(0.0, scale, shape)


def _check(rng):
    """Raise InputError unless rng is a generator."""
    if not isinstance(rng, np.random.Generator):
        raise InputError(f"rng: expected a generator such as stream(0, 'init'), found {rng!r}")


def glorot_uniform(rng, shape, fan_in, fan_out):
    """U(-a, a), a = sqrt(6 / (fan_in + fan_out)): for units like tanh (Glorot & Bengio 2010)."""
    return uniform(rng, shape, math.sqrt(6 / (fan_in + fan_out)))


def he_normal(rng, shape, fan_in, fan_out):
    """Standard deviation sqrt(2 / fan_in): for ReLU, which silences half its inputs (He 2015)."""
    return normal(rng, shape, math.sqrt(2 / fan_in))


def he_normal_out(rng, shape, fan_in, fan_out):
    """Standard deviation sqrt(2 / fan_out): keeps the size of errors; used in ResNets (He 2015)."""
    return normal(rng, shape, math.sqrt(2 / fan_out))


def pytorch_uniform(rng, shape, fan_in, fan_out):
    """U(-a, a), a = sqrt(1 / fan_in): PyTorch's default, and so Xiao et al.'s in AlexNet."""
    return uniform(rng, shape, math.sqrt(1 / fan_in))
