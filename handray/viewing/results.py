"""Results without networks: what CSVs say of a radiograph, and how well, from run lengths alone.

Axes: N images, C classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from handray.inference.labels import Labels
from handray.inference.score import overlap_of
from handray.inference.submission import SizeOf, Submission, read_submission
from handray.masks.rle import RunRows


@dataclass(frozen=True, eq=False)
class Results:
    """One or more CSVs of a source, such as a run's masks of its training and test images."""

    name: str
    parts: tuple[Submission, ...]

    def masks(
        self, image: str, source_hw: tuple[int, int]
    ) -> tuple[RunRows, tuple[str, ...]] | None:
        """Masks of an image and their classes; None where the image isn't among them.

        Raises:
            ValueError: the masks are of an image of another size.

        """
        for part in self.parts:
            if image not in part.image_names:
                continue
            at = part.image_names.index(image)
            rows = part.masks(at)
            theirs = source_hw if part.sizes_hw is None else tuple(part.sizes_hw[at].tolist())
            height, width = source_hw
            if theirs != source_hw:
                raise ValueError(
                    f"{self.name}: its masks of {image} are of {theirs[1]} x {theirs[0]} pixels, "
                    f"the image has {width} x {height}"
                )
            if len(rows.bounds) and rows.bounds.max() > height * width:
                raise ValueError(
                    f"{self.name}: its masks of {image} go past the end of its "
                    f"{width} x {height} pixels"
                )
            return rows, part.class_names
        return None

    def has_labels(self, labels: Labels) -> bool:
        """Whether any of its images has a label."""
        return any(name in labels.images for part in self.parts for name in part.image_names)

    def dice(self, labels: Labels) -> dict[str, NDArray[np.float64]]:
        """Dice (C,) of every image that has a label, classes in the labels' order.

        Raises:
            ValueError: classes or sizes are not the labels'.

        """
        found: dict[str, NDArray[np.float64]] = {}
        for part in self.parts:
            known = _with_labels(part, labels)
            if not known.image_names:
                continue
            order = [known.class_names.index(name) for name in labels.class_names]
            dice_NC = overlap_of(known, labels.rows(known)).dice_NC()[:, order]
            found |= dict(zip(known.image_names, dice_NC, strict=True))
        return found


def read_results(name: str, paths: Sequence[Path], size_of: SizeOf | None) -> Results:
    """Read CSVs; raises ValueError or OSError as ``read_submission`` does."""
    return Results(name, tuple(read_submission(path, size_of, name) for path in paths))


def read_upload(content: bytes, name: str, size_of: SizeOf | None) -> Results:
    """The results in a CSV's bytes; raises ValueError for one that is none."""
    with TemporaryDirectory(prefix="handray-") as folder:
        path = Path(folder) / "upload.csv"
        path.write_bytes(content)
        return Results(name, (read_submission(path, size_of, name),))


def arranged(
    rows: RunRows, theirs: Sequence[str], class_names: Sequence[str], name: str
) -> RunRows:
    """Masks in another order of classes; ``name`` stands for their source in messages.

    Raises:
        ValueError: the classes are others.

    """
    if tuple(theirs) == tuple(class_names):
        return rows
    if odd := set(theirs) ^ set(class_names):
        there = "has" if min(odd) in theirs else "lacks"
        raise ValueError(
            f"{name} {there} the class {min(odd)!r}: it has {len(theirs)} classes where "
            f"{len(class_names)} are shown"
        )
    return rows.take(list(theirs).index(c) for c in class_names)


def worst_first(dice: dict[str, NDArray[np.float64]], chosen: Sequence[int]) -> dict[str, float]:
    """Mean Dice of the chosen classes of each image, the lowest first, then by name."""
    means = {image: float(dice_C[list(chosen)].mean()) for image, dice_C in dice.items()}
    return dict(sorted(means.items(), key=lambda row: (row[1], row[0])))


def next_worst(order: Sequence[str], now: str, step: int = 1) -> str:
    """The image ``step`` places further on; the last is followed by the first."""
    at = order.index(now) if now in order else -1 if step > 0 else 0
    return order[(at + step) % len(order)]


def _with_labels(part: Submission, labels: Labels) -> Submission:
    """The images of a result that have labels."""
    return part.chosen([at for at, name in enumerate(part.image_names) if name in labels.images])
