"""The locally connected layer: a convolution with separate weights at every place of the image.

A brain cannot copy a kernel to every place, so for a rule that a brain could use this layer is the
fairer test. It is also harder: each weight sees only one place (Bartunov et al. 2018).
"""

import math

from nnref.backend import accelerated
from nnref.errors import InputError
from nnref.feedback import Backprop
from nnref.init import he_normal, normal
from nnref.layers.base import WeightLayer
from nnref.layers.checks import check_counts, check_input, shown
from nnref.patches import col2im, im2col, output_size


class LocallyConnected2d(WeightLayer):
    """Eq. 1 on every k x k patch of an image, each with a W of its own, and Eq. 2 back.

    x (N, H, W, C_in) -> sigma (N, OH, OW, C_out); input_shape is (H, W, C_in). The weights, and so
    B, are a stack of P = OH*OW matrices, (P, k*k*C_in, C_out); the bias is (P, C_out). lambda and
    distribution as in Conv2d. Raises InputError for an input of another shape or dtype.
    """

    def __init__(
        self, input_shape, C_out, k, rng, *, stride=1, padding=0,
        bias=True, feedback=Backprop(), init=he_normal, dtype="float32",
    ):  # fmt: skip
        if not isinstance(input_shape, tuple | list) or len(input_shape) != 3:
            raise InputError(
                "LocallyConnected2d: expected input_shape to be (height, width, channels), found "
                f"{shown(input_shape)}"
            )
        height, width, C_in = input_shape
        check_counts(self, height=height, width=width, C_in=C_in, C_out=C_out, k=k, stride=stride)
        check_counts(self, smallest=0, padding=padding)
        self.input_shape, self.C_in, self.C_out = (height, width, C_in), C_in, C_out
        self.k, self.stride, self.padding = k, stride, padding
        self.OH, self.OW = (output_size(size, k, stride, padding) for size in (height, width))
        check_counts(self, OH=self.OH, OW=self.OW)
        shape = (self.OH * self.OW, k * k * C_in, C_out)
        W = init(rng, shape, fan_in=k * k * C_in, fan_out=k * k * C_out)
        scale = math.sqrt(2 / (k * k * C_out))
        super().__init__(W, scale, normal, rng, feedback, bias, dtype)

    @accelerated
    def forward(self, x):
        W = self.params["W"]
        check_input(self, x, (None, *self.input_shape), W.dtype)
        self.x = x
        sigma = self._rows(x) @ W  # Eq. 1 for each place: (P, N, k*k*C_in) @ (P, k*k*C_in, C_out)
        if "b" in self.params:
            sigma += self.params["b"][:, None]
        return sigma.swapaxes(0, 1).reshape(len(x), self.OH, self.OW, self.C_out)

    @accelerated
    def backward(self, delta):
        W, N = self.params["W"], len(delta)
        rows = delta.reshape(N, -1, self.C_out).swapaxes(0, 1)  # (P, N, C_out)
        self.grads = {"W": self._rows(self.x).swapaxes(1, 2) @ rows, "b": rows.sum(axis=1)}
        if self.sends_error:
            errors = rows @ self.feedback(W).swapaxes(1, 2)  # Eq. 2 per place: (P, N, k*k*C_in)
            patches = errors.swapaxes(0, 1).reshape(N, self.OH, self.OW, self.k, self.k, -1)
            return col2im(patches, self.x.shape, self.k, self.stride, self.padding)

    def _rows(self, x):
        """The patches of a batch, by place: (P, N, k*k*C_in)."""
        patches = im2col(x, self.k, self.stride, self.padding)
        return patches.reshape(len(x), self.OH * self.OW, -1).swapaxes(0, 1)

    def __repr__(self):
        return (
            f"LocallyConnected2d({self.input_shape}, {self.C_out}, k={self.k}, "
            f"stride={self.stride}, padding={self.padding})"
        )
