"""Pooling: one number for each window of the image, channel by channel. No weights, no B.

Images are channels last, (N, H, W, C) -> (N, OH, OW, C). The windows are the patches of patches.py.
"""

import math

from nnref.backend import accelerated, xp
from nnref.errors import InputError
from nnref.layers.base import Layer
from nnref.layers.checks import check_counts, check_image, check_input
from nnref.patches import col2im, im2col


class _Pool(Layer):
    """Windows of k x k pixels, `stride` apart (default: k, that is side by side)."""

    def __init__(self, k, stride=None, padding=0):
        super().__init__()
        self.k, self.stride, self.padding = k, k if stride is None else stride, padding
        check_counts(self, k=k, stride=self.stride)
        check_counts(self, smallest=0, padding=padding)
        if padding > k // 2:  # more is never needed; from k on, a window has no pixel at all
            raise InputError(f"{self}: expected a padding of at most k // 2 = {k // 2}")

    def __repr__(self):
        name = type(self).__name__
        return f"{name}({self.k}, stride={self.stride}, padding={self.padding})"


class MaxPool2d(_Pool):
    """The largest number of each window; the error goes to its position (the first, on a tie).

    Padding counts as minus infinity, so it is never the largest.
    """

    @accelerated
    def forward(self, x):
        check_image(self, x, None, None)
        self.x_shape = x.shape
        patches = im2col(x, self.k, self.stride, self.padding, fill=-math.inf)
        N, OH, OW, k, _, C = patches.shape
        windows = patches.reshape(N, OH, OW, k * k, C)
        self.winner = windows.argmax(axis=3)
        return windows.max(axis=3)

    @accelerated
    def backward(self, delta):
        N, OH, OW, C = delta.shape
        position = xp.arange(self.k**2)[:, None]
        won = self.winner[:, :, :, None, :] == position  # (N, OH, OW, k*k, C)
        patches = (won * delta[:, :, :, None, :]).reshape(N, OH, OW, self.k, self.k, C)
        return col2im(patches, self.x_shape, self.k, self.stride, self.padding)


class AvgPool2d(_Pool):
    """The mean of each window, zeros of the padding included; the error is divided evenly."""

    def forward(self, x):
        check_image(self, x, None, None)
        self.x_shape = x.shape
        return im2col(x, self.k, self.stride, self.padding).mean(axis=(3, 4))

    def backward(self, delta):
        N, OH, OW, C = delta.shape
        share = delta[:, :, :, None, None, :] / self.k**2
        patches = xp.broadcast_to(share, (N, OH, OW, self.k, self.k, C))
        return col2im(patches, self.x_shape, self.k, self.stride, self.padding)


class GlobalAvgPool(Layer):
    """The mean of every channel over the whole image: (N, H, W, C) -> (N, C)."""

    def forward(self, x):
        check_input(self, x, (None, None, None, None), None)
        self.x_shape = x.shape
        return x.mean(axis=1).mean(axis=1)  # one axis at a time: long sums of float32 lose digits

    def backward(self, delta):
        N, H, W, C = self.x_shape
        return xp.broadcast_to(delta[:, None, None, :] / (H * W), self.x_shape)
