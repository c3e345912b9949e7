"""The flesh of a hand: how thick it is at each pixel, from capsules around the bones.

A capsule is a line whose ends have a radius each. The hand is the smooth union of its capsules,
which rounds the webs between fingers; thickness grows from the skin inwards.
Axes: H W pixels of the coarse grid, or of the working frame in `flesh_depth`.
"""

from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from handray.data.hands.anatomy import CHAINS
from handray.data.hands.hand import Bone, Hand

Floats = NDArray[np.float64]
Image = NDArray[np.float32]
Capsule = tuple[Floats, Floats, float, float]

GRID = 256  # the distance field is smooth, so it is computed coarsely
SMOOTH = 0.024  # hand-frame units over which capsules melt together
TIP_RADIUS = {"thumb": 0.150, "index": 0.122, "middle": 0.128, "ring": 0.120, "little": 0.105}
BASE_RADIUS = {"thumb": 0.195, "index": 0.168, "middle": 0.168, "ring": 0.158, "little": 0.148}


def flesh_depth(hand: Hand, flesh: float, work: int) -> Image:
    """Thickness of flesh, (work, work) float32: 0 outside, about 1 in a finger, 2 in the palm."""
    distance_HW = _rounded_within(_distance(capsules(hand, flesh))) / hand.unit
    large_HW = cv2.resize(distance_HW, (work, work), interpolation=cv2.INTER_CUBIC)
    inwards_HW = -np.asarray(large_HW, np.float32)
    reach_HW = np.clip(inwards_HW / 0.17, 0, 1)
    finger_HW = np.sqrt(reach_HW * (2 - reach_HW))
    palm_HW = np.clip((inwards_HW - 0.1) / 0.45, 0, 1)
    return finger_HW + 1.7 * palm_HW * (2 - palm_HW)


def capsules(hand: Hand, flesh: float) -> list[Capsule]:
    """Capsules in fractions of the film's side; `flesh` scales their radii."""
    unit = hand.unit * flesh
    found = []
    for finger in CHAINS:
        found += _finger(hand, finger, unit)
    found += _palm(hand, unit)
    return found + _forearm(hand, unit)


def _finger(hand: Hand, finger: str, unit: float) -> list[Capsule]:
    chain = CHAINS[finger]
    bones = [hand.bones[name] for name in chain[1:]]
    radii = np.linspace(BASE_RADIUS[finger], TIP_RADIUS[finger], 2 * len(bones)) * unit
    found = []
    for order, bone in enumerate(bones):
        start_2, end_2 = bone.proximal_2, bone.distal_2
        found.append((start_2, end_2, radii[2 * order], radii[2 * order + 1]))
    return found


def _palm(hand: Hand, unit: float) -> list[Capsule]:
    bones, found = hand.bones, []
    heads = [bones[CHAINS[finger][0]] for finger in ("index", "middle", "ring", "little")]
    webs = [bones[CHAINS[finger][1]] for finger in ("index", "middle", "ring", "little")]
    for bone in heads:
        found.append((bone.proximal_2, bone.distal_2, 0.23 * unit, 0.17 * unit))
    for one, other in pairwise(webs):
        found.append((_within(one, 0.12), _within(other, 0.12), 0.13 * unit, 0.13 * unit))
    thumb, index = bones["finger-3"], bones["finger-7"]
    found.append((thumb.proximal_2, thumb.distal_2, 0.27 * unit, 0.21 * unit))
    for share, radius in ((0.3, 0.16), (0.45, 0.15), (0.6, 0.13), (0.74, 0.11), (0.85, 0.09)):
        found.append((_within(thumb, share), _within(index, share), radius * unit, radius * unit))
    heel_2 = bones["Pisiform"].outline.mean(axis=0)
    little = bones["finger-19"]
    found.append((heel_2, _within(little, 0.6), 0.23 * unit, 0.22 * unit))
    found.append((heel_2, bones["Trapezium"].outline.mean(axis=0), 0.25 * unit, 0.25 * unit))
    return found


def _forearm(hand: Hand, unit: float) -> list[Capsule]:
    radius, ulna, thumb = (hand.bones[name] for name in ("Radius", "Ulna", "finger-3"))
    wrist_2 = hand.bones["Lunate"].outline.mean(axis=0)
    joint_2 = (radius.distal_2 + ulna.distal_2) / 2
    return [
        (wrist_2, joint_2, 0.34 * unit, 0.38 * unit),
        (radius.distal_2, _within(radius, 0.85), 0.31 * unit, 0.30 * unit),
        (_within(radius, 0.85), radius.proximal_2, 0.30 * unit, 0.52 * unit),
        (ulna.distal_2, _within(ulna, 0.85), 0.25 * unit, 0.29 * unit),
        (_within(ulna, 0.85), ulna.proximal_2, 0.29 * unit, 0.50 * unit),
        (thumb.proximal_2, radius.distal_2, 0.22 * unit, 0.30 * unit),
    ]


def _within(bone: Bone, share: float) -> Floats:
    return bone.proximal_2 + share * (bone.distal_2 - bone.proximal_2)


def _rounded_within(distance_HW: Image) -> Image:
    """The same skin, with depths of the whole hand, not of its deepest capsule: no ribs."""
    inside_HW = np.pad((distance_HW < 0).astype(np.uint8), 1, mode="edge")
    whole_HW = cv2.distanceTransform(inside_HW, cv2.DIST_L2, 5)[1:-1, 1:-1] / GRID
    depth_HW = cv2.GaussianBlur(np.maximum(whole_HW, -distance_HW), (0, 0), 2.5)
    within_HW = np.clip(-distance_HW * GRID / 6, 0, 1)  # 0 at the skin, where it has to stay
    return np.asarray(distance_HW * (1 - within_HW) - depth_HW * within_HW, np.float32)


def _distance(parts: list[Capsule]) -> Image:
    """Signed distance to the smooth union, (GRID, GRID), negative inside, fractions of the side."""
    line = (np.arange(GRID, dtype=np.float32) + 0.5) / GRID
    melt = SMOOTH * 0.27
    total_HW = np.zeros((GRID, GRID), np.float32)
    for start_2, end_2, start_radius, end_radius in parts:
        along_2 = (end_2 - start_2).astype(np.float32)
        x_HW, y_HW = line[None, :] - np.float32(start_2[0]), line[:, None] - np.float32(start_2[1])
        share_HW = np.clip((x_HW * along_2[0] + y_HW * along_2[1]) / (along_2 @ along_2), 0, 1)
        away_HW = np.hypot(x_HW - share_HW * along_2[0], y_HW - share_HW * along_2[1])
        away_HW -= np.float32(start_radius) + share_HW * np.float32(end_radius - start_radius)
        total_HW += np.exp(np.clip(-away_HW / melt, -60, 60))
    return -melt * np.log(total_HW + 1e-30)
