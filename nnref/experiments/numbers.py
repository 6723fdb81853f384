"""Measured numbers: their errors, what can be said of them, and how they are written.

A comparison of such numbers is true, false, UNDECIDED (they are closer than their error) or None
(one of them was not measured).
"""

import math
import operator
from statistics import mean, stdev


class Undecided:
    """Neither true nor false: the numbers that were compared are closer than their error."""

    def __bool__(self):
        return False

    def __repr__(self):
        return "undecided"


UNDECIDED = Undecided()


def _compared(comparison):
    """A comparison of numbers: None if a NaN is involved, UNDECIDED within their error."""

    def compare(a, b):
        difference = a - b
        if math.isnan(difference):
            return None
        undecided = math.fabs(difference) < difference.error
        return UNDECIDED if undecided else comparison(float(a), float(b))

    return compare


def _calculated(operation, share):
    """An operation on numbers; share(a, b) is the part of each one's error in the result's."""

    def calculate(a, b):
        first, second = float(a), float(b)
        of_a, of_b = share(first, second)
        error = math.hypot(of_a * a.error, of_b * getattr(b, "error", 0.0))
        return Number(operation(first, second), error)

    return calculate


class Number(float):
    """A measured number with its standard error, 0 where it does not matter.

    NaN if it was not measured: comparisons of it are None, not False, so that a condition on it is
    neither true nor false. `not`, `and`, max and min would take None for False: `every` and
    `largest` do not.
    """

    error = 0.0

    def __new__(cls, value, error=0.0):
        number = super().__new__(cls, value)
        number.error = error
        return number

    __lt__, __le__ = _compared(operator.lt), _compared(operator.le)
    __gt__, __ge__ = _compared(operator.gt), _compared(operator.ge)
    __add__ = __radd__ = _calculated(operator.add, lambda a, b: (1, 1))
    __mul__ = __rmul__ = _calculated(operator.mul, lambda a, b: (b, a))
    __sub__ = _calculated(operator.sub, lambda a, b: (1, 1))
    __rsub__ = _calculated(lambda a, b: b - a, lambda a, b: (1, 1))
    __truediv__ = _calculated(
        lambda a, b: a / b if b else math.nan, lambda a, b: (1 / b, a / b**2) if b else (0, 0)
    )
    __rtruediv__ = _calculated(
        lambda a, b: b / a if a else math.nan, lambda a, b: (b / a**2, 1 / a) if a else (0, 0)
    )

    def __abs__(self):
        return Number(abs(float(self)), self.error)

    def __neg__(self):
        return Number(-float(self), self.error)


NOT_MEASURED = Number("nan")


def average(values) -> Number:
    """Their mean, with its error if they have errors; NOT_MEASURED if there are none."""
    values = list(values)
    if not values:
        return NOT_MEASURED
    errors = [getattr(value, "error", 0.0) for value in values]
    return Number(mean(map(float, values)), math.hypot(*errors) / len(values))


def largest(values) -> Number:
    """The largest of them; NOT_MEASURED if there are none, or one of them is not measured."""
    values = list(values)
    if not values or any(map(math.isnan, values)):
        return NOT_MEASURED
    found = max(values, key=float)
    return Number(found, getattr(found, "error", 0.0))


def all_measured(*numbers) -> bool:
    """Have all these numbers been measured?"""
    return not any(map(math.isnan, numbers))


def every(conditions) -> bool | Undecided | None:
    """Do all conditions hold? None if one of them could not be measured."""
    conditions = list(conditions)
    if None in conditions or False in conditions:
        return None if None in conditions else False
    return UNDECIDED if UNDECIDED in conditions else True


def equal(a: list, b: list) -> bool | None:
    """Are two lists of measurements the same, to the last digit? None if one of them is empty."""
    return a == b if a and b else None


def beyond_spread(better: list, worse: list) -> bool | None:
    """Is the mean of `better` above that of `worse`, by more than the standard deviations of both?

    None with fewer than two seeds of either.
    """
    if min(len(better), len(worse)) < 2:
        return None
    return mean(better) - mean(worse) > stdev(better) + stdev(worse)


FEW = 1000  # test images: a single seed, or so few images, leave an accuracy uncertain


def counted(accuracies: list[float], images: int) -> Number:
    """The mean of accuracies in %, one for each seed, on so many test images.

    With the binomial error, where the images are few or the seed is the only one.
    """
    if not accuracies:
        return NOT_MEASURED
    uncertain = len(accuracies) == 1 or images <= FEW
    share = min(max(mean(accuracies) / 100, 0), 1)
    error = 100 * math.sqrt(share * (1 - share) / images) if uncertain else 0.0
    return Number(mean(accuracies), error)


def spread(values) -> str:
    """Mean and standard deviation of some values, or the value of one: "52.3 ± 0.4", "52.3"."""
    if not values:
        return "-"
    return f"{mean(values):.1f}" + (f" ± {stdev(values):.1f}" if len(values) > 1 else "")


def measured(values: list[float]) -> str:
    """Mean, standard deviation and, in brackets, number of seeds: "97.1 ± 0.2 (3)", "97.1 (1)"."""
    return f"{spread(values)} ({len(values)})" if values else "-"


def as_text(number: Number, form: str = ".1f") -> str:
    """A number for a text; "-" if it was not measured."""
    return "-" if math.isnan(number) else format(number, form)
