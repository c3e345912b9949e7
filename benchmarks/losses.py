"""Compare Adam with AdamP, and the report's five loss ratios, three seeds each, on drawn hands.

  python benchmarks/losses.py

The smallest HRNet from random weights, 120 steps of two images of 192 px, otherwise as zoo.py has
it. The report's ratios are BCE : Dice : IoU. Each row is saved in benchmarks/results/losses.json as
its training ends, so that the command can be stopped and goes on. The table gives the mean of the
held-out Dice over the seeds and its spread (standard deviation with n - 1), beside which a
difference has to be seen: the seed changes weights and order, not the images.
"""

from statistics import mean, stdev
from typing import Any

from small_training import Results, phantoms, seeds_option, train_all
from zoo import EVERY, FIXED

from handray.cli import run_job
from handray.config import Config, replaced
from handray.recipes import recipe

STEPS = 120
RATIOS = {
    "1:0:0": "1*bce",
    "1:1:1": "1*bce+1*dice+1*iou",
    "1:1:0": "1*bce+1*dice",
    "7:3:0": "7*bce+3*dice",
    "3:7:0": "3*bce+7*dice",
}
VARIANTS = [("adam", loss) for loss in RATIOS.values()] + [("adamp", RATIOS["1:1:0"])]


def main() -> int:
    """Exit code: 0 all rows are there, 2 bad input."""
    seeds = seeds_option(__doc__)
    results = Results("losses.json")
    jobs = [_job(*variant, seed) for seed in range(seeds) for variant in VARIANTS]
    train_all(jobs, phantoms(), EVERY, results, lambda row: row)
    print(_table(results.rows))
    print(f"\nRows: {results.path}")
    return 0


def _job(optimizer: str, loss: str, seed: int) -> tuple[dict[str, Any], Config]:
    changes = {
        **FIXED,
        "data.size": 192,
        "optim.optimizer": optimizer,
        "optim.weight_decay": 1e-6,
        "train.loss": loss,
        "train.seed": seed,
        "train.epochs": STEPS // EVERY,
    }
    key = {"optimizer": optimizer, "loss": loss, "seed": seed}
    return key, replaced(recipe("hrnet_small"), changes)


def _table(rows: list[dict[str, Any]]) -> str:
    lines = ["", f"{'optimiser':<10} {'loss':<20} seeds   Dice  spread"]
    for optimizer, loss in VARIANTS:
        chosen = [r["dice"] for r in rows if (r["optimizer"], r["loss"]) == (optimizer, loss)]
        spread = f"{stdev(chosen):.3f}" if len(chosen) > 1 else "-"
        lines.append(f"{optimizer:<10} {loss:<20} {len(chosen):>5}  {mean(chosen):.3f}  {spread}")
    return "\n".join(lines)


if __name__ == "__main__":
    run_job(main)
