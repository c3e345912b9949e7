"""Decoded rows by Ray: kept in memory for a whole run, or streamed anew each epoch.

Order is ours (see order.py): Ray Data decodes what is kept, but neither shuffles nor splits, since
its splits drop rows and its shuffle buffer gives ranks different numbers of batches. A stream is
plain Ray tasks, a fixed number ahead of the reader: Ray Data lets each stream fill half of the
store, so that a few slow readers spill all they read, and held to less it leaves CPUs idle.

Axes: H W pixels of the model frame, P planes of eight classes.
"""

import pickle
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import numpy as np
import ray
from numpy.typing import NDArray
from ray.data.block import BlockAccessor

from handray.data.decode import Sample, decode
from handray.data.radiographs import Radiograph
from handray.masks.planes import plane_count

R = TypeVar("R")

STORE_SHARE = 0.6
"""Share of the object store that decoded rows may fill; the rest is for whatever else moves."""
STREAM_SHARE = 1 / 8
"""Share of an object store that the rows of one stream may fill ahead of its reader."""
BLOCK_BYTES = 16 << 20
"""Decoded rows of one task, one row at least: a worker holds about three times as much."""
PATIENCE = 30.0
"""Seconds until a stream's reader decodes by itself: others may hold all CPUs, and wait for it."""
TASKS_PER_CPU = 2
"""Tasks that a stream has begun: one that runs, and one that waits so that no CPU does."""


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

    What is decoded but not yet read is bounded, whatever the number of rows.

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
        work = partial(_samples, decoded=self.decoded)
        for samples in _stream(work, self.radiographs, rows, self.frame):
            yield from samples


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
    dataset = _decoded(radiographs, frame, decoded).materialize()
    blocks = dataset.get_internal_block_refs()
    sums: dict[int, GraySums] = {}
    for part in ray.get([_row_sums.remote(block) for block in blocks]):
        for row, fault, one in part:
            _raise_fault(fault)
            sums[row] = one
    return CachedRows(blocks, sums)


def gray_sums(
    radiographs: Sequence[Radiograph],
    frame: Frame,
    rows: Sequence[int],
    progress: Callable[[int, int], None] = lambda *_: None,
) -> dict[int, GraySums]:
    """Sums of rows that are not cached, by one pass over their images.

    progress is called with (rows done, rows in all).
    """
    sums: dict[int, GraySums] = {}
    for few in _stream(_gray_sums, radiographs, rows, frame):
        sums.update(few)
        progress(len(sums), len(rows))
    return sums


def _stream(
    work: Callable[[Sequence[tuple[int, Radiograph]], Frame], list[R]],
    radiographs: Sequence[Radiograph],
    rows: Sequence[int],
    frame: Frame,
) -> Iterator[list[R]]:
    """What `work` makes of a few rows at a time, in order, in Ray tasks a little ahead."""
    cpus = int(ray.cluster_resources().get("CPU", 1))
    # Of a single CPU the reader holds a half itself.
    task = _decode_task.options(num_cpus=min(1, cpus / 2))
    tasks = TASKS_PER_CPU * cpus
    room = int(smallest_store() * STREAM_SHARE) // frame.row_bytes
    together = max(1, min(BLOCK_BYTES // frame.row_bytes, room // tasks))
    begun: deque[tuple[ray.ObjectRef[Any], list[tuple[int, Radiograph]]]] = deque()
    patience = PATIENCE

    def first() -> list[R]:
        nonlocal patience
        ref, few = begun.popleft()
        if ray.wait([ref], timeout=patience)[0]:
            patience = PATIENCE
            return _without_fault(ray.get(ref))
        patience = 0
        ray.cancel(ref)
        return work(few, frame)

    for start in range(0, len(rows), together):
        few = [(int(row), radiographs[int(row)]) for row in rows[start : start + together]]
        begun.append((task.remote(work, few, frame), few))
        if len(begun) >= max(1, min(tasks, room // together)):
            yield first()
    while begun:
        yield first()


def smallest_store() -> int:
    """Bytes of the smallest object store of the cluster's nodes."""
    stores = [n["Resources"].get("object_store_memory", 0) for n in ray.nodes() if n["Alive"]]
    return int(min(stores))


@ray.remote(scheduling_strategy="SPREAD")
def _decode_task(work: Callable[..., list[R]], *arguments: Any) -> list[R] | str:
    """The result, or the sentence of a ValueError, which Ray would hand on as its traceback."""
    try:
        return work(*arguments)
    except ValueError as error:
        return str(error)


def _without_fault(result: list[R] | str) -> list[R]:
    if isinstance(result, str):
        raise ValueError(result)
    return result


def _samples(
    rows: Sequence[tuple[int, Radiograph]],
    frame: Frame,
    decoded: Callable[[int], None] | None = None,
) -> list[Sample]:
    samples = []
    for row, image in rows:
        samples.append(Sample(row, *decode(image, frame.size, frame.classes)))
        if decoded is not None:
            decoded(row)
    return samples


def _gray_sums(rows: Sequence[tuple[int, Radiograph]], frame: Frame) -> list[tuple[int, GraySums]]:
    return [(sample.row, GraySums.of(sample.image_HW)) for sample in _samples(rows, frame)]


def _decoded(
    radiographs: Sequence[Radiograph], frame: Frame, decoded: Callable[[int], None] | None
) -> "ray.data.Dataset":
    items = [{"row": row, "radiograph": pickle.dumps(one)} for row, one in enumerate(radiographs)]
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


@ray.remote
def _row_sums(block: Any) -> list[tuple[int, str, GraySums]]:
    """Row, fault and gray levels of each row of a block, where the block lies."""
    columns = BlockAccessor.for_block(block).to_numpy(["row", "fault", "image"])
    return [
        (int(row), str(fault), GraySums.of(image))
        for row, fault, image in zip(*columns.values(), strict=True)
    ]
