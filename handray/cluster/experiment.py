"""A whole k-fold training, from radiographs to a voted CSV, as the driver sees it."""

import json
import math
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import ray

from handray.cli import masked
from handray.cluster.board import start_board
from handray.cluster.checkpoints import SEAL, damage
from handray.cluster.kfold import Listener, run_folds
from handray.cluster.setting import Setting
from handray.cluster.storage import beneath, drop_folder, fetch_folder
from handray.inference.members import OUT_OF_FOLD, OUTPUT
from handray.reporting.console import LiveLines, Stages, duration, progress_line, warn
from handray.reporting.notify import Alarms
from handray.reporting.report import write_report
from handray.reporting.results import conclude
from handray.reporting.run_folder import HISTORY, LAST, OVERLAY, REPORT, RunFolder, best_epoch
from handray.reporting.tracking.tracker import Tracker
from handray.reporting.training_record import TrainingRecord
from handray.whole_files import GOES_ON, full_places, is_full, write_json


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
        model, images = self.config.model.model, len(self.data.train)
        alarms.tell(f"starts: {model} on {images} images, folds {_listed(missing)}")

        def seconds() -> float:
            return before + time.monotonic() - started

        try:
            return self._run(missing, tracker, alarms, seconds)
        except BaseException as error:
            stopped = isinstance(error, KeyboardInterrupt)
            with suppress(Exception):  # a full disk, a server gone: the first error is the news
                unfinished = {*missing} & {*self.home.missing_folds(self.config.data.folds)}
                tracker.end([*map(_key, unfinished), "parent"], "KILLED" if stopped else "FAILED")
                tracker.settle(patience=5)
                self.home.note(seconds=seconds())
            if is_full(error):
                places = full_places(str(self.home.path), self.storage, tempfile.gettempdir())
                raise OSError(f"the disk of {places} is full; {GOES_ON}") from error
            raise

    def _run(
        self,
        missing: Sequence[int],
        tracker: Tracker,
        alarms: Alarms,
        seconds: Callable[[], float],
    ) -> int:
        folds = self.config.data.folds
        for fold in {*range(folds)} - {*self.home.missing_folds(folds)}:
            self._track(fold, tracker)
        failures = self._train(missing, tracker, alarms) if missing else {}
        self.home.note(seconds=seconds())
        if failures:
            tracker.log_files("parent", self._report(seconds(), failures))
            tracker.end([*map(_key, failures), "parent"], "FAILED")
            tracker.settle()
            print(self._standing(failures))
            for fold, sentence in sorted(failures.items()):
                print(f"error: fold {fold}: {sentence}", file=sys.stderr)
            print(f"Folds that ended are in {self.home.path}; the same command tries the others.")
            alarms.tell(f"ended, but folds failed ({_listed(failures)})")
            return 1
        if others := self.home.missing_folds(folds):
            tracker.log_files("parent", self._report(seconds(), {}))
            tracker.end(["parent"], "FINISHED")
            tracker.settle()
            print(f"Folds of {self.home.path} that aren't trained yet: {_listed(others)}")
            alarms.tell(f"ended; folds that aren't trained yet: {_listed(others)}")
            return 0
        summary = self._finish(folds, seconds(), tracker)
        dice = ", ".join(f"{key} {summary[key]:.4f}" for key in summary if key.endswith("_mean"))
        took = duration(seconds())
        alarms.tell(f"finished in {took}: {dice or 'no image with a label held out'}")
        print(summary["table"])
        print(_farewell(self.home, tracker, folds, seconds()))
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
            tracker.settle()
        # Last, since it says that the run is finished.
        write_json(self.home.path / "summary.json", summary)
        drop_folder(self.storage)
        return summary

    def _train(self, folds: Sequence[int], tracker: Tracker, alarms: Alarms) -> dict[int, str]:
        """Train folds; fold to one sentence for those that failed."""
        board = start_board()
        size = self.config.data.size
        decoded = self.decoded([size], board)[size]
        shares = f"{self.shares.ranks} rank(s) a fold, {self.shares.device} a rank"
        self.home.note(shares=shares)
        print(f"Training {len(folds)} fold(s), {self.shares.at_once} at a time, {shares}")
        task = self.task(decoded, board)
        tasks = [replace(task, fold=fold) for fold in folds]
        training, told = set(folds), threading.Event()
        mourned: set[int] = set()
        broken: dict[int, str] = {}
        rounds = -(-len(folds) // self.shares.at_once)

        def mourn(failed: dict[int, str]) -> None:
            for fold in sorted(failed.keys() - mourned):
                alarms.tell(f"fold {fold} failed: {failed[fold]}")
            mourned.update(failed)

        def lines() -> list[str]:
            for sentence in ray.get(board.take_said.remote(), timeout=10):
                live.say(sentence)
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
                try:
                    ended = self._bring_home(fold, folder, tracker)
                except OSError as error:
                    if is_full(error):
                        raise
                    broken[fold] = str(error)  # the other folds go on
                    return
                live.say(ended)
                alarms.tell(ended)

            listener = Listener(epoch_ended, fold_ended)
            errors = run_folds(tasks, self.shares, self.storage, listener, self.verbose)
        failures = errors | broken | ray.get(board.read.remote()).failures
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
        """Fetch a finished fold's folder and have it tracked; a line that says so."""

        def fetch(into: Path) -> None:
            fetch_folder(folder, self.storage, into)
            if wrong := damage(into):
                raise OSError(f"the result of fold {fold} in {folder} is damaged: {wrong}")
            (into / SEAL).unlink()

        self.home.finish_fold(fold, fetch)
        self._track(fold, tracker)
        drop_folder(beneath(self.storage, f"fold{fold}"))
        name = f"fold {fold}" if self.config.data.folds > 1 else "all images"
        return f"{name}  {_how_good(self.home.fold(fold))}"

    def _track(self, fold: int, tracker: Tracker) -> None:
        """Send a finished fold's curves and files, unless its tracked run has ended well."""
        key, home = _key(fold), self.home.fold(fold)
        if key not in tracker.ids or tracker.is_finished(key):
            return
        history = json.loads((home / HISTORY).read_text())
        tracker.log_epochs(key, history, self.data.class_names)
        if not math.isnan(dice := best_epoch(home)["dice"]):
            tracker.log_numbers(key, {"best_dice": dice})
        tracker.log_files(key, [f for f in sorted(home.iterdir()) if f.name != LAST])
        tracker.end([key], "FINISHED")

    def _standing(self, failures: dict[int, str]) -> str:
        """A line a fold: its Dice, or that it failed or is still to be trained."""
        missing = self.home.missing_folds(self.config.data.folds)
        state = {fold: "failed" if fold in failures else "not trained yet" for fold in missing}
        lines = [
            f"  fold {fold}  {state.get(fold) or _how_good(self.home.fold(fold))}"
            for fold in range(self.config.data.folds)
        ]
        return "\n".join(["", *lines])


def _how_good(fold: Path) -> str:
    best = best_epoch(fold)
    if math.isnan(best["dice"]):
        return f"finished after epoch {best['epoch']}"
    return f"finished: Dice {best['dice']:.4f}, the best, at epoch {best['epoch']}"


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
