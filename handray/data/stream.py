"""Decoded rows through Ray Data: kept in memory for a whole run, or streamed anew each epoch.

Order is ours (see order.py): Ray Data decodes, but neither shuffles nor splits, since its splits
drop rows and its shuffle buffer gives ranks different numbers of batches.

Axes: H W pixels of the model frame, P planes of eight classes.
"""

import pickle
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import ray
from numpy.typing import NDArray
from ray.data.block import BlockAccessor

from handray.data.decode import decode
from handray.data.feed import Sample
from handray.data.radiographs import Radiograph
from handray.masks.planes import plane_count

STORE_SHARE = 0.6
"""Share of the object store that decoded rows may fill; the rest is for whatever else moves."""
BLOCK_BYTES = 64 << 20


@dataclass(frozen=True)
class Frame:
    """What decoding makes of an image."""

    size: int
    classes: int

    @property
    def row_bytes(self) -> int:
        """Bytes of one decoded image with its label."""
        return self.size**2 * (1 + plane_count(self.classes))


@dataclass(frozen=True)
class GraySums:
    """Count, sum and sum of squares of gray levels 0 .. 255, exact."""

    pixels: int
    total: int
    squares: int

    @classmethod
    def of(cls, image_HW: NDArray[np.uint8]) -> "GraySums":
        """The sums of one image."""
        counts, levels = np.bincount(image_HW.ravel(), minlength=256), np.arange(256)
        return cls(image_HW.size, int((counts * levels).sum()), int((counts * levels**2).sum()))

    def __add__(self, other: "GraySums") -> "GraySums":
        return GraySums(
            self.pixels + other.pixels, self.total + other.total, self.squares + other.squares
        )

    def mean_std(self) -> tuple[float, float]:
        """Mean and standard deviation of the gray levels.

        Raises:
            ValueError: the images are all of one gray.

        """
        mean = self.total / self.pixels
        variance = self.squares / self.pixels - mean**2
        if variance < 1e-6:
            raise ValueError(f"all images have the one gray level {mean:.0f}; are they X-rays?")
        return mean, variance**0.5


class CachedRows:
    """Rows decoded once a run, read from the object store without a copy."""

    def __init__(self, blocks: Sequence["ray.ObjectRef[Any]"], sums: dict[int, GraySums]) -> None:
        self.blocks = list(blocks)
        self.sums = sums
        self._columns: dict[int, tuple[NDArray[np.uint8], NDArray[np.uint8]]] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Leave the views behind: another process maps the store itself."""
        return {**self.__dict__, "_columns": {}}

    def samples(self, rows: Sequence[int]) -> Iterator[Sample]:
        """The named rows in the named order."""
        if not self._columns:
            for block in ray.get(self.blocks):
                columns = BlockAccessor.for_block(block).to_numpy(["row", "image", "planes"])
                for row, *pixels in zip(*columns.values(), strict=True):
                    self._columns[int(row)] = tuple(pixels)
        for row in rows:
            yield Sample(int(row), *self._columns[int(row)])


class StreamedRows:
    """Rows decoded anew whenever they are asked for, by Ray tasks on any node, in order.

    ``decoded`` is called in the decoding task with each row.
    """

    def __init__(
        self,
        radiographs: Sequence[Radiograph],
        frame: Frame,
        decoded: Callable[[int], None] | None = None,
    ) -> None:
        self.radiographs, self.frame, self.decoded = radiographs, frame, decoded

    def samples(self, rows: Sequence[int]) -> Iterator[Sample]:
        """The named rows in the named order; ValueError for an image that can't be read."""
        if not rows:
            return  # Ray Data has no data set of nothing
        dataset = _decoded(self.radiographs, rows, self.frame, self.decoded)
        for item in dataset.iter_rows():
            _raise_fault(item["fault"])
            yield Sample(item["row"], item["image"], item["planes"])


def cache_rows(
    radiographs: Sequence[Radiograph], frame: Frame, decoded: Callable[[int], None] | None = None
) -> CachedRows:
    """Decode every radiograph once, spread over the cluster, and keep the rows.

    Args:
        radiographs: what to decode; row i is radiograph i.
        frame: the model frame.
        decoded: called in the decoding task with each row.

    Raises:
        ValueError: an image can't be read.

    """
    dataset = _decoded(radiographs, range(len(radiographs)), frame, decoded).materialize()
    blocks = dataset.get_internal_block_refs()
    sums: dict[int, GraySums] = {}
    for part in ray.get([_row_sums.remote(block) for block in blocks]):
        for row, fault, one in part:
            _raise_fault(fault)
            sums[row] = one
    return CachedRows(blocks, sums)


def gray_sums(
    radiographs: Sequence[Radiograph], frame: Frame, rows: Sequence[int]
) -> dict[int, GraySums]:
    """Sums of rows that are not cached, by one pass over their images."""
    sums: dict[int, GraySums] = {}
    for item in _decoded(radiographs, rows, frame).map(_only_sums).iter_rows():
        _raise_fault(item["fault"])
        sums[item["row"]] = pickle.loads(item["sums"])
    return sums


def _decoded(
    radiographs: Sequence[Radiograph],
    rows: Iterable[int],
    frame: Frame,
    decoded: Callable[[int], None] | None = None,
) -> "ray.data.Dataset":
    items = [{"row": int(r), "radiograph": pickle.dumps(radiographs[int(r)])} for r in rows]
    blocks = max(1, min(len(items), -(-len(items) * frame.row_bytes // BLOCK_BYTES)))
    cpus = int(ray.cluster_resources().get("CPU", 1))
    # At least two blocks a CPU, so that all of them work until the end.
    dataset = ray.data.from_items(items, override_num_blocks=min(len(items), max(blocks, 2 * cpus)))
    dataset.context.execution_options.preserve_order = True
    return dataset.map(_decode_item, fn_args=(frame, decoded))


def _decode_item(
    item: dict[str, Any], frame: Frame, decoded: Callable[[int], None] | None
) -> dict[str, Any]:
    fault = ""
    try:
        image, planes = decode(pickle.loads(item["radiograph"]), frame.size, frame.classes)
    except ValueError as error:
        # Raised in a task it would come back as Ray's traceback, not as a sentence.
        fault = str(error)
        image = np.zeros((frame.size, frame.size), np.uint8)
        planes = np.zeros((frame.size, frame.size, plane_count(frame.classes)), np.uint8)
    if decoded is not None:
        decoded(item["row"])
    return {"row": item["row"], "fault": fault, "image": image, "planes": planes}


def _raise_fault(fault: str) -> None:
    if fault:
        raise ValueError(fault)


def _only_sums(item: dict[str, Any]) -> dict[str, Any]:
    sums = pickle.dumps(GraySums.of(item["image"]))
    return {"row": item["row"], "fault": item["fault"], "sums": sums}


@ray.remote
def _row_sums(block: Any) -> list[tuple[int, str, GraySums]]:
    """Row, fault and gray levels of each row of a block, where the block lies."""
    columns = BlockAccessor.for_block(block).to_numpy(["row", "fault", "image"])
    return [
        (int(row), str(fault), GraySums.of(image))
        for row, fault, image in zip(*columns.values(), strict=True)
    ]
