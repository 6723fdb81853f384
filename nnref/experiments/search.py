"""The choice of a learning rate, on held-out images, from short trainings.

All rates of a grid are tried with seed 0. The best rate and those that come close are tried with
seed 1, and the one with the best mean of both is chosen. A rate at which a seed collapses is
refused. While the chosen rate lies at an edge, the grid grows there. If the rate that is chosen in
the end does not learn, the whole search is repeated once, in trainings LONGER times as long.

What does best in short trainings may be too large for long ones. So if a training of full length
falls, all seeds are trained with the next smaller rate, too, and so on while one falls, with at
most SMALLER rates. The rate with the best mean accuracy of these trainings, on held-out images
again, is taken. Trainings that lose less, or lose it slowly, keep the rate of the search.

`found` is everywhere {(rate, seed): held-out accuracy, 0 to 1}, DIVERGED where training diverged.
"""

from collections.abc import Sequence
from itertools import accumulate
from statistics import mean

DIVERGED = -1.0  # below every accuracy
GROWTHS = 6  # rates that are added to a grid, at most
SMALLER = 3  # rates that are tried at full length after the chosen one, at most
TIE = 0.01  # accuracies this close may be in the other order with another seed
COLLAPSE = 0.5  # a seed collapses if it has less than this share of the other one's accuracy, and
# a training falls if at some time it has less than this share of what it had before
LONGER = 4  # times the epochs of a search that ended at chance
CHANCE = 1.5  # at chance: less than this many times the accuracy of a guess


def accuracy_of(record: dict) -> float:
    """The held-out accuracy at the end of a trial, DIVERGED if it did."""
    if "diverged" in record:
        return DIVERGED
    return record["history"][-1]["held_out_accuracy"]


def accuracies(trials: Sequence[dict]) -> dict:
    """`found` from the trials of a search; of the longer one if it was repeated."""
    longest = max((trial.get("epochs", 0) for trial in trials), default=0)
    return {
        (trial["lr"], trial.get("seed", 0)): accuracy_of(trial)
        for trial in trials
        if trial.get("epochs", 0) == longest
    }


def wanted(rates: Sequence[float], found: dict) -> list[tuple[float, int]]:
    """The (rate, seed) to try next, after the grid `rates`; none: the rate can be chosen."""
    missing = [(lr, 0) for lr in rates if (lr, 0) not in found]
    if missing:
        return missing
    if seconds := [(lr, 1) for lr in _candidates(found) if (lr, 1) not in found]:
        return seconds
    tried = sorted({lr for lr, _ in found})
    room = len(tried) < len(rates) + GROWTHS
    return [(_beyond(tried, chosen(found)), 0)] if room and at_edge(found, chosen(found)) else []


def chosen(found: dict) -> float:
    """The rate with the best mean accuracy, of those that are not refused."""
    tried = [lr for lr in _candidates(found) if (lr, 1) in found]
    if not tried:  # all diverged
        return _best(found)
    standing = [lr for lr in tried if not collapsed(found, lr)] or tried
    return max(standing, key=lambda lr: mean([found[lr, 0], found[lr, 1]]))


def below(found: dict, lr: float) -> list[float]:
    """The smaller rates to try, one after the other, while trainings of full length fall.

    Those that the search tried and did not refuse; then others, with the step of the grid.
    """
    tried = sorted({rate for rate, _ in found})
    smaller = [rate for rate in tried if rate < lr and not _refused(found, rate)][::-1]
    while len(smaller) < SMALLER and len(tried) > 1:
        tried.insert(0, _beyond(tried, tried[0]))
        smaller.append(tried[0])
    return smaller[:SMALLER]


def best_of(trainings: dict) -> int:
    """The key of the trainings with the best mean accuracy; one that diverged counts as 0.

    On a tie it is the first key.
    """
    return max(
        trainings, key=lambda key: mean(max(accuracy_of(trial), 0.0) for trial in trainings[key])
    )


def remarks(found: dict, guess: float) -> list[str]:
    """What a reader should know of a search that has ended."""
    lr = chosen(found)
    if at_chance(found, lr, guess):
        return [f"the chosen learning rate, {lr:g}, is at chance"]
    tried = sorted(rate for rate, seed in found if seed == 1)
    refused = [f"{rate:g} is refused: a seed collapses" for rate in tried if collapsed(found, rate)]
    return refused + ["the best rate is at an edge"] * at_edge(found, lr)


def at_edge(found: dict, lr: float) -> bool:
    """Is this the smallest or the largest rate that was tried? A better one may lie outside."""
    tried = [rate for rate, _ in found]
    return lr in (min(tried), max(tried))


def at_chance(found: dict, lr: float, guess: float) -> bool:
    """Has a rate of the search learned nothing? `guess` is the accuracy of a guess."""
    tries = [max(accuracy, 0.0) for (rate, _), accuracy in found.items() if rate == lr]
    return bool(tries) and mean(tries) < CHANCE * guess


def too_short(found: dict, guess: float) -> bool:
    """Is the chosen rate at chance, though not all diverged? Longer trainings may tell more."""
    return at_chance(found, chosen(found), guess) and max(found.values()) > DIVERGED


def collapsed(found: dict, lr: float) -> bool:
    """Has one of the two seeds of a rate diverged, or far less accuracy than the other?"""
    low, high = sorted([found[lr, 0], found[lr, 1]])
    return low < COLLAPSE * high


def fell(trial: dict, guess: float) -> bool:
    """Did a training diverge, or lose more than half of its held-out accuracy at some time?

    Accuracies at chance do not count: they go up and down without any learning.
    """
    if "diverged" in trial:
        return True
    each = [entry.get("held_out_accuracy") for entry in trial.get("history", ())]
    found = [accuracy for accuracy in each if accuracy is not None]
    return any(
        now < COLLAPSE * best and best >= CHANCE * guess
        for now, best in zip(found, accumulate(found, max), strict=True)
    )


def _refused(found, lr):
    """Did a rate diverge in the search with seed 0, or is it refused because a seed collapsed?"""
    return found[lr, 0] == DIVERGED or ((lr, 1) in found and collapsed(found, lr))


def _best(found):
    """The rate with the best accuracy of seed 0; of several, the one that came first."""
    first = {lr: accuracy for (lr, seed), accuracy in found.items() if seed == 0}
    return max(first, key=first.get)


def _beyond(tried, best):
    """The next rate outside of the sorted grid, on the side of the best one."""
    near = tried[1] if best == tried[0] else tried[-2]
    return float(f"{best * best / near:.2g}")


def _candidates(found):
    """The rates that may be chosen: the best, and those close to it.

    If all of these collapse, then the best of the others, with those close to that, and so on.
    """
    first = {lr: accuracy for (lr, seed), accuracy in found.items() if seed == 0}
    found_so_far = []
    while first:
        top = max(first.values())
        group = [lr for lr in first if first[lr] >= max(top - TIE, 0.0)]
        found_so_far += group
        if not all((lr, 1) in found and collapsed(found, lr) for lr in group):
            break
        first = {lr: accuracy for lr, accuracy in first.items() if lr not in group}
        first = {lr: accuracy for lr, accuracy in first.items() if accuracy != DIVERGED}
    return found_so_far
