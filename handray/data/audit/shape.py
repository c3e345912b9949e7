"""A polygon as an ellipse: area, centre, length and width.

Axes: N points of a polygon, xy in source pixels.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Shape:
    """Moments of a polygon's inside, in source pixels."""

    area: float
    centre: complex
    """x + iy."""
    length: float
    """4 standard deviations of the pixels along the main axis, as in anatomy.csv."""
    width: float
    """The same across it."""


def shape_of(polygon_N2: NDArray[np.int32]) -> Shape | None:
    """The shape of a polygon, int32 xy; None where it has no area."""
    m = cv2.moments(polygon_N2)
    area = m["m00"]
    if area <= 0:
        return None
    half = (m["mu20"] + m["mu02"]) / 2
    apart = math.hypot((m["mu20"] - m["mu02"]) / 2, m["mu11"])
    length, width = (4 * math.sqrt(max(v, 0.0) / area) for v in (half + apart, half - apart))
    return Shape(area, complex(m["m10"], m["m01"]) / area, length, width)
