"""What a label looks like, alone and on its film: areas, overlaps, and whether it lies on bone.

Axes: C classes, H W pixels of the source or work frame, hw of a class's box.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import cv2
import numpy as np
from numpy.typing import NDArray

from handray.data.audit.film import METAL_GRAY
from handray.masks.polygon import DrawnBox, draw_box

WORK_SIDE = 512
"""Gray levels are looked at in a frame of at most this side."""
BRIGHT_RISE = (40, 80)
"""Gray levels above the bone that make a pixel foreign to it: a ring, a pin, polish. The usual is
the second; where the bone itself is bright, the first is enough for what is saturated."""
BONE_PERCENTILE = 35
"""Of a mask's gray levels: bone, even where a ring covers half of it."""
AROUND_SHARE = 0.012
"""Of the film's side: how far around a bone its surroundings reach."""
OFF_SHARE = 0.2
"""Of the way from background to bone, in gray levels: below it there is no flesh."""

Gray = NDArray[np.uint8]
Floats = NDArray[np.float64]
Polygons = Mapping[int, NDArray[np.int32]]


@dataclass(frozen=True, eq=False)
class OnFilm:
    """Each class's mask on the film, work frame; nan where the class isn't there."""

    contrast_C: Floats
    """Gray levels, mean inside less mean around it where no class is."""
    mirrored_contrast_C: Floats
    """The same on the mirrored film: what the label would have if it were mirrored."""
    off_hand_C: Floats
    """Share of the mask that is as dark as the background."""
    bright_C: Floats
    """Share of the mask that is foreign: far brighter than the bone, and no second bone."""
    bulge_C: Floats
    """Share of what is foreign that sticks out of the convex hull of the rest of the mask."""


def areas_and_overlaps(
    polygons: Polygons, source_hw: tuple[int, int], classes: int
) -> tuple[NDArray[np.int64], dict[tuple[int, int], int]]:
    """Pixels of each class, (C,) with 0 for none, and of each pair (c < d) that overlaps."""
    drawn = {c: draw_box(polygon, source_hw) for c, polygon in sorted(polygons.items())}
    boxes = {c: box for c, box in drawn.items() if box is not None}
    area_C = np.zeros(classes, np.int64)
    for c, box in boxes.items():
        area_C[c] = cv2.countNonZero(box.mask_hw)
    pairs = {pair: _common(boxes[pair[0]], boxes[pair[1]]) for pair in combinations(boxes, 2)}
    return area_C, {pair: pixels for pair, pixels in pairs.items() if pixels}


def work_frame(image_HW: Gray, polygons: Polygons) -> tuple[Gray, dict[int, NDArray[np.int32]]]:
    """The film and its label in the work frame."""
    scale = min(1.0, WORK_SIDE / max(image_HW.shape))
    if scale == 1:
        return image_HW, dict(polygons)
    size = [max(1, round(extent * scale)) for extent in image_HW.shape[::-1]]
    small_HW = cv2.resize(image_HW, size, interpolation=cv2.INTER_AREA)
    factor = np.array(size) / image_HW.shape[::-1]
    moved = {c: np.rint((p + 0.5) * factor - 0.5).astype(np.int32) for c, p in polygons.items()}
    return small_HW.astype(np.uint8), moved


