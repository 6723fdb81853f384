"""Patches: turn a convolution into the matrix product of Eq. 1, and its error back into an image.

`im2col` copies every k x k patch of an image; reshaped, each is a row. `col2im` adds every number
of such patches to the pixel that it came from: the adjoint, sum(im2col(x) * p) = sum(x * col2im(p))
for all x and p. Read them together: the loops and slices are the same, the two sides of the
assignment are swapped, and = becomes +=.

    N         images in the batch             k         height and width of the (square) kernel
    H, W      height and width of an image    stride    pixels from one patch to the next
    C         channels                        padding   rows and columns added on each side
    OH, OW    number of patches down and across: OH = (H + 2 padding - k) // stride + 1
"""

from nnref.backend import xp


def output_size(size: int, k: int, stride: int, padding: int) -> int:
    """How many patches of size k fit along an axis of `size` pixels."""
    return (size + 2 * padding - k) // stride + 1


def im2col(x, k: int, stride: int = 1, padding: int = 0, fill: float = 0.0):
    """Images (N, H, W, C) -> patches (N, OH, OW, k, k, C); `fill` is the value of the padding.

    Reshaped to (N*OH*OW, k*k*C) they are the rows that a weight matrix (k*k*C, C_out) multiplies.
    """
    N, H, W, C = x.shape
    OH, OW = output_size(H, k, stride, padding), output_size(W, k, stride, padding)
    padded = xp.full((N, H + 2 * padding, W + 2 * padding, C), fill, x.dtype)
    padded[:, padding : padding + H, padding : padding + W] = x
    patches = xp.empty((N, OH, OW, k, k, C), x.dtype)
    for i in range(k):
        for j in range(k):
            # pixel (i, j) of every patch at once: every stride-th row from i, column from j
            rows, columns = slice(i, i + stride * OH, stride), slice(j, j + stride * OW, stride)
            patches[:, :, :, i, j] = padded[:, rows, columns]
    return patches


def col2im(patches, x_shape, k: int, stride: int = 1, padding: int = 0):
    """Patches (N, OH, OW, k, k, C) -> images of `x_shape` (N, H, W, C): the adjoint of im2col.

    A pixel lies in up to k*k patches, so its error is the sum over these patches.
    """
    N, H, W, C = x_shape
    OH, OW = output_size(H, k, stride, padding), output_size(W, k, stride, padding)
    padded = xp.zeros((N, H + 2 * padding, W + 2 * padding, C), patches.dtype)
    for i in range(k):
        for j in range(k):
            rows, columns = slice(i, i + stride * OH, stride), slice(j, j + stride * OW, stride)
            padded[:, rows, columns] += patches[:, :, :, i, j]
    return padded[:, padding : padding + H, padding : padding + W]
