"""The record of one trial of a sweep, kept in the run's folder as it ends.

Axes: E epochs, N held-out images, C classes.
"""

import io
import json
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handray.config import Value
from handray.whole_files import write_bytes

TRIALS = "trials"
"""Folder of the records in a run's folder."""


@dataclass(frozen=True, eq=False)
class Trial:
    """One training of a sweep, as it is asked for."""

    name: str
    fold: int
    """Which one is held out."""
    changes: dict[str, Value]
    """Dotted keys of the config that differ from the sweep's own."""


@dataclass(frozen=True, eq=False)
class TrialRecord:
    """What a trial brought, whether it ran to its end or was stopped."""

    trial: Trial
    history: list[dict[str, Any]]
    """A record an epoch; ``percent`` is how much of a whole training it had by then."""
    rows_N: NDArray[np.int64]
    """Which training images were held out."""
    dice_ENC: NDArray[np.float32]
    """Dice of each held-out image and class after each epoch, in the source frame."""

    @property
    def stopped_early(self) -> bool:
        """Whether the scheduler ended it."""
        return self.percent < 100

    @property
    def percent(self) -> int:
        """How much of a whole training it had."""
        return int(self.history[-1]["percent"])

    def dice_NC(self, percent: int) -> NDArray[np.float32]:
        """Dice of each image and class at the first epoch that had so much of the training."""
        reached = [past["percent"] >= percent for past in self.history]
        return self.dice_ENC[reached.index(True)] if any(reached) else self.dice_ENC[-1]

    def save(self, folder: Path) -> None:
        """Write the record under the trial's name, as a whole or not at all."""
        about = {"trial": vars(self.trial), "history": self.history}
        buffer = io.BytesIO()
        np.savez_compressed(
            buffer,
            about=np.array(json.dumps(about)),
            rows_N=self.rows_N,
            dice_ENC=self.dice_ENC,
        )
        folder.mkdir(exist_ok=True)
        write_bytes(folder / f"{self.trial.name}.npz", buffer.getvalue())


def load_records(folder: Path) -> list[TrialRecord]:
    """The records of a folder, sorted by the trials' names.

    Raises:
        ValueError: a file is damaged.

    """
    return [_load(path) for path in _sorted(folder.glob("*.npz"))]


def _sorted(paths: Iterable[Path]) -> list[Path]:
    return sorted(path for path in paths if not path.name.startswith("."))


def _load(path: Path) -> TrialRecord:
    try:
        with np.load(path) as file:
            about = json.loads(str(file["about"]))
            rows_N, dice_ENC = file["rows_N"], file["dice_ENC"]
        return TrialRecord(Trial(**about["trial"]), about["history"], rows_N, dice_ENC)
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"{path} is damaged ({error}); remove it to run that trial again"
        ) from error
