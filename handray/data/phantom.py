"""Phantoms: made-up hand radiographs with the polygons of their 29 bones.

A phantom is a pure function of (seed, person, side, bent); the size only scales it. Polygons follow
the competition: (x, y) in pixels of the film, in the class order of `handray.bones.BONES`.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from handray.bones import BONES
from handray.data.hands.film import expose
from handray.data.hands.hand import Hand, build_hand
from handray.data.hands.people import Person, draw_person, draw_pose

Floats = NDArray[np.float64]
Polygons = dict[str, NDArray[np.int32]]
SIDES = ("right", "left")
LARGEST = 8192
SMALLEST = 64
FEWEST_POINTS, MOST_POINTS = 26, 80


@dataclass(frozen=True)
class Phantom:
    """A film and its truth."""

    image_HW: NDArray[np.uint8]  # gray, 0..255
    polygons: Polygons  # class name to (N, 2) of (x, y), pixels of the film
    bend_deg: float


def draw_hand(seed: int, person: int, side: str, size: int, bent: bool) -> Phantom:
    """The film, `size` px square, of one hand of a person; `side` is "right" or "left"."""
    owner, hand, rng = _hand(seed, person, side, bent)
    check_size(size)
    image_HW = expose(hand, owner, size, rng)
    return Phantom(image_HW, polygons_on_film(hand, size), hand.bend_deg)


def draw_polygons(seed: int, person: int, side: str, size: int, bent: bool) -> Polygons:
    """The polygons of `draw_hand` without the film, which takes nearly all of the time."""
    _, hand, _ = _hand(seed, person, side, bent)
    check_size(size)
    return polygons_on_film(hand, size)


def polygons_on_film(hand: Hand, size: int) -> Polygons:
    """Each bone's polygon, cut off at the film's edges: (N, 2) int32 of (x, y) in 0..size - 1."""
    return {bone: _polygon(hand.bones[bone].outline, size) for bone in BONES}


def check_size(size: int) -> None:
    """Raise ValueError if the smallest bones would vanish at this size, or a film be too large."""
    if size > LARGEST:
        raise ValueError(f"a phantom must be at most {LARGEST} px, got {size}")
    if size < SMALLEST:
        raise ValueError(
            f"a phantom must be at least {SMALLEST} px for its smallest bones, got {size}"
        )


def _hand(
    seed: int, person: int, side: str, bent: bool
) -> tuple[Person, Hand, np.random.Generator]:
    if side not in SIDES:
        raise ValueError(f'side must be "right" or "left", got {side!r}')
    owner = draw_person(np.random.default_rng([seed, person]))
    rng = np.random.default_rng([seed, person, 1 + SIDES.index(side)])
    pose = draw_pose(rng, bent)
    return owner, build_hand(owner, pose, rng, mirrored=side == "left"), rng


def _polygon(outline_N2: Floats, size: int) -> NDArray[np.int32]:
    inside_N2 = _cut_at_edges(outline_N2)
    corners_K2 = _few_points(inside_N2)
    pixels_K2 = np.clip(np.rint(corners_K2 * size - 0.5), 0, size - 1).astype(np.int32)
    repeated = (pixels_K2 == np.roll(pixels_K2, 1, axis=0)).all(axis=1)
    return pixels_K2[~repeated]


def _few_points(outline_N2: Floats) -> Floats:
    """The outline as an annotator clicks it: more points where it curves, at least 26 of them."""
    outline_N12 = outline_N2.astype(np.float32)[:, None]
    tolerance = 1.2 / 2048
    while True:
        corners_K2 = cv2.approxPolyDP(outline_N12, tolerance, closed=True)[:, 0]
        if len(corners_K2) >= FEWEST_POINTS or tolerance < 0.01 / 2048:
            return corners_K2[:: 1 + len(corners_K2) // (MOST_POINTS + 1)].astype(np.float64)
        tolerance *= 0.7


def _cut_at_edges(outline_N2: Floats) -> Floats:
    """The part of a closed outline inside the unit square (Sutherland and Hodgman, 1974)."""
    for axis, limit, sign in ((0, 0.0, 1), (0, 1.0, -1), (1, 0.0, 1), (1, 1.0, -1)):
        depth = sign * (outline_N2[:, axis] - limit)
        if (depth >= 0).all():
            continue
        next_N2, next_depth = np.roll(outline_N2, -1, axis=0), np.roll(depth, -1)
        crosses = (depth >= 0) != (next_depth >= 0)
        share = np.divide(depth, depth - next_depth, out=np.zeros_like(depth), where=crosses)
        crossing_N2 = outline_N2 + share[:, None] * (next_N2 - outline_N2)
        both_N22 = np.stack([outline_N2, crossing_N2], axis=1)
        kept_N2 = np.stack([depth >= 0, crosses], axis=1)
        outline_N2 = both_N22[kept_N2]
    return outline_N2
