"""Tidied masks against scipy's components and holes."""

import numpy as np
import pytest
from scipy import ndimage

from handray.inference.submission import Submission
from handray.inference.tidy import box_of, tidied
from handray.masks.rle import RunRows, decode, encode

HW = (31, 40)


def submission(masks) -> Submission:
    rows = RunRows.join([encode(mask) for mask in masks])
    return Submission(("a.png",), tuple(f"c{n}" for n in range(len(masks))), rows, np.array([HW]))


def blobs(seed: int):
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).random(HW), 1.2)
    return noise > np.quantile(noise, 0.6)


MASKS = [*(blobs(seed) for seed in range(6)), np.zeros(HW, bool), np.ones(HW, bool)]


NAMES = [f"c{n}" for n in range(len(MASKS))]


def test_classes_that_are_not_named_stay_and_unknown_ones_are_refused():
    whole = submission(MASKS)
    done = tidied(whole, ["c2"], ["c2"])
    changed = [n for n in range(len(MASKS)) if not np.array_equal(done.rows[n], whole.rows[n])]
    assert changed == [2]
    with pytest.raises(ValueError, match="--fill-holes Femur: no class has this name"):
        tidied(whole, [], ["Femur"])


def test_the_largest_component_is_scipys():
    done = tidied(submission(MASKS), NAMES, [])
    for number, mask in enumerate(MASKS):
        pieces, count = ndimage.label(mask, np.ones((3, 3)))
        sizes = [0, *(np.sum(pieces == n) for n in range(1, count + 1))]
        expected = pieces == np.argmax(sizes) if count else mask
        assert np.array_equal(decode(done.rows[number], HW), expected)


def test_filled_holes_are_scipys():
    done = tidied(submission(MASKS), [], NAMES)
    for number, mask in enumerate(MASKS):
        expected = ndimage.binary_fill_holes(mask)
        assert np.array_equal(decode(done.rows[number], HW), expected)


def test_nothing_asked_for_changes_nothing_and_sizes_must_be_known():
    whole = submission(MASKS)
    assert tidied(whole, [], []) is whole
    with pytest.raises(ValueError, match="sizes of its images are not known"):
        tidied(Submission(("a.png",), ("Ulna",), RunRows.join([encode(MASKS[0])])), ["Ulna"], [])


def test_a_box_has_the_masks_pixels_where_they_are():
    for mask in MASKS:
        if mask.any():
            box_hw, y0, x0 = box_of(encode(mask), HW[1])
            again = np.zeros(HW, bool)
            again[y0 : y0 + box_hw.shape[0], x0 : x0 + box_hw.shape[1]] = box_hw
            assert np.array_equal(again, mask)
            assert box_hw[0].any() and box_hw[-1].any()
