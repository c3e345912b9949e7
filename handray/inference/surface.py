"""Distances between the borders of two masks, in pixels of the source frame.

Surface Dice (Nikolov et al., 2018, arXiv:1809.04430) counts the border pixels that lie within a
tolerance of the other border; HD95 is the 95th percentile of the distances from each border to the
other, the larger of both ways. A border pixel belongs to the mask and has a 4-neighbour outside it.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from handray.inference.tidy import box_of
from handray.masks.rle import Runs

Mask = NDArray[np.uint8]
Distances = NDArray[np.float32]
CROSS = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))


@dataclass(frozen=True)
class Borders:
    """How far each border pixel of two masks is from the other mask's border."""

    ours: Distances
    theirs: Distances

    def surface_dice(self, tolerance: float) -> float:
        """Share of all border pixels within so many pixels of the other border; 1 without any."""
        total = len(self.ours) + len(self.theirs)
        near = np.sum(self.ours <= tolerance) + np.sum(self.theirs <= tolerance)
        return float(near / total) if total else 1.0

    def hd95(self) -> float:
        """95th percentile distance; 0 without any border, infinite where only one mask is empty."""
        if not len(self.ours) and not len(self.theirs):
            return 0.0
        if not len(self.ours) or not len(self.theirs):
            return math.inf
        return float(max(np.percentile(self.ours, 95), np.percentile(self.theirs, 95)))


def borders(ours: Runs, theirs: Runs, source_hw: tuple[int, int]) -> Borders:
    """Compare two masks of one image; distances where only one has pixels are infinite."""
    masks = _both(ours, theirs, source_hw)
    edges = [_edge(mask) for mask in masks]
    distances = [
        _distance(other)[edge.view(np.bool_)]
        for edge, other in zip(edges, reversed(edges), strict=True)
    ]
    return Borders(*distances)


def _both(ours: Runs, theirs: Runs, source_hw: tuple[int, int]) -> list[Mask]:
    """Both masks in the box that holds them, with a blank pixel around it."""
    width = source_hw[1]
    boxes = [box_of(runs, width) if len(runs) else None for runs in (ours, theirs)]
    known = [box for box in boxes if box is not None]
    if not known:
        return [np.zeros((1, 1), np.uint8)] * 2
    y0, x0 = (min(box[axis] for box in known) for axis in (1, 2))
    y1 = max(box[1] + box[0].shape[0] for box in known)
    x1 = max(box[2] + box[0].shape[1] for box in known)
    masks = []
    for box in boxes:
        mask = np.zeros((y1 - y0 + 2, x1 - x0 + 2), np.uint8)
        if box is not None:
            pixels, y, x = box
            height_box, width_box = pixels.shape
            mask[y - y0 + 1 :, x - x0 + 1 :][:height_box, :width_box] = pixels
        masks.append(mask)
    return masks


def _edge(mask: Mask) -> Mask:
    """Pixels of a mask with a 4-neighbour outside it, as 0 and 1."""
    return np.asarray(cv2.subtract(mask, cv2.erode(mask, CROSS)), np.uint8)


def _distance(edge: Mask) -> Distances:
    """Exact Euclidean distance of each pixel from the nearest of an edge; infinite without one."""
    if not edge.any():
        return np.full(edge.shape, np.inf, np.float32)
    return np.asarray(
        cv2.distanceTransform(1 - edge, cv2.DIST_L2, cv2.DIST_MASK_PRECISE), np.float32
    )
