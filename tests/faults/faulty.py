"""A small training with a fault, and how it went on: the helpers of these tests."""

import os
import signal
import subprocess
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import pandas as pd
from processes import start, wait_for, workers

INJECT = Path(__file__).parent / "inject"
SESSIONS = count(100)
PATIENCE = 900.0
"""Seconds for whatever is waited for; a busy machine takes long to start Ray."""
TRAINING = [
    *("--model", "hrnet_small", "--size", "64", "--folds", "2"),
    *("--batch", "4", "--accumulate", "1", "--passes", "3", "--epochs", "3", "--seed", "1"),
    *("--weights", "none", "--augment", "flip", "--precision", "fp32", "--name", "small"),
    *("--optimizer", "adamw", "--lr", "0.01", "--ema", "0.5"),
]
"""Three epochs of six steps on one thread or two, the same numbers each time."""


@dataclass(frozen=True)
class Step:
    """A step that a rank began."""

    at: float
    """By the wall's clock, seconds."""
    process: int
    rank: int
    number: int
    """Optimiser steps that were done before."""


@dataclass
class Faulty:
    """A training in a folder, with the fault that is put into it."""

    folder: Path
    data: Path
    faults: tuple[str, ...] = ()
    step_seconds: float = 0.0
    folds: tuple[str, ...] = ("--only-fold", "0")
    environment: dict[str, str] = field(default_factory=dict)
    session: int = field(default_factory=lambda: next(SESSIONS))

    @property
    def home(self) -> Path:
        """The run's folder."""
        return self.folder / "runs/small"

    @property
    def trace(self) -> Path:
        """File of the steps."""
        return self.folder / "trace"

    def start(self, *arguments: object, plain: bool = False) -> subprocess.Popen[str]:
        """Start it; without its fault where ``plain``."""
        path = f"{INJECT}:{os.environ.get('PYTHONPATH', '')}"
        return start(
            *("train_kfold.py", *TRAINING, *self.folds, "--data", self.data, *arguments),
            folder=self.folder,
            PYTHONPATH=path,
            HANDRAY_TEST_TRACE=str(self.trace),
            HANDRAY_TEST_FAULTS="" if plain else ";".join(self.faults),
            HANDRAY_TEST_STEP_SECONDS=str(self.step_seconds),
            HANDRAY_TEST_SESSION=str(self.session),
            **self.environment,
        )

    def run(self, *arguments: object, plain: bool = False) -> tuple[int, str]:
        """Exit code and output of it."""
        process = self.start(*arguments, plain=plain)
        output, _ = process.communicate(timeout=PATIENCE)
        return process.returncode, output

    def paused(self, process: subprocess.Popen[str], fault: int = 0) -> int:
        """The process that waits at a fault's point, once it does."""
        file = self.sign(fault)
        wait_for(lambda: file.exists() and file.read_text(), process, PATIENCE)
        return int(file.read_text())

    def sign(self, fault: int = 0) -> Path:
        """The file that a paused process waits for to go."""
        return self.trace.with_suffix(f".paused{fault}")

    def reach(self, process: subprocess.Popen[str], number: int, since: float = 0.0) -> None:
        """Wait until a step, or a later one, is begun after a time."""

        def is_there() -> bool:
            return any(step.at > since and step.number >= number for step in self.steps())

        wait_for(is_there, process, PATIENCE)

    def ranks(self) -> list[int]:
        """Processes of its ranks."""
        return workers("RayTrainWorker", self.session)

    def processes(self) -> list[int]:
        """All its processes that are alive."""
        return workers("", self.session)

    def steps(self) -> list[Step]:
        """All steps that were begun so far, by rank 0."""
        if not self.trace.exists():
            return []
        lines = [line.split() for line in self.trace.read_text().splitlines()]
        steps = [Step(float(at), int(pid), int(rank), int(n)) for at, pid, rank, n in lines]
        return [step for step in steps if step.rank == 0]

    def went_on(self, since: float) -> tuple[int, int, float]:
        """How rank 0 went on in another process after a fault at a time.

        Returns:
            The step that it had begun last, the one that it began first then, and the seconds
            until it was further than before.

        """
        before = [step for step in self.steps() if step.at <= since]
        after = [step for step in self.steps() if step.process != before[-1].process]
        after = [step for step in after if step.at > since]
        reached = max(step.number for step in before)
        further = next((s.at for s in after if s.number > reached), after[-1].at)
        return reached, after[0].number, further - since


def stop(process: subprocess.Popen[str], how: signal.Signals) -> str:
    """Send a signal to the driver alone; its output, once it has ended."""
    process.send_signal(how)
    return process.communicate(timeout=PATIENCE)[0]


def check_rows(csv: Path, images: int) -> None:
    """Every image and class of a submission is there once."""
    table = pd.read_csv(csv, keep_default_na=False)
    rows = set(zip(table["image_name"], table["class"], strict=True))
    assert len(rows) == len(table) == 29 * images
