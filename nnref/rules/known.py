"""All feedback rules by name, with their colors, markers and descriptions.

The command line, reports, figures and the ledger of transport all read this table. README.md beside
this file has it with the papers.
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
from nnref.rules.mirror import ACTIVATION, INFORMATION, SYMMETRIC, Alignment, WeightMirror
from nnref.rules.targets import AtOutput, TargetPropagation


def as_it_is(model, x):
    """The model itself: a matrix B in each layer is all that its rule needs."""
    return model


class Known(NamedTuple):
    """A rule and its description."""

    rule: Feedback
    B: str  # its B, in a few words
    color: str  # in every figure: Okabe & Ito 2008, then Tol 2021, a dark brown, a dark gray
    marker: str | tuple  # in every figure, since a color alone does not reach every reader
    bits: tuple[int, int]  # from W to B, for each synapse: at every step, once at the start
    # where errors are carried by more than a matrix: (model, a batch x) -> the model that does so
    network: Callable = as_it_is


NOTHING = (0, 0)  # no bit travels


def targets(*choices) -> Callable:
    """The network of a rule of targets.py."""
    return lambda model, x: TargetPropagation(model, *choices)


def microcircuit(model, x) -> Microcircuit:
    """The network of microcircuit.py."""
    return Microcircuit(model)


KNOWN = {
    # B from W
    "backprop": Known(Backprop(), "W", "#000000", "o", (32, 0)),  # a weight is a float32
    "sign-symmetry": Known(SignSymmetry(), "λ sign(W)", "#D55E00", "s", (1, 0)),
    # and 32 bits a layer for the rms (questions/transport.py)
    "sign-symmetry-rms": Known(SignSymmetry("rms"), "rms(W) sign(W)", "#CC6677", "2", (1, 0)),
    "fixed-magnitudes": Known(
        FixedMagnitudes(), "|M| sign(W), M random and fixed", "#E69F00", "D", (1, 0)
    ),
    "redrawn-magnitudes": Known(
        RedrawnMagnitudes(), "|M| sign(W), M redrawn for every batch", "#CC79A7", "d", (1, 0)
    ),
    "signed-init": Known(SignedInit(), "λ sign(initial W), fixed", "#009E73", "p", (0, 1)),
    # B without W
    "feedback-alignment": Known(FeedbackAlignment(), "random and fixed", "#0072B2", "^", NOTHING),
    # B that learns (mirror.py)
    "kolen-pollack": Known(KolenPollack(), "random, then changed as W is", "#6B3E00", "P", NOTHING),
    "weight-mirror": Known(
        WeightMirror(), "random, then learned from noise sent through W", "#332288", "X", NOTHING
    ),
    "information-alignment": Known(
        Alignment(INFORMATION), "random, then drawn to an inverse of W", "#44AA99", "<", NOTHING
    ),
    "symmetric-alignment": Known(
        Alignment(SYMMETRIC), "random, then drawn to W", "#999933", ">", (32, 0)
    ),
    "activation-alignment": Known(
        Alignment(ACTIVATION), "random, then drawn to where x B is x W", "#AA4499", "4", (32, 0)
    ),
    # errors that take another way
    "direct-feedback": Known(
        Direct(), "none; random, fixed D to every layer", "#882255", "v", NOTHING, DirectFeedback
    ),
    "difference-target-propagation": Known(
        Inverse(), "a learned inverse; W in the last layer", "#117733", (4, 1, 0), NOTHING,
        targets(),
    ),
    "simplified-dtp": Known(
        Inverse(denoising), "a learned inverse", "#B2182B", (4, 1, 45), NOTHING, targets(AtOutput())
    ),
    "l-drl": Known(
        Inverse(difference_reconstruction), "learned, drawn to W", "#6699CC", "1", NOTHING,
        targets(AtOutput(0.7)),
    ),
    "fixed-weight-dtp": Known(
        Inverse(optimizer=None), "random and fixed; W in the last layer", "#DDCC77", (6, 1, 0),
        NOTHING, targets(),
    ),
    "microcircuit": Known(
        Apical(), "random and fixed, onto apical dendrites", "#7F3FBF", "H", NOTHING, microcircuit
    ),
    # controls
    "last-layer-only": Known(NoFeedback(), "0: the baseline", "#666666", "x", NOTHING),
    "sham": Known(Sham(), "a copy of W: the control", "#56B4E9", "+", (32, 0)),
}  # fmt: skip
RULES = {name: known.rule for name, known in KNOWN.items()}
OTHER = "#333333"  # a rule of the reader's own
COLORS = {name: known.color for name, known in KNOWN.items()}
