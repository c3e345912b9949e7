"""One rank of one fold: the training loop in its surroundings, as Ray Train calls it."""

import copy
import dataclasses
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import ray.train
import torch
from ray.train import CheckpointConsistencyMode
from ray.train.torch import get_device
from torch import nn

from handray.cluster.checkpoints import Checkpoints, seal
from handray.cluster.fold import TOO_LARGE, FoldTask, FoldTraining
from handray.cluster.notice import SigtermWatch
from handray.data.radiographs import Radiograph
from handray.inference.levels import LEVELS, MIDDLE, write_levels
from handray.inference.members import OUT_OF_FOLD, OUTPUT
from handray.inference.submission import Submission, levels_beside, write_submission
from handray.masks.rle import RunRows
from handray.reporting.run_folder import BEST, HISTORY, LAST
from handray.training.loop import TrainingFailureError
from handray.training.pace import Pace
from handray.training.ranks import Ranks
from handray.training.state import TrainState, load_network, save_network, save_state
from handray.whole_files import GOES_ON, full_places, is_full, scratch_folder, write_json


def train_fold(task: FoldTask, storage: str) -> None:
    """Entry of each rank: train, keep checkpoints, predict."""
    if ray.get(task.board.failure.remote(task.fold)):
        return
    context = ray.train.get_context()
    ranks = Ranks(context.get_world_rank(), context.get_world_size(), get_device())
    checkpoints = Checkpoints(storage, task.fold)
    rank: Rank | None = None
    with scratch_folder("handray-fold-") as folder:
        try:
            rank = Rank(task, ranks, folder, checkpoints)
            rank.run()
            return
        except TrainingFailureError as failure:
            ray.get(task.board.fail.remote(task.fold, str(failure)))
            return  # all ranks have met it
        except torch.OutOfMemoryError:
            sentence = "" if rank else TOO_LARGE
        except Exception as error:
            if not is_full(error):
                raise
            places = full_places(storage, tempfile.gettempdir())
            checkpoints.drop_parts()
            sentence = f"no room for a checkpoint in {places}; {GOES_ON}"
        if rank and not sentence:
            # Outside of the block, whose error holds the step's tensors.
            sentence = rank.training.out_of_memory()
        ray.get(task.board.fail.remote(task.fold, sentence))
        if ranks.count > 1:
            # The others wait for this one; started again, all see the failure.
            raise RuntimeError(sentence)


