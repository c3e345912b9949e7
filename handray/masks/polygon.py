"""Polygons drawn inside their own boxes: the same pixels at a fraction of the cost."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from handray.masks.rle import Runs, encode_box


@dataclass(frozen=True)
class DrawnBox:
    """A polygon's pixels: `mask_hw` uint8 (0 or the value) at (y0, x0) of the source image."""

    mask_hw: NDArray[np.uint8]
    y0: int
    x0: int


def draw_box(
    points_N2: NDArray[np.int32], source_hw: tuple[int, int], value: int = 1
) -> DrawnBox | None:
    """What cv2.fillPoly draws on a source image, border pixels inside; None if all is outside.

    Points are (x, y) int32 in source pixels and may lie outside. Raises ValueError for another
    shape, dtype or no point at all.
    """
    if points_N2.ndim != 2 or points_N2.shape[1] != 2 or points_N2.dtype != np.int32:
        raise ValueError(
            f"a polygon is int32 (N, 2) xy, got {points_N2.dtype} of shape {points_N2.shape}"
        )
    if not len(points_N2):
        raise ValueError("a polygon needs at least one point, got none; leave the class out")
    height, width = source_hw
    x_min, y_min = points_N2.min(axis=0).tolist()
    x_max, y_max = points_N2.max(axis=0).tolist()
    x0, y0 = max(x_min, 0), max(y_min, 0)
    box_width, box_height = min(x_max + 1, width) - x0, min(y_max + 1, height) - y0
    if box_width <= 0 or box_height <= 0:
        return None
    mask_hw = np.zeros((box_height, box_width), np.uint8)
    cv2.fillPoly(mask_hw, [points_N2 - np.array([x0, y0], np.int32)], value)
    return DrawnBox(mask_hw, y0, x0)


def runs_of_polygon(points_N2: NDArray[np.int32], source_hw: tuple[int, int]) -> Runs:
    """Runs in the source image of the drawn polygon; raises ValueError as draw_box does."""
    drawn = draw_box(points_N2, source_hw)
    if drawn is None:
        return np.zeros(0, np.int32)
    return encode_box(drawn.mask_hw, drawn.y0, drawn.x0, source_hw[1])
