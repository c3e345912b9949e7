"""The config on the command line: a recipe or preset, changed by a file, changed by flags."""

import argparse
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

from handray.config import Config, Value, flatten, replaced
from handray.models.zoo import table
from handray.recipes import PRESETS, recipe


def add_flags(
    parser: argparse.ArgumentParser, presets: dict[str, Callable[[], Config]] = PRESETS
) -> None:
    """Give the parser ``--preset``, ``--config`` and a flag for every leaf of the tree."""
    parser.add_argument(
        "--preset",
        choices=presets,
        help="whole settings by name, whatever --model; demo: a small network for minutes on a CPU",
    )
    parser.add_argument(
        "--config", metavar="FILE", help="JSON of dotted keys, such as best.json of tune_hparams.py"
    )
    for part in dataclasses.fields(Config):
        default = part.default
        group = parser.add_argument_group(part.name, (type(default).__doc__ or "").strip())
        for leaf in dataclasses.fields(type(default)):  # type: ignore[arg-type]
            value = getattr(default, leaf.name)
            flag, key = f"--{leaf.name.replace('_', '-')}", f"{part.name}.{leaf.name}"
            about = leaf.metadata["help"]
            if isinstance(value, bool):
                switch = argparse.BooleanOptionalAction
                group.add_argument(flag, dest=key, action=switch, default=None, help=about)
                continue
            group.add_argument(
                flag,
                dest=key,
                type=type(value),
                metavar={str: "NAME", int: "N", float: "X"}[type(value)],
                help=about + (f" (hrnet: {value})" if value != "" else ""),
            )
    parser.epilog = table()


def from_flags(
    args: argparse.Namespace,
    presets: dict[str, Callable[[], Config]] = PRESETS,
    model: str = "hrnet",
) -> Config:
    """Return the preset or the recipe of ``--model``, changed by ``--config``, then by flags.

    Args:
        args: of a parser with ``add_flags``.
        presets: the same as there.
        model: network of the recipe where nothing names one.

    Raises:
        ValueError: an unknown name or a value that can't be.

    """
    given = {key: v for key, v in vars(args).items() if "." in key and v is not None}
    changes = read_changes(args.config) if args.config else {}
    if args.preset:
        config = presets[args.preset]()
        given.pop("model.model", None)
    else:
        config = recipe(str(given.get("model.model", changes.get("model.model", model))))
    return replaced(config, changes | given)


def read_changes(path: str) -> dict[str, Value]:
    """Read a file of dotted keys and values, a JSON object such as ``best.json`` of a search.

    Raises:
        ValueError: no such file, no such object, or a key or value of no config.

    """
    try:
        content = json.loads(Path(path).read_text())
    except (OSError, ValueError) as error:
        raise ValueError(f"--config {path} can't be read: {error}") from error
    known = flatten(Config())
    if not isinstance(content, dict):
        raise ValueError(f'--config {path} holds no object of keys, e.g. {{"optim.lr": 0.001}}')
    for key, value in content.items():
        if key not in known:
            raise ValueError(f"--config {path}: no config key {key}; known: {', '.join(known)}")
        if not isinstance(value, (float, int) if type(known[key]) is float else type(known[key])):
            kind = type(known[key]).__name__
            raise ValueError(f"--config {path}: {key} must be a {kind}, got {value!r}")
    return content
