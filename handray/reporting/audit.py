"""An audit of a data folder as facts: tables of classes, overlaps and images, and a summary.

Axes: N images, C classes.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from handray.data.audit.findings import Finding, find
from handray.data.audit.gray import mean_std, wrapped_std
from handray.data.audit.kinds import KINDS
from handray.data.audit.measure import LabelMeasures, Measures
from handray.data.pose import is_bent
from handray.data.radiographs import DataFolder, Radiograph


@dataclass(frozen=True)
class ClassFacts:
    """A class over all labels; pixels of the source frame."""

    images: int
    """That have it."""
    low: float
    """5th percentile of its pixels."""
    median: float
    high: float
    """95th percentile."""


@dataclass(frozen=True)
class OverlapFacts:
    """A pair of classes that overlap somewhere."""

    images: int
    """In which they do."""
    share: float
    """Of the images that have both."""
    iou: float
    """Mean over the images that have both."""


class Audit:
    """A data folder with its measures: training images first, then test images, as far as read."""

    def __init__(
        self,
        data: DataFolder,
        images: Sequence[Radiograph],
        measures: Sequence[Measures],
        unread: Sequence[str] = (),
    ) -> None:
        self.data, self.images, self.measures = data, images, measures
        self.unread = unread
        """Sentences about images that could be listed but not decoded."""

    @cached_property
    def findings(self) -> list[Finding]:
        """All of them, by kind, the strongest first."""
        return find(self.images, self.measures, self.data.class_names)

    @cached_property
    def labels(self) -> list[LabelMeasures]:
        """Of the images that have one."""
        return [one.label for one in self.measures if one.label is not None]

    @cached_property
    def is_train(self) -> NDArray[np.bool_]:
        """Whether an image is of the training set, (N,)."""
        names = {image.image_path for image in self.data.train}
        return np.array([image.image_path in names for image in self.images], bool)

    def counts(self, train: bool) -> NDArray[np.int64]:
        """Pixels of each gray level of the training or the test images, (256,)."""
        chosen = [
            m.film.counts for m, t in zip(self.measures, self.is_train, strict=True) if t == train
        ]
        return np.sum(chosen, axis=0, dtype=np.int64) if chosen else np.zeros(256, np.int64)

    def gray(self) -> tuple[float, float, float]:
        """Mean, std, and the std that an overflow makes, of the training images; 0..255."""
        counts = self.counts(train=True)
        return *mean_std(counts), wrapped_std(counts)

    def classes(self) -> dict[str, ClassFacts]:
        """Facts of each class, in channel order."""
        pixels_NC = np.array([label.pixels_C for label in self.labels]).reshape(
            -1, len(self.data.class_names)
        )
        facts = {}
        for name, pixels_N in zip(self.data.class_names, pixels_NC.T, strict=True):
            there = pixels_N[pixels_N > 0]
            quantiles = np.percentile(there, [5, 50, 95]) if len(there) else [np.nan] * 3
            facts[name] = ClassFacts(len(there), *map(float, quantiles))
        return facts

    def overlaps(self) -> dict[tuple[str, str], OverlapFacts]:
        """Facts of each pair that overlaps, the largest mean IoU first."""
        ious: dict[tuple[int, int], float] = defaultdict(float)
        images: Counter[tuple[int, int]] = Counter()
        there_NC = np.array([label.pixels_C > 0 for label in self.labels])
        for label in self.labels:
            for (c, d), common in label.overlaps.items():
                union = int(label.pixels_C[c] + label.pixels_C[d]) - common
                ious[c, d] += common / union
                images[c, d] += 1
        facts = {}
        for pair in sorted(ious, key=lambda pair: -ious[pair]):
            both = int(there_NC[:, pair].all(axis=1).sum())
            one, other = (self.data.class_names[c] for c in pair)
            facts[one, other] = OverlapFacts(images[pair], images[pair] / both, ious[pair] / both)
        return facts

    def sizes(self) -> Counter[str]:
        """Images of each size."""
        return Counter(f"{one.film.width} x {one.film.height}" for one in self.measures)

    def modes(self) -> Counter[str]:
        """Images of each way to keep pixels."""
        return Counter(one.mode for one in self.measures)

    def sides(self) -> Counter[str]:
        """Training images of each side, R, L or "" for unknown."""
        return Counter(image.side for image in self.data.train)

    def table(self) -> pd.DataFrame:
        """One row an image: what folds are stratified by, what was measured, what was found."""
        kinds: dict[int, list[str]] = defaultdict(list)
        for finding in self.findings:
            if finding.kind not in kinds[finding.image]:
                kinds[finding.image].append(finding.kind)
        rows = []
        for n, (image, one) in enumerate(zip(self.images, self.measures, strict=True)):
            rows.append(
                {
                    "image_name": image.name,
                    "person": image.person,
                    "split": "train" if self.is_train[n] else "test",
                    "side": image.side,
                    "bend": round(image.bend, 1),
                    "is_bent": is_bent(image.bend),
                    "width": one.film.width,
                    "height": one.film.height,
                    "mean": round(one.film.mean, 2),
                    "contrast": one.film.contrast,
                    "strip_rows": one.film.strip_rows,
                    "saturated_objects": len(one.film.metal),
                    "classes": len(one.label.shapes) if one.label else 0,
                    "findings": " ".join(kinds[n]),
                }
            )
        return pd.DataFrame(rows)

    def summary(self) -> str:
        """For the terminal."""
        data = self.data
        people = len({image.person for image in data.train})
        mean, std, wrapped = self.gray()
        faulty = len({fault.path for fault in data.faults}) + len(self.unread)
        lines = [
            f"{len(data.train)} training images of {people} people, {len(data.test)} test images, "
            f"{len(data.class_names)} classes, {faulty} faulty files",
            "sizes: " + _counted(self.sizes()) + "; pixels: " + _counted(self.modes()),
            f"gray levels of the training images: mean {mean:.3f}, std {std:.3f} of 255 "
            f"({mean / 255:.6f}, {std / 255:.6f} of 1; an overflow in uint8 would say "
            f"{wrapped / 255:.6f})",
        ]
        if bent := [image for image in data.train if not np.isnan(image.bend)]:
            share = np.mean([is_bent(image.bend) for image in bent])
            sides = self.sides()
            lines.append(f"hands: {sides['R']} right, {sides['L']} left; bent wrists {share:.0%}")
        for kind, about in KINDS.items():
            found = {finding.image for finding in self.findings if finding.kind == kind}
            if found:
                names = ", ".join(self.images[n].name for n in sorted(found)[:3])
                lines.append(f"{about.title}: {len(found)} images, such as {names}")
        return "\n".join(lines)


def _counted(counter: Counter[str]) -> str:
    return ", ".join(f"{what} ({count})" for what, count in counter.most_common(4))
