"""Suspicious labels for people: pictures of label against prediction, and a table."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from handray.data.radiographs import Radiograph
from handray.inference.submission import Submission
from handray.inference.suspicion import WHOLE, Suspicion
from handray.masks.rle import Runs, decode
from handray.reporting.colours import SKY, VERMILION
from handray.reporting.cutout import Cutout, Outline, Polygon, around
from handray.reporting.page import Block, Cell, Table, Text

LABEL, PREDICTION = SKY, VERMILION
LISTED = 40
"""Rows of the table."""


@dataclass(frozen=True)
class Suspects:
    """A ranking of doubts about labels, and the out-of-fold masks that they come from."""

    source: str
    """The run's name, for people."""
    ranking: Sequence[Suspicion]
    predicted: Submission
    class_names: Sequence[str]
    """Of the data folder, in whose order labels are."""

    @property
    def count(self) -> int:
        """Images that are suspect."""
        return len({one.image_name for one in self.ranking if one.is_suspect})

    def blocks(self) -> list[Block]:
        """What it is about."""
        text = (
            f"Labels against the out-of-fold masks of run {self.source}, most different first, "
            "each measured by what is usual for its class. Blue is the label, vermilion the "
            "prediction; either may be wrong. suspects.csv lists those far beyond the rest: look "
            "at them, remove rows whose labels are right, and train with --exclude suspects.csv."
        )
        return [Text(text)]

    def table(self) -> Table:
        """The head of the ranking."""
        rows: list[list[Cell]] = [
            [one.image_name, one.class_name or "all", *_rounded(one), _mark(one)]
            for one in self.ranking[:LISTED]
        ]
        return Table(["image", "class", "Dice", "usual Dice", ""], rows)

    def tiles(
        self, images: Sequence[Radiograph], count: int
    ) -> Iterator[tuple[Cutout, str, str, str]]:
        """Cutout, title, note and badge of the first of the ranking, an image once a class."""
        known = {image.name: image for image in images if image.polygons}
        for one in self.ranking[:count]:
            if one.image_name in known:
                image = known[one.image_name]
                what = one.class_name or "all classes"
                note = f"{image.person}, {what}: {one.usual:.2f} is usual"
                yield self._cutout(image, one), image.name, note, f"Dice {one.dice:.2f}"

    def _cutout(self, image: Radiograph, one: Suspicion) -> Cutout:
        names = self.class_names if one.class_name == WHOLE else [one.class_name]
        masks = self.predicted.masks(self.predicted.image_names.index(image.name))
        hw = image.height, image.width
        theirs = [masks[self.predicted.class_names.index(name)] for name in names]
        ours = [part for runs in theirs for part in contours(runs, hw)]
        channels = [self.class_names.index(name) for name in names]
        labels = [image.polygons[c] for c in channels if c in image.polygons]
        whole = one.class_name == WHOLE
        outlines = [Outline(points, LABEL, thick=not whole) for points in labels]
        outlines += [Outline(points, PREDICTION, thick=not whole) for points in ours]
        return Cutout(image, outlines, None if whole else around([*labels, *ours], hw))


def contours(runs: Runs, hw: tuple[int, int]) -> list[Polygon]:
    """The outer borders of a mask, as polygons."""
    if not len(runs):
        return []
    mask_HW = decode(runs, hw).astype(np.uint8)
    found, _ = cv2.findContours(mask_HW, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return [contour[:, 0].astype(np.int32) for contour in found]


def _mark(one: Suspicion) -> str:
    return "suspect" if one.is_suspect else ""


def _rounded(one: Suspicion) -> tuple[float, float]:
    return round(one.dice, 3), round(one.usual, 3)
