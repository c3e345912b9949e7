"""What a k-fold training has left so far, read again: curves, masks, and how good they are."""

import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from handray.config import Config
from handray.data.radiographs import DataFolder
from handray.inference.labels import Labels, labels_of
from handray.inference.levels import read_levels
from handray.inference.members import OUT_OF_FOLD, OUTPUT
from handray.inference.submission import Submission, levels_beside, read_submission
from handray.reporting.judged import Judged, out_of_fold
from handray.reporting.run_folder import HISTORY, RunFolder


@dataclass(frozen=True)
class TrainingRecord:
    """A run as far as it is done."""

    run: RunFolder
    data: DataFolder
    config: Config
    seconds: float
    """Wall seconds that the training took."""
    failures: dict[int, str]
    """One sentence for each fold that failed."""

    @cached_property
    def done(self) -> list[int]:
        """Folds that are finished."""
        folds = self.config.data.folds
        return [fold for fold in range(folds) if self.run.fold(fold).exists()]

    @cached_property
    def histories(self) -> dict[str, list[dict[str, Any]]]:
        """Curves of each finished fold."""
        return {
            self.name(fold): json.loads((self.run.fold(fold) / HISTORY).read_text())
            for fold in self.done
        }

    @cached_property
    def labels(self) -> Labels:
        """Of training and, where they are known, test images."""
        return labels_of(self.data)

    def name(self, fold: int) -> str:
        """What a fold is called."""
        return f"fold {fold}" if self.config.data.folds > 1 else "all images"

    def levels(self, fold: int, file: str) -> list[Submission]:
        """A fold's own result."""
        return read_levels(levels_beside(self.run.fold(fold) / file))

    @cached_property
    def output(self) -> Submission | None:
        """The voted masks of the test images."""
        path = self.run.path / OUTPUT
        return read_submission(path) if path.exists() else None

    @cached_property
    def judged(self) -> Judged | None:
        """Out-of-fold masks; else, with labels, those of the test images; else nothing."""
        if self.config.data.folds > 1 and self.done:
            parts = zip(*(self.levels(fold, OUT_OF_FOLD) for fold in self.done), strict=True)
            whole = [out_of_fold(self.data, level) for level in parts]
            return Judged.of("Out-of-fold masks of the training images", whole, self.labels)
        if self.output and self.labels.covers(self.output.image_names):
            levels = read_levels(levels_beside(self.run.path / OUTPUT))
            return Judged.of("Masks of the test images", levels, self.labels)
        return None
