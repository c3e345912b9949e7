"""People and poses: what varies from hand to hand, drawn around the measured averages."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from handray.bones import BONES, CARPALS
from handray.data.hands.anatomy import CHAINS, anatomy

Floats = NDArray[np.float64]

FAN = {"thumb": 0.0, "index": -1.0, "middle": -0.3, "ring": 0.3, "little": 1.0}
JOINT_SD_DEG = {"thumb": (4.5, 6.5, 5.5), "finger": (1.2, 3.0, 3.0, 4.0)}


@dataclass(frozen=True)
class Person:
    """What both hands of a person share; factors are around 1, shapes around 0."""

    scale: float
    length: Mapping[str, float]
    width: Mapping[str, float]
    shape: Mapping[str, Floats]
    bone_density: float
    flesh: float
    joint_gap: float  # hand-frame units, beyond what rounded outlines leave


@dataclass(frozen=True)
class Pose:
    """How a hand lies: angles in degrees, clockwise on a right hand's film, places in units."""

    bend: float
    turn: float
    joints: Mapping[str, tuple[float, ...]]
    below_wrist: float
    sideways: float


def normal(rng: np.random.Generator, mean: float, sd: float) -> float:
    """A normal number kept within 2.2 sd, so that no hand is a monster."""
    return float(mean + sd * np.clip(rng.standard_normal(), -2.2, 2.2))


def draw_person(rng: np.random.Generator) -> Person:
    """A person's size, proportions, shapes and density."""
    figures = anatomy()
    stout, carpal = normal(rng, 1, 0.05), normal(rng, 1, 0.05)
    length, width, shape = {}, {}, {}
    for bone in BONES:
        own = figures[bone]
        wobble = min(own.length_sd / own.length, 0.09)
        common = carpal if bone in CARPALS else 1.0
        length[bone] = common * normal(rng, 1, 0.75 * wobble)
        width[bone] = common * stout * normal(rng, 1, 0.03)
        shape[bone] = np.clip(rng.standard_normal(4), -2, 2)
    length["finger-11"] = 1.0
    density, flesh = normal(rng, 1, 0.12), normal(rng, 1, 0.08)
    gap = normal(rng, 0.007, 0.004)
    return Person(normal(rng, 1, 0.052), length, width, shape, density, flesh, gap)


def draw_pose(rng: np.random.Generator, bent: bool) -> Pose:
    """A pose; bent wrists lean 15 to 48 degrees to the little finger, others at most 8."""
    bend = float(np.clip(normal(rng, 36, 7.5), 15, 48)) if bent else normal(rng, 2, 2.7)
    lean, fan = normal(rng, 0, 6), normal(rng, 0, 3.5)
    joints = {}
    for finger in CHAINS:
        spread = JOINT_SD_DEG["thumb" if finger == "thumb" else "finger"]
        turns = [normal(rng, 0, sd) for sd in spread]
        if finger != "thumb":
            turns[1] += lean + fan * FAN[finger]
        joints[finger] = tuple(turns)
    hand_share = rng.uniform(0.25, 0.95)  # the forearm takes the rest of the bend
    turn = normal(rng, 0, 11) + hand_share * bend * bent
    return Pose(bend, turn, joints, normal(rng, 1.07, 0.13), normal(rng, 0, 0.1))
