"""The 29 bones of the hand in the competition's order: of classes, channels and CSV rows alike."""

from collections.abc import Sequence

FINGERS = tuple(f"finger-{number}" for number in range(1, 20))
"""Thumb 1 (tip) to 3, index 4-7, middle 8-11, ring 12-15, little 16-19; last a metacarpal each."""

CARPALS = (
    "Trapezium",
    "Trapezoid",
    "Capitate",
    "Hamate",
    "Scaphoid",
    "Lunate",
    "Triquetrum",
    "Pisiform",
)

FOREARM = ("Radius", "Ulna")

BONES = FINGERS + CARPALS + FOREARM

GROUPS = {"fingers": FINGERS, "carpals": CARPALS, "forearm": FOREARM}

THUMB = FINGERS[:3]
MIDDLE_METACARPAL = FINGERS[10]
WRIST_CENTRE = "Capitate"


def groups_of(class_names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The groups of bones that there are among the classes, and their members."""
    found = {
        group: tuple(name for name in class_names if name in bones)
        for group, bones in GROUPS.items()
    }
    return {group: members for group, members in found.items() if members}
