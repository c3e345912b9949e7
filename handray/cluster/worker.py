"""One rank of one fold: the training loop in its surroundings, as Ray Train calls it.

Axes: C classes.
"""

import copy
import dataclasses
import json
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import ray.train
import torch
from ray.train.torch import get_device, prepare_model
from torch import Tensor, nn

from handray.config import Config
from handray.data.augment import Augment
from handray.data.order import rank_rows
from handray.data.radiographs import Radiograph
from handray.data.stream import EpochFeed, Sample, Source
from handray.inference.predict import runs_from_logits
from handray.inference.score import truth_rows
from handray.inference.submission import Submission, write_submission
from handray.masks.algebra import areas, intersection_areas
from handray.masks.rle import RunRows, Runs
from handray.models.zoo import network
from handray.training.batch import Batch, Normalisation
from handray.training.loop import Learner, Surroundings, TrainingFailureError, fit
from handray.training.metrics import Overlap, joined
from handray.training.optim import AveragedModel, build_optimizer
from handray.training.pace import Pace
from handray.training.precision import choose_precision
from handray.training.ranks import Ranks
from handray.training.state import TrainState, load_network, save_network

STATE, NETWORK, HISTORY = "last.pt", "best.pt", "history.json"
OUT_OF_FOLD, TEST = "oof.csv", "output.csv"
"""What a fold's checkpoint folder holds; output.csv, of the test images, only in the last one."""


@dataclass(frozen=True)
class FoldTask:
    """Everything one fold needs, sent to each of its ranks."""

    fold: int
    config: Config
    class_names: tuple[str, ...]
    train: tuple[Radiograph, ...]
    test: tuple[Radiograph, ...]
    source: Source
    """Row i is train[i]; row len(train) + j is test[j]."""
    fold_of: tuple[int, ...]
    """Fold of each training radiograph."""
    mean: float
    std: float
    weights: "ray.ObjectRef[dict[str, Tensor]] | None"
    threads: int
    board: Any


def train_fold(settings: dict[str, Any]) -> None:
    """Entry of each rank: train, keep checkpoints, predict; ``settings["task"]`` is a FoldTask."""
    task: FoldTask = settings["task"]
    if ray.get(task.board.failure.remote(task.fold)):
        return
    context = ray.train.get_context()
    ranks = Ranks(context.get_world_rank(), context.get_world_size(), get_device())
    try:
        Rank(task, ranks).run()
    except TrainingFailureError as failure:
        ray.get(task.board.fail.remote(task.fold, str(failure)))
    except torch.OutOfMemoryError:
        sentence = (
            f"out of GPU memory at --size {task.config.data.size} with {task.config.rank_batch} "
            "images a pass: try a larger --accumulate, or a smaller --batch or --size"
        )
        ray.get(task.board.fail.remote(task.fold, sentence))
        if ranks.count > 1:
            raise  # the other ranks wait for this one; started again, all see the failure


