"""Which recipe learns most from few images: trainings of one fold by CPU time, as a leaderboard.

  python benchmarks/small_data.py --data DIR
  python benchmarks/small_data.py --data DIR --confirm

Random weights, one of three folds held out. The search gives each candidate 4 CPU minutes of one
thread, about 2 minutes on two cores; --confirm gives the best two 16, about 10. A training's clock
counts its own CPU time, so that as many run side by side as there are cores. Dice is the mean over
classes of the mean over the held-out images that have the class, in the source frame. Each row is
kept in results/small_data.json as it ends; the command goes on where it was stopped.
"""

import argparse
import json
import time
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
from small_training import Results, folder_task, machine, side_by_side

import handray.training.pace
from handray.cli import Parser, run_job
from handray.cluster.fold import FoldTraining
from handray.config import replaced
from handray.recipes import recipe
from handray.training.ranks import Ranks

SEARCH, CONFIRM = 4.0, 16.0
"""CPU minutes."""
FOLDS = 3
COMMON = {
    "model.weights": "none",
    "data.augment": "affine",
    "data.passes": 1000,
    "optim.optimizer": "adamw",
    "optim.lr": 2e-3,
    "optim.weight_decay": 0.01,
    "optim.ema": 0.99,
    "optim.warmup": 0.1,
    "train.batch": 2,
    "train.accumulate": 1,
    "train.precision": "fp32",
}
CANDIDATES: list[tuple[str, dict[str, Any]]] = [
    ("hrnet_scratch", {"data.size": 192}),
    ("hrnet_scratch", {"data.size": 256}),
    ("hrnet_scratch", {"data.size": 192, "model.activation": "silu"}),
    ("hrnet_scratch", {"data.size": 192, "train.batch": 4}),
    ("hrnet_scratch", {"data.size": 192, "train.batch": 1}),
    ("hrnet_scratch", {"data.size": 192, "data.augment": "affine+elastic"}),
    ("hrnet_scratch", {"data.size": 192, "data.augment": "none"}),
    ("hrnet_scratch", {"data.size": 192, "optim.lr": 4e-3}),
    ("hrnet_small", {"data.size": 192}),
    ("hrnet_small", {"data.size": 256}),
    ("hrnet_small", {"data.size": 256, "optim.lr": 4e-3}),
    ("unet", {"data.size": 192, "model.encoder": "resnet18"}),
]
LONGER: list[tuple[str, dict[str, Any]]] = [
    ("hrnet_small", {"data.size": 256}),
    ("hrnet_scratch", {"data.size": 192}),
    ("hrnet_small", {"data.size": 256, "data.augment": "affine+elastic+rbc"}),
    (
        "hrnet_small",
        {"data.size": 256, "data.augment": "affine+elastic+rbc", "data.augment_strength": 1.5},
    ),
]
"""The two families that led the search, and more augmentation for what had time to overfit."""


def main() -> int:
    """Exit code: 0 all rows are there, 2 bad input."""
    options = _options()
    results = Results("small_data.json")
    chosen = LONGER if options.confirm else CANDIDATES
    minutes = CONFIRM if options.confirm else SEARCH
    keys = [
        {"model": model, "changes": changes, "cpu_minutes": minutes} for model, changes in chosen
    ]
    todo = [key for key in keys if results.row(key) is None]
    calls = [(key, options.data) for key in todo]
    for done, (number, record) in enumerate(side_by_side(_train, calls), start=1):
        row = {**todo[number], **record}
        results.add(row)
        print(f"{done} of {len(todo)}: {json.dumps(row)}", flush=True)
    print(_table(results.rows))
    return 0


def _train(key: dict[str, Any], data: str) -> dict[str, Any]:
    clock = SimpleNamespace(monotonic=time.process_time)
    handray.training.pace.time = clock  # type: ignore[assignment]
    config = replaced(
        recipe(key["model"]), {**COMMON, "train.minutes": key["cpu_minutes"], **key["changes"]}
    )
    task = folder_task(config, data, 1, FOLDS)
    # One epoch without end: the held-out images are looked at once, when the time is up.
    task = replace(task, config=config)
    training = FoldTraining(task, Ranks(), None)
    training.fit(lambda *_: None, lambda *_: None)
    overlap, state = training.overlap, training.state
    assert overlap is not None
    dice_NC = overlap.dice_NC()
    present_NC = np.array(
        [
            [channel in task.train[row].polygons for channel in range(len(task.class_names))]
            for row in overlap.rows
        ]
    )
    with np.errstate(invalid="ignore"):
        of_class = np.where(present_NC, dice_NC, 0).sum(0) / present_NC.sum(0)
    return {
        "dice": round(float(np.nanmean(of_class)), 4),
        "steps": state.steps,
        "loss": round(state.history[-1]["loss"], 4),
        "machine": machine(),
    }


def _table(rows: list[dict[str, Any]]) -> str:
    lines = ["", "CPU min  Dice    steps  network        changes"]
    for row in sorted(rows, key=lambda row: (-row["cpu_minutes"], -row["dice"])):
        changes = " ".join(f"{key.split('.')[1]}={value}" for key, value in row["changes"].items())
        lines.append(
            f"{row['cpu_minutes']:7.0f}  {row['dice']:.4f}  {row['steps']:5}  {row['model']:<13}  "
            f"{changes}"
        )
    return "\n".join(lines)


def _options() -> argparse.Namespace:
    parser = Parser(__doc__)
    parser.add_argument("--data", required=True, metavar="DIR", help="data folder")
    parser.add_argument("--confirm", action="store_true", help="train the finalists for longer")
    return parser.parse_args()


if __name__ == "__main__":
    run_job(main)
