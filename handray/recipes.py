"""Recipes: a network's name picks a whole config, a preset changes it, a flag overrides one key."""

import argparse
import dataclasses
from collections.abc import Callable

from handray.config import (
    Config,
    DataConfig,
    ModelConfig,
    OptimConfig,
    TrainConfig,
    replaced,
)


def hrnet() -> Config:
    """Return the report's best single network, HRNetV2-W48 at 1024 px: Dice 0.9707 there.

    Elastic and mirror, BCE + Dice and AdamP are the report's; batch and epochs are ours.
    """
    return Config()


def hrnet_small() -> Config:
    """Return the smallest HRNet from random weights: a fair result on a CPU in minutes."""
    return Config(
        model=ModelConfig(model="hrnet_small"),
        data=DataConfig(size=256),
        optim=OptimConfig(optimizer="adamw", lr=1.5e-3, weight_decay=0.01, ema=0.99),
        train=TrainConfig(accumulate=1, epochs=60),
    )


RECIPES: dict[str, Callable[[], Config]] = {"hrnet_small": hrnet_small}
"""Networks with settings of their own; the others take those of ``hrnet``."""


def recipe(model: str) -> Config:
    """Return the config that ``--model`` picks.

    Raises:
        ValueError: no network of that name.

    """
    if model in RECIPES:
        return RECIPES[model]()
    return replaced(hrnet(), {"model.model": model})


def demo(_: Config) -> Config:
    """Return a small HRNet on small images for a few minutes, whatever the network."""
    return replaced(
        hrnet_small(),
        {
            "model.weights": "none",
            "data.size": 192,
            "data.augment": "affine+elastic+flip+rbc",
            "data.folds": 3,
            "data.passes": 6,
            "train.minutes": 6.0,
            "cluster.folds_at_once": 3,
        },
    )


PRESETS: dict[str, Callable[[Config], Config]] = {"demo": demo}
"""Changes to a whole recipe by name, after ``--preset``."""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Give the parser ``--preset`` and a flag for every leaf of the tree."""
    parser.add_argument(
        "--preset",
        choices=PRESETS,
        help="whole settings by name; demo: a small network, whatever --model",
    )
    for part in dataclasses.fields(Config):
        default = part.default
        group = parser.add_argument_group(part.name, (type(default).__doc__ or "").strip())
        for leaf in dataclasses.fields(type(default)):  # type: ignore[arg-type]
            value = getattr(default, leaf.name)
            group.add_argument(
                f"--{leaf.name.replace('_', '-')}",
                dest=f"{part.name}.{leaf.name}",
                type=type(value),
                metavar={str: "NAME", int: "N", float: "X"}[type(value)],
                help=leaf.metadata["help"] + f" (hrnet: {value})",
            )


def from_flags(args: argparse.Namespace) -> Config:
    """Return the recipe of ``--model``, changed by ``--preset``, changed by every other flag.

    Raises:
        ValueError: an unknown name or a value that can't be.

    """
    given = {key: v for key, v in vars(args).items() if "." in key and v is not None}
    config = recipe(given.get("model.model", "hrnet"))
    if args.preset:
        config = PRESETS[args.preset](config)
        given.pop("model.model", None)
    return replaced(config, given)
