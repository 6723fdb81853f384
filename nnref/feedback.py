"""The idea of this project: which matrix B carries the error back through a layer?

Forward, every layer computes sigma = x W + b (Eq. 1). Backward, it gets delta = dE/dsigma and sends
e = delta B^T to the layer below (Eq. 2), where W and B have the same shape (n_in, n_out).
Backpropagation is the choice B = W, which a brain could make only if every synapse knew the
strength of another one far away. Each class below is another choice. "The authors" are Xiao, Chen,
Liao & Poggio 2018, arXiv 1811.03567, and "their code" is what they released with it.

A layer's B reaches only the layers below it. So its own weight gradient does not depend on its own
B, the B of the first layer is never used, and the gradient of the last layer is always exact.
"""

import copy
from functools import partial

from nnref.backend import accelerated, xp
from nnref.init import sample


class Feedback:
    """A rule that answers one question: given the weights W of a layer now, what is its B?

    To write a rule of your own, derive from this class and say what B is in `__call__`. Override
    `born` if B needs something from the layer's birth: a scale, random numbers, a copy of W.
    With `learns = True`, the optimizer changes the array `self.B` by the gradient of W.
    """

    learns = False

    def for_layer(self, W, scale, law, rng):
        """A copy of this rule for one layer, with a random stream of its own.

        `law` and `scale` say how the authors draw a random B for this kind of layer (init.py). The
        stream is spawned, so what a rule draws leaves the initial weights as they were.
        """
        rule = copy.copy(self)
        rule.rng = rng.spawn(1)[0]
        rule.born(W, scale, draw=partial(sample, law, rule.rng, W.shape, scale, W.dtype))
        return rule

    def born(self, W, scale, draw):
        """Called once, when the layer has drawn its initial W of shape (n_in, n_out).

        `scale` is the authors' lambda for this layer. `draw()` returns a fresh random matrix of the
        shape of W: uniform from -lambda to lambda in Linear, normal with standard deviation lambda
        in Conv2d.
        """

    def __call__(self, W):
        """B, of the shape of W: (n_in, n_out)."""
        raise NotImplementedError(f"{type(self).__name__} does not say what B is")


class Backprop(Feedback):
    """B = W: backpropagation, exact gradients (Rumelhart, Hinton & Williams 1986)."""

    def __call__(self, W):
        return W


class Sham(Feedback):
    """B = a copy of W: the control, which must equal Backprop bit for bit (their code)."""

    def __call__(self, W):
        return W.copy()


class SignSymmetry(Feedback):
    """B = lambda * sign(W): only the signs travel (Liao, Leibo & Poggio 2016: uSF; Xiao 2018).

    `scale` sets lambda; None takes the authors' value for the layer. With a bare sign(W), lambda =
    1, the error would grow from layer to layer.
    """

    def __init__(self, scale: float | None = None):
        self.scale = scale

    def born(self, W, scale, draw):
        self.lam = scale if self.scale is None else float(self.scale)

    @accelerated
    def __call__(self, W):
        return self.lam * xp.sign(W)


class FixedMagnitudes(Feedback):
    """B = |M| * sign(W), M random and fixed (Liao 2016: frSF)."""

    def born(self, W, scale, draw):
        self.magnitudes = abs(draw())

    def __call__(self, W):
        return self.magnitudes * xp.sign(W)


class RedrawnMagnitudes(Feedback):
    """B = |M| * sign(W), M random and drawn anew for every batch (Liao 2016: brSF)."""

    def born(self, W, scale, draw):
        self.draw = draw

    def __call__(self, W):
        return abs(self.draw()) * xp.sign(W)


class SignedInit(Feedback):
    """B = lambda * sign(W at birth), then fixed: the signs travel once (their code)."""

    def born(self, W, scale, draw):
        self.B = scale * xp.sign(W)

    def __call__(self, W):
        return self.B


class FeedbackAlignment(Feedback):
    """B random and fixed: nothing travels; W comes to align with B (Lillicrap et al. 2016)."""

    def born(self, W, scale, draw):
        self.B = draw()

    def __call__(self, W):
        return self.B


class KolenPollack(FeedbackAlignment):
    """B starts random, then changes as W does, by x_i delta_j (Kolen & Pollack 1994; Akrout 2019).

    So W - B stays what it was, and weight decay, if there is any, shrinks it to nothing.
    """

    learns = True


class NoFeedback(Feedback):
    """B = 0: nothing below this layer hears of the error. The baseline every rule has to beat."""

    def __call__(self, W):
        return xp.zeros_like(W)
