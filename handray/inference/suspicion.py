"""Labels that a network which hasn't seen them disagrees with: which to look at first.

A class's Dice over all images says what is usual; an image far below it is suspicious for that
class, whichever of the two is wrong. Axes: N images, C classes.
"""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from handray.inference.csv_table import COLUMNS
from handray.inference.submission import Submission
from handray.masks.algebra import dice_rows
from handray.masks.rle import RunRows

FENCE = 3.0
"""Interquartile ranges below the lower quartile: Tukey's outer fence."""
LEAST_SPREAD = 0.02
"""Of Dice: less isn't worth a look, however alike the others are."""
LEAST_LOSS = 0.2
"""Dice below the median from which an image is worth leaving out of a training."""
WHOLE = ""
"""Class name of a suspicion of the whole image."""
HEADER = (COLUMNS[0], COLUMNS[1], "dice", "usual", "score")


@dataclass(frozen=True)
class Suspicion:
    """An image, or one class of it, whose label and prediction disagree."""

    image_name: str
    class_name: str
    """WHOLE for the mean over the image's classes."""
    dice: float
    usual: float
    """Median over all images."""
    score: float
    """Interquartile ranges below the lower quartile."""

    @property
    def is_suspect(self) -> bool:
        """Whether it is far enough from the rest to be left out until someone has looked."""
        return self.score > FENCE and self.usual - self.dice > LEAST_LOSS


def suspicions(predicted: Submission, truth: RunRows) -> list[Suspicion]:
    """Every image and every class of it, most suspicious first; of an image that is suspect as a
    whole, the classes are left out.

    Args:
        predicted: out-of-fold masks.
        truth: the labels' masks in the same order.

    """
    names = predicted.image_names
    dice_NC = dice_rows(predicted.rows, truth).reshape(len(names), -1)
    whole_N1 = dice_NC.mean(axis=1, keepdims=True)
    found: list[Suspicion] = []
    classes = [WHOLE, *predicted.class_names]
    for name, dice_N in zip(classes, np.hstack([whole_N1, dice_NC]).T, strict=True):
        found += _of_class(names, name, dice_N)
    whole = {one.image_name for one in found if one.class_name == WHOLE and one.is_suspect}
    found = [one for one in found if one.class_name == WHOLE or one.image_name not in whole]
    return sorted(found, key=lambda one: (-one.score, one.image_name, one.class_name))


def _of_class(
    image_names: Sequence[str], class_name: str, dice_N: NDArray[np.float64]
) -> list[Suspicion]:
    low, usual, high = np.percentile(dice_N, [25, 50, 75]).tolist()
    spread = max(high - low, LEAST_SPREAD)
    return [
        Suspicion(image, class_name, dice, usual, (low - dice) / spread)
        for image, dice in zip(image_names, dice_N.tolist(), strict=True)
    ]


def suspects_csv(found: Sequence[Suspicion]) -> str:
    """The suspects as CSV: image_name, class, dice, usual, score; `read_excluded` takes it."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(HEADER)
    for one in found:
        if one.is_suspect:
            numbers = (f"{value:.4f}" for value in (one.dice, one.usual, one.score))
            table.writerow([one.image_name, one.class_name, *numbers])
    return text.getvalue()


def read_excluded(path: Path) -> list[str]:
    """The image names of a CSV with a column image_name, each once, in order.

    Raises:
        ValueError: not one such column, no text file, or one that can't be read.

    """
    try:
        rows = csv.DictReader(io.StringIO(path.read_bytes().decode("utf-8-sig"), newline=""))
        header = rows.fieldnames or []
        if header.count(COLUMNS[0]) != 1:
            raise ValueError(
                f"--exclude {path} needs one column {COLUMNS[0]!r}; its header is {header}"
            )
        names = [row[COLUMNS[0]] for row in rows]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"--exclude {path} is no CSV in UTF-8 ({error}); save it so") from None
    except OSError as error:
        raise ValueError(
            f"--exclude {path} can't be read ({error.strerror}); name a CSV such as check_data's "
            "suspects.csv"
        ) from None
    return [name for name in dict.fromkeys(names) if name]
