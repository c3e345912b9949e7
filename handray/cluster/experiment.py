"""A whole k-fold training, from radiographs to a voted CSV, as the driver sees it."""

import json
import shutil
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import ray
from numpy.typing import NDArray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from handray.cluster.board import start_board
from handray.cluster.kfold import Listener, fetch_folder, run_folds
from handray.cluster.runtime import count, plan, smallest_store
from handray.cluster.worker import FoldTask
from handray.config import Config
from handray.data.radiographs import DataFolder
from handray.data.stream import (
    STORE_SHARE,
    Frame,
    GraySums,
    Source,
    StreamedRows,
    cache_rows,
    gray_sums,
)
from handray.reporting.console import LiveLines, duration, fold_line
from handray.reporting.results import conclude
from handray.reporting.run_folder import RunFolder, write_json
from handray.reporting.tracking import Tracker


@dataclass(frozen=True)
class Experiment:
    """What is trained, from what, and where it is kept."""

    config: Config
    data: DataFolder
    fold_of: NDArray[Any]
    """Fold of each training radiograph."""
    home: RunFolder
    storage: str
    """Path or URL where checkpoints are kept while folds train; all nodes reach it."""
    weights: dict[str, Any] | None
    """State dict that every fold starts from; None for a random start."""

    def run(self, tracker: Tracker, verbose: bool) -> int:
        """Train the folds that aren't finished, vote, score, and say where everything lies.

        Args:
            tracker: with the parent run and the folds' runs started.
            verbose: show Ray's own log.

        Returns:
            Exit code: 0 all folds are trained, 1 some failed.

        """
        started, before = time.monotonic(), self.home.notes().get("seconds", 0.0)
        folds = range(self.config.data.folds)
        missing = [fold for fold in folds if not self.home.fold(fold).exists()]
        try:
            failures = self._train(missing, tracker, verbose) if missing else {}
        except KeyboardInterrupt:
            tracker.end("parent", "KILLED")
            print(
                f"Stopped. Folds go on from their last checkpoints, which are at most an epoch or "
                f"{self.config.cluster.checkpoint_minutes:g} minutes old.",
                file=sys.stderr,
            )
            raise
        finally:
            seconds = before + time.monotonic() - started
            self.home.note(seconds=seconds)
        for fold in missing:
            if not self.home.fold(fold).exists():
                failures.setdefault(fold, "ended without a result; -v shows what Ray has to say")
        if failures:
            return self._fail(failures, tracker)
        summary = conclude(self.data, self.home, len(folds), seconds)
        numbers = {key: value for key, value in summary.items() if isinstance(value, float)}
        tracker.log_numbers("parent", numbers)
        tracker.log_files("parent", [p for p in sorted(self.home.path.iterdir()) if p.is_file()])
        tracker.log_json("parent", "summary.json", summary)
        tracker.end("parent")
        # Last, since it says that the run is finished.
        write_json(self.home.path / "summary.json", summary)
        if "://" not in self.storage:
            shutil.rmtree(self.storage, ignore_errors=True)
        print(summary["table"])
        print(_farewell(self.home, tracker, len(folds), seconds))
        return 0

    def _fail(self, failures: dict[int, str], tracker: Tracker) -> int:
        for fold, sentence in sorted(failures.items()):
            print(f"error: fold {fold}: {sentence}", file=sys.stderr)
            tracker.end(str(fold), "FAILED")
        tracker.end("parent", "FAILED")
        print(f"Folds that ended are in {self.home.path}; the same command tries the others again.")
        return 1

    def _train(self, folds: Sequence[int], tracker: Tracker, verbose: bool) -> dict[int, str]:
        """Train folds; fold to one sentence for those that failed."""
        board = start_board()
        source, mean, std = self._source(board)
        streamed = isinstance(source, StreamedRows)
        shares = plan(self.config.cluster, len(folds), streamed, count("CPU"), count("GPU"))
        device = "one GPU" if shares.use_gpu else f"{shares.threads} CPU thread(s)"
        print(
            f"Training {len(folds)} folds, {shares.at_once} at a time, "
            f"{shares.ranks} rank(s) a fold, {device} a rank"
        )
        weights = ray.put(self.weights) if self.weights else None
        tasks = [
            FoldTask(
                fold=fold,
                config=self.config,
                class_names=self.data.class_names,
                train=self.data.train,
                test=self.data.test,
                source=source,
                fold_of=tuple(self.fold_of.tolist()),
                mean=mean,
                std=std,
                weights=weights,
                threads=shares.threads,
                board=board,
            )
            for fold in folds
        ]
        training, told = set(folds), threading.Event()
        rounds = -(-len(folds) // shares.at_once)

        def lines() -> list[str]:
            words = ray.get(board.read.remote())[0]
            if words and not told.is_set():
                told.set()
                live.say(_forecast(next(iter(words.values())), rounds))
            return [fold_line(fold, words.get(fold)) for fold in sorted(training)]

        with LiveLines(lines) as live:

            def epoch_ended(fold: int, record: dict[str, Any]) -> None:
                tracker.log_epochs(str(fold), [record], self.data.class_names)

            def fold_ended(fold: int, folder: str) -> None:
                training.discard(fold)
                live.say(self._bring_home(fold, folder, tracker))

            listener = Listener(epoch_ended, fold_ended)
            errors = run_folds(tasks, shares, self.storage, listener, verbose)
        return errors | ray.get(board.read.remote())[1]

    def _source(self, board: Any) -> tuple[Source, float, float]:
        """Decoded rows of training and test images, and the training images' mean and std."""
        images = [*self.data.train, *self.data.test]
        frame = Frame(self.config.data.size, len(self.data.class_names))
        needed, room = len(images) * frame.row_bytes, smallest_store() * STORE_SHARE
        fits = f"{needed / 2**30:.2f} GiB, the object store has {room / 2**30:.2f} GiB for them"
        feed = self.config.cluster.feed
        source: Source
        if feed == "cached" or (feed == "auto" and needed <= room):
            print(f"Decoding {len(images)} images once, for all folds ({fits})")
            with LiveLines(partial(_decode_lines, board, len(images))):
                source = cache_rows(images, frame, CountDecode(board))
            sums = source.sums
        else:
            print(f"Streaming {len(images)} images anew each epoch ({fits})")
            source = StreamedRows(images, frame)
            sums = gray_sums(images, frame, range(len(self.data.train)))
        total = sum((sums[row] for row in range(len(self.data.train))), GraySums(0, 0, 0))
        mean, std = total.mean_std()
        print(f"Gray levels of the training images: mean {mean:.2f}, std {std:.2f} of 255")
        return source, mean, std

    def _bring_home(self, fold: int, folder: str, tracker: Tracker) -> str:
        """Fetch a finished fold: its folder, its curves, its artifacts; a line that says so."""
        self.home.finish_fold(fold, lambda into: fetch_folder(folder, self.storage, into))
        home = self.home.fold(fold)
        history = json.loads((home / "history.json").read_text())
        best = max(history, key=lambda record: record["dice"])
        key = str(fold)
        tracker.log_epochs(key, history, self.data.class_names)
        tracker.log_numbers(key, {"best_dice": best["dice"]})
        tracker.log_files(key, [file for file in sorted(home.iterdir()) if file.name != "last.pt"])
        tracker.end(key)
        if "://" not in self.storage:
            shutil.rmtree(Path(self.storage) / f"fold{fold}", ignore_errors=True)
        return (
            f"fold {fold}  finished: Dice {best['dice']:.4f} at epoch {best['epoch']} of "
            f"{len(history)}"
        )


class CountDecode:
    """Tells the board of each image decoded; goes along to the decoding tasks."""

    def __init__(self, board: Any) -> None:
        self.board = board

    def __call__(self, row: int) -> None:
        """Count one row."""
        self.board.count_decode.remote()


def check_storage(storage: str) -> None:
    """Make the folder of the storage, and see that every node reaches it.

    Raises:
        ValueError: a local path on a cluster of several nodes that don't share it.

    """
    if "://" in storage:
        return
    folder = Path(storage)
    folder.mkdir(parents=True, exist_ok=True)
    nodes = [node for node in ray.nodes() if node["Alive"]]
    if len(nodes) == 1:
        return
    marker = folder / ".reachable"
    marker.touch()
    for node in nodes:
        affinity = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        if not ray.get(_exists.options(scheduling_strategy=affinity).remote(str(marker))):
            raise ValueError(
                f"--storage {storage} is not reached by node {node['NodeManagerAddress']}; "
                "give a shared mount or an s3:// URL"
            )


@ray.remote(num_cpus=0)
def _exists(path: str) -> bool:
    return Path(path).exists()


def _decode_lines(board: Any, total: int) -> list[str]:
    return [f"decoded {ray.get(board.read.remote())[2]} of {total} images"]


def _forecast(word: dict[str, Any], rounds: int) -> str:
    """After the first step: in which arithmetic, and how long it will take."""
    fold = word["seconds_left"]
    return f"Arithmetic: {word['precision']}. A fold will take about {duration(fold)}" + (
        f", all of them {duration(rounds * fold)}" if rounds > 1 else ""
    )


def _farewell(home: RunFolder, tracker: Tracker, folds: int, seconds: float) -> str:
    ids = " ".join(tracker.ids[str(fold)] for fold in range(folds))
    return (
        f"\nTook {duration(seconds)}. Everything lies in {home.path}:\n"
        "  output.csv    voted test masks         oof.csv      out-of-fold masks\n"
        "  overlay.png   a look at them           summary.json these numbers\n"
        f"  fold0 .. fold{folds - 1}  best.pt, last.pt, history.json and the fold's own CSVs\n"
        f"MLflow: {tracker.uri}\n"
        f"  run {tracker.ids['parent']} (all folds), folds {ids}"
    )
