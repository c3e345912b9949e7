"""What else a film may show: sesamoids, nails, rings, implants, bandages, a lead letter.

Each function adds gray levels to a working frame (H, W) float32, in place; none of it is labelled.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from handray.data.hands.hand import Bone, Hand

Floats = NDArray[np.float64]
Image = NDArray[np.float32]
SUBPIXEL = 4  # fractional bits of OpenCV's coordinates


def add_extras(film_HW: Image, hand: Hand, rng: np.random.Generator) -> None:
    """Sesamoids, the hook and nails always; the rest now and then."""
    _hook(film_HW, hand, rng)
    _sesamoids(film_HW, hand, rng)
    _nails(film_HW, hand, rng)
    for chance, add in ((0.10, _ring), (0.05, _implant), (0.05, _bandage), (0.35, _letter)):
        if rng.random() < chance:
            add(film_HW, hand, rng)


def _sesamoids(film_HW: Image, hand: Hand, rng: np.random.Generator) -> None:
    """Pea-like bones at the thumb's knuckle, sometimes at the index and little finger's."""
    for name, places in (("finger-3", (-0.5, 0.5)), ("finger-7", (-0.7,)), ("finger-19", (0.6,))):
        bone = hand.bones[name]
        if name != "finger-3" and rng.random() < 0.6:
            continue
        for place in places:
            along = rng.uniform(0.84, 0.92)
            centre_2 = _at(bone, along, place * 0.11 * hand.unit * (-1 if hand.mirrored else 1))
            radii = rng.uniform(0.03, 0.045) * hand.unit, rng.uniform(0.022, 0.032) * hand.unit
            shape_N2 = _ellipse(bone, centre_2, *radii)
            _fill(film_HW, shape_N2, rng.uniform(22, 40), blur=1.5)


def _hook(film_HW: Image, hand: Hand, rng: np.random.Generator) -> None:
    """The hook of the Hamate, seen end on as a white ring."""
    bone = hand.bones["Hamate"]
    centre_2 = _at(bone, rng.uniform(0.55, 0.68), rng.uniform(-0.01, 0.02) * hand.unit)
    long, wide = rng.uniform(0.04, 0.06) * hand.unit, rng.uniform(0.025, 0.035) * hand.unit
    ring_N2 = _ellipse(bone, centre_2, long, wide)
    _stroke(film_HW, np.concatenate([ring_N2, ring_N2[:1]]), 0.009 * hand.unit, rng.uniform(8, 24))


def _nails(film_HW: Image, hand: Hand, rng: np.random.Generator) -> None:
    """Faint plates over the finger tips; with polish they are plain to see."""
    gray = rng.uniform(25, 70) if rng.random() < 0.1 else rng.uniform(0, 7)
    reach = rng.uniform(0.85, 1.1)  # long nails stand out
    for name in ("finger-1", "finger-4", "finger-8", "finger-12", "finger-16"):
        bone = hand.bones[name]
        centre_2 = _at(bone, reach, 0.0)
        wide = 0.08 if name == "finger-1" else 0.06
        shape_N2 = _ellipse(bone, centre_2, 0.11 * hand.unit, wide * hand.unit)
        _fill(film_HW, shape_N2, gray, blur=1.0)


def _ring(film_HW: Image, hand: Hand, rng: np.random.Generator) -> None:
    """A metal band around the ring finger, or another."""
    name = str(rng.choice(["finger-14", "finger-14", "finger-10", "finger-6", "finger-18"]))
    bone = hand.bones[name]
    place, half = rng.uniform(0.3, 0.5), rng.uniform(0.13, 0.17) * hand.unit
    sag = rng.uniform(0, 0.04) * hand.unit
    span = np.linspace(-1, 1, 15)
    line_N2 = np.concatenate([_at(bone, place, half * s)[None] for s in span])
    line_N2 += (sag * (1 - span**2))[:, None] * bone.axis
    _stroke(film_HW, line_N2, rng.uniform(0.02, 0.06) * hand.unit, rng.uniform(140, 300))


def _implant(film_HW: Image, hand: Hand, rng: np.random.Generator) -> None:
    """A wire, or a plate with its screws, in a metacarpal, a phalanx or the radius."""
    name = str(
        rng.choice(["finger-19", "finger-15", "finger-7", "finger-3", "finger-10", "Radius"])
    )
    bone = hand.bones[name]
    start, end = (0.88, 0.985) if name == "Radius" else (0.25, 0.8)
    aside = rng.uniform(-0.03, 0.03) * hand.unit
    gray = rng.uniform(120, 260)
    line_N2 = np.stack([_at(bone, start, aside), _at(bone, end, -aside)])
    if rng.random() < 0.4:
        _stroke(film_HW, line_N2, 0.018 * hand.unit, gray)
        return
    _stroke(film_HW, line_N2, 0.055 * hand.unit, gray)
    for share in np.linspace(0.1, 0.9, int(rng.integers(3, 7))):
        middle_2 = line_N2[0] + share * (line_N2[1] - line_N2[0])
        across_2 = np.array([-bone.axis[1], bone.axis[0]]) * 0.09 * hand.unit
        screw_N2 = np.stack([middle_2 - across_2, middle_2 + across_2 * rng.uniform(0.3, 1)])
        _stroke(film_HW, screw_N2, 0.022 * hand.unit, 0.5 * gray)


def _bandage(film_HW: Image, hand: Hand, rng: np.random.Generator) -> None:
    """Turns of gauze around a wrist or a finger: pale stripes."""
    name, first, last, half, width = "Radius", 0.86, 0.99, 0.5, 0.10
    if rng.random() < 0.6:
        name = str(rng.choice(["finger-5", "finger-9", "finger-13", "finger-2"]))
        first, last, half, width = -0.1, 1.0, 0.19, 0.06
    bone = hand.bones[name]
    aside = (0.25 if name == "Radius" else 0.0) * hand.unit * (-1 if hand.mirrored else 1)
    gray = rng.uniform(2, 7)
    for place in np.linspace(first, last, 7):
        slant = rng.uniform(-0.06, 0.06) * hand.unit * bone.axis
        ends = (
            _at(bone, place, aside + sign * half * hand.unit) + sign * slant for sign in (-1, 1)
        )
        _stroke(film_HW, np.stack(list(ends)), width * hand.unit, gray)


def _letter(film_HW: Image, hand: Hand, rng: np.random.Generator) -> None:
    """The lead letter that tells the side, somewhere at the film's edge."""
    work = film_HW.shape[0]
    x = (0.04 if rng.random() < 0.5 else 0.90) * work
    place = (int(x), int(rng.uniform(0.1, 0.95) * work))
    size, thick = rng.uniform(1.0, 1.8) * work / 1024, max(1, round(3 * work / 1024))
    ink_HW = np.zeros(film_HW.shape, np.uint8)
    letter = "L" if hand.mirrored else "R"
    cv2.putText(ink_HW, letter, place, cv2.FONT_HERSHEY_SIMPLEX, size, 255, thick, cv2.LINE_AA)
    film_HW += ink_HW * np.float32(rng.uniform(90, 220) / 255)


