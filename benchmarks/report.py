"""How long the report of a training on 800 images of 2048 px takes to write.

Eight drawn films stand for the 800, each under a hundred names; masks at the seven levels are their
labels, made thicker and thinner. Every image is labelled, scored and counted like any other.

  python benchmarks/report.py
"""

import json
import resource
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from small_training import films

from handray.config import Config
from handray.data.radiographs import Radiograph, read_folder
from handray.inference.levels import LEVELS, MIDDLE, write_levels
from handray.inference.members import OUT_OF_FOLD
from handray.inference.score import truth_rows
from handray.inference.submission import Submission, levels_beside
from handray.masks.rle import RunRows, decode, encode
from handray.reporting.report import write_report
from handray.reporting.run_folder import HISTORY, RunFolder
from handray.reporting.training_record import TrainingRecord

SIDE, IMAGES, FOLDS, EPOCHS = 2048, 800, 5, 40


def main() -> None:
    data = read_folder(films(4))
    drawn, classes = data.train, len(data.class_names)
    images = tuple(
        replace(drawn[n % len(drawn)], name=f"{n}.png", person=str(n // 2)) for n in range(IMAGES)
    )
    levels = [_levels(film, classes) for film in drawn]
    with tempfile.TemporaryDirectory() as name:
        run = RunFolder("report")
        run.path = Path(name)
        (run.path / "config.json").write_text("{}")
        for fold in range(FOLDS):
            held = [n for n in range(IMAGES) if n // 2 % FOLDS == fold]
            _leave(run.fold(fold), [images[n].name for n in held], data.class_names, [
                RunRows.stack([levels[n % len(drawn)][level] for n in held])
                for level in range(len(LEVELS))
            ])  # fmt: skip
        record = TrainingRecord(run, replace(data, train=images), Config(), 3600.0, {})
        started, before = time.perf_counter(), time.process_time()
        path = write_report(record)
        wall, cpu = time.perf_counter() - started, time.process_time() - before
        size = path.stat().st_size / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"report of {IMAGES} images of {SIDE} px, {classes} classes: {wall:.1f} s, "
        f"{cpu:.1f} s of CPU, {size:.1f} MiB, peak of the process {peak:.2f} GiB"
    )


def _levels(film: Radiograph, classes: int) -> list[RunRows]:
    """A film's labels at each level, thicker below a half and thinner above."""
    label = truth_rows(film.polygons, classes, (SIDE, SIDE))
    masks = [decode(label[c], (SIDE, SIDE)).view(np.uint8) for c in range(classes)]
    rows = []
    for level in range(len(LEVELS)):
        way = cv2.dilate if level < MIDDLE else cv2.erode
        width = 4 * abs(level - MIDDLE) + 1
        pen = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (width, width))
        rows.append(RunRows.join([encode(way(mask, pen).astype(np.uint8)) for mask in masks]))
    return rows


def _leave(
    home: Path, names: Sequence[str], class_names: tuple[str, ...], rows: Sequence[RunRows]
) -> None:
    """What a finished fold has in its folder, as far as the report reads it."""
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir()
    sizes = np.full((len(names), 2), SIDE)
    results = [Submission(tuple(names), class_names, level, sizes) for level in rows]
    write_levels(levels_beside(home / OUT_OF_FOLD), results)
    epoch = {"loss": 0.5, "dice": 0.9, "steps": 9, "images_per_s": 3.0}
    epoch |= {"wait_seconds": 1.0, "step_seconds": 30.0, "validation_seconds": 9.0}
    history = [{"epoch": number, **epoch} for number in range(1, EPOCHS + 1)]
    (home / HISTORY).write_text(json.dumps(history))


if __name__ == "__main__":
    main()
