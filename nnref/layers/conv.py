"""The convolution: the two lines of Linear, once per patch of the image (patches.py).

W stays a matrix, (k*k*C_in, C_out), one column per kernel, and so does B, which every patch shares
too; feedback rules, initialization and optimizer never hear of kernels. Images are channels last,
(N, H, W, C), so a patch is a row.
"""

import math

from nnref.backend import accelerated
from nnref.feedback import Backprop
from nnref.init import he_normal, normal
from nnref.layers.base import WeightLayer, check_counts, check_image
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
        scale = math.sqrt(2 / (k * k * C_out))  # the authors' lambda
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
        W = self.params["W"]
        patches = im2col(self.x, self.k, self.stride, self.padding)
        rows = delta.reshape(-1, self.C_out)
        self.grads = {"W": patches.reshape(-1, len(W)).T @ rows}
        if "b" in self.params:
            self.grads["b"] = rows.sum(axis=0)
        if not self.sends_error:
            return None
        errors = rows @ self.feedback(W).T  # Eq. 2, one row per patch
        return col2im(
            errors.reshape(patches.shape), self.x.shape, self.k, self.stride, self.padding
        )

    def __repr__(self):
        return (
            f"Conv2d({self.C_in}, {self.C_out}, k={self.k}, "
            f"stride={self.stride}, padding={self.padding})"
        )
