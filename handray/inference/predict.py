"""From logits in the model frame to runs in the source frame, upsampling only where a class is.

Axes: C classes, h w pixels of the model frame, H W of the source frame.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray

from handray.inference.upsample import Box, Upsample, aligned_box
from handray.masks.rle import Runs, encode_box


def runs_from_logits(
    logits_CHW: NDArray[np.float32],
    source_hw: tuple[int, int],
    probability: float = 0.5,
    upsample: Upsample = aligned_box,
) -> list[Runs]:
    """Each class's pixels with a probability strictly above the given one, in the source image.

    `logits_CHW` is float32 (C, h, w) of any range; upsample.py says where its pixels lie. Raises
    ValueError for another dtype or number of axes, and for a probability outside (0, 1).
    """
    return runs_at_levels(logits_CHW, source_hw, [probability], upsample)[0]


def runs_at_levels(
    logits_CHW: NDArray[np.float32],
    source_hw: tuple[int, int],
    probabilities: Sequence[float],
    upsample: Upsample = aligned_box,
) -> list[list[Runs]]:
    """runs_from_logits at several probabilities for one resize a class: [level][class], nested."""
    if logits_CHW.ndim != 3 or logits_CHW.dtype != np.float32:
        raise ValueError(
            f"logits are float32 (C, h, w), got {logits_CHW.dtype} of shape {logits_CHW.shape}"
        )
    thresholds = [logit_threshold(probability) for probability in probabilities]
    levels: list[list[Runs]] = [[] for _ in thresholds]
    for logit_hw in logits_CHW:
        box = upsample(logit_hw, source_hw, min(thresholds))
        for level, threshold in zip(levels, thresholds, strict=True):
            level.append(_runs_above(box, threshold, source_hw[1]))
    return levels


@lru_cache(maxsize=64)
def logit_threshold(probability: float) -> float:
    """The largest float32 t with sigmoid(t) <= probability: x > t is sigmoid(x) > probability.

    Both in torch's float32; 8.94e-8 for 0.5. Raises ValueError for a probability outside (0, 1).
    """
    if not 0 < probability < 1:
        raise ValueError(f"a probability threshold lies between 0 and 1, got {probability}")
    level = np.float32(probability)
    # Float32 numbers of one sign are ordered as their bits are; negative ones the other way round.
    low, high = -_bits(200.0), _bits(200.0)
    while high - low > 1:
        middle = (low + high) // 2
        if _sigmoid(_from_bits(middle)) <= level:
            low = middle
        else:
            high = middle
    return _from_bits(low)


def _bits(value: float) -> int:
    return int(np.float32(value).view(np.int32))


def _from_bits(bits: int) -> float:
    """The float32 at this place in their order; negative places mirror the positive ones."""
    value = float(np.int32(abs(bits)).view(np.float32))
    return value if bits >= 0 else -value


def _sigmoid(x: float) -> np.float32:
    # 32 copies, for torch's vectorised code, which all but the last few pixels of an image meet.
    return torch.full((32,), x).sigmoid().numpy()[0]


def _runs_above(box: Box | None, threshold: float, width: int) -> Runs:
    if box is None:
        return np.zeros(0, np.int32)
    return encode_box(box.logit > threshold, box.y0, box.x0, width)
