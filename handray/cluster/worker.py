"""One rank of one fold: the training loop in its surroundings, as Ray Train calls it."""

import copy
import dataclasses
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import ray.train
import torch
from ray.train.torch import get_device, prepare_model
from torch import Tensor, nn

from handray.cluster.predictor import Predictor
from handray.config import Config
from handray.data.augment import Augment
from handray.data.feed import EpochFeed, Source
from handray.data.radiographs import Radiograph
from handray.inference.submission import Submission, write_submission
from handray.masks.rle import RunRows
from handray.models.checkpointing import checkpoint_activations
from handray.models.zoo import build_network
from handray.reporting.run_folder import BEST, HISTORY, LAST, OUT_OF_FOLD, OUTPUT, write_json
from handray.training.batch import Batch, Normalisation
from handray.training.loop import Learner, Surroundings, TrainingFailureError, fit
from handray.training.metrics import Overlap
from handray.training.optim import AveragedModel, build_optimizer
from handray.training.pace import Pace
from handray.training.precision import Precision, choose_precision, weakest
from handray.training.ranks import Ranks
from handray.training.state import TrainState, load_network, save_network

POST_SECONDS = 1.0
"""Between two words to the board, which is read once a second."""


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
        with tempfile.TemporaryDirectory(prefix="handray-fold-") as folder:
            Rank(task, ranks, Path(folder)).run()
    except TrainingFailureError as failure:
        ray.get(task.board.fail.remote(task.fold, str(failure)))
    except torch.OutOfMemoryError:
        sentence = (
            f"out of GPU memory at --size {task.config.data.size} with {task.config.rank_batch} "
            "images a pass: try --activation-checkpointing, a larger --accumulate, a smaller --size"
        )
        ray.get(task.board.fail.remote(task.fold, sentence))
        if ranks.count > 1:
            raise  # the other ranks wait for this one; started again, all see the failure


