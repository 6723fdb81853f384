"""The convolution: the two lines of Linear, once per patch of the image (patches.py).

W is a matrix, (k*k*C_in, C_out), with a column per kernel, and B has the same shape; all patches
share both. So feedback rules, initialization and optimizer need not know about kernels. Images are
channels last, (N, H, W, C), so a patch is a row.
"""

import math

from nnref.backend import accelerated
from nnref.feedback import Backprop
from nnref.init import he_normal, normal
from nnref.layers.base import WeightLayer
from nnref.layers.checks import check_counts, check_image
from nnref.patches import col2im, im2col


class Conv2d(WeightLayer):
    """Eq. 1 on every k x k patch of an image, and Eq. 2 back from every patch (Xiao 2018).

    x (N, H, W, C_in) -> sigma (N, OH, OW, C_out), where OH = (H + 2 padding - k) // stride + 1.
    Raises InputError for an input of another shape or dtype, or smaller than a patch.
    """

    def __init__(
        self, C_in, C_out, k, rng, *, stride=1, padding=0,
        bias=True, feedback=Backprop(), init=he_normal, dtype="float32",
    ):  # fmt: skip
        check_counts(self, C_in=C_in, C_out=C_out, k=k, stride=stride)
        check_counts(self, smallest=0, padding=padding)
        self.C_in, self.C_out, self.k, self.stride, self.padding = C_in, C_out, k, stride, padding
        W = init(rng, (k * k * C_in, C_out), fan_in=k * k * C_in, fan_out=k * k * C_out)
        scale = math.sqrt(2 / (k * k * C_out))  # Xiao et al.'s lambda
        super().__init__(W, scale, normal, rng, feedback, bias, dtype)

    @accelerated
    def forward(self, x):
        W, b = self.params["W"], self.params.get("b", 0)
        check_image(self, x, self.C_in, W.dtype)
        self.x = x  # not its patches, which take up to k*k times the memory
        patches = im2col(x, self.k, self.stride, self.padding)
        sigma = patches.reshape(-1, len(W)) @ W + b  # Eq. 1, one row per patch
        return sigma.reshape(*patches.shape[:3], self.C_out)

    @accelerated
    def backward(self, delta):
        W, rows = self.params["W"], delta.reshape(-1, self.C_out)
        patches = im2col(self.x, self.k, self.stride, self.padding)
        self.grads = {"W": patches.reshape(-1, len(W)).T @ rows, "b": rows.sum(axis=0)}
        if self.sends_error:
            errors = (rows @ self.feedback(W).T).reshape(patches.shape)  # Eq. 2, per patch
            return col2im(errors, self.x.shape, self.k, self.stride, self.padding)

    def __repr__(self):
        return (
            f"Conv2d({self.C_in}, {self.C_out}, k={self.k}, "
            f"stride={self.stride}, padding={self.padding})"
        )
