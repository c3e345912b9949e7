"""Which hand a label shows and how far its wrist is bent, from the polygons alone.

The hand's own frame: origin at the Capitate's centre, up along the middle metacarpal. Both answers
hold for a hand that lies rotated in the image. Polygons here go by bone name, int32 (N, 2) xy in
the source frame, y downwards.
"""

import math
from collections.abc import Mapping

import cv2
import numpy as np
from numpy.typing import NDArray

from handray.bones import FOREARM, MIDDLE_METACARPAL, THUMB, WRIST_CENTRE

BENT_DEGREES = 12.0
"""A wrist is bent beyond this angle to either side. In the test set: within 8, or 15 to 48."""

Polygons = Mapping[str, NDArray[np.int32]]
Vector = NDArray[np.float64]


def is_bent(bend: float) -> bool:
    """Whether a bend in degrees counts as bent; an unknown one (nan) doesn't."""
    return abs(bend) > BENT_DEGREES


def hand_side(polygons: Polygons) -> str:
    """R where the thumb lies left of the middle metacarpal, L where right of it, "" where unknown.

    Left as seen in the hand's own frame. Unknown: no thumb, Capitate or middle metacarpal.
    """
    frame = _hand_frame(polygons)
    if frame is None:
        return ""
    up, little = frame
    return "R" if little @ _clockwise(up) > 0 else "L"


def wrist_bend(polygons: Polygons) -> float:
    """Degrees from the middle metacarpal's axis to the forearm's; nan where a bone is missing.

    The forearm's axis is the mean of the main axes of Radius and Ulna. Positive: seen from the
    Capitate, the forearm swings to the little finger's side, as the bent wrists of the test set do.
    """
    frame = _hand_frame(polygons)
    forearm = [shape for bone in FOREARM if (shape := _centre_and_axis(polygons.get(bone)))]
    if frame is None or len(forearm) < len(FOREARM):
        return math.nan
    up, little = frame
    down = np.sum([_along(axis, -up) for _, axis in forearm], axis=0)
    return math.degrees(math.atan2(float(down @ little), float(down @ -up)))


def _hand_frame(polygons: Polygons) -> tuple[Vector, Vector] | None:
    """Unit vectors up (from the Capitate along the middle metacarpal) and to the little finger."""
    metacarpal = _centre_and_axis(polygons.get(MIDDLE_METACARPAL))
    wrist = _centre_and_axis(polygons.get(WRIST_CENTRE))
    thumb = [shape[0] for bone in THUMB if (shape := _centre_and_axis(polygons.get(bone)))]
    if metacarpal is None or wrist is None or not thumb:
        return None
    origin = wrist[0]
    up = _along(metacarpal[1], metacarpal[0] - origin)
    return up, _along(_clockwise(up), origin - np.mean(thumb, axis=0))


def _centre_and_axis(polygon: NDArray[np.int32] | None) -> tuple[Vector, Vector] | None:
    """Centre (x, y) and unit vector of the main axis, by moments; None without area."""
    if polygon is None:
        return None
    m = cv2.moments(polygon)
    if m["m00"] == 0:
        return None
    angle = 0.5 * math.atan2(2 * m["mu11"], m["mu20"] - m["mu02"])
    centre = np.array([m["m10"], m["m01"]]) / m["m00"]
    return centre, np.array([math.cos(angle), math.sin(angle)])


def _along(axis: Vector, direction: Vector) -> Vector:
    """The axis, turned by 180 degrees where it points against the direction."""
    return axis if axis @ direction >= 0 else -axis


def _clockwise(vector: Vector) -> Vector:
    """Turned by 90 degrees as seen on the screen: up becomes right."""
    return np.array([-vector[1], vector[0]])
