"""Overlays colour what a mask covers and leave the rest as it was."""

import cv2
import numpy as np

from handray.masks.rle import RunRows, encode
from handray.reporting.overlay import draw_overlay, save_sheet


def test_pixels_without_a_class_keep_their_gray_and_classes_differ_in_colour():
    image = np.full((40, 60), 100, np.uint8)
    masks = np.zeros((2, 40, 60), bool)
    masks[0, 5:15, 5:15], masks[1, 20:30, 40:50] = True, True
    picture = draw_overlay(image, RunRows.join([encode(m) for m in masks]), ["#ff0000", "#00ff00"])
    free = ~masks.any(axis=0)
    assert (picture[free] == 100).all()
    assert not np.array_equal(picture[10, 10], picture[25, 45])
    assert (picture[10, 10] != 100).any()


def test_pictures_of_several_sizes_stand_in_rows(tmp_path):
    rows = [
        [np.zeros((50, 100, 3), np.uint8), np.zeros((80, 40, 3), np.uint8)],
        [np.zeros((10, 25, 3), np.uint8)],
    ]
    save_sheet(tmp_path / "look.png", rows, height=20)
    assert cv2.imread(str(tmp_path / "look.png")).shape == (40, 50, 3)
    assert [path.name for path in tmp_path.iterdir()] == ["look.png"]
