"""The competition's Dice from sums."""

import numpy as np
import pytest

from handray.training.metrics import Overlap, joined


def overlap(rows, intersections, totals):
    return Overlap(np.array(rows), np.array(intersections), np.array(totals))


def test_dice_is_the_mean_over_images_then_over_classes():
    # Class 0: 2*1/4 = 0.5 and 2*2/4 = 1, mean 0.75. Class 1: empty against empty = 1, and 0.
    counts = overlap([0, 1], [[1, 0], [2, 0]], [[4, 0], [4, 10]])
    assert counts.dice_C() == pytest.approx([0.75, 0.5], abs=1e-4)
    assert counts.dice() == pytest.approx(0.625, abs=1e-4)


def test_parts_of_several_ranks_come_together_in_the_order_of_the_rows():
    rows = np.array([7, 3, 9])
    parts = [overlap([7, 9], [[70], [90]], [[1], [1]]), overlap([3], [[30]], [[1]])]
    whole = joined(parts, rows)
    assert whole.rows.tolist() == [7, 3, 9]
    assert whole.intersection_NC.tolist() == [[70], [30], [90]]


@pytest.mark.parametrize("seen", [[7], [7, 3, 3], [7, 4]])
def test_an_image_missed_or_counted_twice_is_an_error(seen):
    count = len(seen)
    with pytest.raises(RuntimeError, match=f"validated {count} images where 2 were due"):
        joined([overlap(seen, [[1]] * count, [[2]] * count)], np.array([7, 3]))
