"""A colour for each class, the same in every picture and chart, told apart by the colour-blind too.

The hues are those of Okabe and Ito (Color Universal Design, 2008), blue and vermilion a little
brighter, since they lie on dark films. What lies side by side differs in hue and in lightness: a
finger has a hue, its bones are light and dark in turn; carpals that touch have hues far apart.
"""

from collections.abc import Sequence

from handray.bones import BONES, CARPALS

ORANGE, SKY, GREEN, YELLOW = "#e69f00", "#56b4e9", "#009e73", "#f0e442"
BLUE, VERMILION, PURPLE, WHITE = "#2f86d6", "#e8651a", "#cc79a7", "#f2f2f2"

BOTH, MISSED, EXTRA, SWAPPED = "#9fb4c0", SKY, VERMILION, PURPLE
"""Pixels of label and prediction, of the label alone, of the prediction alone, of two classes."""
HUES = (ORANGE, SKY, GREEN, YELLOW, BLUE, VERMILION, PURPLE, WHITE)
RAYS = ((ORANGE, 3), (SKY, 4), (YELLOW, 4), (GREEN, 4), (PURPLE, 4))
"""Hue and number of bones of each finger, thumb first."""
CARPAL_HUES = dict(
    zip(CARPALS, (SKY, PURPLE, VERMILION, YELLOW, GREEN, ORANGE, BLUE, WHITE), strict=True)
)
FOREARM_HUES = {"Radius": SKY, "Ulna": VERMILION}


def class_colours(class_names: Sequence[str]) -> tuple[str, ...]:
    """The colour of each class, "#rrggbb": a bone's own, else the hues in turn."""
    known = _bone_colours()
    return tuple(known.get(name, _turn(number)) for number, name in enumerate(class_names))


def bgr(colour: str) -> tuple[int, int, int]:
    """A colour "#rrggbb" as OpenCV wants it."""
    red, green, blue = bytes.fromhex(colour.removeprefix("#"))
    return blue, green, red


def _bone_colours() -> dict[str, str]:
    fingers = [
        hue if bone % 2 else _lighter(hue, 0.45) for hue, bones in RAYS for bone in range(bones)
    ]
    return dict(zip(BONES, fingers, strict=False)) | CARPAL_HUES | FOREARM_HUES


def _turn(number: int) -> str:
    """Of other classes: the eight hues, then lighter ones, then darker ones."""
    hue, turn = HUES[number % len(HUES)], number // len(HUES) % 3
    return (hue, _lighter(hue, 0.45), _darker(hue, 0.35))[turn]


def _lighter(colour: str, share: float) -> str:
    return _mixed(colour, 255, share)


def _darker(colour: str, share: float) -> str:
    return _mixed(colour, 0, share)


def _mixed(colour: str, level: int, share: float) -> str:
    parts = bytes.fromhex(colour.removeprefix("#"))
    return "#" + bytes(round(part + share * (level - part)) for part in parts).hex()
