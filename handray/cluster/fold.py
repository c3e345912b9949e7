"""One rank of one fold, but for Ray Train: network, data, and what the loop asks of both."""

import copy
import time
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from handray.cluster.predictor import Predictor
from handray.cluster.shares import FEED_CPUS
from handray.config import Config
from handray.data.augment import Augment
from handray.data.feed import EpochFeed, Source
from handray.data.order import rank_columns
from handray.data.radiographs import Radiograph
from handray.models.checkpointing import checkpoint_activations
from handray.models.zoo import build_network
from handray.reporting.console import time_left
from handray.training.batch import Batch, Normalisation
from handray.training.loop import Learner, Surroundings, fit
from handray.training.metrics import Overlap
from handray.training.optim import AveragedModel, build_optimizer
from handray.training.pace import Pace
from handray.training.precision import Precision, choose_precision, weakest
from handray.training.ranks import Ranks
from handray.training.room import images_that_fit
from handray.training.state import TrainState

TOO_LARGE = "out of GPU memory: the network alone doesn't fit"
"""What is said where a training can't even be made ready."""
POST_SECONDS = 1.0
"""Between two words to the board, which is read once a second."""


@dataclass(frozen=True)
class Decoded:
    """Decoded rows of one size, with their gray levels."""

    source: Source
    """Row i is training image i; the rows of test images follow."""
    mean: float
    std: float
    """Of the training images' gray levels, 0 .. 255."""


@dataclass(frozen=True)
class FoldTask:
    """Everything one fold needs, sent to each of its ranks."""

    fold: int
    """Which one is held out, as far as ``fold_of`` has it."""
    config: Config
    class_names: tuple[str, ...]
    train: tuple[Radiograph, ...]
    test: tuple[Radiograph, ...]
    decoded: Decoded
    fold_of: tuple[int, ...]
    """Fold of each training radiograph."""
    threads: int
    board: Any
    """What the driver reads; None without one."""
    weights: Any
    """Reference to the state dict that every fold starts from; None for a random start."""
    precision: Precision | None = None
    """What ``auto`` means on CPUs, by trial; None to go by the device."""


