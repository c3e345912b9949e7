"""Counts of nested levels against labels, worked by hand."""

import numpy as np
import pytest

from handray.inference.calibration import BANDS, count_levels
from handray.inference.levels import LEVELS, MIDDLE
from handray.inference.submission import Submission
from handray.masks.rle import RunRows, encode

HW = (1, 8)
# Probabilities of eight pixels by two classes, and what is true.
PROBABILITY = np.array(
    [[0.1, 0.25, 0.25, 0.45, 0.55, 0.75, 0.85, 0.95], [0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.9]]
)
TRUTH = np.array([[1, 0, 1, 0, 1, 1, 1, 1], [0, 0, 0, 0, 0, 0, 0, 0]], bool)


def counts(images: int = 1):
    names = tuple(f"{n}.png" for n in range(images))
    rows = [[encode((p > level).reshape(HW)) for p in PROBABILITY] * images for level in LEVELS]
    levels = [Submission(names, ("a", "b"), RunRows.join(one)) for one in rows]
    truth = RunRows.join([encode(mask.reshape(HW)) for mask in TRUTH] * images)
    return count_levels(levels, truth)


def test_pixels_are_counted_by_the_probability_that_they_have():
    held, true = counts(images=3).bands_LC()
    assert len(held) == len(BANDS) == 7
    # 0.2 to 0.3: two pixels of a, one of them true; 0.4 to 0.5: one, wrong; above 0.8: two, right.
    assert held[:, 0].tolist() == [3 * n for n in (2, 0, 1, 1, 0, 1, 2)]
    assert true[:, 0].tolist() == [3 * n for n in (1, 0, 0, 1, 0, 1, 2)]
    assert held[:, 1].tolist() == [0, 0, 0, 0, 0, 0, 3] and not true[:, 1].any()


def test_dice_at_each_level_is_that_of_its_masks():
    dice_LC = counts().dice_LC()
    # Above 0.5: four pixels of a, all right, of six; above 0.2: seven, five of them right.
    assert dice_LC[MIDDLE, 0] == pytest.approx(2 * 4 / (4 + 6), abs=1e-5)
    assert dice_LC[0, 0] == pytest.approx(2 * 5 / (7 + 6), abs=1e-5)
    assert dice_LC[0, 1] == pytest.approx(0, abs=1e-3), "nothing is true, one pixel is held"
