"""A result beside the labels of its images, as the pages about a run show it.

Axes: N images, C classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from handray.data.radiographs import DataFolder, Radiograph
from handray.inference.calibration import LevelCounts, count_levels
from handray.inference.labels import Labels
from handray.inference.levels import LEVELS, MIDDLE
from handray.inference.score import overlap_of
from handray.inference.submission import Submission
from handray.masks.rle import RunRows
from handray.reporting.ablation import bootstrap_interval, slices

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Mean:
    """A mean Dice over people's images, and how sure it is."""

    dice: float
    low: float
    high: float
    """95 % interval over people; both nan for a single one."""
    images: int


@dataclass(frozen=True, eq=False)
class Judged:
    """A result and the labels of its images, which are all labelled."""

    what: str
    """Whose masks of which images, for people."""
    result: Submission
    truth: RunRows
    images: tuple[Radiograph, ...]
    """In the order of the result."""
    dice_NC: Floats
    counts: LevelCounts | None
    """None where the result has no levels."""

    @classmethod
    def of(cls, what: str, levels: Sequence[Submission], labels: Labels) -> "Judged":
        """Score a result.

        Args:
            what: how to call it.
            levels: the result's, or the result alone.
            labels: of all its images.

        Raises:
            ValueError: an image without a label, or sizes that aren't known.

        """
        result = levels[MIDDLE] if len(levels) == len(LEVELS) else levels[0]
        truth = labels.rows(result)
        images = tuple(labels.images[name] for name in result.image_names)
        dice_NC = overlap_of(result, truth).dice_NC()
        counts = count_levels(levels, truth) if len(levels) == len(LEVELS) else None
        return cls(what, result, truth, images, dice_NC, counts)

    def mean(
        self, images_N: NDArray[np.bool_] | None = None, classes_C: NDArray[np.bool_] | None = None
    ) -> Mean:
        """Mean Dice of some images, all by default, and some classes."""
        chosen = np.ones(len(self.images), bool) if images_N is None else images_N
        dice_N = self.dice_NC[chosen][:, slice(None) if classes_C is None else classes_C].mean(1)
        people_N = np.array([image.person for image in self.images])[chosen]
        low, high = bootstrap_interval(dice_N, people_N)
        return Mean(float(dice_N.mean()), low, high, len(dice_N))

    def slices(self) -> tuple[dict[str, Mean], dict[str, Mean]]:
        """Means by kind of image and by group of classes, as far as there are any."""
        kinds, groups = slices(self.images, self.result.class_names)
        return (
            {kind: self.mean(images_N=chosen) for kind, chosen in kinds.items()},
            {group: self.mean(classes_C=chosen) for group, chosen in groups.items()},
        )


def out_of_fold(data: DataFolder, parts: Sequence[Submission]) -> Submission:
    """The training images' masks by the networks that haven't seen them, in the folder's order.

    Args:
        data: what was trained on.
        parts: the folds' own results; images of folds that aren't among them are left out.

    """
    names = tuple(name for part in parts for name in part.image_names)
    place = {name: number for number, name in enumerate(names)}
    sizes = [size for part in parts if part.sizes_hw is not None for size in part.sizes_hw]
    whole = Submission(
        names,
        data.class_names,
        RunRows.stack([part.rows for part in parts]),
        sizes_hw=np.array(sizes, np.int64),
        source={"job": "train_kfold", "out_of_fold": len(parts)},
        name="out of fold",
    )
    return whole.chosen([place[image.name] for image in data.train if image.name in place])
