"""Labels that were moved, as if a network had made them."""

import numpy as np

from handray.inference.score import truth_rows
from handray.inference.submission import Submission
from handray.masks.rle import RunRows, encode


def shifted(images, class_names, shift, grow=0) -> Submission:
    """Labels as a result, moved right, and so much thicker (or thinner) from left to right."""
    rows = []
    for image in images:
        for runs in truth_rows(image.polygons, len(class_names), (image.height, image.width)):
            moved = runs + shift
            moved[1::2] += grow
            kept = np.repeat(moved[1::2] > moved[0::2], 2)
            mask = np.zeros(image.height * image.width + 64, bool)
            for start, end in moved[kept].reshape(-1, 2):
                mask[start:end] = True
            hw = (image.height, image.width)
            rows.append(encode(mask[: hw[0] * hw[1]].reshape(hw)))
    sizes = np.array([(image.height, image.width) for image in images])
    names = tuple(image.name for image in images)
    return Submission(names, class_names, RunRows.join(rows), sizes)


def levels_of(images, class_names, shift) -> list[Submission]:
    """The same as seven nested levels, the middle one neither thicker nor thinner."""
    return [shifted(images, class_names, shift, grow) for grow in range(3, -4, -1)]
