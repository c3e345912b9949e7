"""One rank's augmented batches: which rows when, drawn again at will, in any number of threads.

Axes: H W pixels of the model frame, P planes of eight classes.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from handray.data.decode import Sample
from handray.data.order import epoch_order

if TYPE_CHECKING:  # tasks that only decode start without albumentations and torch
    from handray.data.augment import Augment

S = TypeVar("S")
R = TypeVar("R")


class Source(Protocol):
    """Decoded rows of one data set, on any worker."""

    def samples(self, rows: Sequence[int]) -> Iterator[Sample]:
        """The named rows in the named order; a row may be named twice."""


@dataclass(frozen=True)
class EpochFeed:
    """One rank's augmented batches of any epoch, a pure function of the seed."""

    source: Source
    rows: NDArray[np.int64]
    """Rows of the source that are trained on."""
    augment: "Augment"
    seed: int
    batch: int
    """Images of a step over all ranks."""
    columns: NDArray[np.int64]
    """Columns of a step's batch that this rank sees, in its order."""
    passes: int
    threads: int

    @cached_property
    def steps(self) -> int:
        """Steps of an epoch, the same on every rank."""
        return len(epoch_order(self.seed, 0, len(self.rows), self.batch, self.passes))

    def batches(self, epoch: int, start: int = 0) -> Iterator[list[Sample]]:
        """This rank's samples of each step from ``start`` on, in order, augmented in threads."""
        order = epoch_order(self.seed, epoch, len(self.rows), self.batch, self.passes)
        places = np.arange(order.size).reshape(order.shape)[start:, self.columns]
        mine = order[start:, self.columns].ravel()
        samples = self.source.samples(self.rows[mine].tolist())
        # A row that an epoch visits twice is another sample each time.
        visits = (places // len(self.rows)).ravel().tolist()

        def augmented(job: tuple[Sample, int]) -> Sample:
            sample, visit = job
            seed = (self.seed, epoch, visit, sample.row)
            return Sample(sample.row, *self.augment(sample.image_HW, sample.planes_HWP, seed))

        share = len(self.columns)
        jobs = zip(samples, visits, strict=True)
        ready = ordered_map(augmented, jobs, self.threads, ahead=2 * share + self.threads)
        while batch := list(islice(ready, share)):
            yield batch


def ordered_map(
    function: Callable[[S], R], items: Iterable[S], threads: int, ahead: int
) -> Iterator[R]:
    """Map in threads, results in order, at most ``ahead`` items begun before they are asked for."""
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[Future[R]] = deque()
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
