"""Measured numbers: comparisons, errors, and how they are written."""

import math

import pytest

from nnref.experiments.numbers import (
    NOT_MEASURED,
    UNDECIDED,
    Number,
    average,
    equal,
    every,
    largest,
    measured,
    spread,
)

COMPARISONS = [
    lambda a, b: a < b,
    lambda a, b: a <= b,
    lambda a, b: a > b,
    lambda a, b: a >= b,
    lambda a, b: a <= b - 5,
    lambda a, b: 5 + b >= a,
    lambda a, b: abs(a - b) <= 2,
    lambda a, b: a / 2 < 3 * b,
    lambda a, b: 100 - a > b * 3,
    lambda a, b: a > b > 1,
    lambda a, b: 1 < a < b,
    lambda a, b: -a < b - 6,
    lambda a, b: 12 / a < b,
]


@pytest.mark.parametrize("compare", COMPARISONS)
def test_a_condition_on_numbers_is_that_of_floats_and_none_where_one_is_not_measured(compare):
    for a, b in ((3.0, 4.0), (4.0, 3.0), (3.0, 3.0), (9.0, 2.0)):
        holds = compare(a, b)
        assert compare(Number(a), Number(b)) is holds
        assert compare(Number(a), b) is holds
        assert compare(a, Number(b)) is holds
    assert compare(NOT_MEASURED, Number(3)) is None
    assert compare(Number(3), NOT_MEASURED) is None
    assert compare(NOT_MEASURED, NOT_MEASURED) is None


def test_a_share_of_nothing_is_not_measured():
    assert math.isnan(Number(3) / Number(0)) and (Number(3) / Number(0) < 1) is None


def test_what_is_taken_over_several_is_not_measured_if_one_of_them_is_not():
    assert (average([1, 2]), largest([Number(1), Number(2)])) == (1.5, 2)
    assert average([Number(1, 0.3), Number(2, 0.4), 3]).error == pytest.approx(0.5 / 3)
    assert largest([Number(1, 0.3), Number(2, 0.4), Number(0, 0.5)]).error == 0.4
    for nothing in (average([]), largest([]), largest([Number(1), NOT_MEASURED])):
        assert math.isnan(nothing)
    assert every([True, True]) is True
    assert every([True, False]) is False
    assert every([False, None]) is None
    assert every([True, UNDECIDED]) is UNDECIDED and every([False, UNDECIDED]) is False
    assert (equal([1], [1]), equal([1], [2]), equal([], []), equal([1], [])) == (
        True, False, None, None,
    )  # fmt: skip


@pytest.mark.parametrize(
    "operation",
    [
        lambda a, b: a + b,
        lambda a, b: a - b,
        lambda a, b: a * b,
        lambda a, b: a / b,
        lambda a, b: 2 - a + b,
        lambda a, b: 100 / a - b * 3,
        lambda a, b: abs(-a) / (2 * b),
    ],
)
def test_errors_are_passed_on_to_first_order(operation):
    a, b, step = 3.0, 0.5, 1e-6
    by_a = (operation(a + step, b) - operation(a - step, b)) / (2 * step)
    by_b = (operation(a, b + step) - operation(a, b - step)) / (2 * step)
    found = operation(Number(a, 0.01), Number(b, 0.02))
    assert found == operation(a, b)
    assert found.error == pytest.approx(math.hypot(0.01 * by_a, 0.02 * by_b), rel=1e-6)


def test_a_number_is_given_with_the_count_of_its_seeds():
    assert measured([1.0, 2.0, 3.0]) == "2.0 ± 1.0 (3)"
    assert (measured([2.5]), measured([])) == ("2.5 (1)", "-")


def test_spread_is_the_mean_and_the_standard_deviation_of_a_sample():
    assert (spread([]), spread([1.25]), spread([1, 2, 3])) == ("-", "1.2", "2.0 ± 1.0")
