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
from nnref.rules import mirror


class Known(NamedTuple):
    """A rule and its description."""

    rule: Feedback
    B: str  # its B, in a few words
    color: str  # in every figure: Okabe & Ito 2008, with gray and a dark brown
    bits: tuple[int, int]  # from W to B, for each synapse: at every step, once at the start
    # where an error is carried by more than a matrix: (model, a batch x) -> the model that does so
    network: Callable = lambda model, x: model


KNOWN = {
    "backprop": Known(Backprop(), "W", "#000000", (32, 0)),  # a weight is a float32
    "sign-symmetry": Known(SignSymmetry(), "λ sign(W)", "#D55E00", (1, 0)),
    "sign-symmetry-rms": Known(  # and 32 bits a layer for the rms (questions/transport.py)
        SignSymmetry("rms"), "rms(W) sign(W)", "#CC6677", (1, 0)
    ),
    "fixed-magnitudes": Known(
        FixedMagnitudes(), "|M| sign(W), M random and fixed", "#E69F00", (1, 0)
    ),
    "redrawn-magnitudes": Known(
        RedrawnMagnitudes(), "|M| sign(W), M redrawn for every batch", "#CC79A7", (1, 0)
    ),
    "signed-init": Known(SignedInit(), "λ sign(initial W), fixed", "#009E73", (0, 1)),
    "feedback-alignment": Known(FeedbackAlignment(), "random and fixed", "#0072B2", (0, 0)),
    "kolen-pollack": Known(KolenPollack(), "random, then changed as W is", "#6B3E00", (0, 0)),
    "weight-mirror": Known(
        mirror.WeightMirror(), "random, then learned from noise sent through W", "#332288", (0, 0)
    ),
    "information-alignment": Known(
        mirror.Alignment(mirror.INFORMATION),
        "random, then learned from activities: toward an inverse of W",
        "#44AA99",
        (0, 0),
    ),
    "symmetric-alignment": Known(
        mirror.Alignment(mirror.SYMMETRIC), "random, then drawn to W", "#999933", (32, 0)
    ),
    "activation-alignment": Known(
        mirror.Alignment(mirror.ACTIVATION),
        "random, then drawn to where x B is x W",
        "#AA4499",
        (32, 0),
    ),
    "last-layer-only": Known(NoFeedback(), "0: the baseline", "#999999", (0, 0)),
    "sham": Known(Sham(), "a copy of W: the control", "#56B4E9", (32, 0)),
}
RULES = {name: known.rule for name, known in KNOWN.items()}
COLORS = {name: known.color for name, known in KNOWN.items()}
