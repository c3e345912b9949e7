"""A person and a pose become the outlines of 29 bones on a film.

The skeleton starts from the measured mean (anatomy.csv). A person varies lengths, widths and
shapes, a pose turns every joint; fingers are chains, so that bones keep their joints whatever the
pose. Bones are built as a right hand in the hand frame (see anatomy.py) and then laid on the film:
x to the right, y downwards, in fractions of the film's side. A left hand is the mirror image.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from handray.bones import BONES, CARPALS
from handray.data.hands.anatomy import (
    CHAINS,
    anatomy,
    area_centre_spread,
    closed_spline,
    fitted_outline,
)
from handray.data.hands.outlines import LIES_ALONG_X, control_points
from handray.data.hands.people import Person, Pose, normal

Floats = NDArray[np.float64]

UNIT_OF_FILM = 544 / 2048
"""Length of the middle metacarpal as a fraction of the film's side, on average."""

MEAN_BEND_DEG = 22.0  # of the hands that were measured, most of them bent

# How the carpus gives way to a bend of 20 degrees: dx, dy in hand-frame units, turn in degrees, and
# the factor on the length (a Scaphoid stretches when the hand leans to the little finger).
GIVES_WAY = {
    "Scaphoid": (0.006, 0.010, 4.0, 1.07),
    "Lunate": (0.012, -0.006, -5.0, 1.0),
    "Triquetrum": (0.010, -0.015, -5.0, 1.0),
    "Pisiform": (0.020, -0.015, 0.0, 1.0),
}


@dataclass(frozen=True)
class Bone:
    """A closed outline, (N, 2) float64 of (x, y), and the ends of its axis, in any one frame."""

    outline: Floats
    proximal_2: Floats
    distal_2: Floats

    @property
    def axis(self) -> Floats:
        """Unit vector from the proximal to the distal end."""
        along_2 = self.distal_2 - self.proximal_2
        return along_2 / np.hypot(*along_2)

    def moved(self, matrix_22: Floats, shift_2: Floats) -> "Bone":
        """The bone after p -> matrix p + shift."""
        points = (self.outline, self.proximal_2, self.distal_2)
        return Bone(*(point @ matrix_22.T + shift_2 for point in points))


@dataclass(frozen=True)
class Hand:
    """29 bones in fractions of the film's side, and what the film needs to know about them."""

    bones: Mapping[str, Bone]
    unit: float  # the middle metacarpal, as a fraction of the film's side
    bend_deg: float  # forearm against the middle metacarpal, positive to the little finger
    mirrored: bool  # True for a left hand


def build_hand(person: Person, pose: Pose, rng: np.random.Generator, mirrored: bool) -> Hand:
    """The hand on its film; `rng` adds what differs between a person's hands."""
    bones: dict[str, Bone] = {}
    for finger, chain in CHAINS.items():
        bones |= _chain(person, chain, pose.joints[finger])
    for name in CARPALS:
        bones[name] = _carpal(person, name, pose.bend, rng)
    for name in ("Radius", "Ulna"):
        bones[name] = _forearm_bone(person, name, pose.bend, rng)
    return _on_film(bones, person, pose, mirrored)


def _turned(degrees: float) -> Floats:
    """Rotation matrix, clockwise as seen on a film whose y axis points down."""
    angle = np.deg2rad(degrees)
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def _shaped(outline_N2: Floats, shape_4: Floats) -> Floats:
    """The outline a little waisted, tapered, bowed and sheared, its 4-sd extents still 1."""
    u, v = outline_N2.T
    waist, taper, bow, shear = shape_4 * (0.35, 0.12, 0.12, 0.02)
    u, v = u + shear * v, v * (1 + waist * (u * u - 0.08) + taper * u) + bow * u * u
    _, centre, spread = area_centre_spread(np.stack([u, v], 1))
    u, v = u - centre[0], v - centre[1]
    v = v - u * spread[0, 1] / spread[0, 0]
    across = spread[1, 1] - spread[0, 1] ** 2 / spread[0, 0]
    return np.stack([u / (4 * np.sqrt(spread[0, 0])), v / (4 * np.sqrt(across))], 1)


def _mean_bone(person: Person, name: str, stretch: float = 1.0) -> Bone:
    """The person's bone where the average hand has it."""
    own = anatomy()[name]
    angle = np.deg2rad(own.angle_deg)
    along = -np.array([np.cos(angle), np.sin(angle)])
    if name in LIES_ALONG_X and along[0] > 0:
        along = -along
    across = np.array([-along[1], along[0]])
    outline = _shaped(fitted_outline(name), person.shape[name])
    centre = np.array([own.x, own.y])
    length = own.length * person.length[name] * stretch
    u, v = outline[:, :1] * length, outline[:, 1:] * own.width * person.width[name]
    ends = (centre + along * extreme for extreme in (u.min(), u.max()))
    return Bone(centre + u * along + v * across, *ends)


