"""One trial of a sweep: a whole training in the process that Tune gives it, without Ray Train.

It holds its GPU or CPUs itself, so that whatever ends the process gives them back at once.
"""

import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import ray
import ray.tune
import torch

from handray.cluster.fold import FoldTask, FoldTraining, out_of_memory, word
from handray.cluster.storage import fetch_file, keep_file
from handray.config import replaced
from handray.data.feed import Source
from handray.reporting.trials import Trial, TrialRecord
from handray.training.loop import TrainingFailureError
from handray.training.pace import Pace
from handray.training.ranks import Ranks
from handray.training.state import TrainState

POST_SECONDS = 1.0
"""Between two words to the board, which is read once a second."""


@dataclass(frozen=True)
class Decoded:
    """Decoded rows of one size, with their gray levels."""

    source: Source
    mean: float
    std: float


@dataclass(frozen=True)
class Shared:
    """What all trials of a sweep have in common, sent to each of their processes."""

    task: FoldTask
    """A trial's is this one with its own fold, config and source."""
    decoded: dict[int, Decoded]
    """By side of the model frame, pixels."""
    storage: str


def asked_for(settings: dict[str, Any]) -> Trial:
    """The trial that Tune's settings mean: one of a list, or keys that a search has drawn."""
    if "trial" in settings:
        return Trial(**settings["trial"])
    changes = {key: value for key, value in settings.items() if "." in key}
    return Trial(trial_name(settings["number"]), settings["fold"], changes)


def trial_name(number: int) -> str:
    """Name of a search's trial by its number."""
    return f"trial{number:04d}"


def run_trial(settings: dict[str, Any], shared: Shared) -> None:
    """Body of a Tune trial: train from its last checkpoint or from the start, to its end."""
    trial = asked_for(settings)
    board = shared.task.board
    config = replaced(shared.task.config, trial.changes)
    decoded = shared.decoded[config.data.size]
    task = replace(
        shared.task,
        fold=trial.fold,
        config=config,
        source=decoded.source,
        mean=decoded.mean,
        std=decoded.std,
    )
    try:
        with tempfile.TemporaryDirectory(prefix="handray-trial-") as folder:
            _Training(trial, task, shared.storage, Path(folder)).run()
    except TrainingFailureError as failure:
        ray.get(board.fail.remote(trial.name, str(failure)))
    except torch.OutOfMemoryError:
        ray.get(board.fail.remote(trial.name, out_of_memory(config)))


class _Training:
    """A trial's training, and what it leaves where another process can go on."""

    def __init__(self, trial: Trial, task: FoldTask, storage: str, folder: Path) -> None:
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        weights = None if task.weights is None else ray.get(task.weights)
        self.trial, self.task, self.storage = trial, task, storage
        self.file = folder / "last.pt"
        self.training = FoldTraining(task, Ranks(device=device), weights)
        self.dice: list[torch.Tensor] = []
        self.posted, self.saved = 0.0, time.monotonic()

    def run(self) -> None:
        if fetch_file(self.storage, self._name, self.file):
            saved = torch.load(self.file, map_location="cpu", weights_only=True)
            self.training.state.load_state_dict(saved["state"])
            self.dice = list(saved["dice"])
        self.training.fit(self._post, self._keep)

    @property
    def _name(self) -> str:
        return f"{self.trial.name}.pt"

    def _post(self, state: TrainState, pace: Pace) -> None:
        self.share = pace.progress(state.steps)
        if time.monotonic() >= self.posted + POST_SECONDS:
            self.posted = time.monotonic()
            word_ = word(self.training, state, pace)
            self.task.board.post.remote(self.trial.name, word_)

    def _keep(self, state: TrainState, _is_best: bool) -> None:
        """After an epoch: hand over what it brought; now and then: a checkpoint."""
        overlap = self.training.overlap
        if state.step or overlap is None:
            self._save(state)
            return
        self.dice.append(torch.from_numpy(overlap.dice_NC().astype(np.float32)))
        percent = min(100, round(100 * self.share))
        state.history[-1]["percent"] = percent
        dice_ENC = torch.stack(self.dice).numpy()
        record = TrialRecord(self.trial, state.history, overlap.rows, dice_ENC)
        # Kept before Tune is told, which may end this process then.
        ray.get(self.task.board.keep.remote(self.trial.name, record))
        if time.monotonic() > self.saved + 60 * self.task.config.cluster.checkpoint_minutes:
            self._save(state)
        dice = state.history[-1]["dice"]
        ray.tune.report({"percent": percent, "dice": dice, "epoch": state.epoch})

    def _save(self, state: TrainState) -> None:
        torch.save({"state": state.state_dict(), "dice": self.dice}, self.file)
        keep_file(self.file, self.storage, self._name)
        self.saved = time.monotonic()
