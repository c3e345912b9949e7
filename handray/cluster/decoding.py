"""Where decoded rows come from in a run: one decode for all folds, or a stream each epoch."""

import time
from collections.abc import Sequence
from typing import Any

import ray

from handray.cluster.board import CountDecode
from handray.cluster.fold import Decoded
from handray.cluster.storage import check_nodes
from handray.data.disk_cache import DiskCache
from handray.data.feed import Source
from handray.data.radiographs import DataFolder
from handray.data.stream import (
    STORE_SHARE,
    Frame,
    GraySums,
    StreamedRows,
    cache_rows,
    gray_sums,
    smallest_store,
)
from handray.reporting.console import Counting, LiveLines, time_left


def is_streamed(feed: str, sizes: Sequence[int], data: DataFolder) -> bool:
    """Whether images are decoded anew each epoch; prints which way, and why.

    Args:
        feed: the config's: ``cached``, ``streamed`` or ``auto``.
        sizes: sides of the model frame; images are kept once for each.
        data: what is decoded.

    """
    images = len(data.train) + len(data.test)
    needed, room = store_share(images, len(data.class_names), sizes)
    fits = f"{needed / 2**30:.2f} GiB, the object store has {room / 2**30:.2f} GiB for them"
    streamed = feed == "streamed" or (feed == "auto" and needed > room)
    how = "Streaming {} images anew each epoch" if streamed else "Decoding {} images once a run"
    print(f"{how.format(images)} ({fits})")
    return streamed


def store_share(images: int, classes: int, sizes: Sequence[int]) -> tuple[float, float]:
    """Bytes that decoded images take, and that the smallest object store has for them."""
    needed = sum(images * Frame(size, classes).row_bytes for size in sizes)
    return needed, smallest_store() * STORE_SHARE


def open_source(size: int, data: DataFolder, streamed: bool, cache: str, board: Any) -> Decoded:
    """Decoded rows of training and test images, and the training images' mean and std.

    Args:
        size: side of the model frame, pixels.
        data: what to decode.
        streamed: decode anew each time that rows are asked for.
        cache: folder that keeps decoded rows for later jobs; empty for the object store.
        board: counts the decodes.

    Raises:
        ValueError: an image can't be read, all are of one gray, or not all nodes see the cache.

    """
    images = [*data.train, *data.test]
    frame = Frame(size, len(data.class_names))
    source: Source
    if streamed:
        source = StreamedRows(images, frame)
        progress = Counting("reading the gray levels of training images")
        sums = gray_sums(images, frame, range(len(data.train)), progress)
    elif cache:
        decoder = StreamedRows(images, frame, CountDecode(board))
        progress = Counting("writing decoded images to the cache")
        source = DiskCache.of(cache, data, size).open(images, decoder, progress)
        check_nodes("--cache", str(source.path))
        sums = source.sums
    else:
        with LiveLines(_Decodes(board, len(images))):
            source = cache_rows(images, frame, CountDecode(board))
        sums = source.sums
    total = sum((sums[row] for row in range(len(data.train))), GraySums(0, 0, 0))
    mean, std = total.mean_std()
    print(f"Gray levels of the training images: mean {mean:.2f}, std {std:.2f} of 255")
    return Decoded(source, mean, std)


class _Decodes:
    """Lines that say how many images were decoded, and how long the others will take."""

    def __init__(self, board: Any, total: int) -> None:
        self.board, self.total = board, total
        self.started, self.before = time.monotonic(), self._count()

    def __call__(self) -> list[str]:
        done = self._count() - self.before
        left = time_left(self.started, done, self.total)
        return [f"decoded {done} of {self.total} images{left}"] if done else []

    def _count(self) -> int:
        decodes: int = ray.get(self.board.read.remote()).decodes
        return decodes
