"""A dendritic microcircuit: error cells that are not needed (Sacramento et al. 2018, NeurIPS).

Who computes delta in a brain? Here nobody does. A pyramidal cell has three compartments: a soma
with the potential u, a basal dendrite that gets the rates below it through W, and an apical
dendrite that gets the rates above it through B. Beside each hidden population lie interneurons, one
for each pyramidal cell of the population above, which it nudges. They learn to predict the rates of
their partners through WIP, and their synapses WPI on the apical dendrites take away what B brings:

    above, r_{k+1} = phi(u_{k+1})        .---------- nudges ---------.
        |      ^                         |                           v
        B      W_{k+1}               r_{k+1}         interneurons, rI = phi(uI)
        v      |                                         ^              |
    apical dendrite, vA = r_{k+1} B^T + rI WPI           WIP            WPI
    soma, u_k = v_k + lam vA -----------> r_k -----------'              '----> apical dendrite
    basal dendrite, v_k = r_{k-1} W_k + b_k

In the self-predicting state, WIP = W_{k+1} and WPI = -B^T, apical dendrites are silent for every
input. A teacher moves the output cells; the interneurons cannot explain that away, and what is left
in the apical dendrites is an error. Each soma then fires not quite as its basal dendrite predicts,
and each synapse learns from that difference, which is local:

    dW_k = r_{k-1}^T (phi(u_k) - phi(v_k))       dWIP = r_k^T (phi(uI) - phi(vI))          Eqs. 7, 8

This file has the steady state, after all potentials have settled, as in the paper's own MNIST run;
microcircuit_ode.py has the differential equations. To first order in the mixing factors the changes
of W are those of Eqs. 1 and 2 with the same B: backpropagation if B = W, feedback alignment if B is
random and fixed. The relative error falls as the square of the factors.
"""

import math
from functools import partial

from nnref.backend import xp
from nnref.errors import InputError
from nnref.init import sample, uniform
from nnref.layers import Flatten, Linear, ReLU, Sequential, Sigmoid, Tanh
from nnref.layers.checks import number
from nnref.losses import one_hot

ACTIVATIONS = ReLU, Sigmoid, Tanh
TARGETS = 0.1, 0.8  # rates of the wrong and the right class: 0 and 1 would need infinite potentials


