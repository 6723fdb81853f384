"""Nonlinearities y = f(sigma), element by element. Backward, they turn an error into a delta.

An error e from above becomes delta = f'(sigma) e, by the factor of Eq. 2 (Xiao 2018); delta is
dE/dsigma if every B above is W. No weights, so no B. sigma, y, e and delta have the same shape.
"""

from nnref.backend import accelerated, xp
from nnref.layers.base import Layer


class ReLU(Layer):
    """f(sigma) = max(sigma, 0); f' is 1 above zero and 0 elsewhere."""

    @accelerated
    def forward(self, sigma):
        self.sigma = sigma
        return xp.maximum(sigma, 0)

    @accelerated
    def backward(self, error):
        return error * (self.sigma > 0)


class Tanh(Layer):
    """f(sigma) = tanh(sigma); f' = 1 - y^2."""

    def forward(self, sigma):
        self.y = xp.tanh(sigma)
        return self.y

    def backward(self, error):
        return error * (1 - self.y**2)


class Sigmoid(Layer):
    """f(sigma) = 1 / (1 + exp(-sigma)); f' = y (1 - y)."""

    def forward(self, sigma):
        # the same function written with tanh, because exp(-sigma) overflows (float32: from 89 on)
        self.y = 0.5 + 0.5 * xp.tanh(0.5 * sigma)
        return self.y

    def backward(self, error):
        return error * self.y * (1 - self.y)
