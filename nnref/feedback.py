"""Feedback rules: the choice of the matrix B that carries the error back through a layer.

Forward, every layer computes sigma = x W + b (Eq. 1). Backward, it receives delta and sends the
error e = delta B^T to the layer below (Eq. 2), where W and B have the same shape (n_in, n_out).
Backpropagation is the choice B = W, which a brain could make only if every synapse knew the
strength of another one far away. Each class below is another choice. Lambda, the scale of B, and
the distributions of random B follow the code of Xiao, Chen, Liao & Poggio 2018 (arXiv 1811.03567).

Three consequences. A layer's B affects the gradients of the layers below, not its own. So the B of
the first layer is never used, and the gradient of the last layer is exact under every rule. In the
layers below, delta is the derivative dE/dsigma only if B = W in all layers above.
"""

from nnref.backend import accelerated, xp
from nnref.errors import number


class Feedback:
    """The base class of all rules: called with the present weights W of a layer, it returns B.

    To write a rule of your own, derive from this class and return B in `__call__`. Override `born`
    if B needs the initial weights, a scale or random numbers. With `learns = True`, the optimizer
    changes the array `self.B` by the gradient of W; with an `on_step`, B learns in any other way.
    Arrays and numbers that a rule keeps as attributes, from `born` on, are saved in checkpoints.
    """

    learns = False

    def born(self, W, scale, draw):
        """Called once, when the layer has drawn its initial weights W of shape (n_in, n_out).

        `scale` is Xiao et al.'s lambda for this layer. `draw()` returns a new random matrix of the
        shape of W: uniform from -lambda to lambda in Linear, normal with standard deviation lambda
        in Conv2d. `self.rng` is this layer's own stream of random numbers.
        """

    def __call__(self, W):
        """B, of the shape of W: (n_in, n_out)."""
        raise NotImplementedError(f"{type(self).__name__} does not define B in __call__")

    def on_step(self, layer):
        """Called by the optimizer after every step, with the layer whose rule this is.

        `layer.x` is its input in this step; W has just changed. Do not write to either.
        """


class Backprop(Feedback):
    """B = W: backpropagation, exact gradients (Rumelhart, Hinton & Williams 1986)."""

    def __call__(self, W):
        return W


class Sham(Feedback):
    """B = a copy of W: the control, which must equal Backprop bit for bit (Xiao 2018, code)."""

    def __call__(self, W):
        return W.copy()


class SignSymmetry(Feedback):
    """B = lambda * sign(W): only signs are copied (Liao, Leibo & Poggio 2016: uSF; Xiao 2018).

    `scale` sets lambda; None takes Xiao et al.'s value for the layer, "rms" the rms of W, always
    anew (Moskovitz et al. 2018). With lambda = 1, the error would grow from layer to layer.
    """

    def __init__(self, scale: float | str | None = None):
        self.scale = number("SignSymmetry: scale", scale, None, "rms")

    def born(self, W, scale, draw):
        self.lam = scale if self.scale is None else self.scale

    def strength(self, W):
        """Lambda for these weights."""
        return xp.sqrt((W**2).mean()) if self.lam == "rms" else self.lam

    @accelerated
    def __call__(self, W):
        return self.strength(W) * xp.sign(W)


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
    """B = lambda * sign(initial W), fixed: signs are copied once (Xiao 2018, code)."""

    def born(self, W, scale, draw):
        self.B = scale * xp.sign(W)

    def __call__(self, W):
        return self.B


class FeedbackAlignment(Feedback):
    """B random and fixed: no weight is copied; W comes to align with B (Lillicrap et al. 2016)."""

    def born(self, W, scale, draw):
        self.B = draw()

    def __call__(self, W):
        return self.B


class KolenPollack(FeedbackAlignment):
    """B starts random, then changes as W does, by x_i delta_j (Kolen & Pollack 1994; Akrout 2019).

    So W - B is constant without weight decay, and weight decay shrinks it to zero.
    """

    learns = True


class NoFeedback(Feedback):
    """B = 0: no error reaches the layers below. The baseline that every rule has to beat."""

    def __call__(self, W):
        return xp.zeros_like(W)
