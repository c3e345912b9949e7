"""What the levels of a result say beside labels: Dice at each threshold, and how true it is.

Axes: L levels, N images, C classes.
"""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from handray.inference.ensemble import BOUNDARIES_AT_ONCE
from handray.inference.levels import LEVELS
from handray.inference.submission import Submission
from handray.masks.algebra import SMOOTH, areas, intersection_areas
from handray.masks.rle import RunRows, pieces

Counts = NDArray[np.int64]
Floats = NDArray[np.float64]

BANDS = (*pairwise(LEVELS), (LEVELS[-1], 1.0))
"""Probabilities that the levels tell apart, from the first level on."""


@dataclass(frozen=True, eq=False)
class LevelCounts:
    """Pixels in the source frame of nested levels, and how many of them the labels have."""

    held_LNC: Counts
    true_LNC: Counts
    label_NC: Counts
    """Pixels of the labels."""

    def dice_LC(self) -> Floats:
        """Dice of each class where a pixel must exceed the level, mean over images."""
        dice_LNC = (2 * self.true_LNC + SMOOTH) / (self.held_LNC + self.label_NC + SMOOTH)
        return dice_LNC.mean(axis=1)

    def bands_LC(self) -> tuple[Counts, Counts]:
        """Pixels of each class in each of BANDS, and how many of them the labels have."""
        held, true = (
            -np.diff(sums, axis=0, append=0)
            for sums in (self.held_LNC.sum(axis=1), self.true_LNC.sum(axis=1))
        )
        return held, true


def count_levels(levels: Sequence[Submission], truth: RunRows) -> LevelCounts:
    """Count the pixels of levels against masks in the same order, on all cores."""
    shape = len(levels[0].image_names), len(levels[0].class_names)
    boundaries = truth.offsets + levels[0].rows.offsets

    def count(stretch: tuple[int, int]) -> Counts:
        label = truth.part(*stretch)
        parts = [level.rows.part(*stretch) for level in levels]
        counts = [(areas(part), intersection_areas(part, label)) for part in parts]
        return np.array([*np.concatenate(counts), areas(label)])

    with ThreadPoolExecutor(os.cpu_count()) as threads:
        parts = list(threads.map(count, pieces(boundaries, BOUNDARIES_AT_ONCE)))
    counts = np.concatenate(parts, axis=1).reshape(-1, *shape)
    return LevelCounts(counts[0:-1:2], counts[1:-1:2], counts[-1])