class Rank:
    """One process of a fold, and what it keeps between the loop's questions."""

    def __init__(self, task: FoldTask, ranks: Ranks) -> None:
        self.task, self.ranks, self.config = task, ranks, task.config
        torch.set_num_threads(task.threads)
        cv2.setNumThreads(1)
        self.normalise = Normalisation(task.mean, task.std)
        self.precision = choose_precision(self.config.train.precision, ranks.device)
        fold_of = np.array(task.fold_of)
        self.held_out = np.flatnonzero(fold_of == task.fold)
        self.feed = EpochFeed(
            source=task.source,
            rows=np.flatnonzero(fold_of != task.fold),
            augment=Augment(self.config.data.augment, self.config.data.size),
            seed=self.config.train.seed,
            batch=self.config.train.batch,
            passes=self.config.data.passes,
            rank=ranks.rank,
            ranks=ranks.count,
            threads=min(4, max(1, task.threads)),
        )
        self.truth = {int(row): self._truth(int(row)) for row in self._mine(self.held_out)}
        self.predictions: dict[int, list[Runs]] = {}
        self.best = Path(tempfile.mkdtemp(prefix="handray-best-"))

    def run(self) -> None:
        """Train from the last checkpoint or from the start, then predict the test images."""
        model, parallel = self._model()
        state = TrainState(
            model,
            AveragedModel(model, self.config.optim.ema),
            build_optimizer(model, self.config.optim),
            self.precision.scaler(),
        )
        if checkpoint := ray.train.get_checkpoint():
            with checkpoint.as_directory() as folder:
                self._resume(state, Path(folder))
        classes = len(self.task.class_names)
        learner = Learner(
            self.config, classes, self.normalise, self.precision, self.ranks, parallel
        )
        world = Surroundings(
            self._batches, self.feed.steps, self._validate, self._progress, self._checkpoint
        )
        fit(state, learner, world)
        self._finish(state)

    def _model(self) -> tuple[nn.Module, nn.Module]:
        torch.manual_seed(self.config.train.seed)
        model = network(self.config.model.model).build(len(self.task.class_names), False)
        if self.task.weights is not None:
            model.load_state_dict(ray.get(self.task.weights))
        if self.ranks.device.type == "cuda" and self.ranks.count > 1 and self.config.rank_batch < 8:
            model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
        model = model.to(self.ranks.device).to(memory_format=torch.channels_last)
        parallel = prepare_model(model)
        return (parallel.module if self.ranks.count > 1 else parallel), parallel

    def _resume(self, state: TrainState, folder: Path) -> None:
        saved = torch.load(folder / STATE, map_location=self.ranks.device, weights_only=True)
        state.load_state_dict(saved)
        for name in (NETWORK, OUT_OF_FOLD, "oof.json"):
            if (folder / name).exists():
                shutil.copy(folder / name, self.best / name)

    def _batches(self, epoch: int, start: int) -> Iterator[Batch]:
        for samples in self.feed.batches(epoch, start):
            yield Batch(
                tuple(self.task.train[s.row].name for s in samples),
                torch.from_numpy(np.stack([s.image_HW for s in samples])),
                torch.from_numpy(np.stack([s.planes_HWP for s in samples])),
            )

    def _mine(self, rows: np.ndarray) -> np.ndarray:
        return rows[rank_rows(len(rows), self.ranks.rank, self.ranks.count)]

    def _truth(self, row: int) -> RunRows:
        image = self.task.train[row]
        hw = (image.height, image.width)
        return truth_rows(image.polygons, len(self.task.class_names), hw)

    def _predict(self, model: nn.Module, sample: Sample, image: Radiograph) -> list[Runs]:
        """Runs of each class in the source frame of one image."""
        image_1HW = torch.from_numpy(sample.image_HW.copy())[None].to(self.ranks.device)
        with torch.inference_mode(), self.precision.autocast():
            logits_1CHW = model(self.normalise(image_1HW))
        logits_CHW = logits_1CHW[0].float().cpu().contiguous().numpy()
        return runs_from_logits(logits_CHW, (image.height, image.width))

    def _validate(self, model: nn.Module) -> Overlap:
        """Exact pixel counts in the source frame over the fold's held-out images."""
        rows = self._mine(self.held_out)
        self.predictions = {}
        intersections, totals = [], []
        for sample in self.task.source.samples(rows.tolist()):
            runs = self._predict(model, sample, self.task.train[sample.row])
            self.predictions[sample.row] = runs
            ours, truth = RunRows.join(runs), self.truth[sample.row]
            intersections.append(intersection_areas(ours, truth))
            totals.append(areas(ours) + areas(truth))
        shape = (len(rows), len(self.task.class_names))
        mine = Overlap(
            rows,
            np.array(intersections, np.int64).reshape(shape),
            np.array(totals, np.int64).reshape(shape),
        )
        return joined(self.ranks.gathered(mine), self.held_out)

    def _progress(self, state: TrainState, pace: Pace) -> None:
        if self.ranks.rank:
            return
        word = {
            "epoch": state.epoch + 1,
            "step": state.step,
            "steps": self.feed.steps,
            "share": pace.progress(state.steps),
            "seconds_left": pace.seconds_left(state.steps),
            "images_per_s": state.step * self.config.train.batch / state.worked,
            # The last step's loss is still under way.
            "loss": state.loss_sum / (state.step - 1) if state.step > 1 else None,
            "dice": state.history[-1]["dice"] if state.history else None,
            "precision": f"{self.precision.name} ({self.precision.reason})",
        }
        self.task.board.post.remote(self.task.fold, word)

    def _checkpoint(self, state: TrainState, is_best: bool) -> None:
        """Keep the state and the best network so far in one folder: it is the whole fold."""
        if is_best:
            self._keep_best(state)
        ended = state.history[-1] if state.history and not state.step else None
        self._report(state, {"steps": state.steps, "record": ended})

    def _keep_best(self, state: TrainState) -> None:
        """Write the averaged network and its out-of-fold predictions; every rank calls this."""
        rows = self._gather_runs()
        if self.ranks.rank:
            return
        images = [self.task.train[row] for row in sorted(rows)]
        self._write_csv(OUT_OF_FOLD, images, [rows[row] for row in sorted(rows)])
        record = state.history[-1]
        about = {
            "config": dataclasses.asdict(self.config),
            "class_names": self.task.class_names,
            "mean": self.task.mean,
            "std": self.task.std,
            "size": self.config.data.size,
            "fold": self.task.fold,
            "epoch": record["epoch"],
            "dice": record["dice"],
            "class_dice": record["class_dice"],
        }
        save_network(self.best / NETWORK, state.average.model, about)

    def _gather_runs(self) -> dict[int, list[Runs]]:
        parts = self.ranks.gathered(self.predictions)
        return {row: runs for part in parts for row, runs in part.items()}

    def _write_csv(self, name: str, images: list[Radiograph], runs: list[list[Runs]]) -> None:
        submission = Submission(
            tuple(image.name for image in images),
            self.task.class_names,
            RunRows.join([one for image in runs for one in image]),
            sizes_hw=np.array([(image.height, image.width) for image in images], np.int64),
            source={"fold": self.task.fold, "model": self.config.model.model},
        )
        write_submission(self.best / name, submission)

    def _finish(self, state: TrainState) -> None:
        """Predict the test images with the best network and report the whole fold."""
        weights = {} if self.ranks.rank else load_network(self.best / NETWORK)[0]
        model = copy.deepcopy(state.average.model)
        model.load_state_dict(self.ranks.gathered(weights)[0])
        first = len(self.task.train)
        mine = self._mine(np.arange(first, first + len(self.task.test)))
        self.predictions = {
            sample.row: self._predict(model, sample, self.task.test[sample.row - first])
            for sample in self.task.source.samples(mine.tolist())
        }
        rows = self._gather_runs()
        if len(rows) != len(self.task.test):
            raise RuntimeError(f"predicted {len(rows)} of {len(self.task.test)} test images")
        if not self.ranks.rank and rows:
            self._write_csv(TEST, list(self.task.test), [rows[row] for row in sorted(rows)])
        self._report(state, {"steps": state.steps})

    def _report(self, state: TrainState, metrics: dict[str, Any]) -> None:
        """Hand the fold's folder to Ray Train; all ranks meet here."""
        if self.ranks.rank:
            ray.train.report(metrics)
            return
        with tempfile.TemporaryDirectory(prefix="handray-checkpoint-") as folder:
            shutil.copytree(self.best, folder, dirs_exist_ok=True)
            torch.save(state.state_dict(), Path(folder) / STATE)
            (Path(folder) / HISTORY).write_text(json.dumps(state.history))
            ray.train.report(metrics, ray.train.Checkpoint.from_directory(folder))
