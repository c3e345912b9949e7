"""What is beside the pictures: Dice, differing pixels, losses, agreement, a number a class.

Axes: C classes, h w pixels of the model frame.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from handray.masks.algebra import areas, dice_rows, intersection_areas, vote_levels
from handray.masks.planes import draw_planes
from handray.masks.rle import RunRows
from handray.viewing.uploads import Polygons

if TYPE_CHECKING:
    from torch import Tensor

LOSSES_SHOWN = ("bce", "dice")


@dataclass(frozen=True, eq=False)
class Difference:
    """Pixels of the source frame in which a prediction and the label differ."""

    missed_C: NDArray[np.int64]
    """Of the label alone."""
    extra_C: NDArray[np.int64]
    """Of the prediction alone."""
    dice_C: NDArray[np.float64]

    @property
    def differing_C(self) -> NDArray[np.int64]:
        """Both together."""
        return self.missed_C + self.extra_C


@dataclass(frozen=True, eq=False)
class Losses:
    """How a network's logits fare against the label, in the model frame."""

    map_hw: NDArray[np.float32]
    """Binary cross-entropy of each pixel, summed over the chosen classes, nats."""
    by_name: dict[str, list[float]]
    """Loss -> its value for each chosen class."""


@dataclass(frozen=True, eq=False)
class Agreement:
    """How far members agree on each class."""

    any_C: NDArray[np.int64]
    """Pixels that some member has."""
    all_C: NDArray[np.int64]
    """Pixels that all members have."""

    @property
    def share_C(self) -> NDArray[np.float64]:
        """Pixels of all members as a share of those of any; 1 where nobody has one."""
        return np.where(self.any_C > 0, self.all_C / np.maximum(self.any_C, 1), 1.0)


def difference(ours_C: RunRows, truth_C: RunRows) -> Difference:
    """Count a prediction's pixels against the label's."""
    common_C = intersection_areas(ours_C, truth_C)
    return Difference(
        areas(truth_C) - common_C, areas(ours_C) - common_C, dice_rows(ours_C, truth_C)
    )


def agreement(members: Sequence[RunRows]) -> Agreement:
    """Count the pixels of any and of all members; raises ValueError for none."""
    any_C, all_C = (areas(rows) for rows in vote_levels(members, [1, len(members)]))
    return Agreement(any_C, all_C)


def losses(
    logits_CHW: NDArray[np.float32],
    polygons: Polygons,
    source_hw: tuple[int, int],
    chosen: Sequence[int],
) -> Losses:
    """Losses of a network on one radiograph.

    Args:
        logits_CHW: (C, s, s), model frame.
        polygons: the label, by class, source frame.
        source_hw: size of the radiograph.
        chosen: classes.

    """
    import torch
    from torch.nn.functional import binary_cross_entropy_with_logits

    from handray.training.losses import LOSSES

    classes, size = logits_CHW.shape[:2]
    planes_hwP = draw_planes(polygons, source_hw, size, classes)
    total = np.zeros((size, size), np.float32)
    by_name: dict[str, list[float]] = {name: [] for name in LOSSES_SHOWN}
    for c in chosen:
        logits = torch.from_numpy(logits_CHW[c])[None, None]
        target: Tensor = torch.from_numpy(planes_hwP[..., c // 8] >> c % 8 & 1)[None, None].float()
        each = binary_cross_entropy_with_logits(logits, target, reduction="none")
        total += each[0, 0].numpy()
        for name, values in by_name.items():
            values.append(float(LOSSES[name](logits, target)[0]))
    return Losses(total, by_name)
