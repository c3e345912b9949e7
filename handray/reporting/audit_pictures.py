"""Which part of a film shows a finding, and with which outlines."""

from collections.abc import Sequence

import numpy as np

from handray.bones import FOREARM, MIDDLE_METACARPAL
from handray.data.audit.film import Film
from handray.data.radiographs import Radiograph
from handray.reporting.colours import class_colours
from handray.reporting.cutout import Cutout, Outline, around, outlines_of

MOST_NAMES = 8
"""Names written into a picture; more would hide it."""
MARK = "#f0e442"
BARE = ("exposure", "strip")
"""Kinds that are about the film alone."""


def glance(image: Radiograph, colours: Sequence[str]) -> Cutout:
    """A whole film with all of its outlines."""
    return Cutout(image, outlines_of(image.polygons, colours))


def cutout_of(
    kind: str,
    image: Radiograph,
    film: Film,
    channels: Sequence[int],
    class_names: Sequence[str],
) -> Cutout:
    """What shows a finding of a kind best."""
    colours = class_colours(class_names)
    if kind in BARE:
        return Cutout(image)
    if kind == "metal":
        return Cutout(image, [Outline(_corners(box), MARK) for box in film.metal[:20]])
    if kind == "bent":
        axes = {c: "" for c in image.polygons if class_names[c] in (*FOREARM, MIDDLE_METACARPAL)}
        return Cutout(image, outlines_of(image.polygons, colours, axes))
    if not channels:
        return glance(image, colours)
    shown = [c for c in channels if c in image.polygons]
    names = {c: class_names[c] if len(shown) <= MOST_NAMES else "" for c in shown}
    box = around([image.polygons[c] for c in shown], (image.height, image.width))
    return Cutout(image, outlines_of(image.polygons, colours, names), box)


def _corners(box: Sequence[int]) -> np.ndarray[tuple[int, int], np.dtype[np.int32]]:
    """A rectangle a little outside a box x, y, width, height."""
    x, y, width, height = (int(value) for value in box)
    gap = max(2, max(width, height) // 6)
    left, top, right, bottom = x - gap, y - gap, x + width + gap, y + height + gap
    return np.array([(left, top), (right, top), (right, bottom), (left, bottom)], np.int32)
