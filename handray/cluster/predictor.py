"""A network over images of the data set: masks in the source frame, and how they overlap the truth.

Axes: C classes, H W pixels of the model frame.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from handray.data.decode import Sample
from handray.data.feed import Source
from handray.data.order import rank_rows
from handray.data.radiographs import Radiograph
from handray.inference.predict import runs_at_levels
from handray.inference.score import overlap_of_rows, truth_rows
from handray.masks.rle import RunRows
from handray.training.batch import Normalisation
from handray.training.metrics import Overlap, joined
from handray.training.precision import Precision
from handray.training.ranks import Ranks

Rows = NDArray[np.int64]


class Predictor:
    """Predicts each of the rows that it is asked for once, spread over the ranks."""

    def __init__(
        self,
        source: Source,
        images: Sequence[Radiograph],
        classes: int,
        normalise: Normalisation,
        precision: Precision,
        ranks: Ranks,
    ) -> None:
        """Keep what prediction needs.

        Args:
            source: decoded rows; row i is ``images[i]``.
            images: training images, then test images.
            classes: number of classes.
            normalise: of gray levels.
            precision: of the forward pass.
            ranks: who shares the work.

        """
        self.source, self.images, self.classes = source, images, classes
        self.normalise, self.precision, self.ranks = normalise, precision, ranks
        self._truth: dict[int, RunRows] = {}

    def predict(
        self,
        model: nn.Module,
        rows: Rows,
        levels: Sequence[float] = (0.5,),
        progress: Callable[[int, int], None] | None = None,
    ) -> dict[int, RunRows]:
        """Masks of this rank's share of the rows, in the source frame, by row.

        Args:
            model: the network.
            rows: all ranks'.
            levels: probabilities that pixels must exceed; a row has the masks of all classes at
                the first, then at the next.
            progress: called with (images done, images in all) of this rank.

        """
        mine = rows[rank_rows(len(rows), self.ranks.rank, self.ranks.count)]
        samples = self.source.samples(mine.tolist())
        masks: dict[int, RunRows] = {}
        for sample in samples:
            masks[sample.row] = self._masks(model, sample, levels)
            if progress:
                progress(len(masks), len(mine))
        return masks

    def logits(self, model: nn.Module, rows: Rows) -> NDArray[np.float32]:
        """Logits of rows of this rank's own in the model frame, (N, C, h, w)."""
        return np.stack([self._logits(model, one) for one in self.source.samples(rows.tolist())])

    def gathered(self, masks: dict[int, RunRows], rows: Rows) -> list[RunRows]:
        """Every rank's masks, in the order of ``rows``, on every rank.

        Raises:
            RuntimeError: an image is missing or was predicted twice.

        """
        parts = self.ranks.gathered(masks)
        whole = {row: one for part in parts for row, one in part.items()}
        if sum(map(len, parts)) != len(rows) or set(whole) != set(rows.tolist()):
            raise RuntimeError(f"predicted {sum(map(len, parts))} of {len(rows)} images")
        return [whole[row] for row in rows.tolist()]

    def overlap(self, masks: dict[int, RunRows], rows: Rows) -> Overlap:
        """Exact pixel counts of every rank's masks against the labels, in the source frame."""
        mine = np.array(list(masks), np.int64)
        truth = [self._label(row) for row in masks]
        ours, theirs = RunRows.stack(list(masks.values())), RunRows.stack(truth)
        counts = overlap_of_rows(mine, ours, theirs, self.classes)
        return joined(self.ranks.gathered(counts), rows)

    def _masks(self, model: nn.Module, sample: Sample, levels: Sequence[float]) -> RunRows:
        image = self.images[sample.row]
        nested = runs_at_levels(self._logits(model, sample), (image.height, image.width), levels)
        return RunRows.join([runs for level in nested for runs in level])

    def _logits(self, model: nn.Module, sample: Sample) -> NDArray[np.float32]:
        """Logits of an image in the model frame, (C, h, w)."""
        pixels_1HW = torch.from_numpy(sample.image_HW.copy())[None].to(self.ranks.device)
        with torch.inference_mode(), self.precision.autocast():
            logits_1CHW = model(self.normalise(pixels_1HW))
        logits: NDArray[np.float32] = logits_1CHW[0].float().cpu().contiguous().numpy()
        return logits

    def _label(self, row: int) -> RunRows:
        if row not in self._truth:
            image = self.images[row]
            size = (image.height, image.width)
            self._truth[row] = truth_rows(image.polygons, self.classes, size)
        return self._truth[row]
