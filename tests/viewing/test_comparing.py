"""The numbers beside the pictures, worked by hand."""

import math

import numpy as np
import pytest

from handray.bones import BONES, CARPALS, groups_of
from handray.masks.rle import RunRows, encode
from handray.viewing.comparing import agreement, difference, losses


def rows_of(*masks: list[str]) -> RunRows:
    return RunRows.join([encode(np.array([[c == "#" for c in row] for row in m])) for m in masks])


def test_a_difference_counts_missed_and_extra_pixels_of_each_class():
    truth = rows_of(["##..", "##.."], ["....", "...."])
    ours = rows_of([".##.", ".##."], ["#...", "...."])
    found = difference(ours, truth)
    assert found.missed_C.tolist() == [2, 0]
    assert found.extra_C.tolist() == [2, 1]
    assert found.differing_C.tolist() == [4, 1]
    assert found.dice_C == pytest.approx([0.5, 0], abs=1e-4)


def test_agreement_is_the_pixels_of_all_among_those_of_any():
    one, other = rows_of(["###."], ["...."]), rows_of([".###"], ["...."])
    found = agreement([one, other])
    assert found.any_C.tolist() == [4, 0]
    assert found.all_C.tolist() == [2, 0]
    assert found.share_C.tolist() == [0.5, 1.0]


def test_groups_are_those_whose_bones_are_among_the_classes():
    assert list(groups_of(BONES)) == ["fingers", "carpals", "forearm"]
    assert groups_of(["Ulna", "tooth"]) == {"forearm": ("Ulna",)}
    assert groups_of(BONES)["carpals"] == CARPALS
    assert groups_of(["11", "12"]) == {}


def test_a_pixel_s_loss_is_its_cross_entropy_summed_over_the_chosen_classes():
    # Class 0 is labelled in the left half of an 8 x 8 image, seen at 4 x 4; class 1 nowhere.
    label = {0: np.array([[0, 0], [3, 0], [3, 7], [0, 7]], np.int32)}
    logits = np.zeros((2, 4, 4), np.float32)
    logits[0, :, 2:] = -20  # sure of what is true
    found = losses(logits, label, (8, 8), [0])
    assert found.map_hw[:, :2] == pytest.approx(math.log(2))
    assert found.map_hw[:, 2:] == pytest.approx(0, abs=1e-6)
    assert found.by_name["bce"] == pytest.approx([math.log(2) / 2])
    # Soft Dice with 1 added: overlap 8 * 0.5, total 8 * 0.5 + 8.
    assert found.by_name["dice"] == pytest.approx([1 - (2 * 4 + 1) / (12 + 1)])
    both = losses(logits, label, (8, 8), [0, 1])
    assert both.map_hw[:, :2] == pytest.approx(2 * math.log(2))
    assert len(both.by_name["bce"]) == 2
