"""Learn by LTP and LTD: weights grow and shrink with different strengths, or do only one of these.

Long-term potentiation (LTP) and depression (LTD) are lasting changes of a synapse, told apart by
their sign (Charpier & Deniau 1997). Here a change dw > 0 of a weight is LTP and dw < 0 is LTD, as
in models of plasticity, whose w is a strength of at least 0 (Guetig et al. 2003). In physiology
LTP of an inhibitory synapse means that its strength |w| grows. By that reading LTP and LTD change
places where w < 0 (StrengthPlasticity). It suits synapses that keep their sign, which the weights
of a network do not. In OpponentPairs, made of strengths of at least 0, both readings agree.

u = -gradient is the change that is wanted: LTP where u > 0, LTD where u < 0. With strengths
eta_plus and eta_minus in place of one learning rate, the change is, exactly,

    eta_plus max(u, 0) + eta_minus min(u, 0) = (eta_plus + eta_minus)/2 u + drift
                                       drift = (eta_plus - eta_minus)/2 |u|

The drift has the same direction for either sign of u. Where learning has come to rest, the mean of
u is nearly 0, but the mean of |u| is not, since gradients over few examples are noisy.
"""

import math

import numpy as np

from nnref.backend import to_device, to_host, xp
from nnref.errors import InputError
from nnref.layers import Linear
from nnref.measure import weight_layers
from nnref.optim import Optimizer


class Plasticity(Optimizer):
    """w <- w + lr (plus max(u, 0) (1 - w/bound) + minus min(u, 0) (1 + w/bound)),  u = -g.

    strengths    a pair (plus, minus) for every layer with weights (a region), bottom first. Each is
                 a number of at least 0, or an array (n_out,) of them, one for each unit of the
                 layer (its cell type). (1, 0) is LTP only, (0, 1) LTD only, (1, 1) plain SGD
    bound        of |w|: a change shrinks with the distance to the bound (Guetig et al. 2003 with
                 mu = 1; their range 0 to 1 is -bound to bound here). The bound holds as long as no
                 step lr |u| times its strength is larger than the bound. Infinity: no bound

    The bias of a unit is the weight of an input that is always 1, and is treated like the others.
    BatchNorm's parameters, which belong to no synapse, learn by SGD, unbounded. There is no
    momentum: every batch is one event of LTP or LTD. Raises InputError unless there is a pair for
    each layer with weights and the bound is above 0.
    """

    def __init__(self, model, lr: float, strengths: list, bound: float = math.inf):
        super().__init__(model, lr)
        layers = weight_layers(model)
        if len(strengths) != len(layers):
            raise InputError(
                f"{type(self).__name__}: expected strengths (plus, minus) for each of "
                f"{len(layers)} layers with weights, found {len(strengths)}"
            )
        _check(self, bound)
        self.rules = {layer: (*pair, bound) for layer, pair in zip(layers, strengths, strict=True)}

    def update(self):
        for param, layer, name in self.places:
            plus, minus, bound = self.rules.get(layer, (1, 1, math.inf))
            u = -self.direction(layer.grads[name])
            full = param / bound
            param += self.lr * xp.where(u > 0, plus * (1 - full), minus * (1 + full)) * u

    def direction(self, grad):
        """The part of the gradient that is used: all of it."""
        return grad


class ManhattanPlasticity(Plasticity):
    """Plasticity on the sign of the gradient: LTP and LTD in steps of fixed size (Liao 2016).

    The drift is then (eta_plus - eta_minus)/2 for every synapse whose gradient is not exactly 0,
    however small the noise is.
    """

    def direction(self, grad):
        return xp.sign(grad)


class StrengthPlasticity(Plasticity):
    """Plasticity of strengths: LTP makes |w| grow, whatever the sign of w, and LTD makes it shrink.

    w <- w + lr plus u where u has the sign of w, or w = 0; w + lr minus u elsewhere. The drift,
    (eta_plus - eta_minus)/2 |u| sign(w), points away from 0, or toward 0 if eta_minus is larger.
    """

    def __init__(self, model, lr: float, strengths: list):
        super().__init__(model, lr, strengths)

    def update(self):
        for param, layer, name in self.places:
            plus, minus, _ = self.rules.get(layer, (1, 1, math.inf))
            u = -layer.grads[name]
            param += self.lr * xp.where(u * param >= 0, plus, minus) * u


