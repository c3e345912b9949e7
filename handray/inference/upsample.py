"""One class's logits in the source frame, upsampled only in a box around what is above a threshold.

The baseline's labels and its predictions don't lie in the same place. A label of the model frame is
the nearest resize of one drawn at source size, which takes source pixel floor(i * s) for pixel i
(s = source / model size); bilinear upsampling takes logit i for the centre of its s pixels. So
every mask comes back about s / 2 pixels too far to the right and down: 0.5 px from 1024 to 2048,
1.5 px from 512. `aligned_box` puts each logit where its label was taken from; `baseline_box` is the
competition's own way, for results that must equal it bit by bit.

Axes: h w pixels of the model frame, y x of the source frame.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from math import gcd

import cv2
import numpy as np
from numpy.typing import NDArray

from handray.masks.planes import nearest_positions


@dataclass(frozen=True)
class Box:
    """Logits (float32, height and width of the box) at (y0, x0) of the source image."""

    logit: NDArray[np.float32]
    y0: int
    x0: int


Upsample = Callable[[NDArray[np.float32], tuple[int, int], float], Box | None]
"""(logits (h, w), source size, threshold) -> a box that has all above it; None if nothing is."""


def aligned_box(
    logit_hw: NDArray[np.float32], source_hw: tuple[int, int], threshold: float
) -> Box | None:
    """Linear interpolation between the source pixels that the label's pixels were taken from."""
    if (above := _above(logit_hw, threshold)) is None:
        return None
    x, y, width, height = above
    rows = _knots(source_hw[0], logit_hw.shape[0]).between(y, y + height)
    columns = _knots(source_hw[1], logit_hw.shape[1]).between(x, x + width)
    # Rows first, on the few columns of the model frame; then columns.
    left = columns.below[0]
    crop = logit_hw[:, left : columns.above[-1] + 1]
    weight_y1 = rows.weight[:, None]
    tall = crop[rows.below] * (1 - weight_y1) + crop[rows.above] * weight_y1
    begin, end = tall.take(columns.below - left, axis=1), tall.take(columns.above - left, axis=1)
    return Box(begin + (end - begin) * columns.weight, rows.first, columns.first)


def aligned_plane(logit_hw: NDArray[np.float32], source_hw: tuple[int, int]) -> NDArray[np.float32]:
    """The whole plane as ``aligned_box`` has it, float32 of the source size."""
    box = aligned_box(logit_hw, source_hw, -np.inf)
    assert box is not None and box.logit.shape == source_hw
    return box.logit


def baseline_box(
    logit_hw: NDArray[np.float32], source_hw: tuple[int, int], threshold: float
) -> Box | None:
    """The same values as torch's interpolate (bilinear, align_corners=False) of the whole plane.

    Where source / model is a power of two the bilinear weights are exact; elsewhere OpenCV and
    torch round them differently in the last bit, so that a pixel whose probability lies within 2e-6
    of the threshold may differ (6 of 670 million did in trials at 12 pairs of sizes).
    """
    if (above := _above(logit_hw, threshold)) is None:
        return None
    x, y, width, height = above
    rows = _snapped(y, y + height, logit_hw.shape[0], source_hw[0])
    columns = _snapped(x, x + width, logit_hw.shape[1], source_hw[1])
    crop = logit_hw[rows.model, columns.model]
    size = (columns.source.stop - columns.source.start, rows.source.stop - rows.source.start)
    resized = np.asarray(cv2.resize(crop, size, interpolation=cv2.INTER_LINEAR), np.float32)
    return Box(resized, rows.source.start, columns.source.start)


def _above(logit_hw: NDArray[np.float32], threshold: float) -> tuple[int, int, int, int] | None:
    """x, y, width and height of the box of what is above a threshold; None if nothing is.

    Each column's maximum first: one pass at the memory's speed, and few columns are left then.
    """
    columns = np.flatnonzero(cv2.reduce(logit_hw, 0, cv2.REDUCE_MAX)[0] > threshold)
    if not len(columns):
        return None
    left, right = int(columns[0]), int(columns[-1]) + 1
    part = (logit_hw[:, left:right] > threshold).view(np.uint8)
    _, y, width, height = cv2.boundingRect(part)
    return left, y, width, height


@dataclass(frozen=True)
class _Knots:
    """Linear interpolation of one axis: source pixel `first + k` lies between two model pixels."""

    first: int
    below: NDArray[np.intp]
    above: NDArray[np.intp]
    weight: NDArray[np.float32]
    """Of the model pixel above, in [0, 1)."""

    def between(self, first: int, last: int) -> "_Knots":
        """The source pixels that model pixels first .. last - 1 have a share in."""
        begin = int(np.searchsorted(self.above, first))
        end = int(np.searchsorted(self.below, last))
        part = slice(begin, max(end, begin + 1))
        return _Knots(begin, self.below[part], self.above[part], self.weight[part])


@lru_cache(maxsize=64)
def _knots(source: int, model: int) -> _Knots:
    """Interpolation of a whole axis; beyond the last sampled pixel its value goes on."""
    positions = nearest_positions(source, model)
    pixels = np.arange(source)
    below = np.searchsorted(positions, pixels, side="right") - 1
    above = np.minimum(below + 1, model - 1)
    gap = np.maximum(positions[above] - positions[below], 1)
    weight = np.where(above > below, (pixels - positions[below]) / gap, 0)
    return _Knots(0, below, above, weight.astype(np.float32))


@dataclass(frozen=True)
class _Span:
    """The same stretch of one axis in both frames."""

    model: slice
    source: slice


def _snapped(first: int, last: int, model: int, source: int) -> _Span:
    """The stretch first..last and a pixel around it, widened to whole pixels of both frames.

    With source / model = p / q in lowest terms these are the multiples of q; resizing such a
    stretch alone samples it at the same places as resizing the whole does.
    """
    q = model // gcd(source, model)
    p = source // gcd(source, model)
    start = max(first - 1, 0) // q
    stop = -(-min(last + 1, model) // q)
    return _Span(slice(start * q, stop * q), slice(start * p, stop * p))
