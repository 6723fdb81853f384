"""Made-up results of experiments, and their tables and figures as numbers."""

import re

from nnref.experiments.result import Result

FACTS = {"network": "9-9", "images": 90, "epochs": 3, "lr": 0.1}


def trial(accuracy, seed=0, **facts):
    """A finished trial with a test accuracy in %."""
    return FACTS | facts | {"seed": seed, "test": {"accuracy": accuracy / 100}}


def searches(*rates, **facts):
    """The trials in which a learning rate was chosen, of these."""
    found = {"search": True, "history": [{"held_out_accuracy": 0.5}]}
    return [FACTS | facts | found | {"lr": lr} for lr in rates]


def result(trials, tier="small"):
    return Result({"tier": tier, "trials": trials})


def verdicts(module, trials) -> dict:
    """Name of a claim -> its verdict."""
    return {claim.name: claim.verdict for claim in module.claims(result(trials))}


def rows(table: str) -> list[list[str]]:
    """The lines of a table as their cells, which stand at least two blanks apart."""
    return [re.split(r"\s{2,}", line.strip()) for line in table.splitlines()]


def lines(axes) -> dict:
    """Label of a line -> its points."""
    return {
        line.get_label(): [(float(x), float(y)) for x, y in line.get_xydata()]
        for line in axes.lines
    }


NO_SEEDS = ("|", "*", "None")  # markers of means, of published values, of nothing


def dots(axes, row: str, color: str) -> list[float]:
    """The values of a row of a figure of dots, of the full dots of this color."""
    y = [label.get_text() for label in axes.get_yticklabels()].index(row)
    full = [
        line
        for line in axes.lines
        if line.get_marker() not in NO_SEEDS
        if line.get_markerfacecolor() == line.get_color() == color
        if all(abs(place - y) < 0.5 for place in line.get_ydata())
    ]
    return [float(x) for line in full for x in line.get_xdata()]


def all_dots(axes, stars: bool = False) -> dict:
    """(row, color, is it filled?) -> the values that plots.experiments.dots has drawn there.

    stars    the published values, not those of the seeds
    """
    names = [text.get_text() for text in axes.get_yticklabels()]
    return {
        (
            names[round(line.get_ydata()[0])],
            line.get_color(),
            line.get_markerfacecolor() == line.get_color(),
        ): list(line.get_xdata())
        for line in axes.lines
        if (line.get_marker() == "*" if stars else line.get_marker() not in NO_SEEDS)
        if len(line.get_xdata())
    }


def failing(claim) -> list[str]:
    """Which of a claim's conditions and guards do not hold."""
    return [words for words, holds in [*claim.conditions, *claim.guards] if holds is False]
