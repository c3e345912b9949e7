"""A result at several probabilities: nested masks in one compressed file beside its CSV.

They stand for the probability maps, which are far larger: the number of levels that hold a pixel
tells its probability to within a tenth. One network's level of 0.5 is its CSV; the levels of
several are those of their mean probability, while the CSV is their vote.
"""

import io
import json
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from handray.inference.submission import Submission
from handray.masks.rle import RunRows
from handray.whole_files import write_bytes

LEVELS = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
MIDDLE = LEVELS.index(0.5)
"""The level of one half."""

DAMAGE = (
    *(OSError, ValueError, KeyError, TypeError, IndexError, EOFError, NotImplementedError),
    *(zipfile.BadZipFile, zlib.error, OverflowError, MemoryError, RecursionError),
)
"""What a damaged file makes its readers raise."""


def write_levels(path: Path, levels: Sequence[Submission]) -> None:
    """Write one submission a level, of the same images and classes; as a whole or not at all."""
    first = levels[0]
    about = {
        "image_names": first.image_names,
        "class_names": first.class_names,
        "sizes_hw": None if first.sizes_hw is None else first.sizes_hw.tolist(),
        "levels": LEVELS,
        "source": dict(first.source),
    }
    arrays: dict[str, Any] = {}
    for number, level in enumerate(levels):
        # Differences of what is sorted compress to a quarter.
        arrays[f"bounds{number}"] = np.diff(level.rows.bounds, prepend=np.int32(0))
        arrays[f"offsets{number}"] = np.diff(level.rows.offsets, prepend=0).astype(np.int32)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, about=np.array(json.dumps(about)), **arrays)
    write_bytes(path, buffer.getvalue())


def read_levels(path: Path, name: str | None = None) -> list[Submission]:
    """Read what ``write_levels`` wrote; ``name`` stands for it in messages.

    Raises:
        ValueError: no such file, a damaged one, or one of other levels.

    """
    name = name or str(path)
    if not path.exists():
        raise ValueError(f"{name} has no levels ({path.name}); only runs of train_kfold keep them")
    try:
        with np.load(path) as file:
            about = json.loads(str(file["about"]))
            tables = [
                RunRows(
                    np.cumsum(file[f"bounds{number}"], dtype=np.int32),
                    np.cumsum(file[f"offsets{number}"], dtype=np.int64),
                )
                for number in range(len(about["levels"]))
            ]
        sizes = about["sizes_hw"]
        whole = Submission(
            tuple(about["image_names"]),
            tuple(about["class_names"]),
            tables[0],
            None if sizes is None else np.array(sizes, np.int64).reshape(-1, 2),
            source=about["source"],
            name=name,
        )
        for rows in tables:
            _check(rows, whole)
    except DAMAGE as error:
        raise ValueError(f"{path} is damaged ({error}); train that run again") from error
    if tuple(about["levels"]) != LEVELS:
        raise ValueError(f"{path} has the levels {about['levels']}, not {list(LEVELS)}")
    return [replace(whole, rows=rows) for rows in tables]


def _check(rows: RunRows, whole: Submission) -> None:
    """Raise ValueError for masks that aren't runs inside the images."""
    lengths = np.diff(rows.offsets)
    if len(rows) != len(whole.rows) or (lengths < 0).any() or (lengths % 2).any():
        raise ValueError("its rows are not those of its images and classes")
    if rows.offsets[-1] != len(rows.bounds):
        raise ValueError("its runs are not those of its rows")
    row = rows.row_of_bounds()
    same = row[1:] == row[:-1]
    if len(row) and (rows.bounds.min() < 0 or (np.diff(rows.bounds)[same] <= 0).any()):
        raise ValueError("its runs are out of order")
    if whole.sizes_hw is not None and len(row):
        pixels = whole.sizes_hw.prod(axis=1)[row // len(whole.class_names)]
        if (rows.bounds > pixels).any():
            raise ValueError("its runs go past the end of an image")