def measure_on_film(image_HW: Gray, polygons: Polygons, classes: int) -> OnFilm:
    """Measure a label on its film, both in the work frame."""
    reach = max(2, round(AROUND_SHARE * max(image_HW.shape)))
    padded_HW = cv2.copyMakeBorder(
        image_HW, reach, reach, reach, reach, cv2.BORDER_REPLICATE
    ).astype(np.uint8, copy=False)
    mirrored_HW = np.ascontiguousarray(padded_HW[:, ::-1])
    boxes = {c: _padded(p, padded_HW.shape, reach) for c, p in polygons.items()}
    count_HW = np.zeros(padded_HW.shape, np.uint8)
    for box in boxes.values():
        if box is not None:
            _window(count_HW, box)[...] += box.mask_hw
    bone = float(np.median(padded_HW[count_HW > 0])) if count_HW.any() else 0.0
    ground = float(np.percentile(image_HW[::4, ::4], 20))
    dark = ground + OFF_SHARE * max(bone - ground, 0)
    kernel = np.ones((2 * reach + 1,) * 2, np.uint8)
    found = np.full((5, classes), np.nan)
    for c, box in boxes.items():
        if box is None:
            continue
        count_hw, gray_hw = _window(count_HW, box), _window(padded_HW, box)
        around_hw = cv2.bitwise_and(
            cv2.dilate(box.mask_hw, kernel), (count_hw == 0).astype(np.uint8)
        )
        if around_hw.any():
            for row, film_HW in enumerate((padded_HW, mirrored_HW)):
                film_hw = _window(film_HW, box)
                inside, around = (cv2.mean(film_hw, m)[0] for m in (box.mask_hw, around_hw))
                found[row, c] = inside - around
        found[2:, c] = _inside(gray_hw, box.mask_hw, count_hw, dark)
    return OnFilm(*found)


def _inside(
    gray_hw: Gray, mask_hw: Gray, count_hw: Gray, dark: float
) -> tuple[float, float, float]:
    """Share off the hand, share foreign, share of that bulging out."""
    inside = gray_hw[mask_hw > 0]
    least, usual = float(np.percentile(inside, BONE_PERCENTILE)) + np.array(BRIGHT_RISE)
    bright = max(least, min(usual, METAL_GRAY))
    foreign_hw = ((gray_hw >= bright) & (mask_hw > 0) & (count_hw == 1)).astype(np.uint8)
    foreign = int(foreign_hw.sum())
    bulge = _bulge(mask_hw, foreign_hw) / foreign if foreign else 0.0
    return float((inside < dark).mean()), foreign / len(inside), bulge


def _bulge(mask_hw: Gray, foreign_hw: Gray) -> int:
    """Foreign pixels of a mask outside the convex hull of its other pixels."""
    near_hw = cv2.dilate(foreign_hw, np.ones((5, 5), np.uint8))
    rest = cv2.findNonZero(cv2.bitwise_and(mask_hw, 1 - near_hw))
    if rest is None:
        return int(foreign_hw.sum())
    hull_hw = np.zeros_like(mask_hw)
    cv2.fillConvexPoly(hull_hw, cv2.convexHull(rest), 1)
    return int((foreign_hw > hull_hw).sum())


def _padded(
    polygon_N2: NDArray[np.int32], padded_hw: tuple[int, ...], reach: int
) -> DrawnBox | None:
    """A polygon's pixels with a margin of `reach` on each side, in a frame widened as much."""
    box = draw_box(polygon_N2, (padded_hw[0] - 2 * reach, padded_hw[1] - 2 * reach))
    if box is None:
        return None
    return DrawnBox(np.pad(box.mask_hw, reach), box.y0, box.x0)


def _window(image_HW: Gray, box: DrawnBox) -> Gray:
    """The part of an image under a box, a view."""
    height, width = box.mask_hw.shape
    return image_HW[box.y0 : box.y0 + height, box.x0 : box.x0 + width]


def _common(one: DrawnBox, other: DrawnBox) -> int:
    """Pixels that two masks share."""
    top, left = max(one.y0, other.y0), max(one.x0, other.x0)
    bottom = min(box.y0 + box.mask_hw.shape[0] for box in (one, other))
    right = min(box.x0 + box.mask_hw.shape[1] for box in (one, other))
    if top >= bottom or left >= right:
        return 0
    first, second = (
        box.mask_hw[top - box.y0 : bottom - box.y0, left - box.x0 : right - box.x0]
        for box in (one, other)
    )
    return int(cv2.countNonZero(cv2.bitwise_and(first, second)))
