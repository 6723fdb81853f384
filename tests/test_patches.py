"""im2col against its definition, and col2im as its adjoint."""

import itertools

import numpy as np
import pytest
from oracles import assert_same, normal

from nnref.backend import to_device, to_host
from nnref.patches import col2im, im2col

GRID = list(itertools.product([(5, 5), (4, 7), (3, 9)], [1, 2, 3], [1, 2, 3], [0, 1, 2]))


@pytest.mark.parametrize(("size", "k", "stride", "padding"), GRID)
def test_every_patch_is_the_window_it_claims_to_be(size, k, stride, padding, rng):
    x = rng.standard_normal((2, *size, 3))
    patches = to_host(im2col(to_device(x), k, stride, padding, fill=7.0))
    padded = np.pad(
        x, ((0, 0), (padding, padding), (padding, padding), (0, 0)), constant_values=7.0
    )
    OH, OW = ((length + 2 * padding - k) // stride + 1 for length in size)
    assert patches.shape == (2, OH, OW, k, k, 3)
    for r, c in itertools.product(range(OH), range(OW)):
        window = padded[:, r * stride : r * stride + k, c * stride : c * stride + k]
        assert_same(patches[:, r, c], window)


@pytest.mark.parametrize(("size", "k", "stride", "padding"), GRID)
def test_col2im_is_the_adjoint_of_im2col(size, k, stride, padding, rng):
    """<im2col(x), p> = <x, col2im(p)> for any x and p."""
    x = normal(rng, (2, *size, 3))
    patches = im2col(x, k, stride, padding)
    p = normal(rng, patches.shape)
    right = float((x * col2im(p, x.shape, k, stride, padding)).sum())
    assert float((patches * p).sum()) == pytest.approx(right, abs=1e-10)


def test_patches_start_at_every_pixel_and_lie_in_the_image_unless_told_otherwise(rng):
    x = normal(rng, (2, 4, 5, 3))
    patches = im2col(x, 2)
    assert_same(patches, im2col(x, 2, stride=1, padding=0))
    assert_same(col2im(patches, x.shape, 2), col2im(patches, x.shape, 2, stride=1, padding=0))
