"""The fully connected layer: both equations of Xiao et al. 2018, one line for each.

In their notation W_ij runs from input i to output j, so W and B have shape (n_in, n_out) and
samples are rows. The nonlinearity is a layer of its own (activations.py).
"""

import math

from nnref.backend import accelerated
from nnref.feedback import Backprop
from nnref.init import he_normal, uniform
from nnref.layers.base import WeightLayer
from nnref.layers.checks import check_counts, check_input


class Linear(WeightLayer):
    """sigma = x W + b, with an error that travels back through B (Xiao 2018, Eqs. 1 and 2).

    x (N, n_in) -> sigma (N, n_out); delta (N, n_out) -> error (N, n_in). `rng` draws W, `init` says
    how (init.py); b starts at zero, bias=False leaves it out. WeightLayer (base.py) keeps W, b and
    its own copy of the rule. Raises InputError for an input of another shape or dtype.
    """

    def __init__(
        self, n_in, n_out, rng, *,
        bias=True, feedback=Backprop(), init=he_normal, dtype="float32",
    ):  # fmt: skip
        check_counts(self, n_in=n_in, n_out=n_out)
        self.n_in, self.n_out = n_in, n_out
        W = init(rng, (n_in, n_out), fan_in=n_in, fan_out=n_out)
        scale = 1 / math.sqrt(n_in)  # Xiao et al.'s lambda
        super().__init__(W, scale, uniform, rng, feedback, bias, dtype)

    @accelerated
    def forward(self, x):
        W, b = self.params["W"], self.params.get("b", 0)
        check_input(self, x, (None, self.n_in), W.dtype)
        self.x = x
        return x @ W + b  # Eq. 1:  sigma_j = sum_i W_ij x_i + b_j

    @accelerated
    def backward(self, delta):
        self.grads = {"W": self.x.T @ delta, "b": delta.sum(axis=0)}  # dE/dW_ij = x_i delta_j
        if self.sends_error:
            B = self.feedback(self.params["W"])
            return delta @ B.T  # Eq. 2:  e_i = sum_j B_ij delta_j

    def __repr__(self):
        return f"Linear({self.n_in}, {self.n_out})"
