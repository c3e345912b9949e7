"""The training loop: batches in, numbers and checkpoints out.

It knows neither Ray nor files: what it needs of the world is in ``Surroundings``, so that it can
be run with a list of batches.
"""

import itertools
import math
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from handray.config import Config
from handray.training.batch import Batch, Normalisation, targets
from handray.training.losses import Loss, class_weights, weighted_sum
from handray.training.metrics import Overlap
from handray.training.mixup import Mix, draw_mix
from handray.training.optim import learning_rate
from handray.training.pace import Pace
from handray.training.precision import Precision
from handray.training.ranks import Ranks
from handray.training.state import TrainState


class TrainingFailureError(RuntimeError):
    """Training can't go on and would fail again: one sentence with the remedy."""


@dataclass(frozen=True)
class Surroundings:
    """What the loop asks of whoever runs it; every rank is asked alike."""

    batches: Callable[[int, int], Iterator[Batch]]
    """This rank's batches of an epoch, from a step on."""
    steps_an_epoch: int
    validate: Callable[[nn.Module], Overlap]
    """Pixel counts of a network in eval mode over all validation images, on every rank."""
    progress: Callable[[TrainState, Pace], None]
    """Told after every step; must be quick."""
    checkpoint: Callable[[TrainState, bool], None]
    """Keeps the state; told whether the epoch that just ended is the best so far."""
    is_leaving: Callable[[bool], bool] = lambda _looked: False
    """Whether this rank or its machine is about to go, so that the state must be kept now; asked
    after every step, and told whether all ranks have just looked at the clock."""


@dataclass(frozen=True)
class Learner:
    """The parts of one optimiser step that don't change while training."""

    config: Config
    class_names: tuple[str, ...]
    normalise: Normalisation
    precision: Precision
    ranks: Ranks
    parallel: nn.Module
    """The state's model, or DDP around it."""

    @cached_property
    def criterion(self) -> Loss:
        """The config's loss, with its weights of classes on the ranks' device."""
        weights = class_weights(self.config.train.class_weights, self.class_names)
        if weights is not None:
            weights = weights.to(self.ranks.device)
        return weighted_sum(self.config.train.loss, weights)


def fit(state: TrainState, learner: Learner, world: Surroundings) -> None:
    """Train until the config's epochs or minutes are over, from wherever ``state`` stands.

    Raises:
        TrainingFailureError: the loss is no longer a number.

    """
    config = learner.config
    pace = Pace(config.train, world.steps_an_epoch, state, learner.ranks)
    # An epoch that is under way is validated, also where it was kept as the time ran out.
    while state.step or not _over(state, config, pace):
        _train_epoch(state, learner, world, pace)
        started = time.monotonic()
        # Each rank's batch norms have counted batches of their own.
        learner.ranks.share(state.average.model)
        overlap = world.validate(state.average.model)
        state.validation_seconds = learner.ranks.agreed(time.monotonic() - started)
        best = max((past["dice"] for past in state.history), default=-1.0)
        # Where nothing is held out, the last epoch is the one to keep.
        is_best = not len(overlap.rows) or overlap.dice() > best
        state.history.append(_record(state, overlap, config))
        state.epoch, state.step = state.epoch + 1, 0
        state.loss_sum = state.waited = state.worked = 0.0
        state.seconds = pace.now()
        world.checkpoint(state, is_best)
        pace.look(state.steps)


def _over(state: TrainState, config: Config, pace: Pace) -> bool:
    if config.train.minutes:
        return pace.progress(state.steps) >= 1
    return state.epoch >= config.train.epochs


def _record(state: TrainState, overlap: Overlap, config: Config) -> dict[str, Any]:
    """One epoch in plain types, for curves and tables."""
    images = state.step * config.train.batch
    return {
        "epoch": state.epoch + 1,
        "steps": state.steps,
        "loss": state.loss_sum / state.step,
        "dice": overlap.dice(),
        "class_dice": [float(d) for d in overlap.dice_C()],
        "lr": state.optimizer.param_groups[0]["lr"],
        "images_per_s": images / state.worked,
        "wait_share": state.waited / state.worked,
        "wait_seconds": state.waited,
        "step_seconds": state.worked - state.waited,
        "validation_seconds": state.validation_seconds,
    }


