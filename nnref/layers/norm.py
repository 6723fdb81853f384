"""Batch normalization: every channel of a batch gets mean 0 and variance 1, then a gain and a bias.

`backward` is exact under every feedback rule, as in Xiao et al.'s code (2018). It multiplies the
error by the gain gamma, one number per channel, so this weight *is* transported under every rule,
unless `sends_gain` is false: then gamma counts as 1, its initial value (transport.py).
"""

from nnref.backend import accelerated, xp
from nnref.errors import InputError
from nnref.layers.base import Layer
from nnref.layers.checks import check_counts, check_dtype, check_input


class BatchNorm(Layer):
    """y = gamma (x - mean) / sqrt(var + eps) + beta, per channel (Ioffe & Szegedy 2015).

    x (..., C) -> y (..., C); mean and variance over all axes but the last. In training they are the
    batch's own; in evaluation they are running averages of these (the variance unbiased).
    """

    momentum = 0.1  # weight of the newest batch in the running averages
    eps = 1e-5
    keeps = ("running_mean", "running_var")
    sends_gain = True

    def __init__(self, C, dtype="float32"):
        super().__init__()
        check_counts(self, C=C)
        self.C = C
        check_dtype(self, dtype)
        self.params = {"gamma": xp.ones(C, dtype), "beta": xp.zeros(C, dtype)}
        self.running_mean, self.running_var = xp.zeros(C, dtype), xp.ones(C, dtype)

    @accelerated
    def forward(self, x):
        gamma, beta = self.params["gamma"], self.params["beta"]
        check_input(self, x, (..., self.C), gamma.dtype)
        mean, var = self._statistics(x) if self.training else (self.running_mean, self.running_var)
        self.x, self.mean, self.inv_std = x, mean, 1 / xp.sqrt(var + self.eps)
        return gamma * (x - mean) * self.inv_std + beta

    @accelerated
    def backward(self, delta):
        normalized = (self.x - self.mean) * self.inv_std
        self.grads = {"gamma": total(delta * normalized), "beta": total(delta)}
        scale = self.gain_of_errors() * self.inv_std
        if not self.training:  # mean and variance were constants
            return delta * scale
        # they depended on x as well: the error loses its mean and its part along `normalized`
        n = delta.size // self.C
        return scale * (delta - (self.grads["beta"] + normalized * self.grads["gamma"]) / n)

    def gain_of_errors(self):
        """(C,): the factor for errors: gamma, or 1 where `sends_gain` is false."""
        gamma = self.params["gamma"]
        return gamma if self.sends_gain else xp.ones_like(gamma)

    def _statistics(self, x):
        """Mean and variance of this batch, (C,) each; also updates the running averages."""
        if x.size <= self.C:
            raise InputError(f"{self}: expected two values or more per channel, found {x.shape}")
        n = x.size // self.C
        mean = total(x) / n
        mean += total(x - mean) / n  # exact also where the mean is far larger than what differs
        var = total((x - mean) ** 2) / n
        unbiased = var * (n / (n - 1))
        self.running_mean += self.momentum * (mean - self.running_mean)
        self.running_var += self.momentum * (unbiased - self.running_var)
        return mean, var

    def __repr__(self):
        return f"BatchNorm({self.C})"


def total(x):
    """The sum of x (..., C) for each channel, (C,).

    One axis after the other, because in one long sum float32 loses digits.
    """
    while x.ndim > 1:
        x = x.sum(axis=0)
    return x
