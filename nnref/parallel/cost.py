"""What training on many ranks costs: a model with two terms, to put a network of your own into.

A step takes as long as its computation and, after that, an all-reduce: the gradients of all ranks
are added up, and every rank gets the sums. With Rabenseifner's algorithm, which MPICH uses for long
messages (Thakur, Rabenseifner & Gropp 2005), N ranks need for a buffer of n bytes

    2 log2(N) latency + 2 (N - 1)/N n / bandwidth        seconds:

every rank sends and receives nearly twice the buffer, however many ranks there are. Three more
exchanges of a few bytes (images, loss, Ctrl-C) cost 2 log2(N) latencies each.
"""

import math

LATENCY_S = 30e-6  # of a message over Ethernet: assumed, not measured
SMALL_EXCHANGES = 3  # in a step, besides the gradients


def step_bytes(model) -> int:
    """The bytes that are averaged in every step: gradients and running averages."""
    arrays = [param for layer in model.walk() for param in layer.params.values()]
    arrays += [getattr(layer, name) for layer in model.walk() for name in layer.keeps]
    return sum(array.nbytes for array in arrays)


def all_reduce_seconds(size: int, ranks: int, bits_per_s: float, latency_s=LATENCY_S) -> float:
    """How long an all-reduce of `size` bytes takes between `ranks` machines on such a network."""
    moved = 2 * (ranks - 1) / ranks * size
    return 2 * math.log2(ranks) * latency_s + 8 * moved / bits_per_s


def efficiency(step_s: float, size: int, ranks: int, bits_per_s: float) -> float:
    """The images per second of all ranks, divided by `ranks` times those of one.

    The batch of a rank is the same in both.

    step_s       seconds that a rank needs for a step on its own share of the batch
    size         bytes that are averaged: those of the gradients
    bits_per_s   speed of the link between two machines
    """
    small = SMALL_EXCHANGES * all_reduce_seconds(0, ranks, bits_per_s)
    return step_s / (step_s + small + all_reduce_seconds(size, ranks, bits_per_s))
