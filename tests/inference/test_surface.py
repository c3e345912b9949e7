"""Border distances against scipy's exact distance transform and hand-worked squares."""

import math

import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial.distance import cdist

from handray.inference.surface import borders
from handray.masks.rle import encode

HW = (48, 60)


def blob(seed: int):
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).random(HW), 2)
    return noise > np.quantile(noise, 0.7)


def edge_points(mask):
    inner = ndimage.binary_erosion(mask, border_value=0)
    return np.argwhere(mask & ~inner)


@pytest.mark.parametrize("seed", range(5))
def test_distances_are_those_of_all_pairs_of_border_pixels(seed):
    a, b = blob(seed), blob(seed + 50)
    pairs = cdist(edge_points(a), edge_points(b))
    ours, theirs = pairs.min(axis=1), pairs.min(axis=0)
    found = borders(encode(a), encode(b), HW)
    assert np.sort(found.ours) == pytest.approx(np.sort(ours), abs=1e-3)
    assert np.sort(found.theirs) == pytest.approx(np.sort(theirs), abs=1e-3)
    for tolerance in (2, 4):
        near = np.mean(np.concatenate([ours, theirs]) <= tolerance)
        assert found.surface_dice(tolerance) == pytest.approx(near)
    expected = max(np.percentile(ours, 95), np.percentile(theirs, 95))
    assert found.hd95() == pytest.approx(expected, abs=1e-3)


def test_a_square_three_pixels_aside_is_as_far_as_that():
    a, b = np.zeros(HW, bool), np.zeros(HW, bool)
    a[10:20, 10:20], b[10:20, 13:23] = True, True
    found = borders(encode(a), encode(b), HW)
    assert found.hd95() == 3
    assert found.surface_dice(3) == 1
    assert found.surface_dice(2) < 1


def test_empty_masks_are_the_same_and_one_empty_mask_is_infinitely_far():
    a, empty = encode(blob(0)), encode(np.zeros(HW, bool))
    both = borders(empty, empty, HW)
    assert (both.surface_dice(2), both.hd95()) == (1.0, 0.0)
    one = borders(a, empty, HW)
    assert (one.surface_dice(2), one.hd95()) == (0.0, math.inf)
    same = borders(a, a, HW)
    assert (same.surface_dice(0), same.hd95()) == (1.0, 0.0)
