"""A dendritic microcircuit, in which nothing carries delta (Sacramento et al. 2018, NeurIPS).

A pyramidal cell has three compartments: a soma with the potential u, a basal dendrite that gets the
rates below it through W, and an apical dendrite that gets the rates above it through B. Beside each
hidden population lie interneurons. Each has a partner, a pyramidal cell above, that nudges it.
Through WIP they predict their partners, and through WPI they take away what B brings:

    above, r_{k+1} = phi(u_{k+1})       .------- nudges -------.
        |      ^                        |                      v
        B      W_{k+1}              r_{k+1}      interneurons, rI = phi(uI)
        v      |                                      ^              |
    apical dendrite, vA = r_{k+1} B^T + rI WPI       WIP            WPI
    soma, u_k = v_k + lam vA ------------> r_k -------'              '--> apical dendrite
    basal dendrite, v_k = r_{k-1} W_k + b_k

In the self-predicting state, WIP = W_{k+1} and WPI = -B^T, apical dendrites are silent, whatever
the input. A teacher moves the output cells; interneurons cannot predict that, and apical dendrites
get an error. So a soma fires not quite as its basal dendrite predicts, and W learns from that:

    dW_k = r_{k-1}^T (phi(u_k) - phi(v_k))       dWIP = r_k^T (phi(uI) - phi(vI))          Eqs. 7, 8

This is the steady state, after all potentials have settled, as in the paper's own MNIST run (the
equations in time: microcircuit_ode.py). For weak nudges the changes of W are those of Eqs. 1 and 2
with the same B: backpropagation if B = W, feedback alignment if B is random and fixed.
"""

import math

from nnref.backend import xp
from nnref.errors import InputError
from nnref.feedback import FeedbackAlignment
from nnref.init import sample, uniform
from nnref.layers import Flatten, Linear, ReLU, Sequential, Sigmoid, Tanh
from nnref.layers.checks import number
from nnref.losses import one_hot

ACTIVATIONS = ReLU, Sigmoid, Tanh
TARGETS = 0.1, 0.8  # rates of wrong and right classes: 0 and 1 would need infinite potentials


class Apical(FeedbackAlignment):
    """Feedback alignment's B, as the shell's microcircuit has it; Microcircuit takes any rule."""


