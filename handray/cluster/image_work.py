"""The same work on every image of a folder, spread over all nodes."""

import pickle
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import cv2
import ray

from handray.cluster.shares import machines, working

T = TypeVar("T")
R = TypeVar("R")
BLOCKS_A_CPU = 8
"""So that all CPUs work until the end, and a lost worker's work is soon done again."""


def over_images(
    work: Callable[[T], R], items: Sequence[T], progress: Callable[[int, int], None]
) -> tuple[dict[int, R], dict[int, str]]:
    """What `work` makes of each item, by number, and the sentences of those it can't be done to.

    Args:
        work: runs on any node, one image at a time; its ValueError becomes a sentence.
        items: what it is given; images stay on disk until then.
        progress: called with (items done, items in all).

    Raises:
        ValueError: no machine works.
        RuntimeError: an item is missing or came twice.

    """
    if not items:
        return {}, {}
    cpus = sum(one.cpus for one in working(machines()))
    rows = [{"row": n, "item": pickle.dumps(one)} for n, one in enumerate(items)]
    blocks = min(len(rows), BLOCKS_A_CPU * cpus)
    dataset = ray.data.from_items(rows, override_num_blocks=blocks)
    return collected(dataset.map(_one, fn_args=(work,)).iter_rows(), len(items), progress)


def collected(
    rows: Iterable[dict[str, Any]], total: int, progress: Callable[[int, int], None]
) -> tuple[dict[int, Any], dict[int, str]]:
    """Rows of a dataset as they come, in any order: unpickled results, and faults, by number.

    Args:
        rows: each has its number as ``row``, and a ``fault`` or else a pickled ``result``.
        total: how many there must be, numbered from 0.
        progress: called with (rows that came, rows in all).

    Raises:
        RuntimeError: a row is missing or came twice.

    """
    done: dict[int, Any] = {}
    faults: dict[int, str] = {}
    for row in rows:
        number = int(row["row"])
        if number in done or number in faults:
            raise RuntimeError(f"image {number} came back twice")
        if row["fault"]:
            faults[number] = str(row["fault"])
        else:
            done[number] = pickle.loads(row["result"])
        progress(len(done) + len(faults), total)
    if len(done) + len(faults) != total:
        raise RuntimeError(f"{len(done) + len(faults)} of {total} images came back")
    return done, faults


def _one(row: dict[str, Any], work: Callable[[Any], Any]) -> dict[str, Any]:
    """A fault travels as text, since Ray would hand an error on as its traceback."""
    cv2.setNumThreads(1)  # a task holds one CPU
    try:
        return {
            "row": row["row"],
            "fault": "",
            "result": pickle.dumps(work(pickle.loads(row["item"]))),
        }
    except ValueError as error:
        return {"row": row["row"], "fault": str(error), "result": b""}
