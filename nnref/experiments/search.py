"""The choice of a learning rate, on held-out images, from short trainings.

All rates of a grid are tried with seed 0. The best rate and those that come close are tried with
seed 1, and the one with the best mean of both is chosen. A rate at which a seed collapses is
refused. While the chosen rate lies at an edge, the grid grows there. If the rate that is taken in
the end does not learn, the whole search is repeated once, in trainings LONGER times as long.

What does best in short trainings may be too large for long ones. So if a training of full length
falls, all seeds are trained with the next smaller rate, too, and so on while one falls. The rate
with the best mean accuracy of these trainings, on held-out images again, is taken.

`found` is everywhere {(rate, seed): held-out accuracy, 0 to 1}, DIVERGED where training diverged.
"""

from collections.abc import Sequence
from itertools import accumulate
from statistics import mean

DIVERGED = -1.0  # below every accuracy
GROWTHS = 6  # rates that are added to a grid, at most
TIE = 0.01  # accuracies this close may be in the other order with another seed
COLLAPSE = 0.5  # a seed collapses if it has less than this share of the other one's accuracy
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
    """The smaller rates, the largest first: those to try if trainings of full length fall."""
    return sorted({rate for rate, _ in found if rate < lr}, reverse=True)


def best_of(trainings: dict) -> int:
    """The key of the trainings with the best mean accuracy, of several; the first on a tie."""
    return max(trainings, key=lambda key: mean(map(accuracy_of, trainings[key])))


def remarks(found: dict, guess: float) -> list[str]:
    """What a reader should know of a search that has ended."""
    if at_chance(found, guess):
        return [f"the learning rate that is taken, {chosen(found):g}, is at chance"]
    tried = sorted(lr for lr, seed in found if seed == 1)
    refused = [f"{lr:g} is refused: a seed collapses" for lr in tried if collapsed(found, lr)]
    return refused + ["the best rate is at an edge"] * at_edge(found, chosen(found))


def at_edge(found: dict, lr: float) -> bool:
    """Is this the smallest or the largest rate that was tried? A better one may lie outside."""
    tried = [rate for rate, _ in found]
    return lr in (min(tried), max(tried))


def at_chance(found: dict, guess: float) -> bool:
    """Has the rate that is taken learned nothing? `guess` is the accuracy of a guess."""
    lr = chosen(found)
    of_both = [max(accuracy, 0.0) for (rate, _), accuracy in found.items() if rate == lr]
    return mean(of_both) < CHANCE * guess


def too_short(found: dict, guess: float) -> bool:
    """Is the search at chance, though not all rates diverged? Longer trainings may tell more."""
    return at_chance(found, guess) and max(found.values()) > DIVERGED


def collapsed(found: dict, lr: float) -> bool:
    """Has one of the two seeds of a rate diverged, or far less accuracy than the other?"""
    low, high = sorted([found[lr, 0], found[lr, 1]])
    return low < COLLAPSE * high


def fell(trial: dict) -> bool:
    """Did a training diverge, or lose more than half of its held-out accuracy at some time?"""
    if "diverged" in trial:
        return True
    each = [entry.get("held_out_accuracy") for entry in trial.get("history", ())]
    found = [accuracy for accuracy in each if accuracy is not None]
    return any(
        now < COLLAPSE * best for now, best in zip(found, accumulate(found, max), strict=True)
    )


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
