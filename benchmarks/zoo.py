"""Train every network of the zoo for the same number of steps on the same images, and compare.

  python benchmarks/zoo.py
  python benchmarks/zoo.py --data DIR --networks hrnet_small unet fpn

From random weights, AdamW at one learning rate, BCE + Dice, float32, no augmentation, on drawn
hands (or --data), a fifth of the people held out; as many trainings side by side as there are
cores. Each row is saved in benchmarks/results/ as its training ends, so that the command can be
stopped and goes on. Then a table and a plot of all curves. With --longer a network that ends below
a Dice of 0.5 is trained anew for three times as many steps (rows of zoo_longer.json), to see
whether it is the steps that hold it.

ms_per_step is the median CPU time on one thread; peak_mib the process's largest
resident memory, Python and torch included; worst_late_drop the deepest fall of the held-out Dice
below an earlier one in the last third; why says what was measured where the Dice is below 0.5.
"""

import argparse
import colorsys
from itertools import accumulate
from pathlib import Path
from typing import Any

from small_training import Results, phantoms, train_all

from handray.cli import Parser, run_job
from handray.config import Config, replaced
from handray.models.zoo import NETWORKS, check_size, network
from handray.recipes import recipe

EVERY = 15
ENOUGH = 0.5
LONGER = 3
"""Times as many steps for a network that ends below ENOUGH."""
FIXED = {
    "model.weights": "none",
    "data.augment": "none",
    "optim.optimizer": "adamw",
    "optim.lr": 1.5e-3,
    "optim.weight_decay": 0.01,
    "optim.schedule": "cosine",
    "optim.warmup": 0.1,
    "optim.ema": 0.9,
    "train.loss": "1*bce+1*dice",
    "train.batch": 2,
    "train.accumulate": 1,
    "train.minutes": 0.0,
    "train.precision": "fp32",
}


def main() -> int:
    """Exit code: 0 all rows are there, 2 bad input."""
    options = _options()
    if options.steps % EVERY or options.steps < 3 * EVERY:
        raise ValueError(f"--steps must be a multiple of {EVERY} from {3 * EVERY}")
    for name in options.networks:
        network(name)
    stem = f"zoo_{Path(options.data).name}" if options.data else "zoo"
    results, longer = Results(f"{stem}.json"), Results(f"{stem}_longer.json")
    data = options.data or phantoms()
    jobs = [_job(name, options.size, options.steps) for name in options.networks]
    train_all(jobs, data, EVERY, results, _with_drop)
    rows = [row for key, _ in jobs if (row := results.row(key))]
    short = [row for row in rows if row["dice"] <= ENOUGH]
    again = [_job(row["name"], options.size, LONGER * options.steps) for row in short]
    if options.longer:
        train_all(again, data, EVERY, longer, _with_drop)
    for row in rows:
        row["why"] = ""
    for row, (key, _) in zip(short, again, strict=True):
        row["why"] = _why(row, longer.row(key))
    results.save()
    print(_table(rows))
    plot(rows, results.path.with_suffix(".png"))
    print(f"\nRows: {results.path}; curves: {results.path.with_suffix('.png')}")
    return 0


def _job(name: str, size: int, steps: int) -> tuple[dict[str, Any], Config]:
    config = replaced(recipe(name), {**FIXED, "data.size": max(size, network(name).least)})
    check_size(config.model.design, config.data.size)
    key = {"name": name, "size": config.data.size, "steps": steps}
    return key, replaced(config, {"train.epochs": steps // EVERY})


def _with_drop(row: dict[str, Any]) -> dict[str, Any]:
    """Add how far the held-out Dice fell in the last third."""
    curve = row["curve"]
    late = curve[2 * len(curve) // 3 :]
    falls = [best - dice for best, dice in zip(accumulate(late, max), late, strict=True)]
    return {**row, "worst_late_drop": round(max(falls, default=0.0), 4)}


def _why(row: dict[str, Any], longer: dict[str, Any] | None) -> str:
    """What holds a network whose Dice is low, as far as it was measured."""
    if row["failure"]:
        return str(row["failure"])
    # As low on images that it was trained on: it has learnt too little, not too much by heart.
    seen = f"Dice {row['seen_dice']:.2f} on images it was trained on"
    if longer is None:
        rise = row["curve"][-1] - row["curve"][-3]
        what = "too few steps" if rise > 0.02 else "learns slowly from random weights"
        return f"{what}: {rise:+.2f} in the last {2 * EVERY}; {seen}"
    what = "too few steps" if longer["dice"] > ENOUGH else "learns slowly from random weights"
    return f"{what}: {seen}, {longer['dice']:.2f} held out after {longer['steps']} steps"


def _table(rows: list[dict[str, Any]]) -> str:
    lines = [
        "",
        f"{'network':<20} {'size':>4} {'M par.':>7} {'ms/step':>7} {'MiB':>6}   Dice   drop",
    ]
    for row in sorted(rows, key=lambda row: -row["dice"]):
        lines.append(
            f"{row['name']:<20} {row['size']:>4} {row['parameters'] / 1e6:>7.1f} "
            f"{row['ms_per_step']:>7} {row['peak_mib']:>6} {row['dice']:>6.3f} "
            f"{row['worst_late_drop']:>6.3f}  {row['why']}"
        )
    return "\n".join(lines)


def plot(rows: list[dict[str, Any]], path: Path) -> None:
    """Write a PNG of the held-out Dice over the steps, a line a network."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(11, 7))
    rows = sorted(rows, key=lambda row: -row["dice"])
    for number, row in enumerate(rows):
        steps = [EVERY * (k + 1) for k in range(len(row["curve"]))]
        colour = colorsys.hsv_to_rgb(number / len(rows), 0.9, 0.75)
        style = ("-", "--", ":")[number % 3]
        label = f"{row['name']} {row['dice']:.2f}"
        axes.plot(steps, row["curve"], style, color=colour, label=label)
    axes.axhline(ENOUGH, color="0.8", zorder=0)
    axes.set(xlabel="steps", ylabel="held-out Dice at source size", ylim=(0, 1))
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=90)
    pyplot.close(figure)


def _options() -> argparse.Namespace:
    parser = Parser(__doc__)
    add = parser.add_argument
    add("--data", metavar="DIR", help="data set in the competition's layout (default: drawn hands)")
    add(
        "--networks",
        nargs="+",
        metavar="NAME",
        default=sorted(NETWORKS, key=lambda name: NETWORKS[name].millions),
        help="which (default: all, small ones first)",
    )
    add("--size", type=int, default=192, help="pixels; a network that takes no less has its least")
    add("--longer", action="store_true", help="train those below 0.5 for three times the steps too")
    add("--steps", type=int, default=120, help="steps of two images (default: 120)")
    return parser.parse_args()


if __name__ == "__main__":
    run_job(main)
