"""The folder that a run leaves behind, and how the same command goes on in it."""

import fcntl
import json
import math
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

from handray.whole_files import check_writable, nearest, write_json

LAST, BEST, HISTORY = "last.pt", "best.pt", "history.json"
OVERLAY, REPORT = "overlay.png", "report.html"
"""Files of a fold, and what people look at of a run."""
RUNS = os.environ.get("HANDRAY_RUNS", "runs")
"""Folder of all runs; a cluster's jobs, which start in folders of a day, are told of one."""


class RunFolder:
    """``runs/<name>``: config.json says what it is of, summary.json that it is finished."""

    def __init__(self, name: str) -> None:
        if name in ("", "..") or Path(name).name != name:
            raise ValueError(f"--name {name}: a run's name can't be empty or hold a slash")
        self.name = name
        self.path = (Path(RUNS) / name).absolute()
        self._held: TextIO | None = None

    def check(self, facts: dict[str, Any]) -> None:
        """See that the folder is free or this run's own, and that files can be written there.

        Args:
            facts: plain types that decide what is learnt.

        Raises:
            ValueError: another process trains this run; or it is another config's or other data's,
                with the keys that differ.
            OSError: nothing can be written there.

        """
        if self._held is None and (self.path / ".lock").exists():
            self._lock().close()
        config = self.path / "config.json"
        if config.exists():
            known, fresh = read_json(config), json.loads(json.dumps(facts))
            differing = [
                f"{key} was {known.get(key)}, now {fresh.get(key)}"
                for key in sorted(known.keys() | fresh.keys())
                if known.get(key) != fresh.get(key)
            ]
            if differing:
                raise ValueError(
                    f"run {self.name} in {self.path} has another config or other data "
                    f"({'; '.join(differing)}); take another --name, or remove the folder"
                )
        check_writable(self.path, self.path)

    def require_space(self, needed: int) -> None:
        """Raise OSError where the folder's disk can't take ``needed`` more bytes."""
        free = shutil.disk_usage(nearest(self.path)).free
        if free < needed:
            raise OSError(
                f"{self.path} needs about {needed / 2**30:.1f} GiB for checkpoints, but its disk "
                f"has {free / 2**30:.1f} GiB free; make room, or start on another disk"
            )

    def claim(self, facts: dict[str, Any]) -> None:
        """Make the folder this run's own, and this process the only one that works in it.

        Raises:
            ValueError: another process trains this run.

        """
        self.path.mkdir(parents=True, exist_ok=True)
        self._held = self._lock()
        if not (self.path / "config.json").exists():
            write_json(self.path / "config.json", facts)

    def _lock(self) -> TextIO:
        """The folder's lock, held until it is closed; ValueError where another process has it."""
        file = (self.path / ".lock").open("a")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            raise ValueError(
                f"run {self.name} is being trained already, by another process on {self.path}; "
                "wait for it, or take another --name"
            ) from None
        return file

    def notes(self) -> dict[str, Any]:
        """Return what an earlier start of this run wrote down with ``note``."""
        path = self.path / "notes.json"
        return read_json(path) if path.exists() else {}

    def note(self, **facts: object) -> None:
        """Write plain facts down for a later start and for people."""
        write_json(self.path / "notes.json", {**self.notes(), **facts})

    def summary(self) -> dict[str, Any] | None:
        """Return what a finished run wrote at its end; None for one that isn't finished."""
        path = self.path / "summary.json"
        return read_json(path) if path.exists() else None

    def fold(self, number: int) -> Path:
        """Folder of one fold; it is there only once the fold is finished."""
        return self.path / f"fold{number}"

    def files(self) -> list[Path]:
        """Return the files of the run as a whole, without the folds'."""
        found = sorted(self.path.iterdir())
        return [path for path in found if path.is_file() and not path.name.startswith(".")]

    def missing_folds(self, folds: int) -> list[int]:
        """Return those of the first ``folds`` folds that aren't finished."""
        return [number for number in range(folds) if not self.fold(number).exists()]

    def finish_fold(self, number: int, fetch: Callable[[Path], None]) -> None:
        """Have ``fetch`` fill a fold's folder, which then appears as a whole or not at all."""
        if self.fold(number).exists():
            return
        partial = self.path / f"fold{number}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        try:
            fetch(partial)
        except BaseException:  # a full disk, say, needs the room
            shutil.rmtree(partial, ignore_errors=True)
            raise
        partial.rename(self.fold(number))


def best_epoch(fold: Path) -> dict[str, Any]:
    """Return the record of a finished fold's best epoch; its last where nothing is held out."""
    history: list[dict[str, Any]] = json.loads((fold / HISTORY).read_text())
    return max(
        history, key=lambda record: record["epoch" if math.isnan(record["dice"]) else "dice"]
    )


def read_json(path: Path) -> dict[str, Any]:
    """Read an object that ``write_json`` wrote.

    Raises:
        ValueError: the file is damaged.

    """
    try:
        content = json.loads(path.read_text())
        if isinstance(content, dict):
            return content
        reason = "no JSON object"
    except (ValueError, RecursionError) as error:
        reason = str(error)
    raise ValueError(f"{path} is damaged ({reason}); remove {path.parent}, or take another --name")