class Rank:
    """One process of a fold, and what it keeps between the loop's questions."""

    def __init__(self, task: FoldTask, ranks: Ranks, folder: Path) -> None:
        self.task, self.ranks, self.config, self.folder = task, ranks, task.config, folder
        torch.set_num_threads(task.threads)
        torch.backends.cudnn.benchmark = True  # all batches have one shape
        cv2.setNumThreads(1)
        fold_of = np.array(task.fold_of)
        self.held_out = np.flatnonzero(fold_of == task.fold)
        self.feed = EpochFeed(
            source=task.source,
            rows=np.flatnonzero(fold_of != task.fold),
            augment=Augment.of(self.config.data),
            seed=self.config.train.seed,
            batch=self.config.train.batch,
            passes=self.config.data.passes,
            rank=ranks.rank,
            ranks=ranks.count,
            threads=min(4, max(1, task.threads)),
        )
        self.masks: dict[int, RunRows] = {}
        self.posted = 0.0

    def run(self) -> None:
        """Train from the last checkpoint or from the start, then predict the test images."""
        model, parallel = self._model()
        wanted = choose_precision(self.config.train.precision, self.ranks.device)
        precision = weakest(self.ranks.gathered(wanted))
        normalise = Normalisation(self.task.mean, self.task.std)
        classes = len(self.task.class_names)
        learner = Learner(
            self.config, self.task.class_names, normalise, precision, self.ranks, parallel
        )
        predictor = Predictor(
            self.task.source,
            [*self.task.train, *self.task.test],
            classes,
            normalise,
            precision,
            self.ranks,
        )
        state = TrainState(
            model,
            AveragedModel(model, self.config.optim.ema),
            build_optimizer(model, self.config.optim),
            precision.scaler(),
        )
        if checkpoint := ray.train.get_checkpoint():
            checkpoint.to_directory(str(self.folder))
            saved = torch.load(self.folder / LAST, map_location="cpu", weights_only=True)
            state.load_state_dict(saved)

        def validate(network: nn.Module) -> Overlap:
            self.masks = predictor.predict(network, self.held_out)
            return predictor.overlap(self.masks, self.held_out)

        def keep(state: TrainState, is_best: bool) -> None:
            if is_best:
                self._keep_best(state, predictor)
            ended = state.history[-1] if state.history and not state.step else None
            self._report(state, {"steps": state.steps, "record": ended})

        def progress(state: TrainState, pace: Pace) -> None:
            self._post(state, pace, precision)

        steps = self.feed.steps
        fit(state, learner, Surroundings(self._batches, steps, validate, progress, keep))
        self._predict_test(state.average.model, predictor)
        self._report(state, {"steps": state.steps, "finished": True})

    def _model(self) -> tuple[nn.Module, nn.Module]:
        """Build the network on this rank's device, and DDP around it for several ranks."""
        torch.manual_seed(self.config.train.seed)
        model = build_network(self.config.model.design, len(self.task.class_names))
        if self.task.weights is not None:
            model.load_state_dict(ray.get(self.task.weights))
        if self.ranks.device.type == "cuda" and self.ranks.count > 1 and self.config.rank_batch < 8:
            model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
        if self.config.cluster.activation_checkpointing:
            checkpoint_activations(model)
        model = model.to(self.ranks.device).to(memory_format=torch.channels_last)
        parallel = prepare_model(model)
        return (parallel.module if self.ranks.count > 1 else parallel), parallel

    def _batches(self, epoch: int, start: int) -> Iterator[Batch]:
        pin = self.ranks.device.type == "cuda"
        for samples in self.feed.batches(epoch, start):
            image = torch.from_numpy(np.stack([s.image_HW for s in samples]))
            planes = torch.from_numpy(np.stack([s.planes_HWP for s in samples]))
            names = tuple(self.task.train[s.row].name for s in samples)
            # Only from pinned memory does a copy to the GPU run beside its work.
            yield Batch(names, *(x.pin_memory() if pin else x for x in (image, planes)))

    def _post(self, state: TrainState, pace: Pace, precision: Precision) -> None:
        """Tell the board where this fold is."""
        if self.ranks.rank or time.monotonic() < self.posted + POST_SECONDS:
            return
        self.posted = time.monotonic()
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
            "precision": f"{precision.name} ({precision.reason})",
        }
        self.task.board.post.remote(self.task.fold, word)

    def _keep_best(self, state: TrainState, predictor: Predictor) -> None:
        """Write the averaged network and its out-of-fold masks; every rank calls this."""
        masks = predictor.gathered(self.masks, self.held_out)
        if self.ranks.rank:
            return
        self._write_csv(OUT_OF_FOLD, [self.task.train[row] for row in self.held_out], masks)
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
        save_network(self.folder / BEST, state.average.model, about)

    def _predict_test(self, average: nn.Module, predictor: Predictor) -> None:
        """Write the test images' masks by the best network; every rank calls this."""
        best = copy.deepcopy(average)
        if not self.ranks.rank:
            best.load_state_dict(load_network(self.folder / BEST)[0])
        self.ranks.share(best)
        rows = len(self.task.train) + np.arange(len(self.task.test))
        masks = predictor.gathered(predictor.predict(best, rows), rows)
        if masks and not self.ranks.rank:
            self._write_csv(OUTPUT, self.task.test, masks)

    def _write_csv(self, name: str, images: Sequence[Radiograph], masks: Sequence[RunRows]) -> None:
        submission = Submission(
            tuple(image.name for image in images),
            self.task.class_names,
            RunRows.stack(masks),
            sizes_hw=np.array([(image.height, image.width) for image in images], np.int64),
            source={"fold": self.task.fold, "model": self.config.model.model},
        )
        write_submission(self.folder / name, submission)

    def _report(self, state: TrainState, metrics: dict[str, Any]) -> None:
        """Hand the fold's folder to Ray Train, which copies it; all ranks meet here."""
        if self.ranks.rank:
            ray.train.report(metrics)
            return
        torch.save(state.state_dict(), self.folder / LAST)
        write_json(self.folder / HISTORY, state.history)
        ray.train.report(metrics, ray.train.Checkpoint.from_directory(self.folder))
