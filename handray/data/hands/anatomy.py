"""The measured figures of the 29 bones, and an outline for each that fits them.

Figures are in the hand frame (FIELD_NOTES 11): origin at the Capitate's centre, y downwards along
the middle metacarpal, unit = its length; the thumb lies at negative x. Lengths and widths are 4
standard deviations of a bone's pixels along its main axes.

An outline is (N, 2) float64 of (u, v): u along the bone, distal positive, v across it, positive to
the little finger's side. A fitted outline has its centroid at 0, its 4-sd length and width are 1.
"""

import csv
from dataclasses import dataclass
from functools import cache
from importlib import resources

import numpy as np
from numpy.typing import NDArray

from handray.bones import BONES
from handray.data.hands.outlines import control_points

Floats = NDArray[np.float64]
POINTS = 192  # of an outline

CHAINS = {
    "thumb": ("finger-3", "finger-2", "finger-1"),
    "index": ("finger-7", "finger-6", "finger-5", "finger-4"),
    "middle": ("finger-11", "finger-10", "finger-9", "finger-8"),
    "ring": ("finger-15", "finger-14", "finger-13", "finger-12"),
    "little": ("finger-19", "finger-18", "finger-17", "finger-16"),
}
"""The bones of each finger, from the metacarpal to the tip."""


@dataclass(frozen=True)
class Figures:
    """One row of anatomy.csv: hand-frame units, degrees, and areas in px of a 2048 px film."""

    area_px: float
    area_sd: float
    x: float
    y: float
    x_sd: float
    y_sd: float
    length: float
    width: float
    length_sd: float
    width_sd: float
    angle_deg: float
    angle_sd: float


@cache
def anatomy() -> dict[str, Figures]:
    """The measured figures of each bone, in class order."""
    table = resources.files("handray.data.hands").joinpath("anatomy.csv").read_text("utf-8")
    rows = {row.pop("bone"): row for row in csv.DictReader(table.splitlines())}
    return {bone: Figures(**{key: float(rows[bone][key]) for key in rows[bone]}) for bone in BONES}


def closed_spline(control_K2: Floats, points: int = POINTS) -> Floats:
    """Closed uniform cubic B-spline of K control points at `points` places: (points, 2)."""
    count = len(control_K2)
    place = np.linspace(0.0, count, points, endpoint=False)
    knot, t = place.astype(int), (place % 1.0)[:, None]
    before, start, end, after = (control_K2[(knot + step) % count] for step in (-1, 0, 1, 2))
    total = (
        (1 - t) ** 3 * before
        + (3 * t**3 - 6 * t**2 + 4) * start
        + (-3 * t**3 + 3 * t**2 + 3 * t + 1) * end
        + t**3 * after
    )
    return total / 6.0


def area_centre_spread(outline_N2: Floats) -> tuple[float, Floats, Floats]:
    """Area, centroid (2,) and covariance (2, 2) inside a closed outline (Green's theorem)."""
    x, y = outline_N2.T
    next_x, next_y = np.roll(x, -1), np.roll(y, -1)
    cross = x * next_y - next_x * y
    area = cross.sum() / 2
    centre = np.array([((x + next_x) * cross).sum(), ((y + next_y) * cross).sum()]) / (6 * area)
    xx = ((x * x + x * next_x + next_x * next_x) * cross).sum() / 12
    yy = ((y * y + y * next_y + next_y * next_y) * cross).sum() / 12
    xy = ((x * next_y + 2 * x * y + 2 * next_x * next_y + next_x * y) * cross).sum() / 24
    spread = np.array([[xx, xy], [xy, yy]]) / area - np.outer(centre, centre)
    return abs(float(area)), centre, spread


def straighten(outline_N2: Floats) -> Floats:
    """The outline moved to its centroid, turned onto its main axes, of 4-sd extents 1."""
    _, centre, spread = area_centre_spread(outline_N2)
    variances, axes = np.linalg.eigh(spread)
    along, across = axes[:, 1], axes[:, 0]
    along = along if along[0] >= 0 else -along
    across = across if across[1] >= 0 else -across
    moved = outline_N2 - centre
    return np.stack(
        [moved @ along / (4 * np.sqrt(variances[1])), moved @ across / (4 * np.sqrt(variances[0]))],
        1,
    )


@cache
def fitted_outline(bone: str) -> Floats:
    """The bone's outline of unit 4-sd extents, (N, 2) of (u, v). Read-only."""
    outline = straighten(closed_spline(control_points(bone)))
    outline.setflags(write=False)
    return outline
