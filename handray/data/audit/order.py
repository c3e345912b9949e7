"""Are the 29 names on the right bones? The label is laid onto the measured average hand.

A label becomes a centre, a length and a width a bone. The similarity, mirrored or not, that brings
its centres closest to those of anatomy.csv puts it into the hand frame; there every name should be
nearest to its own bone. Where exchanging names explains places and shapes far better, the names
are swapped.

Axes: C bones of the label, in the order given; xy in source pixels, complex numbers x + iy.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from handray.bones import BONES
from handray.data.audit.shape import Shape
from handray.data.hands.anatomy import anatomy

ROUNDS = 12
"""Of the robust fit; it has settled after half of them."""
LEAST_SPREAD = 0.02
"""In hand-frame units: bones that define the frame have no spread of their own in anatomy.csv."""
LEAST_GAIN = 6.0
"""Squared standard deviations that an exchange of names must explain."""
FEWEST = 8
"""Bones below which a fit says nothing."""

Floats = NDArray[np.float64]
Complex = NDArray[np.complex128]


@dataclass(frozen=True)
class Order:
    """A label in the hand frame, and the names that look exchanged."""

    side: str
    """R or L: which mirror image of the average hand fits."""
    unit: float
    """Source pixels of a hand-frame unit, the middle metacarpal's length."""
    places: Mapping[str, complex]
    """Bone -> centre in the hand frame, x to the little finger, y to the wrist."""
    swapped: Mapping[str, str]
    """Name -> the bone that it seems to lie on."""
    gain: float
    """Squared standard deviations that the exchange explains; 0 without one."""


def check_order(shapes: Mapping[str, Shape]) -> Order | None:
    """Lay a label, shapes by bone, onto the average hand; None with too few bones."""
    names = [name for name in BONES if name in shapes]
    if len(names) < FEWEST:
        return None
    centre_C = np.array([shapes[name].centre for name in names])
    figures = [anatomy()[name] for name in names]
    target_C = np.array([complex(one.x, one.y) for one in figures])
    spread_C = np.array([np.hypot(one.x_sd, one.y_sd) / np.sqrt(2) for one in figures])
    spread_C = np.maximum(spread_C, LEAST_SPREAD)
    fits = {
        side: _fit(centre_C if side == "R" else -centre_C.conj(), target_C, spread_C)
        for side in ("R", "L")
    }
    side = min(fits, key=lambda one: fits[one][1])
    place_C, _, unit = fits[side]
    # Row: a name's outline; column: the bone that it might be.
    cost_CC = np.abs(place_C[:, None] - target_C) ** 2 / spread_C**2
    for extent, measured in (("length", "length_sd"), ("width", "width_sd")):
        own_C = np.array([getattr(shapes[name], extent) for name in names]) / unit
        usual_C = np.array([getattr(one, extent) for one in figures])
        usual_spread_C = np.array([getattr(one, measured) for one in figures])
        cost_CC += ((own_C[:, None] - usual_C) / np.maximum(usual_spread_C, LEAST_SPREAD / 2)) ** 2
    _, better_C = linear_sum_assignment(cost_CC)
    gain = float(np.trace(cost_CC) - cost_CC[np.arange(len(names)), better_C].sum())
    moved = {names[c]: names[d] for c, d in enumerate(better_C.tolist()) if c != d}
    clear = gain >= LEAST_GAIN
    return Order(
        side,
        unit,
        dict(zip(names, place_C.tolist(), strict=True)),
        moved if clear else {},
        gain if clear else 0.0,
    )


def _fit(source_C: Complex, target_C: Complex, spread_C: Floats) -> tuple[Complex, float, float]:
    """Places in the hand frame by a robust similarity, its cost, and source pixels of a unit.

    Iteratively reweighted least squares with Cauchy's weights, so that a few wrong names don't turn
    the whole hand.
    """
    weight_C = 1 / spread_C**2
    for _ in range(ROUNDS):
        total = weight_C.sum()
        source_0 = (weight_C * source_C).sum() / total
        target_0 = (weight_C * target_C).sum() / total
        moved_C = source_C - source_0
        turn = (weight_C * moved_C.conj() * (target_C - target_0)).sum()
        turn /= (weight_C * np.abs(moved_C) ** 2).sum()
        place_C = turn * moved_C + target_0
        off_C = np.abs(place_C - target_C) ** 2 / spread_C**2
        weight_C = 1 / spread_C**2 / (1 + off_C / 4)
    return place_C, float(np.log1p(off_C / 4).sum()), float(1 / abs(turn))
