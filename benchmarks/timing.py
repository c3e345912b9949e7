"""One row of the table of speeds, and how two ways of doing the same are timed."""

import multiprocessing
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from handray.cluster.runtime import WORKER_ENV

torch.set_num_threads(1)
cv2.setNumThreads(1)


@dataclass
class Row:
    """One comparison; a higher ratio is better."""

    row: str
    baseline: float
    ours: float
    ratio: float
    goal: float
    unit: str
    equal: str
    """How the two results were shown to be the same."""
    spread: str
    """Smallest and largest ratio of a turn."""
    note: str = ""


def row_of(
    name: str,
    goal: float,
    unit: str,
    equal: str,
    theirs: Sequence[float],
    ours: Sequence[float],
    note: str = "",
    *,
    more_is_better: bool = False,
) -> Row:
    """A row of medians; of the first over the second, or the other way round for rates."""
    pairs = list(zip(theirs, ours, strict=True))
    ratios = [b / a if more_is_better else a / b for a, b in pairs]
    baseline_median, ours_median = float(np.median(theirs)), float(np.median(ours))
    ratio = ours_median / baseline_median if more_is_better else baseline_median / ours_median
    spread = f"{min(ratios):.3g} to {max(ratios):.3g}"
    return Row(name, baseline_median, ours_median, round(ratio, 3), goal, unit, equal, spread, note)


def in_turn(
    ways: Sequence[Callable[[], object]], turns: int, clock: Callable[[], float] = time.process_time
) -> list[list[float]]:
    """Seconds of each way, one after the other, after a turn that doesn't count."""
    times: list[list[float]] = [[] for _ in ways]
    for turn in range(turns + 1):
        for way, seconds in zip(ways, times, strict=True):
            started = clock()
            way()
            if turn:
                seconds.append(clock() - started)
    return times


def several_in_turn(
    theirs: Callable[[], object], ours: Callable[[], object], turns: int, times: int
) -> list[list[float]]:
    """Seconds of theirs and of ours, which is over before a clock ticks often: ``times`` a turn."""
    their_s, our_s = in_turn((theirs, lambda: [ours() for _ in range(times)]), turns)
    return [their_s, [seconds / times for seconds in our_s]]


def as_worker(measure: Callable[[], Any]) -> Any:
    """What a function says in a fresh process with the environment of handray's workers."""
    before = dict(os.environ)
    os.environ.update(WORKER_ENV)
    try:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            return pool.apply(measure)
    finally:
        os.environ.clear()
        os.environ.update(before)


def peak_mib(process: int | str = "self") -> float:
    """Largest memory of a process; getrusage would give a child its parent's peak."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024
