"""Rows of the table of speeds: logits to run lengths, votes, scores, the choice of members."""

import multiprocessing
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from functools import cache, partial
from pathlib import Path

import baseline
import cv2
import numpy as np
import torch
from timing import Row, peak_mib, row_of, several_in_turn

from handray.bones import BONES
from handray.data.phantom import draw_polygons
from handray.inference.choice import Judge, select
from handray.inference.membership import membership
from handray.inference.predict import runs_from_logits
from handray.inference.score import score, truth_rows
from handray.inference.submission import Submission, read_submission, write_submission
from handray.inference.upsample import baseline_box
from handray.masks.rle import RunRows, format_rows

SIDE, CLASSES = 2048, len(BONES)


@cache
def hand(number: int) -> dict[int, np.ndarray]:
    """Polygons of a drawn hand at source size, by class."""
    drawn = draw_polygons(0, number, "right", SIDE, bent=bool(number % 3))
    return {c: drawn[bone] for c, bone in enumerate(BONES)}


def logits_of(size: int) -> np.ndarray:
    """Logits as a trained network gives them: bones, blurred, in a negative background."""
    planes = []
    for c in range(CLASSES):
        mask = cv2.resize(baseline.mask_of(hand(1)[c], SIDE).astype(np.float32), (size, size))
        planes.append(cv2.GaussianBlur(mask, (0, 0), 3) * 20 - 10)
    return np.stack(planes).astype(np.float32)


def texts_of(logits: np.ndarray, side: int) -> list[str]:
    """Our way from logits to run lengths."""
    masks = runs_from_logits(logits, (side, side), upsample=baseline_box)
    return format_rows(RunRows.join(masks))


def texts_from_logits() -> Row:
    """Logits of one image to run lengths."""
    logits = logits_of(1024)
    tensor = torch.from_numpy(logits)

    def ours() -> list[str]:
        return texts_of(logits, SIDE)

    same = ours() == baseline.logits_to_texts(tensor, SIDE)
    assert same, "both ways must write the same text"
    way = partial(baseline.logits_to_texts, tensor, SIDE)
    times = several_in_turn(way, ours, turns=5, times=5)
    theirs_mib, ours_mib = (_peak_mib(way, logits) for way in ("baseline", "ours"))
    note = f"memory on top: {ours_mib:.0f} MiB against {theirs_mib:.0f} (goal: under 64)"
    return row_of(
        "logits (29, 1024, 1024) to run lengths at 2048", 45, "s", "identical text", *times, note
    )


def _peak_mib(way: str, logits: np.ndarray) -> float:
    """Memory that one call adds to a fresh process."""
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder, context.Pool(1) as pool:
        path = Path(folder) / "logits.npy"
        np.save(path, logits)
        return pool.apply(_measure_peak, (way, str(path)))


def _measure_peak(way: str, path: str) -> float:
    # Read, not made here: what the making gave back to the process would be used again.
    logits = np.load(path)
    small = np.ascontiguousarray(logits[:, :64, :64])
    torch.set_num_threads(1)

    def run(these: np.ndarray, side: int) -> None:
        if way == "ours":
            texts_of(these, side)
        else:
            baseline.logits_to_texts(torch.from_numpy(these), side)

    run(small, 128)  # what is only loaded at the first call
    Path("/proc/self/clear_refs").write_text("5")  # the peak so far is forgotten
    before = peak_mib()
    run(logits, SIDE)
    return peak_mib() - before


def members(folder: Path, count: int, images: int) -> list[Path]:
    """CSVs of drawn hands, each member's bones a few pixels aside."""
    paths = []
    for member in range(count):
        rng = np.random.default_rng(member)
        rows = []
        for number in range(images):
            moved = {c: p + rng.integers(-4, 5, 2, dtype=np.int32) for c, p in hand(number).items()}
            rows.append(truth_rows(moved, CLASSES, (SIDE, SIDE)))
        path = folder / f"member{member}.csv"
        names = tuple(f"image{number:013d}.png" for number in range(images))
        sizes = np.full((images, 2), SIDE)
        write_submission(path, Submission(names, BONES, RunRows.stack(rows), sizes))
        paths.append(path)
    return paths


