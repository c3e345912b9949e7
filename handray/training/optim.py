"""Optimisers by name, the learning rate as a function of progress, and averaged weights."""

import copy
import math
from collections.abc import Callable, Iterable
from typing import Any

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
}


def check_optimizer(name: str) -> None:
    """Raise ValueError for an optimiser that isn't known."""
    if name not in BUILDERS:
        raise ValueError(f"--optimizer {name} is not known; choose one of: {', '.join(BUILDERS)}")


def build_optimizer(model: nn.Module, config: OptimConfig) -> torch.optim.Optimizer:
    """Build the optimiser; norms and biases (parameters of one axis) get no weight decay."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    groups: Iterable[dict[str, Any]] = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return BUILDERS[config.optimizer](groups, lr=config.lr)


def learning_rate(progress: float, config: OptimConfig) -> float:
    """Learning rate at a share of the training in [0, 1]: a linear rise, then the schedule."""
    if progress < config.warmup:
        # Never quite 0, so that the first step of a short run is not lost.
        return config.lr * max(progress / config.warmup, 0.01)
    if config.schedule == "constant":
        return config.lr
    falling = (min(progress, 1.0) - config.warmup) / (1 - config.warmup)
    return config.lr * (1 + math.cos(math.pi * falling)) / 2


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
