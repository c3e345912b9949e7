"""The competition's Dice, from counts that are added up first and divided once.

Axes: N images, C classes.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from handray.masks.algebra import SMOOTH


@dataclass(frozen=True)
class Overlap:
    """Pixel counts of prediction against truth in the source frame, for each image and class."""

    rows: NDArray[np.int64]
    """(N,) which image of the data set."""
    intersection_NC: NDArray[np.int64]
    total_NC: NDArray[np.int64]
    """Pixels of the prediction plus pixels of the truth."""

    def dice_NC(self) -> NDArray[np.float64]:
        """Dice of each image and class, in [0, 1]."""
        return (2 * self.intersection_NC + SMOOTH) / (self.total_NC + SMOOTH)

    def dice_C(self) -> NDArray[np.float64]:
        """Dice of each class, the mean over images; nan without any."""
        if not len(self.rows):
            return np.full(self.total_NC.shape[1], np.nan)
        return self.dice_NC().mean(axis=0)

    def dice(self) -> float:
        """Mean over images a class, then over classes: the leaderboard's number."""
        return float(self.dice_C().mean())


def joined(parts: list[Overlap], rows: NDArray[np.int64]) -> Overlap:
    """Put the ranks' parts together in the order of ``rows``.

    Raises:
        RuntimeError: an image is missing or was counted twice.

    """
    seen = np.concatenate([part.rows for part in parts])
    if not np.array_equal(np.sort(seen), np.sort(rows)):
        raise RuntimeError(f"validated {len(seen)} images where {len(rows)} were due, each once")
    place = np.argsort(seen)[np.argsort(np.argsort(rows))]
    return Overlap(
        seen[place],
        np.concatenate([part.intersection_NC for part in parts])[place],
        np.concatenate([part.total_NC for part in parts])[place],
    )
