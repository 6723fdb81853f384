"""Inverses: a feedback matrix B that learns to send the outputs of a layer back to its inputs.

A layer computes f(h W + b), h (N, n_in). Its inverse is g(y) = fb(y B^T + c), y (N, n_out), where
fb is the activation of the layer below, and c a bias (n_in,). An inverse loss compares what g makes
of the outputs with the inputs, at noisy inputs, since g must be right for targets that were never
seen. It is local: W enters only through y, and no gradient goes into W. `Inverse` takes one of

    noise_preserving             g inverts f (DTP; Lee et al. 2015, arXiv 1412.7525)
    denoising                    g also removes noise (SDTP; Bartunov et al. 2018, arXiv 1807.04587)
    difference_reconstruction    g' becomes the transpose of f' (L-DRL; Ernoult et al. 2022,
                                 arXiv 2201.13415)

or no optimizer: then B and c stay random (FW-DTP; Shibuya et al. 2023, arXiv 2212.10352).
targets.py uses them.
"""

from functools import partial

from nnref.backend import to_device, xp
from nnref.errors import InputError
from nnref.feedback import FeedbackAlignment
from nnref.init import glorot_uniform, normal, sample
from nnref.layers import Layer, Sequential
from nnref.layers.checks import check_counts, positive
from nnref.optim import Adam

# An inverse loss is a function of g, f, an input h (N, n_in) of f, and a function that draws noise
# of the shape of an array. It calls g once and returns the derivative of the loss, summed over the
# rows, by the outputs of that call; all else counts as constant.


def noise_preserving(g, f, h, noise):
    """|g(f(h~)) - h~|^2 with h~ = h + noise."""
    noisy = h + noise(h)
    return 2 * (g(f(noisy)) - noisy)


def denoising(g, f, h, noise):
    """|g(f(h~)) - h|^2 with h~ = h + noise."""
    return 2 * (g(f(h + noise(h))) - h)


def difference_reconstruction(g, f, h, noise):
    """-2 eps . (g(f(h + eps)) - g(y)) + |g(y + eta) - g(y)|^2 with y = f(h), eps and eta noise.

    For linear f and g the mean gradient is 2 sigma^2 (B - W): B becomes W, without its transport.
    """
    eps, y = noise(h), f(h)
    sent = g(xp.concatenate([f(h + eps), y, y + noise(y)]))
    change = sent[2 * len(h) :] - sent[len(h) : -len(h)]  # g(y + eta) - g(y)
    return 2 * xp.concatenate([-eps, eps - change, change])


class Decoder(Layer):
    """g(y) = fb(y B^T + c): y (N, n_out) -> (N, n_in)."""

    def __init__(self, B, c):
        super().__init__()
        self.params, self.fb = {"B": B, "c": c}, Sequential()  # fb: the identity

    def forward(self, y):
        self.y = y
        return self.fb.forward(y @ self.params["B"].T + self.params["c"])

    def backward(self, error):
        q = self.fb.backward(error)
        self.grads = {"B": q.T @ self.y, "c": q.sum(axis=0)}


class Inverse(FeedbackAlignment):
    """A B that learns, with c, to invert its layer.

    loss         one of the inverse losses above
    sigma        the standard deviation of its noise
    optimizer    a function from g to the optimizer of B and c; None: they stay random

    It learns in `TargetPropagation` (targets.py), above the first layer; elsewhere B is fixed.
    """

    features = 0  # outputs beside those of the layer

    def __init__(self, loss=noise_preserving, sigma=0.3, optimizer=partial(Adam, lr=0.001)):
        for name, found, needed in (("loss", loss, True), ("optimizer", optimizer, False)):
            if not callable(found) and (needed or found is not None):
                raise InputError(f"Inverse: expected {name} to be a function, found {found!r}")
        self.loss, self.optimizer = loss, optimizer
        (self.sigma,) = positive("Inverse", sigma=sigma)

    def born(self, W, scale, draw):
        self.B, self.c = self.random(W, W.shape[-1] + self.features), xp.zeros_like(W[..., 0])
        self.g = Decoder(self.B, self.c)
        self.learner = self.optimizer(self.g) if self.optimizer else None

    def random(self, W, n_out):
        """A matrix (n_in, n_out) of Glorot & Bengio's distribution, for a layer with weights W."""
        shape = (*W.shape[:-1], n_out)
        return to_device(glorot_uniform(self.rng, shape, shape[-2], n_out).astype(W.dtype))

    def stand_between(self, f, fb):
        """f: the function that follows the layer; fb: the activation of the layer below."""
        self.f, self.g.fb = f, fb

    def up(self, layer, h):
        """What g inverts: f(h W + b)."""
        return self.f(h @ layer.params["W"] + layer.params.get("b", 0))

    def noise(self, like):
        """Normal noise of the shape of an array."""
        return sample(normal, self.rng, like.shape, self.sigma, like.dtype)

    def compare(self, layer):
        """The gradient of the inverse loss, mean over the batch, at the present W, B and c."""
        if self.learner:
            derivative = self.loss(self.g.forward, partial(self.up, layer), layer.x, self.noise)
            self.g.backward(derivative / len(layer.x))

    def on_step(self, layer):
        if self.g.grads:  # there are none where only W learns
            self.learner.step()
            self.g.grads = {}


class AugmentedInverse(Inverse):
    """An inverse of the last layer and of `features` random features of its input: tanh(h A).

    It inverts h -> [softmax(h W + b), tanh(h A)], for g to know more of h than its class. A is
    random and fixed (AO-SDTP; Bartunov et al. 2018).
    """

    def __init__(self, features=512, **choices):
        super().__init__(**choices)
        check_counts(self, features=features)
        self.features = features

    def born(self, W, scale, draw):
        super().born(W, scale, draw)
        self.A = self.random(W, self.features)

    def __call__(self, W):
        return self.B[..., : W.shape[-1]]

    def up(self, layer, h):
        return xp.concatenate([super().up(layer, h), xp.tanh(h @ self.A)], axis=1)
