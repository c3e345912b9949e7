"""All that must survive a crash, and the checkpoints that outlive a run."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from handray.models.torch_file import read_torch_file
from handray.training.optim import AveragedModel


@dataclass
class TrainState:
    """One fold's training, between any two steps."""

    model: nn.Module
    average: AveragedModel
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    epoch: int = 0
    """Epochs ended, so the number of the one under way."""
    step: int = 0
    """Optimiser steps of the epoch under way."""
    steps: int = 0
    """Optimiser steps in all."""
    seconds: float = 0.0
    """Wall seconds of training and validation, those before a restart included."""
    validation_seconds: float = 0.0
    """Wall seconds of the last validation, by rank 0's clock."""
    loss_sum: float = 0.0
    """Sum over the steps of the epoch under way, already the mean over all ranks."""
    waited: float = 0.0
    """Seconds of the epoch under way that rank 0 waited for data."""
    worked: float = 0.0
    """Seconds of the epoch under way, waiting included."""
    history: list[dict[str, Any]] = field(default_factory=list)
    """One record an ended epoch, plain types only."""

    COUNTERS = (
        "epoch",
        "step",
        "steps",
        "seconds",
        "validation_seconds",
        "loss_sum",
        "waited",
        "worked",
    )

    def state_dict(self) -> dict[str, Any]:
        """Return tensors and plain types only, so that it loads with ``weights_only=True``."""
        return {
            "model": self.model.state_dict(),
            "average": self.average.model.state_dict(),
            "updates": self.average.updates,
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "history": self.history,
            **{name: getattr(self, name) for name in self.COUNTERS},
        }

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Become what ``state_dict`` was taken from."""
        self.model.load_state_dict(saved["model"])
        self.average.model.load_state_dict(saved["average"])
        self.average.updates = saved["updates"]
        self.optimizer.load_state_dict(saved["optimizer"])
        if saved["scaler"]:  # empty where the arithmetic so far needed none
            self.scaler.load_state_dict(saved["scaler"])
        self.history = saved["history"]
        for name in self.COUNTERS:
            setattr(self, name, saved[name])


def save_network(path: Path, model: nn.Module, about: dict[str, Any]) -> None:
    """Write a network's weights with what it takes to use them.

    Args:
        path: the file, written under another name first.
        model: the network.
        about: plain facts (config, class names, mean, std, size), kept as JSON inside.

    """
    _save(path, {"weights": model.state_dict(), "about": json.dumps(about)})


def save_state(path: Path, state: TrainState) -> None:
    """Write all that a training needs to go on, under another name first."""
    _save(path, state.state_dict())


def _save(path: Path, content: dict[str, Any]) -> None:
    partial = path.with_suffix(".partial")
    # A file opened here: torch's own hides why a write failed, such as a full disk.
    with partial.open("wb") as file:
        torch.save(content, file)
    partial.replace(path)


def load_network(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return weights and facts that ``save_network`` wrote, on the CPU.

    Raises:
        ValueError: no file that torch can read, or a damaged one.
        KeyError, TypeError, JSONDecodeError: a file of something else.

    """
    saved = read_torch_file(path)
    return saved["weights"], json.loads(saved["about"])