class Rank:
    """One process of a fold, and what it leaves in Ray Train's storage."""

    def __init__(
        self, task: FoldTask, ranks: Ranks, folder: Path, checkpoints: Checkpoints
    ) -> None:
        weights = None if task.weights is None else ray.get(task.weights)
        self.task, self.ranks, self.config, self.folder = task, ranks, task.config, folder
        self.checkpoints = checkpoints
        self.training = FoldTraining(task, ranks, weights)
        self.notices: set[int | None] = set()
        """Deadlines of the machines' preemptions that the state was kept for."""

    def run(self) -> None:
        """Train from the last checkpoint or from the start, then predict by the best network."""
        state = self.training.state
        self._resume(state)
        self.training.fit(self._post, self._keep, self._is_leaving)
        self._predict(state.average.model)
        self._report(state, {"steps": state.steps, "finished": True})

    def _resume(self, state: TrainState) -> None:
        """Become what the furthest whole checkpoint says, if there is one."""
        name: str | None = None
        complaints: list[str] = []
        if not self.ranks.rank:
            name, complaints = self.checkpoints.fetch_furthest(self.folder)
            self.checkpoints.drop_parts()
        name = self.ranks.gathered(name)[0]
        if name is not None:
            if self.ranks.rank:
                self.checkpoints.fetch_file(name, LAST, self.folder)
            saved = torch.load(self.folder / LAST, map_location="cpu", weights_only=True)
            state.load_state_dict(saved)
        going_on = f"going on from step {state.steps}" if name else "starting anew"
        for complaint in complaints:
            self._say(f"{complaint}; {going_on}")
        if not self.ranks.rank and self.ranks.count < self.config.cluster.workers_per_fold:
            planned = self.config.cluster.workers_per_fold
            self._say(f"{self.ranks.count} of {planned} ranks; {going_on}")

    def _say(self, sentence: str) -> None:
        ray.get(self.task.board.say.remote(f"fold {self.task.fold}: {sentence}"))

    def _is_leaving(self, looked: bool) -> bool:
        """Whether this process was asked to end, or a machine of the fold soon will be."""
        # All ranks meet in it, those that have heard SIGTERM as well.
        preemption = ray.train.get_preemption_info() if looked else None
        if SigtermWatch.heard.is_set():
            return True
        if preemption is None or preemption.deadline_ms in self.notices:
            return False
        self.notices.add(preemption.deadline_ms)
        return True

    def _post(self, _: TrainState, pace: Pace) -> None:
        if not self.ranks.rank:
            self.training.post(self.task.fold, pace)

    def _keep(self, state: TrainState, is_best: bool) -> None:
        if is_best:
            self._keep_best(state)
        ended = state.history[-1] if state.history and not state.step else None
        self._report(state, {"steps": state.steps, "record": ended})
        if SigtermWatch.heard.is_set():
            # Once Ray Train knows of the checkpoint.
            ray.train.get_all_reported_checkpoints(CheckpointConsistencyMode.COMMITTED)
            raise RuntimeError(f"SIGTERM: kept step {state.steps} and stopped")

    def _keep_best(self, state: TrainState) -> None:
        """Write the averaged network, on rank 0."""
        if self.ranks.rank:
            return
        record = state.history[-1]
        about = {
            "config": dataclasses.asdict(self.config),
            "class_names": self.task.class_names,
            "mean": self.task.decoded.mean,
            "std": self.task.decoded.std,
            "size": self.config.data.size,
            "fold": self.task.fold,
            "epoch": record["epoch"],
            "dice": record["dice"],
            "class_dice": record["class_dice"],
        }
        save_network(self.folder / BEST, state.average.model, about)

    def _predict(self, average: nn.Module) -> None:
        """Write what the best network says of held-out and test images; every rank calls this."""
        best = copy.deepcopy(average)
        if not self.ranks.rank:
            best.load_state_dict(load_network(self.folder / BEST)[0])
        self.ranks.share(best)
        test = len(self.task.train) + np.arange(len(self.task.test))
        for name, rows in ((OUT_OF_FOLD, self.training.held_out), (OUTPUT, test)):
            predictor = self.training.predictor
            counting = self.training.counting("predicting")
            masks = predictor.gathered(predictor.predict(best, rows, LEVELS, counting), rows)
            if masks and not self.ranks.rank:
                images = [predictor.images[row] for row in rows.tolist()]
                levels = [self._submission(images, level) for level in _by_level(masks)]
                write_submission(self.folder / name, levels[MIDDLE])
                write_levels(levels_beside(self.folder / name), levels)

    def _submission(self, images: Sequence[Radiograph], masks: Sequence[RunRows]) -> Submission:
        return Submission(
            tuple(image.name for image in images),
            self.task.class_names,
            RunRows.stack(masks),
            sizes_hw=np.array([(image.height, image.width) for image in images], np.int64),
            source={"fold": self.task.fold, "model": self.config.model.model},
        )

    def _report(self, state: TrainState, metrics: dict[str, Any]) -> None:
        """Hand the fold's folder to Ray Train, which copies it; all ranks meet here."""
        if self.ranks.rank:
            ray.train.report(metrics)
            return
        save_state(self.folder / LAST, state)
        write_json(self.folder / HISTORY, state.history)
        seal(self.folder, state.steps)
        ray.train.report(metrics, ray.train.Checkpoint.from_directory(self.folder))


def _by_level(masks: Sequence[RunRows]) -> list[list[RunRows]]:
    """The images' masks of each level, from the masks of all levels of each image."""
    classes = len(masks[0]) // len(LEVELS)
    firsts = range(0, classes * len(LEVELS), classes)
    return [[one.part(first, first + classes) for one in masks] for first in firsts]
