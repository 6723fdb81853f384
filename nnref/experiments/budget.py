"""How long is long enough? Accuracy against the budget, the number of epochs of a whole training.

Each budget is a training of its own, whose learning rate falls to zero at its own end. A curve is
{epochs: accuracy in %} (Result.curve).
"""

import math
from collections.abc import Iterator
from itertools import pairwise

from nnref.experiments.numbers import NOT_MEASURED, Number, largest
from nnref.experiments.result import Result

FLAT = 0.97  # of its accuracy BP must keep with half the budget


def flat(result: Result, **facts) -> Iterator:
    """A condition on the scale of a setting: BP must have learned most of what it can.

    Where it has not, a rule that learns more slowly falls behind for lack of time alone. `facts`
    are those of BP's trainings; seed 0 has one with half the epochs.
    """
    curve, epochs = result.curve(**facts), largest(result.values("epochs", **facts))
    half, whole = (curve.get(n, NOT_MEASURED) for n in (epochs // 2, epochs))
    yield "half the epochs cost BP at most 3 % of its accuracy", half >= FLAT * whole


def near(error: Number, published: float, times: float = 1.5) -> Iterator:
    """A condition on the scale of a published number: BP's test error must come near its own.

    Both in %. Where BP is far from its published error, the others are as well.
    """
    words = f"BP's error at most {times:g} times the published {published} %"
    yield words, error <= times * published


def half_budget(curve: dict[int, Number]) -> dict[int, Number]:
    """{epochs: accuracy with half of them / accuracy}, where both were measured."""
    return {n: curve[n // 2] / curve[n] for n in curve if n % 2 == 0 and n // 2 in curve}


def shares(curve: dict[int, Number], bp: dict[int, Number]) -> dict[int, Number]:
    """{epochs: accuracy as a share of BP's with the same budget}."""
    return {n: accuracy / bp[n] for n, accuracy in curve.items() if n in bp}


def shifts(curve: dict[int, Number], bp: dict[int, Number]) -> dict[int, float]:
    """{epochs: how many times the epochs that BP takes to the same accuracy}.

    Between two budgets, BP's accuracy is taken to grow in proportion to the logarithm of the
    epochs. Accuracies outside BP's curve have no shift.
    """
    found, points = {}, sorted(bp.items())
    for epochs, accuracy in curve.items():
        for (n, low), (n_next, high) in pairwise(points):
            if float(low) <= float(accuracy) <= float(high) and float(low) < float(high):
                part = (float(accuracy) - float(low)) / (float(high) - float(low))
                found[epochs] = epochs / (n * (n_next / n) ** part)
    return found


def mean_shift(curve: dict[int, Number], bp: dict[int, Number]) -> Number:
    """The geometric mean of all shifts; NOT_MEASURED if there are none."""
    found = shifts(curve, bp).values()
    return Number(math.prod(found) ** (1 / len(found))) if found else NOT_MEASURED
