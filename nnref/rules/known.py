"""All feedback rules by name, with their colors and descriptions.

The command line, reports, figures and the ledger of transport all read this table.
"""

from collections.abc import Callable
from typing import NamedTuple

from nnref.feedback import (
    Backprop,
    Feedback,
    FeedbackAlignment,
    FixedMagnitudes,
    KolenPollack,
    NoFeedback,
    RedrawnMagnitudes,
    Sham,
    SignedInit,
    SignSymmetry,
)
from nnref.rules.direct import Direct, DirectFeedback
from nnref.rules.inverse import Inverse, denoising, difference_reconstruction
from nnref.rules.microcircuit import Apical, Microcircuit
from nnref.rules.targets import AtOutput, TargetPropagation


def as_it_is(model, x):
    """The model itself: a matrix B in each layer is all that its rule needs."""
    return model


class Known(NamedTuple):
    """A rule and its description."""

    rule: Feedback
    B: str  # its B, in a few words
    color: str  # in every figure: Okabe & Ito 2008, gray, dark brown, Tol 2021
    bits: tuple[int, int]  # from W to B, for each synapse: at every step, once at the start
    # where an error is carried by more than a matrix: (model, a batch x) -> the model that does so
    network: Callable = as_it_is


def _targets(*choices):
    """The network of a rule of targets.py."""
    return lambda model, x: TargetPropagation(model, *choices)


KNOWN = {
    "backprop": Known(Backprop(), "W", "#000000", (32, 0)),  # a weight is a float32
    "sign-symmetry": Known(SignSymmetry(), "λ sign(W)", "#D55E00", (1, 0)),
    "fixed-magnitudes": Known(
        FixedMagnitudes(), "|M| sign(W), M random and fixed", "#E69F00", (1, 0)
    ),
    "redrawn-magnitudes": Known(
        RedrawnMagnitudes(), "|M| sign(W), M redrawn for every batch", "#CC79A7", (1, 0)
    ),
    "signed-init": Known(SignedInit(), "λ sign(initial W), fixed", "#009E73", (0, 1)),
    "feedback-alignment": Known(FeedbackAlignment(), "random and fixed", "#0072B2", (0, 0)),
    "kolen-pollack": Known(KolenPollack(), "random, then changed as W is", "#6B3E00", (0, 0)),
    "direct-feedback": Known(
        Direct(), "none; random, fixed D to every layer", "#882255", (0, 0), DirectFeedback
    ),
    "last-layer-only": Known(NoFeedback(), "0: the baseline", "#999999", (0, 0)),
    "difference-target-propagation": Known(
        Inverse(), "a learned inverse; W in the last layer", "#117733", (0, 0), _targets()
    ),
    "simplified-dtp": Known(
        Inverse(denoising), "a learned inverse", "#B2182B", (0, 0), _targets(AtOutput())
    ),
    "l-drl": Known(
        Inverse(difference_reconstruction),
        "learned; it comes to W",
        "#6699CC",
        (0, 0),
        _targets(AtOutput(0.7)),
    ),
    "fixed-weight-dtp": Known(
        Inverse(optimizer=None),
        "random and fixed; W in the last layer",
        "#DDCC77",
        (0, 0),
        _targets(),
    ),
    "sham": Known(Sham(), "a copy of W: the control", "#56B4E9", (32, 0)),
    "microcircuit": Known(
        Apical(),
        "random and fixed, onto apical dendrites",
        "#332288",
        (0, 0),
        lambda model, x: Microcircuit(model),
    ),
}
RULES = {name: known.rule for name, known in KNOWN.items()}
OTHER = "#333333"  # a rule of the reader's own
COLORS = {name: known.color for name, known in KNOWN.items()}
