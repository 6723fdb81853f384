"""Target propagation: a layer is told which activity it should have had, not how wrong it was.

Layer l computes h_l = f(h_{l-1} W_l + b_l). Through its inverse g_l (inverse.py) targets go down:

    plain         t_{l-1} = g_l(t_l)                         (TP; Bengio 2014, arXiv 1407.7906)
    difference    t_{l-1} = h_{l-1} - g_l(h_l) + g_l(t_l)    (DTP; Lee et al. 2015, arXiv 1412.7525)

The last layer learns from the loss, every other one to reach its target: the gradient of
|h_l - t_l|^2 / 2, where t_l and h_{l-1} are constants, is delta_l = f'(sigma_l) (h_l - t_l).

`difference` subtracts what an imperfect g distorts: if h_L is on target, so are all layers. Where g
is linear it sends (t_l - h_l) B_l^T: feedback alignment of h - t in place of delta.

The first target is a step down the loss below the output (`BelowOutput`; Lee et al.) or the label
itself (`AtOutput`: SDTP, Bartunov et al. 2018, arXiv 1807.04587).
"""

import copy
from itertools import pairwise
from typing import NamedTuple

from nnref.backend import xp
from nnref.errors import InputError
from nnref.feedback import Backprop
from nnref.layers import Flatten, Linear, ReLU, Sequential, Sigmoid, Tanh
from nnref.layers.base import check_network
from nnref.rules.inverse import Inverse


def plain(g, below, h, target):
    """t_{l-1} = g_l(t_l)."""
    return g(target)


def difference(g, below, h, target):
    """t_{l-1} = h_{l-1} - g_l(h_l) + g_l(t_l)."""
    return below - g(h) + g(target)


# A first target is called with the last layer, the delta of the loss, the error that this layer
# sends by Eq. 2 (both of a mean over N images) and the way targets travel. It returns t_{L-1}.
class BelowOutput(NamedTuple):
    """t_{L-1} = h_{L-1} - alpha e, where e is dE/dh_{L-1} of one image: W_L is transported.

    Another rule of the last layer sends its own e; an Inverse there gives way to Backprop.
    """

    alpha: float = 0.3
    inverts = False  # whether the last layer has an inverse

    def __call__(self, last, delta, error, send):
        return last.x - self.alpha * len(error) * error


class AtOutput(NamedTuple):
    """t_L = h_L + beta (one-hot - h_L), sent down by g_L; h_L is the softmax, beta = 1 in SDTP."""

    beta: float = 1.0
    inverts = True

    def __call__(self, last, delta, error, send):
        inverse = last.feedback
        h = inverse.up(last, last.x)  # with the features of an AugmentedInverse, which stay
        target = h.copy()
        target[:, : delta.shape[1]] -= self.beta * len(delta) * delta  # N delta = h_L - one-hot
        return send(inverse.g.forward, last.x, h, target)


class TargetPropagation(Sequential):
    """A network such as models.mlp(feedback=Inverse()), whose hidden layers learn from targets.

    first       where targets start: BelowOutput(alpha) or AtOutput(beta)
    send        how they travel: difference or plain
    parallel    True: the inverses learn in every step, from the same weights as the layers do;
                False: only in `learn_inverses` (alternating.py)

    For softmax_cross_entropy. Raises InputError for a network of other layers than Flatten, Linear
    and activations, and where an Inverse is missing.
    """

    def __init__(self, model, first=BelowOutput(), send=difference, parallel=True):
        stages = stages_of(model)
        super().__init__(*model.layers)
        self.first, self.send, self.parallel = first, send, parallel
        self.hidden, self.last = stages[:-1], stages[-1][0]
        self.inverses = [linear for linear, _ in (stages if first.inverts else self.hidden)][1:]
        for (_, below), (linear, above) in pairwise(stages):
            rule = linear.feedback
            if linear in self.inverses:
                if not isinstance(rule, Inverse):
                    found = type(rule).__name__
                    raise InputError(f"targets: expected an Inverse in {linear}, found {found}")
                f = softmax if linear is self.last else Sequential(*copy.deepcopy(above)).forward
                rule.stand_between(f, Sequential(*copy.deepcopy(below)))
            elif isinstance(rule, Inverse):
                linear.feedback = Backprop()
                linear.feedback.rng = rule.rng
        for linear, _ in self.hidden:
            linear.sends_error = False  # targets travel in place of errors

    def backward(self, delta):
        error = self.last.backward(delta)
        h, target = self.last.x, self.first(self.last, delta, error, self.send)
        for linear, activations in reversed(self.hidden):
            e = (h - target) / len(h)
            for activation in reversed(activations):
                e = activation.backward(e)  # delta_l = f'(sigma_l) (h_l - t_l) / N
            linear.backward(e)
            if linear in self.inverses:  # all but the lowest, whose input has no target
                g, below = linear.feedback.g.forward, linear.x
                h, target = below, self.send(g, below, h, target)
        if self.parallel:
            self.compare()

    def compare(self):
        """Assign the gradients of all inverses, at the inputs of the last forward pass."""
        for linear in self.inverses:
            linear.feedback.compare(linear)

    def learn_inverses(self, x):
        """One step of every inverse on a batch x; no W changes."""
        self.forward(x)
        self.compare()
        for linear in self.inverses:
            linear.feedback.on_step(linear)


def softmax(sigma):
    """exp(sigma) divided by its sum over the classes: (N, classes)."""
    exps = xp.exp(sigma - sigma.max(axis=1, keepdims=True))
    return exps / exps.sum(axis=1, keepdims=True)


def stages_of(model) -> list[tuple]:
    """[(Linear layer, list of the activations that follow it)], bottom first."""
    check_network("targets", model)
    stages, other = [], None
    for layer in model.layers:
        if isinstance(layer, Linear):
            stages.append((layer, []))
        elif stages and isinstance(layer, ReLU | Tanh | Sigmoid):
            stages[-1][1].append(layer)
        elif stages or not isinstance(layer, Flatten):
            other = other or layer
    if other or len(stages) < 2 or stages[-1][1]:
        raise InputError(
            "targets: expected hidden layers as in models.mlp, Linear and activations, and a "
            f"Linear layer on top, found {other or model.layers[-1:] or model}"
        )
    return stages
