"""Claims about the result of an experiment, with their verdicts.

A condition of a claim is a comparison of measured numbers, written before the result was known:

    @claim("SS learns less than BP", "an MLP", words({"SS": {"rule": "SS"}}, ["mnist"]))
    def _less(result):
        ss, bp = (result.mean(data="mnist", rule=rule) for rule in ("SS", "BP"))
        yield "mnist: SS at least 5 points below BP", ss <= bp - 5
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from nnref.experiments.numbers import UNDECIDED, Undecided
from nnref.experiments.result import Result


@dataclass
class Claim:
    """One row of the ledger (tutorials/claims.md).

    conditions    what must hold if the claim does, as (words, whether it holds here), written
                  before the result is known; None in place of the truth: not measured
    guards        the same, against a trivial result (that BP learns at all, say): they must hold
                  for "reproduced", but do not make a "not" into a "partly"
    scale         the same, of the setting: where they do not hold, it is too short or too small to
                  test the claim, whatever the conditions say
    """

    name: str  # short; tests and texts refer to the claim by it
    text: str  # what the paper says
    published: str  # its number and where it is from, or "none in print"
    setting: str  # what we ran
    ours: str  # mean ± standard deviation, and over how many seeds
    conditions: Iterable[tuple[str, bool | Undecided | None]]
    guards: Iterable[tuple[str, bool | Undecided | None]] = ()
    scale: Iterable[tuple[str, bool | Undecided | None]] = ()

    def __post_init__(self):
        self.conditions, self.guards = list(self.conditions), list(self.guards)
        self.scale = list(self.scale)

    @property
    def verdict(self) -> str:
        """reproduced (all conditions and guards hold), partly (some conditions), not (none).

        Or: not tested at this scale (`scale` does not hold); undecided (a number is closer to its
        threshold than its error); incomplete (something was not measured).
        """
        found, guarded, scale = (
            [holds for _, holds in answers]
            for answers in (self.conditions, self.guards, self.scale)
        )
        if not found or None in found + guarded + scale:
            return "incomplete"
        if not all(scale):
            return "not tested at this scale"
        if UNDECIDED in found + guarded:
            return "undecided"
        return "reproduced" if all(found + guarded) else "partly" if any(found) else "not"


def claim(
    text: str, setting, ours: Callable, published="none in print", guards=None, scale=None
):  # fmt: skip
    """Make a claim of a generator of its conditions, whose name becomes the claim's.

    setting          what we ran, in words; or a function from the result to these words
    ours             ours(result) -> what we measured, in words
    guards, scale    guards(result) -> the guards; None: there are none

    The generator becomes a function from a Result to the Claim.
    """

    def decorate(conditions):
        name = conditions.__name__.strip("_").replace("_", " ")

        def made(result: Result) -> Claim:
            run = setting(result) if callable(setting) else setting
            guarded, scaled = (of(result) if of else () for of in (guards, scale))
            return Claim(
                name, text, published, run, ours(result), conditions(result), guarded, scaled
            )

        return made

    return decorate


def listed(*claims: Callable) -> Callable:
    """The function `claims` of an experiment: from a Result to all of its claims."""
    return lambda result: [claim_of(result) for claim_of in claims]
