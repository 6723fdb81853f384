"""Impose Dale's law on a network: a neuron excites all its targets or inhibits all of them.

There are three ways, from the weakest to the strongest:

    every_weight    each weight keeps its initial sign
    every_neuron    all weights out of a neuron have its sign: a share excites, the others inhibit
    interneurons    all neurons excite, and separate interneurons inhibit
                    (Cornford et al. 2021, "Learning to live with Dale's principle": DANN)

Each makes a Law, which acts after the optimizer's step: a weight that would cross zero is set to
1e-10 with its old sign, so that sign(W) is constant (no-sign-change SGD, Xiao et al.'s code, 2018).
Biases are free, since a threshold has no sign to keep. A gain of BatchNorm lies between a neuron
and its target, and a negative one would reverse the sign, so gains are kept above 0. BatchNorm's
subtraction of the mean remains, an inhibition that belongs to no neuron. Pixels are not neurons, so
every_neuron and interneurons leave the first layer free.
"""

import numpy as np

from nnref.backend import to_device, xp
from nnref.errors import InputError
from nnref.init import stream
from nnref.layers import BatchNorm, Linear
from nnref.layers.base import Layer, WeightLayer
from nnref.measure import weight_layers

PIN = 1e-10


class Law:
    """Signs that weights keep: call `impose` after every step, as in fit(..., on_step=law.impose).

    places    (weights, signs of the same shape); the weights change in place, now and at every call
    """

    def __init__(self, places: list):
        self.places = places
        self.impose()

    def impose(self, _=None):
        """Keep every weight on its side of zero; the argument, the time from `fit`, is not used."""
        for W, signs in self.places:
            W[...] = signs * xp.maximum(signs * W, PIN)


def every_weight(model) -> Law:
    """Every weight keeps its present sign, so sign(W) and sign-symmetry's B are constant."""
    weights = [layer.params["W"] for layer in weight_layers(model)]
    return Law([(W, xp.where(W < 0, -1, 1).astype(W.dtype)) for W in weights] + _gains(model))


def every_neuron(model, excitatory: float, seed: int) -> Law:
    """Every neuron has the same sign for all its targets; a share `excitatory`, 0 to 1, has a plus.

    The initial weights get that sign. To balance excitation and inhibition, those of inhibitory
    neurons become f / (1 - f) times as large, where a share f excites; then all are scaled so that
    their root mean square stays, on average, as it was. A neuron of a layer with kernels is a
    channel. A rule that keeps the initial weights (SignedInit) has those from before the law.
    """
    if not 0 <= excitatory <= 1:
        raise InputError(f"every_neuron: expected excitatory from 0 to 1, found {excitatory}")
    rng, places = stream(seed, "signs"), []
    for layer in weight_layers(model)[1:]:
        W = layer.params["W"]
        n = layer.n_in if isinstance(layer, Linear) else layer.C_in
        of_neurons = np.where(rng.permutation(n) < round(excitatory * n), 1, -1)
        signs = np.tile(of_neurons, W.shape[-2] // n)[:, None]  # a patch has k*k pixels per channel
        f = (signs > 0).mean()
        sizes = np.where((signs < 0) & (f > 0), f / (1 - f) if f < 1 else 1, 1)
        sizes = sizes / np.sqrt((sizes**2).mean())
        W[...] = to_device((signs * sizes).astype(W.dtype)) * abs(W)
        places.append((W, to_device(np.broadcast_to(signs, W.shape).astype(W.dtype))))
    return Law(places + _gains(model))


def interneurons(model, share: float, seed: int) -> Law:
    """Put `Interneurons` around every layer of a Sequential with weights but the first, in place.

    A layer gets `share` times as many interneurons as units (Cornford 2021: 0.1), at least one.
    Raises InputError for a network with layers inside others, or with a matrix for every place.
    """
    rng, (first, *others) = stream(seed, "interneurons"), weight_layers(model)
    in_a_row = all(any(layer is own for own in model.layers) for layer in others)
    if not in_a_row or not all(layer.params["W"].ndim == 2 for layer in others):
        raise InputError(
            "interneurons: expected a row of layers with one matrix each, as in models.mlp, "
            f"found {type(model).__name__}: {', '.join(map(str, others))}"
        )
    model.layers = tuple(
        Interneurons(layer, share, rng)
        if isinstance(layer, WeightLayer) and layer is not first
        else layer
        for layer in model.layers
    )
    strengths = [
        layer.params[name]
        for layer in model.layers
        if isinstance(layer, Interneurons)
        for name in ("E", "P", "Q")
    ]
    return Law([(W, xp.ones_like(W)) for W in strengths] + _gains(model))


class Interneurons(Layer):
    """sigma = x E - (x P) Q + b, with E, P, Q >= 0: a layer with separate inhibitory neurons.

    E (n_in, n_out) excites; P (n_in, n) excites n interneurons, which inhibit by Q (n, n_out). This
    is `layer` with the net effect W = E - P Q in place of its own weights, and its rule gets that W
    (its `born` got the old weights). Cornford 2021 has a divisive inhibition as well.

    The initial E is exponential, with the old root mean square of W as its mean. P Q is on average
    the mean of E over the targets, so that inhibition balances excitation. Interneurons lie beside
    their targets, so their error is exactly -delta Q^T. The steps of P and Q are divided by the
    initial |Q|^2 and |P|^2, so that at first none moves the net W farther than a step of E; without
    this they would learn far faster (Cornford et al. derive such corrections from Fisher
    information).
    """

    exact_backward = True  # of the net effect W, where B = W

    def __init__(self, layer: WeightLayer, share: float, rng):
        super().__init__()
        self.layer, self.layers = layer, (layer,)
        W = layer.params["W"]
        n_in, n_out = W.shape
        n = max(1, round(share * n_out))
        E = rng.exponential(float((W**2).mean()) ** 0.5, (n_in, n_out))
        Q = rng.exponential(size=(n, n_out))
        Q /= Q.sum(axis=0)
        P = E.mean(axis=1, keepdims=True) * rng.exponential(size=(n_in, n))
        self.params = {
            name: to_device(a.astype(W.dtype)) for name, a in zip("EPQ", (E, P, Q), strict=True)
        }
        self.rates = {"P": 1 / float((Q**2).sum()), "Q": 1 / float((P**2).sum())}
        self.write_net_effect()

    def write_net_effect(self):
        """W = E - P Q, in place."""
        E, P, Q = self.params.values()
        self.layer.params["W"][...] = E - P @ Q

    def forward(self, x):
        self.write_net_effect()
        return self.layer.forward(x)

    def backward(self, delta):
        error, grads = self.layer.backward(delta), self.layer.grads
        P, Q, dW = self.params["P"], self.params["Q"], grads["W"]
        self.grads = {
            "E": dW,
            "P": -(dW @ Q.T) * self.rates["P"],
            "Q": -(P.T @ dW) * self.rates["Q"],
        }
        self.layer.grads = grads | {"W": xp.zeros_like(dW)}  # the next forward writes W anew
        return error

    def __repr__(self):
        return f"Interneurons({self.layer}, {len(self.params['Q'])})"


def _gains(model) -> list:
    """BatchNorm's gains, to be kept above 0."""
    gains = [layer.params["gamma"] for layer in model.walk() if isinstance(layer, BatchNorm)]
    return [(gain, xp.ones_like(gain)) for gain in gains]
