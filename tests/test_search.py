"""The choice of a learning rate: what is tried, in which order, and which rate is taken."""

import math

import pytest

from nnref.experiments import search
from nnref.experiments.search import DIVERGED, chosen, wanted

GUESS = 0.1


def carried_out(rates, accuracy_of) -> tuple[float, list]:
    """(the chosen rate, all (rate, seed) in the order tried), given accuracy_of(rate, seed)."""
    found = {}
    while tries := wanted(rates, found):
        assert not found.keys() & set(tries)  # nothing is tried twice
        found |= {trial: accuracy_of(*trial) for trial in tries}
    return chosen(found), list(found)


def table(accuracies: dict):
    """accuracy_of from {rate: accuracy, or (of seed 0, of seed 1)}; every other rate diverges."""

    def accuracy_of(lr, seed):
        value = accuracies.get(lr, DIVERGED)
        return value[seed] if isinstance(value, tuple) else value

    return accuracy_of


def test_the_best_rate_inside_the_grid_is_tried_with_a_second_seed_and_taken():
    lr, tried = carried_out([0.01, 0.1, 1.0], table({0.01: 0.3, 0.1: 0.6, 1.0: 0.4}))
    assert lr == 0.1
    assert tried == [(0.01, 0), (0.1, 0), (1.0, 0), (0.1, 1)]


@pytest.mark.parametrize("factor", [1, -1])
def test_while_the_best_is_at_an_edge_the_grid_grows_there(factor):
    best = 10.0 ** (factor * 2)  # two rates beyond the grid of 0.1, 1, 10

    def accuracy_of(lr, seed):
        return 0.8 - 0.1 * abs(math.log10(lr / best))

    lr, tried = carried_out([0.1, 1.0, 10.0], accuracy_of)
    assert lr == pytest.approx(best)
    outermost = max(tried)[0] if factor > 0 else min(tried)[0]
    assert outermost == pytest.approx(best * 10.0**factor)  # one beyond the best, and no more


def test_a_grid_does_not_grow_without_end():
    lr, tried = carried_out([0.1, 0.2], lambda lr, seed: 1 - 0.5 / (1 + lr))
    assert len({rate for rate, _ in tried}) == 2 + search.GROWTHS
    assert lr == max(tried)[0] and search.at_edge(dict.fromkeys(tried, 0), lr)


def test_a_near_tie_is_decided_by_the_mean_of_two_seeds():
    accuracies = {0.01: 0.3, 0.1: (0.600, 0.50), 0.2: (0.595, 0.58), 0.4: 0.57, 1.0: 0.2}
    lr, tried = carried_out([0.01, 0.1, 0.2, 0.4, 1.0], table(accuracies))
    assert lr == 0.2
    assert tried[5:] == [(0.1, 1), (0.2, 1)]  # 0.4 is too far from the best


@pytest.mark.parametrize("second", [0.17, DIVERGED])
def test_a_rate_at_which_a_seed_collapses_is_refused(second):
    accuracies = {0.01: 0.6, 0.1: 0.7, 1.0: (0.87, second), 10.0: 0.1}
    lr, tried = carried_out([0.01, 0.1, 1.0, 10.0], table(accuracies))
    assert lr == 0.1
    assert tried[4:] == [(1.0, 1), (0.1, 1)]


def test_if_every_rate_collapses_the_best_mean_is_taken():
    lr, _ = carried_out([0.1, 0.2, 0.4], table({0.1: (0.5, 0.1), 0.2: (0.6, 0.2), 0.4: (0.4, 0.1)}))
    assert lr == 0.2


def test_three_smaller_rates_follow_the_nearest_first_but_none_that_the_search_refused():
    found = dict.fromkeys([(0.1, 0), (0.03, 0), (0.01, 0), (0.003, 0), (0.001, 0), (0.3, 0)], 0.5)
    assert search.below(found, 0.1) == [0.03, 0.01, 0.003]
    assert search.below(found | {(0.03, 1): 0.2}, 0.1) == [0.01, 0.003, 0.001]
    assert search.below(found | {(0.03, 0): DIVERGED}, 0.1) == [0.01, 0.003, 0.001]


def test_below_the_grid_its_step_goes_on():
    found = dict.fromkeys([(0.1, 0), (0.2, 0), (0.4, 0)], 0.5)
    assert search.below(found, 0.2) == [0.1, 0.05, 0.025]
    assert search.below(found, 0.1) == [0.05, 0.025, 0.013]


