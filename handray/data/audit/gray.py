"""Mean and standard deviation of all pixels from exact counts, and how the source report erred."""

import numpy as np
from numpy.typing import NDArray

LEVELS = np.arange(256, dtype=np.int64)


def mean_std(counts: NDArray[np.int64]) -> tuple[float, float]:
    """Mean and standard deviation in gray levels 0..255; counts is (256,) pixels of each level.

    Sums are exact integers, divided once in float64: no pixel is rounded or lost.
    """
    pixels = int(counts.sum())
    mean = int(counts @ LEVELS) / pixels
    variance = int(counts @ LEVELS**2) / pixels - mean**2
    return mean, float(np.sqrt(max(variance, 0.0)))


def wrapped_std(counts: NDArray[np.int64]) -> float:
    """The standard deviation as the source report got it, in gray levels: an overflow.

    ``image ** 2`` of uint8 is uint8 again, so that a square keeps only its last eight bits, x * x
    mod 256. The mean of what is left is below the squared mean, and the root of it alone was taken.
    """
    return float(np.sqrt(int(counts @ (LEVELS**2 % 256)) / int(counts.sum())))
