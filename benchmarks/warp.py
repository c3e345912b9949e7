"""Is one fused resampling as good to learn from as transforms one after the other? Three seeds.

  python benchmarks/warp.py

The smallest HRNet from random weights, 240 steps of two images of 192 px under affine, elastic and
mirror, each drawn for half of the images: as handray/data/warp.py resamples them, and as
albumentations 2 does, with an exact elastic field of the same strength and scale. Rows are saved
in benchmarks/results/warp.json as each training ends; the command goes on where it was stopped.
"""

import math
from statistics import mean, stdev
from typing import Any

import albumentations as A
from small_training import Results, phantoms, seeds_option, side_by_side, train
from zoo import EVERY, FIXED

from handray.cli import run_job
from handray.config import Config, replaced
from handray.data.augment import TRANSFORMS
from handray.data.warp import Elastic
from handray.recipes import recipe

STEPS, SIZE, POLICY = 240, 192, "affine+elastic+flip"
WAYS = "fused", "one after the other"


def main() -> int:
    """Exit code: 0 all rows are there, 2 bad input."""
    seeds = seeds_option(__doc__)
    results = Results("warp.json")
    keys = [{"way": way, "seed": seed} for seed in range(seeds) for way in WAYS]
    todo = [key for key in keys if results.row(key) is None]
    data = phantoms()
    calls = [(key["way"], _config(key["seed"]), data) for key in todo]
    for number, record in side_by_side(train_way, calls):
        results.add({**todo[number], **record})
        print(f"{todo[number]}: Dice {record['dice']:.3f}", flush=True)
    for way in WAYS:
        dice = [row["dice"] for row in results.rows if row["way"] == way]
        spread = f"{stdev(dice):.3f}" if len(dice) > 1 else "-"
        print(f"{way:<20} {len(dice)} seeds, held-out Dice {mean(dice):.3f}, spread {spread}")
    return 0


def train_way(way: str, config: Config, data: str) -> dict[str, Any]:
    """Train with a way of moving pixels; a record in plain types."""
    if way != WAYS[0]:
        TRANSFORMS["elastic"] = own_elastic
    return train(config, data, EVERY)


def own_elastic(size: int, strength: float) -> A.BasicTransform:
    """albumentations' elastic with displacements of the same deviation and scale as handray's."""
    ours = Elastic(alpha=0.005 * strength * size, sigma=size / 20)
    # It blurs uniform noise of deviation 1 / sqrt(3); a Gaussian leaves 1 / (2 sqrt(pi) sigma).
    alpha = ours.alpha * 2 * math.sqrt(math.pi) * ours.sigma * math.sqrt(3)
    return A.ElasticTransform(alpha=alpha, sigma=ours.sigma, noise_distribution="uniform", p=ours.p)


def _config(seed: int) -> Config:
    changes = {
        **FIXED,
        "data.size": SIZE,
        "data.augment": POLICY,
        "train.seed": seed,
        "train.epochs": STEPS // EVERY,
    }
    return replaced(recipe("hrnet_small"), changes)


if __name__ == "__main__":
    run_job(main)
