"""Masks tidied up after a vote: the largest piece alone, holes filled. Off unless asked for."""

from collections.abc import Collection
from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from handray.inference.submission import Submission
from handray.masks.rle import RunRows, Runs, encode_box


def tidied(
    submission: Submission,
    largest_component: Collection[str] = (),
    fill_holes: Collection[str] = (),
) -> Submission:
    """Tidy the masks of some classes up.

    Args:
        submission: with the sizes of its images.
        largest_component: classes that keep only each mask's largest 8-connected piece.
        fill_holes: classes whose masks get what they surround, pixels that aren't 4-connected to
            their outside.

    Raises:
        ValueError: the sizes aren't known, or a class that isn't there.

    """
    check_classes("largest_component", largest_component, submission.class_names)
    check_classes("fill_holes", fill_holes, submission.class_names)
    if not (largest_component or fill_holes):
        return submission
    if submission.sizes_hw is None:
        raise ValueError(f"{submission.name}: the sizes of its images are not known")
    rows = []
    for image, width in enumerate(submission.sizes_hw[:, 1].tolist()):
        for c, name in enumerate(submission.class_names):
            runs = submission.runs(image, c)
            rows.append(_tidied(runs, width, name in largest_component, name in fill_holes))
    return replace(submission, rows=RunRows.join(rows))


def check_classes(way: str, named: Collection[str], class_names: Collection[str]) -> None:
    """Raise ValueError for a class that isn't there; ``way`` is the keyword of ``tidied``."""
    if unknown := sorted(set(named) - set(class_names)):
        raise ValueError(f"--{way.replace('_', '-')} {unknown[0]}: no class has this name")


def _tidied(runs: Runs, width: int, largest_component: bool, fill_holes: bool) -> Runs:
    if not len(runs):
        return runs
    mask_hw, y0, x0 = box_of(runs, width)
    if largest_component:
        count, labels, stats, _ = cv2.connectedComponentsWithStats(mask_hw, connectivity=8)
        if count > 2:
            mask_hw = (labels == 1 + stats[1:, cv2.CC_STAT_AREA].argmax()).astype(np.uint8)
    if fill_holes:
        outside = np.pad(mask_hw, 1)
        cv2.floodFill(outside, None, (0, 0), 2, flags=4)
        mask_hw = (outside != 2)[1:-1, 1:-1].astype(np.uint8)
    return encode_box(mask_hw, y0, x0, width)


def box_of(runs: Runs, width: int) -> tuple[NDArray[np.uint8], int, int]:
    """A mask's bounding box in an image so wide: (its pixels as 0 and 1, top row, left column)."""
    starts, last = runs[0::2], runs[1::2] - 1
    y0, y1 = int(starts[0]) // width, int(last[-1]) // width
    # A run that goes on in the next row touches both sides.
    broken = bool((starts // width != last // width).any())
    x0 = 0 if broken else int((starts % width).min())
    x1 = width - 1 if broken else int((last % width).max())
    rows = np.zeros((y1 - y0 + 1) * width, np.uint8)
    for start, end in (runs - y0 * width).reshape(-1, 2).tolist():
        rows[start:end] = 1
    return rows.reshape(-1, width)[:, x0 : x1 + 1].copy(), y0, x0
