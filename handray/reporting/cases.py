"""The images that a network does worst, as pictures: film, label, prediction, errors, the wrist.

Axes: H W pixels of the source frame, C classes.
"""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from handray.bones import CARPALS
from handray.data.radiographs import read_image
from handray.masks.rle import RunRows, decode
from handray.reporting.colours import BOTH, EXTRA, MISSED, SWAPPED, class_colours
from handray.reporting.judged import Judged
from handray.reporting.overlay import draw_overlay, paint
from handray.reporting.page import Block, Gallery, Text, Tile, photo

SIDE = 640
"""Of a picture in the page, pixels at most."""
COARSE, CLOSE = 250, 1000
"""Parts of a film's side that an outline is as wide as, in a small picture and in a close one."""
LEGEND = (
    "Errors: gray is right, blue is missed, vermilion is too much, purple is given to another "
    "class. In the last picture the label is white, the prediction coloured."
)

Image = NDArray[np.uint8]
Box = tuple[slice, slice]


def worst_cases(judged: Judged, count: int) -> list[Block]:
    """The worst images in pictures, the worst first; decodes no other image."""
    blocks: list[Block] = [Text(LEGEND, small=True)]
    for number in np.argsort(judged.dice_NC.mean(axis=1), kind="stable")[:count].tolist():
        blocks += _case(judged, number)
    return blocks


def _case(judged: Judged, number: int) -> list[Block]:
    shown, names = judged.images[number], judged.result.class_names
    dice_C = judged.dice_NC[number]
    worst = np.argsort(dice_C, kind="stable")[:5].tolist()
    text = Text(
        f"{shown.name} (person {shown.person}): Dice {dice_C.mean():.4f}. Worst: "
        + ", ".join(f"{names[c]} {dice_C[c]:.3f}" for c in worst)
    )
    try:
        image_HW = read_image(shown.image_path)
    except (OSError, ValueError) as error:
        return [text, Text(f"Its image can't be read any more: {error}", small=True)]
    ours = judged.result.masks(number)
    truth = judged.truth.part(number * len(names), (number + 1) * len(names))
    colours = class_colours(names)
    box, what = _close_up(truth, ours, names, worst[0], image_HW.shape)
    label = draw_overlay(image_HW, truth, ["#ffffff"] * len(names), 0, CLOSE)
    close = draw_overlay(label, ours, colours, 0, CLOSE)
    pictures = {
        "film": image_HW,
        "label": draw_overlay(image_HW, truth, colours, 0, COARSE),
        "prediction": draw_overlay(image_HW, ours, colours, 0, COARSE),
        "errors": errors(image_HW, ours, truth),
        what: close[box],
    }
    tiles = [Tile(photo(one, f"{shown.name}: {t}", SIDE), t) for t, one in pictures.items()]
    return [text, Gallery(tiles, width=210)]


def errors(image_HW: Image, ours: RunRows, truth: RunRows) -> Image:
    """Where masks and label agree and where they don't, over the darkened film, (H, W, 3) BGR."""
    both, extra, missed = (np.zeros(image_HW.shape, bool) for _ in range(3))
    for c in range(len(truth)):
        mine_HW, its_HW = decode(ours[c], image_HW.shape), decode(truth[c], image_HW.shape)
        both |= mine_HW & its_HW
        extra |= mine_HW & ~its_HW
        missed |= its_HW & ~mine_HW
    picture = (0.7 * cv2.cvtColor(image_HW, cv2.COLOR_GRAY2BGR)).astype(np.uint8)
    for chosen, colour, share in (
        (both, BOTH, 0.35),
        (extra, EXTRA, 0.9),
        (missed, MISSED, 0.9),
        (extra & missed, SWAPPED, 0.9),
    ):
        paint(picture, chosen, colour, share)
    return picture


def _close_up(
    truth: RunRows, ours: RunRows, names: Sequence[str], worst: int, hw: tuple[int, int]
) -> tuple[Box, str]:
    """The part that is looked at closely, and what it is: the wrist, else the worst class."""
    wrist = [truth[names.index(name)] for name in CARPALS if name in names]
    masks = [runs for runs in wrist if len(runs)]
    what = "wrist" if masks else names[worst]
    masks = masks or [runs for runs in (truth[worst], ours[worst]) if len(runs)]
    if not masks:
        return (slice(None), slice(None)), what
    covered = np.logical_or.reduce([decode(runs, hw) for runs in masks])
    sides = []
    for axis, extent in ((1, hw[0]), (0, hw[1])):
        found = np.flatnonzero(covered.any(axis=axis))
        margin = max(8, int(0.15 * (found[-1] - found[0])))
        sides.append(slice(max(0, found[0] - margin), min(extent, found[-1] + margin + 1)))
    return (sides[0], sides[1]), what