class OpponentPairs(Optimizer):
    """w = p - q, an excitatory minus an inhibitory strength, both at least 0 and with LTP only.

        p <- p + lr (max(u, 0) (1 - p/bound) - decay p)
        q <- q + lr (max(-u, 0) (1 - q/bound) - decay q)

    Only a slow decay makes a strength smaller, the same for both and independent of u. Without a
    bound w follows SGD with this weight decay exactly, since max(u, 0) - max(-u, 0) = u; the sum
    p + q grows by lr |u|, without effect on w. With a bound and no decay this growth uses up the
    range, and learning ends at p = q = bound (tutorial 9b).

    Pairs with LTD only, which start high and shrink, are equivalent: exchange p with bound - q.
    Pairs of devices that only go up, with occasional resets: Suri et al. 2011, Burr et al. 2015.
    """

    def __init__(self, model, lr: float, bound: float = math.inf, decay: float = 0.0):
        super().__init__(model, lr)
        _check(self, bound)
        self.bound, self.decay = bound, decay
        self.ps = [xp.maximum(param, 0) for param, _, _ in self.places]
        self.qs = [xp.maximum(-param, 0) for param, _, _ in self.places]

    def update(self):
        for (param, layer, name), p, q in zip(self.places, self.ps, self.qs, strict=True):
            u = -layer.grads[name]
            p += self.lr * (xp.maximum(u, 0) * (1 - p / self.bound) - self.decay * p)
            q += self.lr * (xp.maximum(-u, 0) * (1 - q / self.bound) - self.decay * q)
            param[...] = p - q


def mean_change(plus: float, minus: float, mean: float, noise: float) -> float:
    """The mean of plus max(u, 0) + minus min(u, 0) for normal u of this mean and deviation `noise`.

    The drift's E|u| = sqrt(2/pi) noise exp(-z^2/2) + mean erf(z/sqrt 2), z = mean/noise, noise > 0.
    """
    z = mean / noise
    size = math.sqrt(2 / math.pi) * noise * math.exp(-(z**2) / 2)
    size += mean * math.erf(z / math.sqrt(2))
    return (plus + minus) / 2 * mean + (plus - minus) / 2 * size


def mean_manhattan_change(plus: float, minus: float, mean: float, noise: float) -> float:
    """`mean_change` for the sign of u, where E sign u = erf(z/sqrt 2) and E|sign u| = 1."""
    return (plus + minus) / 2 * math.erf(mean / noise / math.sqrt(2)) + (plus - minus) / 2


def resting_gradient(change, plus: float, minus: float, noise: float) -> float:
    """The mean gradient where a synapse comes to rest: minus the mean of u at which `change` is 0.

    change    mean_change or mean_manhattan_change, which both rise with the mean of u
    It is proportional to the noise. With minus = 0 a synapse does not come to rest.
    """
    low, high = -40 * noise, 40 * noise
    for _ in range(100):  # halve the interval
        middle = (low + high) / 2
        low, high = (middle, high) if change(plus, minus, middle, noise) < 0 else (low, middle)
    return -high


def weights_at_rest(optimizer, pairs: list, noise: float, rng, lr: float, count=1000, steps=600):
    """The mean w at rest for each pair of strengths, measured; `resting_gradient` derives it.

    optimizer    Plasticity or ManhattanPlasticity
    pairs        (plus, minus), each the strengths of `count` synapses
    noise        standard deviation of the gradient, which is normal with mean w: E = w^2/2
    lr           learning rate; a step should be small beside the noise
    steps        given to the synapses to come to rest; the mean is over as many more

    All synapses are one layer with one input; those of the same pair form a cell type.
    """
    layer = Linear(1, count * len(pairs), rng, bias=False, dtype="float64")
    W = layer.params["W"]
    W[...] = 0
    strengths = to_device(np.repeat(pairs, count, axis=0).T)
    learner, total = optimizer(layer, lr, [strengths]), 0
    for t in range(2 * steps):
        layer.grads = {"W": W + noise * to_device(rng.normal(size=W.shape))}
        learner.step()
        total = total + W * (t >= steps)
    means = to_host(total).reshape(-1, count).mean(axis=1) / steps
    return means.tolist()


def _check(optimizer, bound):
    """Raise InputError, naming the optimizer, unless the bound is above 0."""
    if not bound > 0:
        raise InputError(f"{type(optimizer).__name__}: expected a bound above 0, found {bound}")
