"""Control points of the bones' outlines, drawn after a radiograph of the right hand from its back.

Each is a closed polygon of (u, v) that a cubic B-spline rounds off: u along the bone, distal
positive, v across it, positive to the little finger's side. Scale is free (outlines are fitted to
the measured extents), except for the forearm, which leaves the film: it is in hand-frame units.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Profile = tuple[tuple[float, float, float], ...]

# Long bones as (t, half width on the thumb's side, half width on the little finger's side), base to
# head. A spline shrinks corners, so condyles are drawn prouder than they come out.
TIP: Profile = (
    (0.02, 0.55, 0.55),
    (-0.02, 1.00, 1.00),
    (0.08, 1.12, 1.12),
    (0.20, 0.86, 0.86),
    (0.40, 0.56, 0.56),
    (0.60, 0.50, 0.50),
    (0.76, 0.60, 0.60),
    (0.90, 0.72, 0.72),
    (1.00, 0.58, 0.58),
    (1.03, 0.22, 0.22),
)
MIDDLE: Profile = (
    (0.01, 0.40, 0.40),
    (-0.02, 0.95, 0.95),
    (0.06, 1.12, 1.12),
    (0.18, 0.92, 0.92),
    (0.36, 0.70, 0.70),
    (0.56, 0.62, 0.62),
    (0.74, 0.68, 0.68),
    (0.87, 0.88, 0.88),
    (0.97, 0.92, 0.92),
    (1.03, 0.60, 0.60),
    (1.00, 0.18, 0.18),
)
PROXIMAL: Profile = (
    (0.03, 0.40, 0.40),
    (0.00, 0.95, 0.95),
    (0.05, 1.13, 1.13),
    (0.14, 1.00, 0.98),
    (0.30, 0.74, 0.74),
    (0.50, 0.62, 0.62),
    (0.70, 0.58, 0.58),
    (0.84, 0.72, 0.72),
    (0.94, 0.88, 0.88),
    (1.01, 0.66, 0.66),
    (0.99, 0.20, 0.20),
)
HEAD: Profile = (  # of every metacarpal
    (0.30, 0.64, 0.62),
    (0.45, 0.54, 0.54),
    (0.60, 0.54, 0.56),
    (0.74, 0.68, 0.70),
    (0.84, 0.98, 0.96),
    (0.92, 1.06, 1.04),
    (0.98, 0.84, 0.84),
    (1.02, 0.36, 0.36),
)
BASES: dict[str, Profile] = {
    "finger-3": ((0.03, 0.25, 0.15), (0.01, 0.70, 0.70), (0.00, 1.08, 1.10), (0.10, 1.10, 1.02)),
    "finger-7": ((0.06, 0.20, 0.10), (-0.01, 0.80, 0.80), (-0.01, 1.15, 1.28), (0.11, 1.08, 1.12)),
    "finger-11": ((0.01, 0.30, 0.50), (-0.03, 0.80, 0.90), (-0.03, 1.20, 1.08), (0.10, 1.08, 1.02)),
    "finger-15": ((0.00, 0.40, 0.40), (-0.01, 0.90, 0.90), (0.02, 1.10, 1.10), (0.13, 0.98, 1.00)),
    "finger-19": ((0.01, 0.40, 0.40), (-0.01, 0.90, 1.00), (0.01, 1.10, 1.30), (0.12, 1.00, 1.15)),
}
ASPECT = {"tip": 0.42, "middle": 0.33, "proximal": 0.24, "metacarpal": 0.17}

# Carpals as (x, y) as they lie in the hand, y downwards: shape counts, and which way it faces.
CARPAL_SHAPES = {
    "Trapezium": (
        "-.06,-.15 -.03,-.12 .02,-.13 .10,-.11 .11,-.05 .09,.03 .10,.11 .04,.17 -.05,.14"
        " -.08,.08 -.09,.02 -.13,-.03 -.13,-.12"
    ),
    "Trapezoid": (
        "-.10,-.09 -.05,-.12 .01,-.14 .09,-.10 .11,-.04 .08,.03 .07,.11 -.03,.11 -.11,.09 -.10,.00"
    ),
    "Capitate": (
        "-.11,-.21 -.04,-.20 .03,-.19 .13,-.23 .15,-.17 .11,-.08 .10,-.01 .13,.09 .10,.20"
        " .01,.24 -.10,.19 -.12,.08 -.08,-.02 -.10,-.10 -.15,-.16"
    ),
    "Hamate": (
        "-.06,-.17 .02,-.18 .08,-.16 .18,-.18 .22,-.11 .15,-.03 .07,.05 .02,.14 -.05,.23"
        " -.13,.20 -.11,.08 -.09,-.04 -.12,-.12"
    ),
    "Scaphoid": (
        "-.16,-.16 -.07,-.16 -.02,-.08 .05,-.03 .13,.00 .19,.06 .17,.15 .08,.17 -.01,.13"
        " -.08,.08 -.13,.02 -.19,-.06"
    ),
    "Lunate": (
        "-.14,-.13 -.06,-.06 .03,-.04 .11,-.02 .16,.03 .14,.13 .07,.14 -.03,.11 -.12,.05 -.19,-.04"
    ),
    "Triquetrum": (
        "-.06,.15 -.14,.09 -.11,.00 -.04,-.06 .02,-.15 .11,-.16 .15,-.09 .09,-.01 .07,.07 .03,.15"
    ),
    "Pisiform": ("-.08,-.06 .01,-.10 .09,-.06 .11,.03 .06,.10 -.03,.09 -.10,.03"),
}
LIES_ALONG_X = ("Trapezoid", "Scaphoid", "Lunate", "Pisiform")

# The forearm, in hand-frame units: u from the middle of the wrist joint, distal positive.
RADIUS = (
    "-.03,-.05 .03,-.14 .10,-.195 .10,-.24 .02,-.24 -.08,-.21 -.20,-.155 -.36,-.117 -.70,-.106"
    " -1.1,-.106 -1.6,-.11 -2.6,-.11 -2.6,.10 -1.6,.10 -1.1,.095 -.70,.095 -.36,.105 -.22,.138"
    " -.13,.18 -.06,.205 -.01,.18 -.04,.08"
)
ULNA = (
    "-.01,.02 .00,-.06 -.03,-.112 -.10,-.115 -.20,-.085 -.40,-.064 -.70,-.062 -1.1,-.068"
    " -1.6,-.08 -2.6,-.09 -2.6,.09 -1.6,.08 -1.1,.068 -.70,.062 -.40,.067 -.20,.085 -.10,.108"
    " -.02,.115 .05,.11 .05,.07 .00,.055"
)


def control_points(bone: str) -> Floats:
    """Control polygon of the bone, (K, 2) float64 of (u, v)."""
    if bone == "Radius":
        return _pairs(RADIUS)
    if bone == "Ulna":
        return _pairs(ULNA)
    if bone in CARPAL_SHAPES:
        x, y = _pairs(CARPAL_SHAPES[bone]).T
        return _carpal_axes(bone, x, y)
    return _long_bone(bone)


def kind(bone: str) -> str:
    """tip, middle, proximal, metacarpal, carpal or forearm."""
    if bone in CARPAL_SHAPES:
        return "carpal"
    if not bone.startswith("finger-"):
        return "forearm"
    number = int(bone.removeprefix("finger-"))
    if number <= 3:
        return ("tip", "proximal", "metacarpal")[number - 1]
    return ("tip", "middle", "proximal", "metacarpal")[(number - 4) % 4]


def _pairs(text: str) -> Floats:
    return np.array([[float(number) for number in pair.split(",")] for pair in text.split()])


def _carpal_axes(bone: str, x: Floats, y: Floats) -> Floats:
    """(x, y) as (u, v): the axis of a bone that lies along x points to the thumb, else upwards."""
    return np.stack([-x, -y], 1) if bone in LIES_ALONG_X else np.stack([-y, x], 1)


def _long_bone(bone: str) -> Floats:
    shape = kind(bone)
    profiles = {"tip": TIP, "middle": MIDDLE, "proximal": PROXIMAL}
    profile = profiles[shape] if shape in profiles else BASES[bone] + HEAD
    t, thumb_side, little_side = np.array(profile).T
    half = ASPECT[shape]
    up = np.stack([t, -half * thumb_side], 1)
    down = np.stack([t, half * little_side], 1)[::-1]
    return np.concatenate([up, down])
