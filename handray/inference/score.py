"""Exact Dice of a submission against polygons, in the source frame, with no whole image drawn."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from handray.inference.submission import Submission
from handray.masks.algebra import areas, intersection_areas
from handray.masks.polygon import runs_of_polygon
from handray.masks.rle import RunRows, Runs
from handray.training.metrics import Overlap

Polygons = Mapping[int, NDArray[np.int32]]


def truth_rows(polygons: Polygons, classes: int, source_hw: tuple[int, int]) -> RunRows:
    """Runs of every class of one label, in channel order; a class without a polygon is empty."""
    empty: Runs = np.zeros(0, np.int32)
    drawn = (polygons.get(number) for number in range(classes))
    return RunRows.join([empty if p is None else runs_of_polygon(p, source_hw) for p in drawn])


def score(submission: Submission, truth: Mapping[str, Polygons]) -> Overlap:
    """Pixel counts of each image and class against the truth, whose classes are in the same order.

    Args:
        submission: with the sizes of its images.
        truth: polygons in the source frame by image name, classes by their number.

    Raises:
        ValueError: an image without truth, or sizes that aren't known.

    """
    if submission.sizes_hw is None:
        raise ValueError(f"{submission.name}: the sizes of its images are not known")
    rows = []
    for name, (height, width) in zip(
        submission.image_names, submission.sizes_hw.tolist(), strict=True
    ):
        if name not in truth:
            raise ValueError(f"{submission.name}: there is no label of {name} to score it with")
        rows.append(truth_rows(truth[name], len(submission.class_names), (height, width)))
    return overlap_of(submission, RunRows.stack(rows))


def overlap_of(submission: Submission, truth: RunRows) -> Overlap:
    """Pixel counts of each image and class against masks in the same order."""
    rows_N = np.arange(len(submission.image_names))
    return overlap_of_rows(rows_N, submission.rows, truth, len(submission.class_names))


def overlap_of_rows(
    rows_N: NDArray[np.int64], ours: RunRows, theirs: RunRows, classes: int
) -> Overlap:
    """Pixel counts of two tables of the same images; ``rows_N`` says which ones those are."""
    shape = (len(rows_N), classes)
    return Overlap(
        rows_N,
        intersection_areas(ours, theirs).reshape(shape),
        (areas(ours) + areas(theirs)).reshape(shape),
    )
