"""Which recipe learns most from few images: trainings of one fold by CPU time, as a leaderboard.

  python benchmarks/small_data.py --data DIR
  python benchmarks/small_data.py --data DIR --confirm
  python benchmarks/small_data.py --data DIR --longer

Random weights, one of three folds held out. The search gives each candidate 4 CPU minutes of one
thread, about 2 minutes on two cores; --confirm gives the best two 16, about 10. A training's clock
counts its own CPU time, so that as many run side by side as there are cores. --longer varies what
holds the best one back from learning its images by heart, in 130 passes over them, which is what
ten minutes of two fast cores are enough for. Dice is the mean over classes of the mean over the
held-out images that have the class, in the source frame. Each row is kept in
results/small_data.json as it ends; the command goes on where it was stopped.
"""

import argparse
import json
import time
from types import SimpleNamespace
from typing import Any

import numpy as np
from small_training import Results, folder_task, machine, side_by_side

import handray.training.pace
from handray.cli import Parser, run_job
from handray.cluster.fold import FoldTask, FoldTraining
from handray.config import replaced
from handray.recipes import recipe, small_data
from handray.training.metrics import Overlap
from handray.training.ranks import Ranks
from handray.training.state import TrainState

SEARCH, CONFIRM = 4.0, 16.0
"""CPU minutes."""
PASSES, VALIDATIONS = 10, 13
"""Of --longer: passes over the images between two validations, and how many of these."""
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
FINALISTS: list[tuple[str, dict[str, Any]]] = [
    ("hrnet_small", {"data.size": 256}),
    ("hrnet_scratch", {"data.size": 192}),
    ("hrnet_small", {"data.size": 256, "data.augment": "affine+elastic+rbc"}),
    (
        "hrnet_small",
        {"data.size": 256, "data.augment": "affine+elastic+rbc", "data.augment_strength": 1.5},
    ),
]
"""The two families that led the search, and more augmentation for what had time to overfit."""
POLICY = "affine+elastic+rbc"
REGULARISED: list[tuple[str, dict[str, Any]]] = [
    (
        "hrnet_small",
        {"data.augment": policy, "data.augment_strength": strength, "optim.weight_decay": decay},
    )
    for policy, strength, decay in [
        (POLICY, 1.0, 0.01),
        (POLICY, 1.5, 0.01),
        (POLICY, 1.0, 0.2),
        (POLICY, 1.5, 0.2),
        (f"{POLICY}+mixup", 1.5, 0.2),
    ]
]
"""The best one with what keeps it from overfitting."""


def main() -> int:
    """Exit code: 0 all rows are there, 2 bad input."""
    options = _options()
    results = Results("small_data.json")
    if options.longer:
        chosen, budget = REGULARISED, {"passes": PASSES * VALIDATIONS}
    else:
        chosen = FINALISTS if options.confirm else CANDIDATES
        budget = {"cpu_minutes": CONFIRM if options.confirm else SEARCH}
    keys = [{"model": model, "changes": changes, **budget} for model, changes in chosen]
    todo = [key for key in keys if results.row(key) is None]
    calls = [(key, options.data) for key in todo]
    for done, (number, record) in enumerate(side_by_side(_train, calls), start=1):
        row = {**todo[number], **record}
        results.add(row)
        print(f"{done} of {len(todo)}: {json.dumps(row)}", flush=True)
    print(_table(results.rows))
    return 0


def _train(key: dict[str, Any], data: str) -> dict[str, Any]:
    if "passes" in key:
        budget = {"train.minutes": 0.0, "train.epochs": VALIDATIONS, "data.passes": PASSES}
        config = replaced(small_data(), {**budget, **key["changes"]})
    else:
        # One epoch without end: the held-out images are looked at once, when the time is up.
        clock = SimpleNamespace(monotonic=time.process_time)
        handray.training.pace.time = clock  # type: ignore[assignment]
        budget = {"train.minutes": key["cpu_minutes"]}
        config = replaced(recipe(key["model"]), {**COMMON, **budget, **key["changes"]})
    task = folder_task(config, data, FOLDS)
    training = FoldTraining(task, Ranks(), None)
    curve: list[float] = []

    def note(state: TrainState, _: bool) -> None:
        if not state.step:  # at the end of an epoch, after its validation
            assert training.overlap is not None
            curve.append(round(_dice_where_present(training.overlap, task), 4))

    training.fit(lambda *_: None, note)
    return {
        "dice": curve[-1],
        "best": max(curve),
        "steps": training.state.steps,
        "loss": round(training.state.history[-1]["loss"], 4),
        "machine": machine(),
    }


def _dice_where_present(overlap: Overlap, task: FoldTask) -> float:
    """Mean over classes of the mean Dice over the images that have the class."""
    dice_NC = overlap.dice_NC()
    present_NC = np.array(
        [
            [channel in task.train[row].polygons for channel in range(len(task.class_names))]
            for row in overlap.rows
        ]
    )
    with np.errstate(invalid="ignore"):
        of_class = np.where(present_NC, dice_NC, 0).sum(0) / present_NC.sum(0)
    return float(np.nanmean(of_class))


def _table(rows: list[dict[str, Any]]) -> str:
    lines = ["", "budget      Dice    best    steps  network        changes"]
    for row in sorted(rows, key=lambda row: (row.get("cpu_minutes", 0), row["dice"]), reverse=True):
        changes = " ".join(f"{key.split('.')[1]}={value}" for key, value in row["changes"].items())
        minutes = row.get("cpu_minutes")
        budget = f"{minutes:.0f} CPU min" if minutes else f"{row['passes']} passes"
        lines.append(
            f"{budget:<10}  {row['dice']:.4f}  {row.get('best', row['dice']):.4f}  "
            f"{row['steps']:5}  {row['model']:<13}  {changes}"
        )
    return "\n".join(lines)


def _options() -> argparse.Namespace:
    parser = Parser(__doc__)
    parser.add_argument("--data", required=True, metavar="DIR", help="data folder")
    stage = parser.add_mutually_exclusive_group()
    stage.add_argument("--confirm", action="store_true", help="train the finalists for longer")
    stage.add_argument("--longer", action="store_true", help="vary what prevents overfitting")
    return parser.parse_args()


if __name__ == "__main__":
    run_job(main)
