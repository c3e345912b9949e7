"""The kinds of findings, as people read them."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """A kind of finding, for people."""

    title: str
    why: str
    is_fault: bool
    """Of the label; else the film or the hand is merely unusual."""


KINDS = {
    "mirrored": Kind(
        "Mirrored hands",
        "The label fits the film once it is mirrored, or a person has the same hand twice.",
        True,
    ),
    "swapped": Kind(
        "Swapped names",
        "Laid onto the average hand, outlines fit far better when these names are exchanged.",
        True,
    ),
    "ring": Kind(
        "Objects inside a mask",
        "Something far brighter than the bone sticks out of it, and the outline follows it.",
        True,
    ),
    "beside": Kind(
        "Labels beside the bones",
        "What is inside the outlines is hardly brighter than what surrounds them.",
        True,
    ),
    "off hand": Kind(
        "Outlines that leave the hand",
        "A good part of the outline lies on the dark background.",
        True,
    ),
    "missing": Kind(
        "Missing classes", "Nearly all other images have a polygon of this class.", True
    ),
    "area": Kind(
        "Areas far from the rest",
        "For the size of the hand, or of the image where there are no bones.",
        True,
    ),
    "place": Kind(
        "Places far from the rest",
        "Measured in the frame of the hand, or of the image where there are no bones: an unusual "
        "pose, or a polygon on something else.",
        False,
    ),
    "exposure": Kind("Dark, bright, flat or harsh films", "Far from the folder's others.", False),
    "metal": Kind(
        "Saturated objects",
        "Rings, pins, lead letters: pieces that are nearly white, away from the top strip.",
        False,
    ),
    "strip": Kind(
        "Bright strips along the top", "Of the scanner; a network must not lean on them.", False
    ),
    "bent": Kind(
        "Bent wrists",
        "Forearm against the middle metacarpal. Folds spread them evenly; report Dice by them.",
        False,
    ),
}
"""In the order of the page."""
