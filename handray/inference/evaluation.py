"""A result against another one, or against labels, by all measures that the field uses.

Axes: N images, C classes.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from handray.inference.score import overlap_of
from handray.inference.submission import Submission
from handray.inference.surface import borders
from handray.masks.algebra import areas
from handray.masks.rle import RunRows

Floats = NDArray[np.float64]
TOLERANCES = (2, 4)
"""Of the surface Dice, pixels of the source frame."""
HD95 = "hd95_px"


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Every measure of each image and class, by its name."""

    image_names: tuple[str, ...]
    class_names: tuple[str, ...]
    measures: dict[str, Floats]
    """(N, C). Precision is nan where nothing is predicted, recall where nothing is true; HD95 is
    infinite where only one of the masks is empty."""


def evaluate(
    submission: Submission, truth: RunRows, progress: Callable[[int, int], None]
) -> Evaluation:
    """Measure a result.

    Args:
        submission: with the sizes of its images.
        truth: masks in the same order.
        progress: called with (images done, images in all).

    Raises:
        ValueError: the sizes aren't known.

    """
    if submission.sizes_hw is None:
        raise ValueError(f"{submission.name}: the sizes of its images are not known")
    shape = len(submission.image_names), len(submission.class_names)
    overlap = overlap_of(submission, truth)
    common_NC = overlap.intersection_NC
    ours_NC = areas(submission.rows).reshape(shape)
    with np.errstate(invalid="ignore"):
        precision_NC = common_NC / ours_NC
        recall_NC = common_NC / (overlap.total_NC - ours_NC)
    surface_NC = {tolerance: np.zeros(shape) for tolerance in TOLERANCES}
    hd95_NC = np.zeros(shape)
    for image, (height, width) in enumerate(submission.sizes_hw.tolist()):
        for c in range(shape[1]):
            row = image * shape[1] + c
            found = borders(submission.rows[row], truth[row], (height, width))
            hd95_NC[image, c] = found.hd95()
            for tolerance in TOLERANCES:
                surface_NC[tolerance][image, c] = found.surface_dice(tolerance)
        progress(image + 1, shape[0])
    return Evaluation(
        submission.image_names,
        submission.class_names,
        {
            "dice": overlap.dice_NC(),
            **{f"surface_dice_{tolerance}px": surface_NC[tolerance] for tolerance in TOLERANCES},
            HD95: hd95_NC,
            "precision": precision_NC,
            "recall": recall_NC,
        },
    )
