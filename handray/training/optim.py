"""Optimisers by name, the learning rate as a function of progress, and averaged weights."""

import copy
import math
from collections.abc import Callable, Sequence
from functools import partial

import torch
from adamp import AdamP
from torch import nn

from handray.config import OptimConfig


class _AdamP(AdamP):
    """AdamP for channels_last weights too, whose strides its own views refuse."""

    def _channel_view(self, x: torch.Tensor) -> torch.Tensor:
        return x.reshape(x.size(0), -1)

    def _layer_view(self, x: torch.Tensor) -> torch.Tensor:
        return x.reshape(1, -1)


BUILDERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adam": torch.optim.Adam,
    "adamp": _AdamP,
    "adamw": torch.optim.AdamW,
    "sgd": partial(torch.optim.SGD, momentum=0.9, nesterov=True),
}

ENCODERS = ("encoder.", "backbone.")
"""What the parameters of a pretrained part start with: smp says encoder, the others backbone."""

PLATEAU_PATIENCE = 5
"""Epochs without a better validation Dice after which the plateau schedule halves the rate."""


def check_optimizer(name: str) -> None:
    """Raise ValueError for an optimiser that isn't known."""
    if name not in BUILDERS:
        raise ValueError(f"--optimizer {name} is not known; choose one of: {', '.join(BUILDERS)}")


def build_optimizer(model: nn.Module, config: OptimConfig) -> torch.optim.Optimizer:
    """Build the optimiser: groups of the head, then of the encoder, each with its ``lr_factor``.

    Norms and biases (parameters of one axis, or called so) get no weight decay.

    Raises:
        ValueError: an encoder's learning rate for a network without one.

    """
    parameters: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, p in model.named_parameters():
        if p.requires_grad:
            part = name.startswith(ENCODERS), p.ndim <= 1 or name.endswith("bias")
            parameters.setdefault(part, []).append(p)
    if config.encoder_lr_factor != 1 and not any(in_encoder for in_encoder, _ in parameters):
        raise ValueError(
            "--encoder-lr-factor: this network has no encoder that could learn more slowly than "
            "its head; leave it at 1, or choose another --model"
        )
    groups = [
        {
            "params": parameters[in_encoder, undecayed],
            "weight_decay": 0.0 if undecayed else config.weight_decay,
            "lr_factor": config.encoder_lr_factor if in_encoder else 1.0,
        }
        for in_encoder, undecayed in sorted(parameters)
    ]
    return BUILDERS[config.optimizer](groups, lr=config.lr)


def learning_rate(
    progress: float, config: OptimConfig, dice_by_epoch: Sequence[float] = ()
) -> float:
    """Learning rate at a share of the training in [0, 1]: a linear rise, then the schedule.

    ``dice_by_epoch`` is the validation Dice of each ended epoch, for the schedule ``plateau``.
    """
    if progress < config.warmup:
        # Never quite 0, so that the first step of a short run is not lost.
        return config.lr * max(progress / config.warmup, 0.01)
    if config.schedule == "constant":
        return config.lr
    if config.schedule == "plateau":
        return config.lr / 2 ** plateaus(dice_by_epoch)
    falling = (min(progress, 1.0) - config.warmup) / (1 - config.warmup)
    return config.lr * (1 + math.cos(math.pi * falling)) / 2


def plateaus(dice_by_epoch: Sequence[float]) -> int:
    """Times that PLATEAU_PATIENCE epochs in a row, counted anew after each time, beat no best."""
    best, waited, count = -1.0, 0, 0
    for dice in dice_by_epoch:
        waited = 0 if dice > best else waited + 1
        best = max(best, dice)
        if waited == PLATEAU_PATIENCE:
            count, waited = count + 1, 0
    return count


class AveragedModel:
    """Exponential moving average of a model's parameters; buffers are copied as they are.

    The decay after t updates is min(decay, (1 + t) / (10 + t)), so that the first steps don't hold
    the random start.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self._parameters: list[torch.Tensor] = list(self.model.parameters())
        self._buffers = list(self.model.buffers())

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Move the average towards the model's parameters by one step."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates)) if self.decay else 0.0
        self.updates += 1
        latest: list[torch.Tensor] = list(model.parameters())
        torch._foreach_lerp_(self._parameters, latest, 1 - decay)
        if self._buffers:
            torch._foreach_copy_(self._buffers, list(model.buffers()))
