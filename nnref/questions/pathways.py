"""Feedback pathways in which a share p of the feedback weights has the sign of its W.

At p = 1 the two pathways agree in every sign (sign-symmetry); at p = 0 in none: they are
antiparallel. "Agree" may refer to the present W or to the initial W ("at birth"). A *tracking* B
follows the signs of W through a constant mask; a *fixed* B is drawn once from the signs of the
initial W, and W may change its signs later. Liao, Leibo & Poggio 2016 vary p from 1 to
0.5 for a tracking B; we know of no work with a smaller p, or that compares the two.

The angle of W and B follows from p. With m = +1 at a share p of the synapses, -1 elsewhere, and
independent of |w|,

    cos = E[m |w|] / sqrt(E w^2) = (2 p - 1) E|w| / sqrt(E w^2)

For a tracking B this holds as long as the weights that agree are as large as those that do not; for
a fixed B it holds at birth.
"""

import math

from nnref.backend import to_device, xp
from nnref.errors import InputError
from nnref.feedback import Feedback
from nnref.measure import predicted_sign_angle


class TrackingConcordance(Feedback):
    """B = lambda * m * sign(W): the mask m (n_in, n_out), drawn once, is +1 with probability p.

    So a share p of the synapses has feedback of the sign of W, also after W has changed its sign.
    """

    def __init__(self, p: float):
        if not 0 <= p <= 1:
            raise InputError(f"{type(self).__name__}: expected p from 0 to 1, found {p}")
        self.p = p

    def born(self, W, scale, draw):
        agrees = to_device(self.rng.random(W.shape) < self.p)
        self.signed_scale = xp.where(agrees, scale, -scale).astype(W.dtype)

    def __call__(self, W):
        return self.signed_scale * xp.sign(W)


class FixedConcordance(TrackingConcordance):
    """B = lambda * m * sign(W at birth): the same matrix on the first step, then constant.

    p = 1 is SignedInit, and p = 0.5 a random B of a single magnitude: feedback alignment.
    """

    def born(self, W, scale, draw):
        super().born(W, scale, draw)
        self.B = self.signed_scale * xp.sign(W)

    def __call__(self, W):
        return self.B


class Inverted(Feedback):
    """B = -(the B of `pathway`): an inhibitory interneuron at its end reverses every error.

    An antiparallel pathway that tracks is, with an interneuron, sign-symmetry, exactly.
    """

    def __init__(self, pathway: Feedback):
        if pathway.learns:  # the optimizer would not find its B in here
            raise InputError(
                f"Inverted: expected a pathway whose B does not learn, "
                f"found {type(pathway).__name__}"
            )
        self.pathway = pathway

    def born(self, W, scale, draw):
        self.pathway.rng = self.rng
        self.pathway.born(W, scale, draw)

    def __call__(self, W):
        return -self.pathway(W)

    def on_step(self, layer):
        self.pathway.on_step(layer)


def predicted_angle(W, p: float) -> float:
    """The angle between W and a B of concordance p, in degrees, from the sizes of W (see above).

    Normal weights: 37.1 at p = 1, 66.5 at 0.75, 90 at 0.5, 142.9 at 0.
    """
    cosine = math.cos(math.radians(predicted_sign_angle(W)))
    return math.degrees(math.acos((2 * p - 1) * cosine))
