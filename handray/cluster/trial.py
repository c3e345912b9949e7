"""One trial of a sweep: a whole training in the process that Tune gives it, without Ray Train.

It holds its GPU or CPUs itself, so that whatever ends the process gives them back at once.
"""

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import ray
import ray.tune
import torch

from handray.cluster.fold import TOO_LARGE, Decoded, FoldTask, FoldTraining
from handray.cluster.storage import fetch_file, keep_file
from handray.config import Config, identity, replaced, short_hash
from handray.reporting.trials import Trial, TrialRecord
from handray.training.loop import TrainingFailureError
from handray.training.pace import Pace
from handray.training.ranks import Ranks
from handray.training.state import TrainState
from handray.whole_files import scratch_folder


@dataclass(frozen=True)
class Shared:
    """What all trials of a sweep have in common, sent to each of their processes."""

    task: FoldTask
    """A trial's is this one with its own fold, config and decoded rows."""
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


def checkpoint_name(fold: int, config: Config) -> str:
    """The file of a trial's checkpoint in the storage, by all that decides what is learnt.

    A search that goes on gives a trial that was under way another name.
    """
    return f"{short_hash({'fold': fold, **identity(config)})}.pt"


def run_trial(settings: dict[str, Any], shared: Shared) -> None:
    """Body of a Tune trial: train from its last checkpoint or from the start, to its end."""
    trial = asked_for(settings)
    board = shared.task.board
    if sentence := ray.get(board.failure.remote(trial.name)):
        raise RuntimeError(sentence)  # another try would meet it again
    config = replaced(shared.task.config, trial.changes)
    decoded = shared.decoded[config.data.size]
    task = replace(shared.task, fold=trial.fold, config=config, decoded=decoded)
    with scratch_folder("handray-trial-") as folder:
        training: _Training | None = None
        try:
            training = _Training(trial, task, shared.storage, folder)
            training.run()
            return
        except TrainingFailureError as error:
            sentence = str(error)
        except torch.OutOfMemoryError:
            sentence = "" if training else TOO_LARGE
        if training and not sentence:
            # Outside of the block, whose error holds the step's tensors.
            sentence = training.training.out_of_memory()
    ray.get(board.fail.remote(trial.name, sentence))
    raise RuntimeError(sentence)


class _Training:
    """A trial's training, and what it leaves where another process can go on."""

    def __init__(self, trial: Trial, task: FoldTask, storage: str, folder: Path) -> None:
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        weights = None if task.weights is None else ray.get(task.weights)
        self.trial, self.task, self.storage = trial, task, storage
        self.file = folder / checkpoint_name(task.fold, task.config)
        self.training = FoldTraining(task, Ranks(device=device), weights)
        self.dice: list[torch.Tensor] = []
        self.saved = time.monotonic()

    def run(self) -> None:
        """Train from this trial's checkpoint, where there is one, to the end."""
        if fetch_file(self.storage, self.file.name, self.file):
            saved = torch.load(self.file, map_location="cpu", weights_only=True)
            self.training.state.load_state_dict(saved["state"])
            self.dice = list(saved["dice"])
            if self.dice:
                self._hand_over(self.training.state.history)
        self.training.fit(self._post, self._keep)

    def _post(self, state: TrainState, pace: Pace) -> None:
        self.share = pace.progress(state.steps)
        self.training.post(self.trial.name, pace)

    def _keep(self, state: TrainState, _is_best: bool) -> None:
        """After an epoch: hand over what it brought; now and then: a checkpoint."""
        overlap = self.training.overlap
        if state.step or overlap is None:
            self._save(state)
            return
        self.dice.append(torch.from_numpy(overlap.dice_NC().astype(np.float32)))
        percent = min(100, round(100 * self.share))
        state.history[-1]["percent"] = percent
        if time.monotonic() > self.saved + 60 * self.task.config.cluster.checkpoint_minutes:
            self._save(state)
        self._hand_over(state.history[-1:])

    def _hand_over(self, epochs: list[dict[str, Any]]) -> None:
        """Give the driver the record so far, and Tune these epochs, one after the other."""
        dice_ENC = torch.stack(self.dice).numpy()
        history, rows = self.training.state.history, self.training.held_out
        record = TrialRecord(self.trial, history, rows, dice_ENC)
        # Kept before Tune is told, which may end this process then.
        ray.get(self.task.board.keep.remote(self.trial.name, record))
        for epoch in epochs:
            ray.tune.report({key: epoch[key] for key in ("percent", "dice", "epoch")})

    def _save(self, state: TrainState) -> None:
        torch.save({"state": state.state_dict(), "dice": self.dice}, self.file)
        keep_file(self.file, self.storage, self.file.name)
        self.saved = time.monotonic()