class FoldTraining:
    """A fold that is ready to be trained, in this process."""

    def __init__(self, task: FoldTask, ranks: Ranks, weights: dict[str, Tensor] | None) -> None:
        """Build all parts.

        Args:
            task: what to train.
            ranks: this process among those of the fold.
            weights: state dict to start from; None for a random start.

        """
        self.task, self.ranks, self.config = task, ranks, task.config
        torch.set_num_threads(task.threads)
        torch.backends.cudnn.benchmark = True  # all batches have one shape
        cv2.setNumThreads(1)
        fold_of = np.array(task.fold_of)
        self.held_out = np.flatnonzero(fold_of == task.fold)
        self.feed = EpochFeed(
            source=task.decoded.source,
            rows=np.flatnonzero(fold_of != task.fold),
            augment=Augment.of(self.config.data),
            seed=self.config.train.seed,
            batch=self.config.train.batch,
            columns=rank_columns(
                self.config.train.batch,
                self.config.cluster.workers_per_fold,
                self.config.train.accumulate,
                ranks.rank,
                ranks.count,
            ),
            passes=self.config.data.passes,
            threads=min(FEED_CPUS, max(1, task.threads)),
        )
        asked = self.config.train.precision
        tried = task.precision if asked == "auto" else None
        wanted = tried or choose_precision(asked, ranks.device)
        self.precision = weakest(ranks.gathered(wanted))
        model = self._model(weights)
        memory_format = self.precision.memory_format
        normalise = Normalisation(task.decoded.mean, task.decoded.std, memory_format)
        self.predictor = Predictor(
            task.decoded.source,
            [*task.train, *task.test],
            len(task.class_names),
            normalise,
            self.precision,
            ranks,
        )
        self.state = TrainState(
            model,
            AveragedModel(model, self.config.optim.ema),
            build_optimizer(model, self.config.optim),
            self.precision.scaler(),
        )
        parallel = self._parallel(model)
        self.learner = Learner(
            self.config, task.class_names, normalise, self.precision, ranks, parallel
        )
        self.overlap: Overlap | None = None
        """What the network that was validated last scores, over all ranks."""
        self.posted = 0.0
        self.key: Hashable = None
        self.word: dict[str, Any] = {}
        """What was told last of a step, and under which key of the board."""

    def fit(
        self,
        progress: Callable[[TrainState, Pace], None],
        checkpoint: Callable[[TrainState, bool], None],
        is_leaving: Callable[[bool], bool] = lambda _looked: False,
    ) -> None:
        """Train from where the state stands; see Surroundings for what is called when."""
        if self.config.cluster.cuda_graphs and self.ranks.device.type == "cuda":
            self._record()
        world = Surroundings(
            self.batches, self.feed.steps, self.validate, progress, checkpoint, is_leaving
        )
        fit(self.state, self.learner, world)

    def out_of_memory(self) -> str:
        """What to do after a step that ran out of memory; call it once its tensors are gone."""
        config, images = self.config, images_that_fit(self.learner, self.state)
        remedy = "" if config.cluster.activation_checkpointing else "--activation-checkpointing or "
        if images:
            accumulate = config.rank_batch * config.train.accumulate // images
            remedy += (
                f"--accumulate {accumulate}: the same batch, {images} a pass, which was tried "
                "just now and fits"
            )
        else:
            remedy += "a smaller --size: a smaller pass was tried just now and doesn't fit"
        return (
            f"out of GPU memory at --size {config.data.size} with {config.rank_batch} images a "
            f"pass; try {remedy}"
        )

    def post(self, key: Hashable, pace: Pace) -> None:
        """Tell the board where this training is, by its key there, at most once a second."""
        if time.monotonic() < self.posted + POST_SECONDS:
            return
        self.posted = time.monotonic()
        state = self.state
        self.key = key
        self.word = {
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
        self.task.board.post.remote(key, self.word)

    def counting(self, what: str) -> Callable[[int, int], None]:
        """Tells the board of counted work between steps, where this process tells it of steps."""
        started = time.monotonic()

        def count(done: int, total: int) -> None:
            if self.word and time.monotonic() > self.posted + POST_SECONDS:
                self.posted = time.monotonic()
                doing = f"{what} {done} of {total} images{time_left(started, done, total)}"
                self.task.board.post.remote(self.key, {**self.word, "doing": doing})

        return count

    def validate(self, network: nn.Module) -> Overlap:
        """Pixel counts of a network over all held-out images, on every rank."""
        counting = self.counting("validating")
        masks = self.predictor.predict(network, self.held_out, progress=counting)
        self.overlap = self.predictor.overlap(masks, self.held_out)
        return self.overlap

    def batches(self, epoch: int, start: int) -> Iterator[Batch]:
        """This rank's batches of an epoch, from a step on."""
        device = self.ranks.device
        copying = torch.cuda.Stream(device) if device.type == "cuda" else None
        for samples in self.feed.batches(epoch, start):
            image = torch.from_numpy(np.stack([s.image_HW for s in samples]))
            planes = torch.from_numpy(np.stack([s.planes_HWP for s in samples]))
            names = tuple(self.task.train[s.row].name for s in samples)
            batch = Batch(names, image, planes)
            yield batch.uploaded(copying) if copying else batch

    def _model(self, weights: dict[str, Tensor] | None) -> nn.Module:
        """Build the network on this rank's device."""
        torch.manual_seed(self.config.train.seed)
        model = build_network(self.config.model.design, len(self.task.class_names))
        if weights is not None:
            model.load_state_dict(weights)
        if self.ranks.device.type == "cuda" and self.ranks.count > 1 and self.config.rank_batch < 8:
            model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
        if self.config.cluster.activation_checkpointing:
            checkpoint_activations(model)
        return model.to(self.ranks.device).to(memory_format=self.precision.memory_format)

    def _parallel(self, model: nn.Module) -> nn.Module:
        """The network as steps call it: in DDP for several ranks."""
        if self.ranks.count == 1:
            return model
        on_gpu = self.ranks.device.type == "cuda"
        return DistributedDataParallel(model, device_ids=[self.ranks.device] if on_gpu else None)

    def _record(self) -> None:
        """Make forward and backward pass graphs: a launch each instead of one for every kernel."""
        model, size, device = self.state.model, self.config.data.size, self.ranks.device
        image = torch.zeros((self.config.rank_batch, 1, size, size), device=device)
        image = image.contiguous(memory_format=self.precision.memory_format)
        before = copy.deepcopy(model.state_dict())
        model.train()
        # Weights cast once and kept would be those of the recording for ever.
        with self.precision.autocast(cache=False):
            torch.cuda.make_graphed_callables(model, (image,))  # changes the model itself
        model.load_state_dict(before)  # the recording moved the batch norms' statistics