def vote() -> Row:
    """Five CSVs of 300 images to one, from the start of the job to its end."""
    images, part = 300, 3
    job = Path(__file__).parents[1] / "jobs" / "ensemble.py"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths = members(folder, 5, images)
        command = [
            sys.executable,
            str(job),
            "--votes",
            "3",
            "--out",
            str(folder / "ours.csv"),
            "--csv",
        ]

        peaks = []

        def ours() -> float:
            started = time.perf_counter()
            job = subprocess.Popen([*command, *map(str, paths)], stdout=subprocess.DEVNULL)
            while job.poll() is None:
                with suppress(OSError, IndexError):  # it has just ended
                    peaks.append(peak_mib(job.pid))
                time.sleep(0.02)
            assert job.returncode == 0
            return time.perf_counter() - started

        def theirs() -> float:
            started = time.perf_counter()
            tables = baseline.read_csvs(paths)
            read = time.perf_counter()
            baseline.vote(tables, 3, SIDE, part, folder / "theirs.csv")
            return read - started + (time.perf_counter() - read) * images / part

        ours(), theirs()
        assert paths[0].stat().st_size > 1e6 * images / 100, "masks are not empty"
        expected = (folder / "theirs.csv").read_text().splitlines()
        assert (folder / "ours.csv").read_text().splitlines()[: len(expected)] == expected
        times = list(zip(*((theirs(), ours()) for _ in range(3)), strict=True))
    return row_of(
        "vote of 5 CSVs, 300 x 29 rows, file to file",
        80,
        "s",
        f"identical lines of {part} images",
        *map(list, times),
        f"wall time from start to exit, {max(peaks) / 1024:.2f} GiB (goal: under 1); the baseline "
        f"without its imports, its votes on {part} images times {images // part}",
    )


def dice() -> Row:
    """Dice of one image, from runs, against polygons; the baseline has dense masks in memory."""
    truth = hand(1)
    moved = {c: polygon + 3 for c, polygon in truth.items()}
    rows = truth_rows(moved, CLASSES, (SIDE, SIDE))
    submission = Submission(("x.png",), BONES, rows, np.array([[SIDE, SIDE]]))
    dense = np.stack([baseline.mask_of(moved[c], SIDE) for c in range(CLASSES)])

    def ours() -> np.ndarray:
        return score(submission, {"x.png": truth}).dice_NC()[0]

    def theirs() -> np.ndarray:
        drawn = np.stack([baseline.mask_of(truth[c], SIDE) for c in range(CLASSES)])
        return baseline.dice(dense, drawn)

    assert dense.any(axis=(1, 2)).all(), "no mask is empty"
    difference = float(abs(ours() - theirs()).max())
    assert difference < 1e-6, difference
    times = several_in_turn(theirs, ours, turns=9, times=20)
    return row_of("Dice at 2048 from runs against polygons", 250, "s", "to within 1e-6", *times)


def choose() -> Row:
    """Greedy selection among 10 members of 800 images, nested folds and all."""
    images = 800
    with tempfile.TemporaryDirectory() as name:
        paths = members(Path(name), 10, images)
        tables = [[read_submission(path).rows] for path in paths]
    truth = RunRows.stack([truth_rows(hand(n), CLASSES, (SIDE, SIDE)) for n in range(images)])
    started = time.perf_counter()
    judge = Judge(membership(tables, truth), CLASSES, np.arange(images) % 5)
    choice = select(judge)
    honest = judge.honest_dice_NC(lambda fold: select(judge, without=fold)).mean()
    seconds = time.perf_counter() - started
    note = (
        f"Dice {choice.dice:.4f}, {honest:.4f} by people without a part in it; the baseline is the "
        "minute that it may take"
    )
    return row_of("choice among 10 members of 800 images", 1, "s", "-", [60.0], [seconds], note)