class Microcircuit(Sequential):
    """The layers of a multi-layer perceptron, whose errors arise in apical dendrites.

    model    Linear layers with activations between them, as of models.mlp; an activation after the
             last one gives the output cells their rate, or else it is their potential. The layers
             stay where they are; the B of each is that of its rule.
    lam      share of the apical dendrite in the potential of a hidden soma; no unit, as all three
    lamI     share of the partner's soma in the potential of an interneuron
    lamN     share of the teacher in the potential of an output cell; .42: Conductances of _ode.py
    self_predicting    start with WIP = W_{k+1}, and keep WPI = -B^T; else WIP and WPI start at
                       random, and WPI learns too

    WIP1, bIP1 and WPI1 in `params` belong to the first hidden population, and so on: the optimizer
    changes them as all weights. W is here the paper's gB / (glk + gB + gA) W, and WIP its
    gD / (glk + gD) WIP: so v and vI are the potentials of somas without nudge, and a network at
    rest has no error. `apical` keeps the vA of the last backward pass, bottom first.
    """

    def __init__(self, model, lam=0.42, lamI=0.42, lamN=0.42, self_predicting=True):
        super().__init__(*_checked(model))
        shares = {"lam": lam, "lamI": lamI, "lamN": lamN}
        for name, value in shares.items():
            what, expected = f"Microcircuit: {name}", "a share between 0 and 1"
            setattr(self, name, number(what, value, expected, lambda v: 0 < v < 1))
        self.self_predicting = self_predicting
        self.cells = [layer for layer in self.layers if isinstance(layer, Linear)]
        kinds = [type(layer) for layer in self.layers if isinstance(layer, ACTIVATIONS)]
        kinds += [Sequential] * (len(self.cells) - len(kinds))  # the identity: the rate is v itself
        self.phi = [kind().forward for kind in kinds]  # apart from the layers, which keep their y
        for k, above in enumerate(self.cells[1:], 1):
            self.params[f"WIP{k}"] = above.params["W"].copy()
            if "b" in above.params:  # else an interneuron would miss the threshold of its partner
                self.params[f"bIP{k}"] = above.params["b"].copy()
            if not self_predicting:
                draw = partial(sample, uniform, above.feedback.rng, dtype=above.params["W"].dtype)
                scale = 1 / math.sqrt(above.n_in)
                self.params[f"WIP{k}"] = draw((above.n_in, above.n_out), scale)
                self.params[f"WPI{k}"] = draw((above.n_out, above.n_in), scale)

    def forward(self, x):
        self.v = []  # of every population, bottom first
        for layer in self.layers:
            x = layer.forward(x)
            if layer in self.cells:
                self.v.append(x)  # Eq. 3   v_k = r_{k-1} W_k + b_k
        return x

    def backward(self, delta):
        """Given delta = dE/d(output) of the mean over N samples, assign all `grads`.

        The teacher asks for the potentials u_trgt = v_N - N delta, a step down the loss from v_N;
        under `teaching` these are the paper's. A nudge shrinks by lam (1 - lamI) at each
        population, and so would learning: grads are divided by what is left of it. As in nnref
        everywhere, they are those to descend, of the mean over the batch.
        """
        N, left = len(delta), self.lamN
        self.grads, self.apical = {}, []
        u = self.v[-1] - self.lamN * N * delta  # (1 - lamN) v_N + lamN u_trgt
        for k in range(len(self.cells) - 1, -1, -1):
            layer, phi, v = self.cells[k], self.phi[k], self.v[k]
            layer.backward((phi(v) - phi(u)) / (N * left))  # Eq. 7, by the bottom-up rates layer.x
            if k:
                vA = self.apical_potential(k, u, N * left)
                self.apical.insert(0, vA)
                u = self.v[k - 1] + self.lam * vA
                left *= self.lam * (1 - self.lamI)

    def apical_potential(self, k, u_above, scale):
        """vA (N, n_k) of hidden population k, from the potentials u_above (N, n_{k+1}).

        Also assigns the grads of its interneurons. With the divisor of W_{k+1} times lamI, WIP
        follows W_{k+1} as that learns, since their errors are then equal to first order.
        """
        above, phi = self.cells[k], self.phi[k]
        r, B = above.x, above.feedback(above.params["W"])
        vI = r @ self.params[f"WIP{k}"] + self.params.get(f"bIP{k}", 0)  # Eq. 5
        uI = (1 - self.lamI) * vI + self.lamI * u_above
        rI = phi(uI)
        error = (phi(vI) - rI) / (scale * self.lamI)
        self.grads |= {f"WIP{k}": r.T @ error, f"bIP{k}": error.sum(axis=0)}  # Eq. 8
        if self.self_predicting:
            return (phi(u_above) - rI) @ B.T  # Eq. 4 with WPI = -B^T
        vA = phi(u_above) @ B.T + rI @ self.params[f"WPI{k}"]  # Eq. 4
        self.grads[f"WPI{k}"] = rI.T @ vA / len(vA)  # Eq. 9: toward vA = 0
        return vA


def teaching(r, labels):
    """The teacher of the paper's MNIST run, as a loss of output rates r = phi(u) of Sigmoid cells.

    E = mean_n sum_j KL(r_nj || t_nj), with t = 0.8 at the label and 0.1 elsewhere, has dE/dr =
    (v - u_trgt) / N, where u_trgt = log(t / (1 - t)). r (N, classes), labels (N,).
    """
    low, high = TARGETS
    t = low + (high - low) * one_hot(r, labels)
    edge = float(xp.finfo(r.dtype).eps)
    r = xp.clip(r, edge, 1 - edge)  # a rate that was rounded to 0 or 1 has no finite potential
    difference = xp.log(r / (1 - r)) - xp.log(t / (1 - t))
    loss = (r * difference + xp.log((1 - r) / (1 - t))).sum(axis=1).mean()
    return loss, difference / len(r)


def _checked(model):
    """The layers of a multi-layer perceptron; InputError for any other network."""
    layers = [layer for layer in getattr(model, "layers", ()) if not isinstance(layer, Flatten)]
    kinds = [type(layer) in ACTIVATIONS for layer in layers]
    in_turn = kinds == [i % 2 == 1 for i in range(len(layers))]
    if not in_turn or not layers or not all(isinstance(layer, Linear) for layer in layers[::2]):
        raise InputError(
            "Microcircuit: expected a network like models.mlp([100]), Linear layers with ReLU, "
            f"Sigmoid or Tanh between them, found {model}"
        )
    return model.layers
