"""A whole k-fold training, from radiographs to a voted CSV, as the driver sees it."""

import errno
import json
import math
import shutil
import sys
import threading
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import ray

from handray.cli import masked
from handray.cluster.board import start_board
from handray.cluster.decoding import open_source
from handray.cluster.kfold import Listener, run_folds
from handray.cluster.setting import Setting
from handray.cluster.storage import fetch_folder
from handray.inference.members import OUT_OF_FOLD, OUTPUT
from handray.reporting.console import LiveLines, Stages, duration, progress_line, warn
from handray.reporting.notify import Alarms
from handray.reporting.report import write_report
from handray.reporting.results import conclude
from handray.reporting.run_folder import HISTORY, LAST, OVERLAY, REPORT, RunFolder, best_epoch
from handray.reporting.tracking import Tracker
from handray.reporting.training_record import TrainingRecord
from handray.whole_files import write_json


class Experiment(Setting):
    """A k-fold training in its setting."""

    def run(self, missing: Sequence[int], tracker: Tracker, alarms: Alarms) -> int:
        """Train folds; once all are there, vote, score, and say where everything lies.

        Args:
            missing: folds that are wanted and aren't finished.
            tracker: with the parent run and the missing folds' runs started.
            alarms: told of the start, of each fold's end, of failures and of the end.

        Returns:
            Exit code: 0 all folds are trained, 1 some failed.

        """
        started, before = time.monotonic(), self.home.notes().get("seconds", 0.0)
        folds, model = self.config.data.folds, self.config.model.model
        alarms.tell(f"starts: {model} on {len(self.data.train)} images, folds {_listed(missing)}")
        try:
            failures = self._train(missing, tracker, alarms) if missing else {}
        except BaseException as error:
            stopped = isinstance(error, KeyboardInterrupt)
            with suppress(Exception):  # a full disk, a server gone: the first error is the news
                self.home.note(seconds=before + time.monotonic() - started)
                tracker.end([*map(_key, missing), "parent"], "KILLED" if stopped else "FAILED")
            if isinstance(error, OSError) and error.errno == errno.ENOSPC:
                raise OSError(
                    f"the disk of {self.home.path} or {self.storage} is full; make room there, "
                    "then the same command goes on"
                ) from error
            raise
        seconds = before + time.monotonic() - started
        self.home.note(seconds=seconds)
        if failures:
            for fold, sentence in sorted(failures.items()):
                print(f"error: fold {fold}: {masked(sentence)}", file=sys.stderr)
            tracker.log_files("parent", self._report(seconds, failures))
            tracker.end([*map(_key, failures), "parent"], "FAILED")
            print(f"Folds that ended are in {self.home.path}; the same command tries the others.")
            alarms.tell(f"ended, but folds failed ({_listed(failures)})")
            return 1
        if others := self.home.missing_folds(folds):
            tracker.log_files("parent", self._report(seconds, {}))
            tracker.end(["parent"], "FINISHED")
            print(f"Folds of {self.home.path} that aren't trained yet: {_listed(others)}")
            alarms.tell(f"ended; folds that aren't trained yet: {_listed(others)}")
            return 0
        summary = self._finish(folds, seconds, tracker)
        dice = ", ".join(f"{key} {summary[key]:.4f}" for key in summary if key.endswith("_mean"))
        alarms.tell(f"finished in {duration(seconds)}: {dice or 'no image with a label held out'}")
        print(summary["table"])
        print(_farewell(self.home, tracker, folds, seconds))
        return 0

    def _finish(self, folds: int, seconds: float, tracker: Tracker) -> dict[str, Any]:
        """All folds are there: vote and score them, and write all down; the summary."""
        with Stages(3) as stage:
            stage("voting and scoring the folds")
            summary = conclude(self.data, self.home, folds, seconds)
            numbers = {key: value for key, value in summary.items() if isinstance(value, float)}
            tracker.log_numbers("parent", numbers)
            stage("writing the report")
            self._report(seconds, {})
            stage("handing the files to MLflow")
            tracker.log_files("parent", self.home.files())
            tracker.log_json("parent", "summary.json", summary)
            tracker.end(["parent"], "FINISHED")
        # Last, since it says that the run is finished.
        write_json(self.home.path / "summary.json", summary)
        if "://" not in self.storage:
            shutil.rmtree(self.storage, ignore_errors=True)
        return summary

    def _train(self, folds: Sequence[int], tracker: Tracker, alarms: Alarms) -> dict[int, str]:
        """Train folds; fold to one sentence for those that failed."""
        board = start_board()
        size, cache = self.config.data.size, self.config.cluster.cache
        started, before = time.monotonic(), self.home.notes().get("decode_seconds", 0.0)
        decoded = open_source(size, self.data, self.streamed, cache, board)
        shares = f"{self.shares.ranks} rank(s) a fold, {self.shares.device} a rank"
        self.home.note(decode_seconds=before + time.monotonic() - started, shares=shares)
        print(f"Training {len(folds)} fold(s), {self.shares.at_once} at a time, {shares}")
        task = self.task(decoded, board)
        tasks = [replace(task, fold=fold) for fold in folds]
        training, told = set(folds), threading.Event()
        mourned: set[int] = set()
        rounds = -(-len(folds) // self.shares.at_once)

        def mourn(failed: dict[int, str]) -> None:
            for fold in sorted(failed.keys() - mourned):
                alarms.tell(f"fold {fold} failed: {failed[fold]}")
            mourned.update(failed)

        def lines() -> list[str]:
            words, failed, _ = ray.get(board.read.remote(), timeout=10)
            mourn(failed)
            timed = [word for word in words.values() if word["step"] > 1]
            if timed and not told.is_set():
                told.set()
                live.say(_forecast(timed[0], rounds))
            return [progress_line(f"fold {fold}", words.get(fold)) for fold in sorted(training)]

        with LiveLines(lines) as live:

            def epoch_ended(fold: int, record: dict[str, Any]) -> None:
                tracker.log_epochs(_key(fold), [record], self.data.class_names)

            def fold_ended(fold: int, folder: str) -> None:
                training.discard(fold)
                ended = self._bring_home(fold, folder, tracker)
                live.say(ended)
                alarms.tell(ended)

            listener = Listener(epoch_ended, fold_ended)
            errors = run_folds(tasks, self.shares, self.storage, listener, self.verbose)
        failures = errors | ray.get(board.read.remote())[1]
        lost = [fold for fold in training if fold not in failures]
        failures |= dict.fromkeys(lost, "ended without a result; see why with -v")
        mourn(failures)
        return failures

    def _report(self, seconds: float, failures: dict[int, str]) -> list[Path]:
        """Leave the report of what is done, which is as good without it; its path, if any."""
        try:
            record = TrainingRecord(self.home, self.data, self.config, seconds, failures)
            return [write_report(record)]
        except Exception as error:
            warn(f"no report was written: {type(error).__name__}: {error}")
            return []

    def _bring_home(self, fold: int, folder: str, tracker: Tracker) -> str:
        """Fetch a finished fold: its folder, its curves, its artifacts; a line that says so."""

        def fetch(into: Path) -> None:
            fetch_folder(folder, self.storage, into)
            key, history = _key(fold), json.loads((into / HISTORY).read_text())
            tracker.log_epochs(key, history, self.data.class_names)
            if not math.isnan(dice := best_epoch(into)["dice"]):
                tracker.log_numbers(key, {"best_dice": dice})
            tracker.log_files(key, [file for file in sorted(into.iterdir()) if file.name != LAST])
            tracker.end([key], "FINISHED")

        self.home.finish_fold(fold, fetch)
        if "://" not in self.storage:
            shutil.rmtree(Path(self.storage) / f"fold{fold}", ignore_errors=True)
        best = best_epoch(self.home.fold(fold))
        if math.isnan(best["dice"]):
            return f"all images: finished after epoch {best['epoch']}"
        return f"fold {fold}  finished: Dice {best['dice']:.4f}, the best, at epoch {best['epoch']}"


def _listed(folds: Iterable[int]) -> str:
    return ", ".join(map(str, sorted(folds)))


def _key(fold: int) -> str:
    """A fold's key among the tracked runs."""
    return f"fold{fold}"


def _forecast(word: dict[str, Any], rounds: int) -> str:
    """After the first steps: in which arithmetic, and how long it will take."""
    fold = word["seconds_left"]
    together = f", all of them {duration(rounds * fold)}" if rounds > 1 else ""
    return f"Arithmetic: {word['precision']}. A fold will take about {duration(fold)}{together}."


def _farewell(home: RunFolder, tracker: Tracker, folds: int, seconds: float) -> str:
    ids = " ".join(tracker.ids[_key(fold)] for fold in range(folds))
    files = {
        OUTPUT: "voted test masks" if folds > 1 else "test masks",
        OUT_OF_FOLD: "out-of-fold masks",
        OVERLAY: "a look at them",
        REPORT: "curves, Dice by class and slice, worst cases, time",
    }
    return (
        f"\nTook {duration(seconds)}. Everything lies in {home.path}:\n"
        + "".join(f"  {n:<13} {what}\n" for n, what in files.items() if (home.path / n).exists())
        + "  summary.json  these numbers\n"
        f"  fold0 .. fold{folds - 1}  best.pt, last.pt, history.json and the fold's own CSVs\n"
        f"MLflow: {masked(tracker.uri)}\n"
        f"  run {tracker.ids['parent']} (all folds), folds {ids}"
    )
