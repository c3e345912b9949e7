"""How fast images are streamed beside the plain decoding that a stream consists of.

  python benchmarks/streaming.py

Drawn radiographs of 2048 px are decoded to 1024 px in turn by as many plain processes as there are
cores, and by a stream over the same cores. A turn of either is timed from its start to its last
image, its processes being there already. Saves a row into results/streaming.json.
"""

import multiprocessing
import os
import time
from collections.abc import Callable, Sequence
from datetime import date

import cv2
import numpy as np
from small_training import Results, films, processor

from handray.bones import BONES
from handray.cli import Parser, run_job
from handray.cluster.runtime import start_ray
from handray.data.decode import decode
from handray.data.radiographs import Radiograph, read_folder
from handray.data.stream import Frame, StreamedRows

PEOPLE, EPOCHS_A_TURN, TURNS = 12, 3, 7
GOAL = 0.8
FRAME = Frame(1024, len(BONES))


def decode_all(images: Sequence[Radiograph]) -> None:
    """Decode on one thread, and keep nothing."""
    cv2.setNumThreads(1)
    for image in images:
        decode(image, FRAME.size, FRAME.classes)


def rate(images: int, work: Callable[[], object]) -> float:
    """Images a second."""
    started = time.perf_counter()
    work()
    return images / (time.perf_counter() - started)


def main() -> None:
    """Measure in turn, save the row and print it."""
    Parser(__doc__).parse_args()
    images = read_folder(films(PEOPLE)).train * EPOCHS_A_TURN
    cores = len(os.sched_getaffinity(0))
    print(start_ray(verbose=False))
    source = StreamedRows(images, FRAME)

    def streamed() -> int:
        return sum(1 for _ in source.samples(range(len(images))))

    with multiprocessing.get_context("spawn").Pool(cores) as pool:
        shares = [images[core::cores] for core in range(cores)]

        def plain() -> None:
            pool.map(decode_all, shares, chunksize=1)

        plain(), streamed()  # what starts processes and fills the page cache doesn't count
        rates = [(rate(len(images), plain), rate(len(images), streamed)) for _ in range(TURNS)]
    plain_rate, streamed_rate = np.median(rates, axis=0)
    ratios = [ours / theirs for theirs, ours in rates]
    row = {
        "cores": cores,
        "images_a_second_decoded": round(float(plain_rate), 1),
        "images_a_second_streamed": round(float(streamed_rate), 1),
        "ratio": round(float(np.median(ratios)), 2),
        "ratio_of_turns": f"{min(ratios):.2f} to {max(ratios):.2f}",
        "goal": GOAL,
        "machine": processor(),
        "date": date.today().isoformat(),
    }
    results = Results("streaming.json")
    results.rows = [row]
    results.save()
    verdict = "reached" if row["ratio"] >= GOAL else "not reached"
    print(
        f"{cores} cores decode {plain_rate:.1f} images/s, and stream {streamed_rate:.1f}: "
        f"{row['ratio']} of it ({row['ratio_of_turns']}), goal {GOAL} {verdict}"
    )


if __name__ == "__main__":
    run_job(main)