def _train_epoch(state: TrainState, learner: Learner, world: Surroundings, pace: Pace) -> None:
    """Run the epoch under way to its end, or until the minutes are over."""
    config, ranks = learner.config, learner.ranks
    saved_at = pace.seconds
    unread: tuple[Tensor, Batch] | None = None
    batches = world.batches(state.epoch, state.step)
    dice_by_epoch = [record["dice"] for record in state.history]
    for _ in itertools.count():
        started = time.monotonic()
        batch = next(batches, None)
        if batch is None:
            break
        state.waited += time.monotonic() - started
        rate = learning_rate(pace.progress(state.steps), config.optim, dice_by_epoch)
        loss = _step(state, learner, batch, rate)
        looked = pace.stepped(state.steps + 1)
        word = torch.stack([loss, loss.new_full((), world.is_leaving(looked))])
        # Read one step late: the device works on this step while the last one's word is read.
        is_leaving = _read(unread, state, ranks)
        unread = ranks.mean(word), batch
        state.step, state.steps = state.step + 1, state.steps + 1
        state.worked += time.monotonic() - started
        world.progress(state, pace)
        if config.train.minutes and pace.progress(state.steps) >= 1:
            break
        is_due = looked and pace.seconds - saved_at > 60 * config.cluster.checkpoint_minutes
        if is_leaving or (is_due and state.step < world.steps_an_epoch):
            _read(unread, state, ranks)
            unread = None
            _keep(state, world, pace)
            saved_at = pace.seconds
    if _read(unread, state, ranks):
        _keep(state, world, pace)


def _keep(state: TrainState, world: Surroundings, pace: Pace) -> None:
    """Keep the state within an epoch."""
    state.seconds = pace.now()
    world.checkpoint(state, False)
    pace.look(state.steps)


def _step(state: TrainState, learner: Learner, batch: Batch, rate: float) -> Tensor:
    """One optimiser step on this rank's batch; its mean loss, detached, still on the device."""
    config, ranks = learner.config, learner.ranks
    seed = config.train.seed, state.steps, ranks.rank
    torch.manual_seed(_seed(*seed))
    state.model.train()
    rounds = -(-config.parts // ranks.count)
    mix = Mix(1.0, batch)
    if config.data.mixup:
        mix = draw_mix(batch, config.data.mixup, seed)
    total = torch.zeros((), device=ranks.device)
    pairs = zip(batch.parts(rounds), mix.partners.parts(rounds), strict=True)
    for number, (part, partner) in enumerate(pairs):
        # Gradients are averaged over ranks once a step, in the last part's backward pass.
        parallel = learner.parallel
        keep = isinstance(parallel, DistributedDataParallel) and number < rounds - 1
        # Fewer ranks than planned may have the last round filled up: see rank_columns.
        counts = number * ranks.count + ranks.rank < config.parts
        share = ranks.count / config.parts if counts else 0.0
        with parallel.no_sync() if keep else nullcontext():  # type: ignore[operator]
            loss = _loss(learner, part, partner, mix.own) * share
            state.scaler.scale(loss).backward()
            total += loss.detach()
    state.scaler.unscale_(state.optimizer)
    nn.utils.clip_grad_norm_(state.model.parameters(), config.optim.clip)
    for group in state.optimizer.param_groups:
        group["lr"] = rate * group["lr_factor"]
    state.scaler.step(state.optimizer)
    state.scaler.update()
    state.optimizer.zero_grad(set_to_none=True)
    state.average.update(state.model)
    return total


def _loss(learner: Learner, part: Batch, partner: Batch, own: float) -> Tensor:
    """Mean loss of some images, each mixed with its partner where ``own`` is below 1."""
    device = learner.ranks.device

    def image(of: Batch) -> Tensor:
        return learner.normalise(of.image_BHW.to(device, non_blocking=True))

    def loss(logits: Tensor, of: Batch) -> Tensor:
        return learner.criterion(logits, targets(of, len(learner.class_names), device))

    mixed = image(part) if own == 1 else torch.lerp(image(partner), image(part), own)
    with learner.precision.autocast():
        logits = learner.parallel(mixed)
    if own == 1:
        return loss(logits, part)
    return own * loss(logits, part) + (1 - own) * loss(logits, partner)


def _seed(*numbers: int) -> int:
    """One seed from several, for layers that draw random numbers, such as dropout."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint32)[0])


def _read(unread: tuple[Tensor, Batch] | None, state: TrainState, ranks: Ranks) -> bool:
    """Add a step's mean loss over all ranks to the epoch's; whether any rank is leaving."""
    if unread is None:
        return False
    word, batch = unread
    value, leaving = word.tolist()
    if not math.isfinite(value):
        names = [name for part in ranks.gathered(batch.names) for name in part]
        raise TrainingFailureError(
            f"the loss became {value} by step {state.steps} (epoch {state.epoch + 1}, images "
            f"{', '.join(names)}): look at these images, or try half the --lr "
            f"({state.optimizer.param_groups[0]['lr']:.2g} now) or --precision fp32"
        )
    state.loss_sum += value
    return bool(leaving)