def _at(bone: Bone, along: float, aside: float) -> Floats:
    """A point of the bone's axis (0 base, 1 head), moved `aside` (of the film) across it."""
    across_2 = np.array([-bone.axis[1], bone.axis[0]])
    return bone.proximal_2 + along * (bone.distal_2 - bone.proximal_2) + aside * across_2


def _ellipse(bone: Bone, centre_2: Floats, along: float, across: float) -> Floats:
    angle = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    across_2 = np.array([-bone.axis[1], bone.axis[0]])
    circle_N2 = np.outer(along * np.cos(angle), bone.axis) + np.outer(
        across * np.sin(angle), across_2
    )
    return centre_2 + circle_N2


def _fill(film_HW: Image, shape_N2: Floats, gray: float, blur: float) -> None:
    points_N2, (rows, columns) = _subpixels(film_HW, shape_N2, margin=8)
    ink_HW = np.zeros(film_HW[rows, columns].shape, np.uint8)
    if ink_HW.size:
        cv2.fillPoly(ink_HW, [points_N2], 255, cv2.LINE_AA, SUBPIXEL)
        _add(film_HW[rows, columns], ink_HW, gray, blur * film_HW.shape[0] / 1024)


def _stroke(film_HW: Image, line_N2: Floats, width: float, gray: float) -> None:
    """A line of `width` (fraction of the film)."""
    thick = max(1, round(width * film_HW.shape[0]))
    points_N2, (rows, columns) = _subpixels(film_HW, line_N2, margin=thick + 4)
    ink_HW = np.zeros(film_HW[rows, columns].shape, np.uint8)
    if ink_HW.size:
        cv2.polylines(ink_HW, [points_N2], False, 255, thick, cv2.LINE_AA, SUBPIXEL)
        _add(film_HW[rows, columns], ink_HW, gray, 0.8 * film_HW.shape[0] / 1024)


def _add(window_HW: Image, ink_HW: NDArray[np.uint8], gray: float, blur: float) -> None:
    window_HW += cv2.GaussianBlur(ink_HW, (0, 0), blur) * np.float32(gray / 255)


def _subpixels(
    film_HW: Image, points_N2: Floats, margin: int
) -> tuple[NDArray[np.int32], tuple[slice, slice]]:
    """The points in a window's subpixels, and the window's rows and columns."""
    work = film_HW.shape[0]
    pixels_N2 = points_N2 * work - 0.5
    low_2 = np.clip(np.floor(pixels_N2.min(axis=0)).astype(int) - margin, 0, work)
    high_2 = np.clip(np.ceil(pixels_N2.max(axis=0)).astype(int) + margin, 0, work)
    inside_N2 = np.rint((pixels_N2 - low_2) * 2**SUBPIXEL).astype(np.int32)
    return inside_N2, (slice(low_2[1], high_2[1]), slice(low_2[0], high_2[0]))
