"""What a film looks like, without its label: gray levels, the strip along the top, metal.

Axes: H W pixels of the source frame, gray levels uint8 0..255.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

METAL_GRAY = 245
"""Bone stays below it on a film that isn't overexposed; rings, pins and lead letters don't."""
METAL_SHARE = (3e-5, 0.02)
"""Of the film that a piece of metal covers; less is noise, more is overexposure."""
METAL_SIDE, FEWEST_PIXELS = 1024, 4
"""Metal is looked for in about this many rows and columns, pieces of at least so many pixels."""
STRIP_RISE = 25
"""Gray levels by which a strip along the top is brighter than what lies below it."""
STRIP_REACH = 0.06
"""Share of the film's height in which a strip is looked for."""


@dataclass(frozen=True, eq=False)
class Film:
    """Measures of one film, source frame."""

    height: int
    width: int
    counts: NDArray[np.int64]
    """(256,), pixels of each gray level."""
    strip_rows: int
    """Rows of the bright strip along the top edge; 0 without one."""
    metal: NDArray[np.int32]
    """(N, 4), boxes x, y, width, height of saturated pieces, largest first."""

    @property
    def mean(self) -> float:
        """Of the gray levels."""
        return float(self.counts @ np.arange(256) / self.counts.sum())

    @property
    def contrast(self) -> float:
        """Gray levels between the 5th and the 95th percentile of the pixels."""
        low, high = np.searchsorted(
            np.cumsum(self.counts), self.counts.sum() * np.array([0.05, 0.95])
        )
        return float(high - low)


def measure_film(image_HW: NDArray[np.uint8]) -> Film:
    """Measure a film."""
    height, width = image_HW.shape
    strip = _strip_rows(image_HW)
    return Film(height, width, _counts(image_HW), strip, _metal_boxes(image_HW, strip))


def _counts(image_HW: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Pixels of each level, exact: OpenCV counts in float32, so a million pixels at a time."""
    rows = max(1, (1 << 20) // image_HW.shape[1])
    counts = np.zeros(256, np.int64)
    for top in range(0, len(image_HW), rows):
        part = cv2.calcHist([image_HW[top : top + rows]], [0], None, [256], [0, 256])
        counts += part.ravel().astype(np.int64)
    return counts


def _metal_boxes(image_HW: NDArray[np.uint8], strip_rows: int) -> NDArray[np.int32]:
    """Boxes of saturated pieces of a likely size below the strip, largest first."""
    step = max(1, max(image_HW.shape) // METAL_SIDE)
    small_HW = np.ascontiguousarray(image_HW[2 * strip_rows :: step, ::step])
    _, bright_HW = cv2.threshold(small_HW, METAL_GRAY - 1, 1, cv2.THRESH_BINARY)
    least, most = (share * image_HW.size / step**2 for share in METAL_SHARE)
    if cv2.countNonZero(bright_HW) < least:
        return np.zeros((0, 4), np.int32)
    _, _, stats, _ = cv2.connectedComponentsWithStats(bright_HW, connectivity=8)
    pieces = stats[1:]  # the first is the background
    area = pieces[:, cv2.CC_STAT_AREA]
    kept = pieces[(area >= max(least, FEWEST_PIXELS)) & (area <= most)]
    ordered = kept[np.argsort(-kept[:, cv2.CC_STAT_AREA], kind="stable")]
    return (ordered[:, :4] * step + (0, 2 * strip_rows, 0, 0)).astype(np.int32)


def _strip_rows(image_HW: NDArray[np.uint8]) -> int:
    """Rows from the top down to the last big fall of the rows' median brightness."""
    reach = max(2, round(STRIP_REACH * image_HW.shape[0]))
    row_gray = np.median(image_HW[: 2 * reach, ::4], axis=1)
    below = np.median(row_gray[reach:])
    bright = row_gray[:reach] > below + STRIP_RISE
    # A strip starts at the edge, give or take a row of the scanner's border.
    first = int(np.argmax(bright)) if bright.any() else reach
    if first > max(1, reach // 4):
        return 0
    dark = np.flatnonzero(~bright[first:])
    return first + int(dark[0] if len(dark) else reach - first)