def test_of_rates_tried_at_full_length_the_best_mean_is_taken():
    def record(accuracy):
        return {"history": [{"held_out_accuracy": accuracy}]}

    trainings = {0: [record(0.9), record(0.1)], 1: [record(0.6), record(0.5)]}
    assert search.best_of(trainings) == 1
    assert search.best_of(trainings | {2: [record(0.9), record(0.3)]}) == 2
    diverged = record(0.9) | {"diverged": 1}
    assert search.best_of({0: [diverged, diverged], 1: [record(0.1)] * 2}) == 1
    assert search.best_of({0: [record(0.9), diverged], 1: [record(0.4)] * 2}) == 0
    assert search.best_of({0: [record(0.5)], 1: [record(0.5)]}) == 0


@pytest.mark.parametrize(
    ("accuracies", "falls"),
    [([0.1, 0.8, 0.9], False), ([0.8, 0.41, 0.9], False), ([0.8, 0.39, 0.9], True), ([], False)],
)
def test_a_training_falls_if_it_loses_more_than_half_of_what_it_had(accuracies, falls):
    trial = {"history": [{"held_out_accuracy": accuracy} for accuracy in [None, *accuracies]]}
    assert search.fell(trial, GUESS) == falls
    assert search.fell(trial | {"diverged": 3}, GUESS)


def test_at_chance_nothing_falls():
    trial = {"history": [{"held_out_accuracy": accuracy} for accuracy in (0.14, 0.05, 0.1)]}
    assert not search.fell(trial, GUESS) and search.fell(trial, guess=0.05)


@pytest.mark.parametrize("accuracy", [DIVERGED, 0.1, 0.149])
def test_a_search_at_chance_says_so(accuracy):
    lr, tried = carried_out([0.1, 0.2], lambda lr, seed: accuracy)
    found = dict.fromkeys(tried, accuracy)
    assert search.remarks(found, GUESS) == [f"the chosen learning rate, {lr:g}, is at chance"]
    assert search.remarks(dict.fromkeys(tried, 0.16), GUESS) != search.remarks(found, GUESS)


def test_a_search_is_at_chance_if_the_rate_that_is_taken_is():
    """A rate that learned with one of two seeds is refused, and its accuracy does not count."""
    found = {(0.1, 0): 0.11, (0.1, 1): 0.1, (0.2, 0): 0.1, (0.2, 1): 0.21}
    assert search.chosen(found) == 0.1 and search.too_short(found, GUESS)


def test_a_rate_that_learned_with_one_seed_is_not_at_chance_though_the_other_diverged():
    found = {(0.1, 0): 0.9, (0.1, 1): DIVERGED}
    assert not search.at_chance(found, search.chosen(found), GUESS)


def test_a_search_is_too_short_unless_it_learned_or_all_rates_diverged():
    for accuracy, expected in ((0.1, True), (0.16, False), (DIVERGED, False)):
        assert search.too_short({(0.1, 0): accuracy, (0.1, 1): accuracy}, GUESS) == expected


def test_of_a_search_that_was_repeated_the_longer_trainings_count():
    trials = [
        {"lr": 0.1, "seed": 0, "epochs": epochs, "history": [{"held_out_accuracy": accuracy}]}
        for epochs, accuracy in ((2, 0.1), (8, 0.7))
    ]
    assert search.accuracies(trials) == {(0.1, 0): 0.7}
    assert search.accuracies([]) == {}


def test_a_grid_of_which_every_rate_diverges_grows_downward():
    lr, tried = carried_out([10.0, 100.0], table({1.0: 0.3, 0.1: 0.6, 0.01: 0.5}))
    assert lr == 0.1 and min(tried)[0] == 0.01


def test_a_reader_is_told_of_refused_rates_and_of_an_edge():
    found = {(0.1, 0): 0.3, (0.2, 0): 0.5, (0.4, 0): 0.6, (0.4, 1): 0.1, (0.2, 1): 0.5}
    assert search.remarks(found, GUESS) == ["0.4 is refused: a seed collapses"]
    assert search.remarks({(0.1, 0): 0.3, (0.1, 1): 0.3}, GUESS) == ["the best rate is at an edge"]


def test_a_rate_that_is_added_keeps_the_step_of_the_grid():
    _, tried = carried_out([0.02, 0.1, 0.5], table({0.02: 0.2, 0.1: 0.3, 0.5: 0.6}))
    assert tried[-1] == (2.5, 0)
    _, tried = carried_out([0.003, 0.01, 0.03], table({0.003: 0.6, 0.01: 0.3, 0.03: 0.2}))
    assert tried[-1] == (0.0009, 0)