def _chain(person: Person, chain: tuple[str, ...], turns: tuple[float, ...]) -> dict[str, Bone]:
    """A finger from its metacarpal to its tip, each joint turned by its angle."""
    plain = replace(person, length=dict.fromkeys(BONES, 1.0))
    bones = {}
    end_2, total = None, 0.0
    average_end_2 = np.zeros(2)
    for name, turn in zip(chain, turns, strict=True):
        average, own = _mean_bone(plain, name), _mean_bone(person, name)
        total += turn
        matrix = _turned(total)
        gap_2 = np.zeros(2) if end_2 is None else average.proximal_2 - average_end_2
        gap_2 += person.joint_gap * average.axis
        start_2 = average.proximal_2 if end_2 is None else end_2 + matrix @ gap_2
        bones[name] = own.moved(matrix, start_2 - matrix @ own.proximal_2)
        end_2, average_end_2 = bones[name].distal_2, average.distal_2
    return bones


def _carpal(person: Person, name: str, bend: float, rng: np.random.Generator) -> Bone:
    """A carpal, shifted by the bend of the wrist and a little by chance."""
    own = anatomy()[name]
    dx, dy, turn, stretch = GIVES_WAY.get(name, (0.0, 0.0, 0.0, 1.0))
    share = (bend - MEAN_BEND_DEG) / 20
    bone = _mean_bone(person, name, stretch**share)
    matrix = _turned(turn * share + normal(rng, 0, min(0.45 * own.angle_sd, 10)))
    place = np.array([own.x, own.y])
    chance = np.array([normal(rng, 0, 0.45 * own.x_sd), normal(rng, 0, 0.45 * own.y_sd)])
    return bone.moved(matrix, place - matrix @ place + share * np.array([dx, dy]) + chance)


# The joint of radius and ulna, of a straight hand and per degree of bend: x, y, axis in degrees.
JOINTS = {
    "Radius": ((-0.085, 0.215, 91.5), (0.0042, 0.0012, -1.0)),
    "Ulna": ((0.235, 0.308, 90.5), (0.0047, -0.0035, -1.0)),
}


def _forearm_bone(person: Person, name: str, bend: float, rng: np.random.Generator) -> Bone:
    """Radius or ulna, well beyond the film's edge; its outline is in units from the wrist joint."""
    straight, per_degree = np.array(JOINTS[name])
    x, y, angle = straight + bend * per_degree
    turn = angle - 90 + normal(rng, 0, 1.5)
    u, v = closed_spline(control_points(name)).T
    v = v * person.width[name] + 0.02 * person.shape[name][2] * u * (u + 0.5)
    chance = np.array([normal(rng, 0, 0.012), normal(rng, 0, 0.015)])
    upright = Bone(np.stack([v, -u], 1), np.array([0.0, 2.6]), np.array([0.0, 0.0]))
    return upright.moved(_turned(turn), np.array([x, y]) + chance)


def _on_film(bones: Mapping[str, Bone], person: Person, pose: Pose, mirrored: bool) -> Hand:
    """Turn the hand, put the wrist above the lower edge and keep the fingers on the film."""
    unit = UNIT_OF_FILM * person.scale
    matrix = _turned(pose.turn) * unit
    turned = {name: bone.moved(matrix, np.zeros(2)) for name, bone in bones.items()}
    hand_N2 = np.concatenate([bone.outline for name, bone in turned.items() if name not in JOINTS])
    low_2, high_2 = hand_N2.min(axis=0), hand_N2.max(axis=0)
    margin = 0.14 * unit + 0.01
    wrist = turned["Radius"].distal_2
    shift = np.array(
        [
            0.5 + pose.sideways * unit - (low_2[0] + high_2[0]) / 2,
            1 - pose.below_wrist * unit - wrist[1],
        ]
    )
    shift = np.clip(shift, margin - low_2, 1 - margin - high_2)
    if mirrored:
        flip = np.array([[-1.0, 0.0], [0.0, 1.0]])
        laid = {name: turned[name].moved(flip, shift * (-1, 1) + (1, 0)) for name in BONES}
    else:
        laid = {name: turned[name].moved(np.eye(2), shift) for name in BONES}
    return Hand(laid, unit, pose.bend, mirrored)
