"""Random numbers: one stream for each purpose, and the laws that initial weights are drawn from.

Everything is drawn by NumPy in float64 and then moved and cast, so that a network starts from the
same weights on a CPU and on a GPU, in float32 and in float64 (up to rounding).
"""

import math

import numpy as np

from nnref.backend import to_device


def stream(seed: int, purpose: str) -> np.random.Generator:
    """A generator of its own for one purpose ("init", "order", ...), all from one seed.

    Separate streams keep experiments comparable: drawing more numbers for one purpose, say a random
    feedback matrix, leaves the initial weights and the order of the data as they were.
    """
    return np.random.default_rng([seed, *purpose.encode(errors="surrogateescape")])


def sample(law, rng, shape, scale, dtype):
    """Numbers drawn from `law` (uniform or normal, below), cast and moved to the device."""
    return to_device(law(rng, shape, scale).astype(dtype))


def uniform(rng, shape, scale):
    """U(-scale, scale): the law of random feedback in linear layers (Xiao 2018, their code)."""
    return rng.uniform(-scale, scale, shape)


def normal(rng, shape, scale):
    """Normal with standard deviation `scale`: their law of random feedback in convolutions."""
    return rng.normal(0.0, scale, shape)


def lecun_normal(rng, shape, fan_in, fan_out):
    """N(0, sqrt(1 / fan_in)): keeps the variance of the inputs (LeCun 1998, Efficient BackProp)."""
    return normal(rng, shape, math.sqrt(1 / fan_in))


def glorot_uniform(rng, shape, fan_in, fan_out):
    """U(-a, a), a = sqrt(6 / (fan_in + fan_out)): for units like tanh (Glorot & Bengio 2010)."""
    return uniform(rng, shape, math.sqrt(6 / (fan_in + fan_out)))


def he_normal(rng, shape, fan_in, fan_out):
    """N(0, sqrt(2 / fan_in)): for ReLU, which silences half its inputs (He 2015, Delving Deep)."""
    return normal(rng, shape, math.sqrt(2 / fan_in))


def he_normal_out(rng, shape, fan_in, fan_out):
    """N(0, sqrt(2 / fan_out)): keeps the variance of the errors; the ResNets' law (He 2015)."""
    return normal(rng, shape, math.sqrt(2 / fan_out))


def pytorch_uniform(rng, shape, fan_in, fan_out):
    """U(-a, a), a = sqrt(1 / fan_in): PyTorch's default, so the law of the authors' AlexNet."""
    return uniform(rng, shape, math.sqrt(1 / fan_in))