class Microcircuit(Sequential):
    """The layers of a multi-layer perceptron, whose errors arise in apical dendrites.

    model    Linear layers, each with its B, and activations between them, as of models.mlp; without
             an activation after the last one, the rate of output cells is their potential
    lam, lamI, lamN    shares, no unit: of the apical dendrite in the potential of a hidden soma, of
                       the partner in an interneuron, of the teacher in an output cell
    self_predicting    WIP starts as W_{k+1}, WPI stays -B^T; or else both are random and learn

    WIP1, bIP1 and WPI1 in `params` belong to the first hidden population. W is gB / (glk + gB + gA)
    times the paper's (output cells: gA = 0), WIP gD / (glk + gD) times, so v and vI have no nudge.
    `apical` keeps the vA of the last backward pass, bottom first. A nudge shrinks by lam (1 - lamI)
    at every population, and grads are divided by what is left of it, as the paper rescales its
    rates. So WIP needs SGD, with lr below about 2 (1 + momentum) left / (phi' |r|^2): else it jumps
    about W, as it does under Adam.
    """

    def __init__(self, model, lam=0.5, lamI=0.1, lamN=0.9, self_predicting=True):
        super().__init__(*_checked(model))
        for name, share in (("lam", lam), ("lamI", lamI), ("lamN", lamN)):
            what, expected = f"Microcircuit: {name}", "a share between 0 and 1"
            setattr(self, name, number(what, share, expected, lambda value: 0 < value < 1))
        self.self_predicting = self_predicting
        self.linears = [layer for layer in self.layers if isinstance(layer, Linear)]
        kinds = [type(layer) for layer in self.layers if isinstance(layer, ACTIVATIONS)]
        kinds += [Sequential] * (len(self.linears) - len(kinds))  # the identity: the rate is v
        self.phi = [kind().forward for kind in kinds]  # not those in `layers`, which keep their y
        for k, above in enumerate(self.linears[1:], 1):
            W, rng, scale = above.params["W"], above.feedback.rng, 1 / math.sqrt(above.n_in)
            self.params[f"WIP{k}"] = W.copy()
            if "b" in above.params:  # else an interneuron would miss its partner's threshold
                self.params[f"bIP{k}"] = above.params["b"].copy()
            if not self_predicting:
                self.params[f"WIP{k}"] = sample(uniform, rng, W.shape, scale, W.dtype)
                self.params[f"WPI{k}"] = sample(uniform, rng, W.T.shape, scale, W.dtype)

    def forward(self, x):
        self.v = []  # of every population, bottom first
        for layer in self.layers:
            x = layer.forward(x)
            if layer in self.linears:
                self.v.append(x)  # Eq. 3   v_k = r_{k-1} W_k + b_k
        return x

    def backward(self, delta):
        """Given delta = dE/d(output) (N, n_out), assign all `grads`.

        The teacher's u_trgt = v_N - N delta is a step down each sample's loss; see `teaching`.
        """
        N, left = len(delta), self.lamN
        self.grads, self.apical = {}, []
        u = self.v[-1] - self.lamN * N * delta  # (1 - lamN) v_N + lamN u_trgt
        for k in range(len(self.linears) - 1, -1, -1):
            layer, phi, v = self.linears[k], self.phi[k], self.v[k]
            layer.backward((phi(v) - phi(u)) / (N * left))  # Eq. 7; its error is not used
            if k:
                vA = self.apical_potential(k, u, N * left)
                self.apical.insert(0, vA)
                u = self.v[k - 1] + self.lam * vA
                left *= self.lam * (1 - self.lamI)

    def apical_potential(self, k, u_above, scale):
        """vA (N, n_k) of hidden population k, from u_above (N, n_{k+1}); and the grads of WIP, WPI.

        Divided by the `scale` of those of W_{k+1} and by lamI, WIP's equal them to first order.
        """
        above, phi = self.linears[k], self.phi[k]
        r, B = above.x, above.feedback(above.params["W"])
        vI = r @ self.params[f"WIP{k}"] + self.params.get(f"bIP{k}", 0)  # Eq. 5
        rI = phi((1 - self.lamI) * vI + self.lamI * u_above)
        error = (phi(vI) - rI) / (scale * self.lamI)
        self.grads |= {f"WIP{k}": r.T @ error, f"bIP{k}": error.sum(axis=0)}  # Eq. 8
        if self.self_predicting:
            return (phi(u_above) - rI) @ B.T  # Eq. 4 with WPI = -B^T
        vA = phi(u_above) @ B.T + rI @ self.params[f"WPI{k}"]  # Eq. 4
        self.grads[f"WPI{k}"] = rI.T @ vA / len(vA)  # Eq. 9: toward vA = 0
        return vA


def teaching(r, labels):
    """`toward` the targets of the paper's MNIST run, r (N, classes), labels (N,)."""
    low, high = TARGETS
    return toward(r, low + (high - low) * one_hot(r, labels))


def toward(r, t):
    """(E, dE/dr) of rates r (N, n_out) of Sigmoid cells with targets t: E = mean_n KL(r_n || t_n).

    Its derivative is a difference of potentials, (v - u_trgt) / N with u_trgt = log(t / (1 - t)).
    """
    edge = 2.0 ** (-23 if r.dtype == "float32" else -52)  # the precision of r
    r = xp.clip(r, edge, 1 - edge)  # a rate that was rounded to 0 or 1 has no finite potential
    difference = xp.log(r / (1 - r)) - xp.log(t / (1 - t))
    return (r * difference + xp.log((1 - r) / (1 - t))).sum(axis=1).mean(), difference / len(r)


def _checked(model):
    """The layers of a multi-layer perceptron; InputError for any other network."""
    layers = [layer for layer in getattr(model, "layers", ()) if not isinstance(layer, Flatten)]
    in_turn = zip(layers, [(Linear,), ACTIVATIONS] * len(layers), strict=False)
    if not layers or not all(isinstance(layer, kinds) for layer, kinds in in_turn):
        raise InputError(
            "Microcircuit: expected a network like models.mlp([100]), Linear layers with ReLU, "
            f"Sigmoid or Tanh between them, found {model}"
        )
    return model.layers
