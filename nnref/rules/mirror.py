"""Learn B from what passes through the layer: the weight mirror, and the alignment losses.

The weight mirror sends noise x into a layer. The output y = x W + b tells how strong each weight
is, since an output follows an input as far as W connects the two:

    dB = eta x^T y                    Akrout et al. 2019, eq. 7, arXiv 1904.05391; their y is f(y)
    E dB = eta sigma^2 W              x white with standard deviation sigma

x^T y is what the layer computes as the gradient of W if y stands in the place of delta. So a mirror
is a forward and a backward pass of the layer itself, whatever its kind.

Kunin et al. 2020 (arXiv 2003.01513) write such rules as descents on sums of losses, here as updates
of B by the layer's own activities, with S = E x^T x and y = x W:

    decay   -2 B        amp      E x^T y     = S W
    self    W           sparse   -2 E x^T x B = -2 S B        null   -2 B E y^T y = -2 B W^T S W

Made of these, with a rate for each     B comes to rest at
    SYMMETRIC     decay, self           self / (2 decay) W
    ACTIVATION    sparse, amp           amp / (2 sparse) W, for any S that is not singular
    MIRROR        decay, amp            amp / (2 decay) S W
    INFORMATION   amp, null, decay      amp S W (2 null W^T S W + 2 decay)^-1

With S = 1 and little decay, the last is a multiple of the transposed pseudo-inverse of W. Real
activities are not white, and MIRROR learns S W from them: hence the noise of the weight mirror.
"""

import copy
from functools import partial

from nnref.backend import to_device
from nnref.errors import InputError
from nnref.feedback import FeedbackAlignment
from nnref.layers.checks import check_counts, number, positive, shown
from nnref.measure import weight_layers


class WeightMirror(FeedbackAlignment):
    """B starts random and learns from noise after every step of training (Akrout et al. 2019).

    rows          of noise in a step: a fixed number, so that all ranks send the same noise
    sigma         standard deviation of the noise
    eta           B += eta (estimate of sigma^2 W - decay B)
    decay         None: sigma^2, so that B comes to rest at W. With 0, B grows forever
    activation    class of the neurons' f, such as ReLU; None: none. Behind f, column j of the mean
                  of dB has a factor E f'(y_j): a unit that no noise wakes is never seen

    In a padded convolution, weights at the border of the kernel meet fewer pixels and learn less.
    """

    def __init__(self, rows=128, sigma=1.0, eta=0.01, decay=None, activation=None):
        check_counts("WeightMirror", smallest=2, rows=rows)
        if activation is not None and not callable(activation):
            message = f"a class such as ReLU as activation, found {shown(activation)}"
            raise InputError(f"WeightMirror: expected {message}")
        self.rows, self.activation = rows, activation
        self.sigma, self.eta = positive("WeightMirror", sigma=sigma, eta=eta)
        decay = self.sigma**2 if decay is None else decay
        self.decay = number("WeightMirror: decay", decay, "0 or more", lambda v: v >= 0)

    def noise(self, shape):
        """White noise of standard deviation sigma, drawn by NumPy."""
        return self.rng.normal(0.0, self.sigma, shape)

    def on_step(self, layer):
        if not layer.sends_error:  # the first layer, whose B is never used
            return
        x = to_device(self.noise((self.rows, *layer.x.shape[1:])).astype(self.B.dtype))
        own = copy.copy(layer)  # has the layer's W and b, but an x and grads of its own
        own.sends_error = False
        y = own.forward(x)
        if self.activation:
            y = self.activation().forward(y)
        y = y - y.mean(axis=0)  # a constant output tells nothing and makes the estimate noisy
        own.backward(y / ((self.rows - 1) * places(own, y)))  # -1: one is lost to the mean
        self.B += self.eta * (own.grads["W"] - self.decay * self.B)


def mirror(model, x, steps: int):
    """Let the rules of a model learn before training, for some steps (Akrout et al.: 468).

    x is a batch of images; under WeightMirror only its shape matters.
    """
    layers, probe = weight_layers(model), copy.deepcopy(model)
    probe.forward(x)  # of a copy: running averages stay as they are
    for layer, seen in zip(layers, weight_layers(probe), strict=True):
        layer.x = seen.x
    for _ in range(steps):
        for layer in layers:
            layer.feedback.on_step(layer)


SYMMETRIC = {"decay": 0.05, "self": 0.1}
ACTIVATION = {"sparse": 5e-4, "amp": 1e-3}
MIRROR = {"decay": 5e-4, "amp": 1e-3}
INFORMATION = {"amp": 1e-3, "null": 5e-4, "decay": 5e-4}

UPDATES = {  # the alignment losses: name -> change of B; S(M) is the matrix S M
    "decay": lambda W, B, S: -2 * B,
    "self": lambda W, B, S: W,
    "sparse": lambda W, B, S: -2 * S(B),
    "amp": lambda W, B, S: S(W),
    "null": lambda W, B, S: -2 * B @ (W.swapaxes(-1, -2) @ S(W)),
}
NOT_LOCAL = {"self", "sparse"}  # they need W, and B at another place, to send x through it


class Alignment(FeedbackAlignment):
    """B starts random and descends a sum of alignment losses at every step (Kunin et al. 2020).

    `rates` are those of some UPDATES by name, such as SYMMETRIC. S is a mean over the rows of
    layer.x, in a convolution over all patches. The steps converge as long as decay + sparse s +
    null t < 1, with s and t the largest eigenvalues of S and W^T S W (a rate not given is 0).
    """

    def __init__(self, rates: dict):
        if not isinstance(rates, dict) or not rates or not rates.keys() <= UPDATES.keys():
            names = ", ".join(UPDATES)
            raise InputError(f"Alignment: expected rates of some of {names}, found {shown(rates)}")
        self.rates = dict(zip(rates, positive("Alignment", **rates), strict=True))

    @property
    def local(self) -> bool:
        """Whether it needs no weight of a synapse elsewhere."""
        return not self.rates.keys() & NOT_LOCAL

    def on_step(self, layer):
        if not layer.sends_error:  # the first layer, whose B is never used
            return
        known = layer.params["W"], self.B, partial(moment, layer)
        self.B += sum(rate * UPDATES[name](*known) for name, rate in self.rates.items())


def moment(layer, M):
    """S M, with S the mean of x^T x: what the layer computes as its gradient for delta = x M."""
    own = copy.copy(layer)
    own.params, own.sends_error = {"W": M}, False  # no bias
    y = own.forward(layer.x)
    own.backward(y / (len(y) * places(own, y)))
    return own.grads["W"]


def places(layer, y) -> int:
    """How many places of an image share a weight: 1, except in a convolution."""
    return y[0].size // layer.params["W"][..., 0, :].size
