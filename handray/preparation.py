"""What every job that trains does before a worker starts: its data, its weights, its checks."""

import argparse
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from handray.bones import BONES
from handray.config import Config, Value, identity
from handray.data.phantom_folder import draw_folder
from handray.data.radiographs import DataFolder, faults_error, folder_digest, read_folder
from handray.inference.suspicion import read_excluded
from handray.models.weights import initial_weights
from handray.reporting.console import Counting, banner, warn
from handray.reporting.notify import VARIABLE, Webhook
from handray.reporting.run_folder import RunFolder

PHANTOMS = Path("phantoms")


def add_job_flags(parser: argparse.ArgumentParser) -> None:
    """Give the parser the flags that say on what and where a job works."""
    add = parser.add_argument
    add("--data", metavar="DIR", help="data set in the competition's layout (default: data/)")
    add("--skip-bad", action="store_true", help="leave faulty files out instead of stopping")
    add(
        "--exclude",
        type=Path,
        metavar="CSV",
        help="train without the images of its column image_name, e.g. check_data's suspects.csv",
    )
    add("--name", help="name of the run (default: the job and a hash of config and data)")
    add(
        "--storage",
        metavar="URL",
        default=os.environ.get("HANDRAY_STORAGE") or None,
        help="path or s3:// that all nodes reach, for checkpoints (default: HANDRAY_STORAGE)",
    )
    add(
        "--notify",
        type=Webhook,
        default=os.environ.get(VARIABLE) or None,
        metavar="URL",
        help="webhook such as Slack's that is told of start, folds, end and failure (default: "
        f"{VARIABLE}, which keeps this secret out of lists of processes)",
    )
    add("-v", "--verbose", action="store_true", help="show the log of Ray and of the workers")


def check_names(config: Config) -> int:
    """Build what flags name, before anything is read; returns the network's parameters.

    Raises:
        ValueError: a policy, loss, optimiser or encoder that isn't known, or doesn't fit.

    """
    from handray.data.augment import Augment
    from handray.models.outline import check_pass, outline
    from handray.models.zoo import parameter_count
    from handray.training.losses import weighted_sum
    from handray.training.optim import build_optimizer, check_optimizer

    Augment.of(config.data)
    weighted_sum(config.train.loss)
    check_optimizer(config.optim.optimizer)
    model = outline(config.model.design, len(BONES))
    build_optimizer(model, config.optim)
    if config.model.encoder:
        check_pass(model, config.model.design, config.rank_batch, config.data.size)
    return parameter_count(model)


def check_trial(config: Config) -> None:
    """Raise ValueError for what trials that are compared with each other can't have."""
    if (ranks := config.cluster.workers_per_fold) != 1:
        raise ValueError(
            f"--workers-per-fold {ranks}: a trial trains in one process, so that more trials run "
            "side by side; leave it at 1"
        )
    if config.train.minutes:
        raise ValueError(
            "--minutes: trials are compared at the same epoch, so give --epochs instead"
        )
    if config.data.folds == 1:
        raise ValueError("--folds 1 holds nothing out, so there is no Dice to compare by; take 5")


def data_root(options: argparse.Namespace) -> str | None:
    """The folder of --data, else data/ where it holds images, else none."""
    return options.data or ("data" if Path("data/train/DCM").is_dir() else None)


def read_data(options: argparse.Namespace, phantom_side: int = 2048) -> DataFolder:
    """The data set of --data, else data/, else phantoms; its faults end the job.

    Args:
        options: of ``add_job_flags``.
        phantom_side: pixels of the phantoms, where they are drawn.

    """
    root: str | Path | None = data_root(options)
    if root is None:
        root = PHANTOMS if phantom_side == 2048 else Path(f"{PHANTOMS}_{phantom_side}")
        print(
            banner(
                f"NO DATA SET: neither data/train/DCM nor --data. MADE-UP HANDS in {root}/ it is.",
                "They show that all works; they are no substitute for X-rays.",
            )
        )
        draw_folder(root, 24, 6, phantom_side, 0, Counting("drawing made-up hands"))
    excluded = read_excluded(options.exclude) if options.exclude else []
    data = read_folder(root, Counting(f"reading {root}"))
    for warning in data.warnings:
        warn(warning)
    if data.faults and not options.skip_bad:
        raise faults_error(data)
    if options.exclude:
        data = without(data, excluded, options.exclude)
    people = len({image.person for image in data.train})
    print(
        f"{data.root}: {len(data.train)} images of {people} people to train on, "
        f"{len(data.test)} to predict, {len(data.class_names)} classes"
    )
    return data


def without(data: DataFolder, names: Sequence[str], source: Path) -> DataFolder:
    """The data set without some training images; says how many.

    Raises:
        ValueError: a name that no training image has, or no image is left.

    """
    known = {image.name for image in data.train}
    bad = {PurePosixPath(fault.path).stem for fault in data.faults}
    for name in names:
        if name not in known and PurePosixPath(name).stem not in bad:
            raise ValueError(
                f"--exclude {source}: no training image in {data.root} is called {name!r}; "
                "correct the name, or remove its row"
            )
    kept = tuple(image for image in data.train if image.name not in names)
    if not kept:
        raise ValueError(f"--exclude {source} leaves no training image; remove rows from it")
    print(f"{len(data.train) - len(kept)} training images are left out, as {source} says")
    return replace(data, train=kept, excluded=tuple(name for name in names if name in known))


def check_class_weights(config: Config, data: DataFolder) -> None:
    """Raise ValueError for weights of classes that the data set doesn't have."""
    from handray.training.losses import class_weights

    class_weights(config.train.class_weights, data.class_names)


def check_fold(flag: str, fold: int, config: Config) -> None:
    """Raise ValueError for a fold that the config doesn't make."""
    if not 0 <= fold < config.data.folds:
        raise ValueError(
            f"{flag} {fold}: folds are 0 to {config.data.folds - 1}; "
            "choose one of them, or more --folds"
        )


def facts_of(config: Config, data: DataFolder) -> dict[str, Value]:
    """What a run is of: what is learnt, and from what."""
    return {
        **identity(config),
        "classes": len(data.class_names),
        "data": folder_digest(data)[:16],
    }


def starting_weights(
    config: Config, classes: int, run: RunFolder
) -> tuple[dict[str, Any] | None, str]:
    """The weights that trainings start from and where they came from; a random start is said."""
    # Trainings that start after a restart start as the first ones did.
    known = run.notes().get("weights", "")
    wanted = "none" if known.startswith("none (") else known or config.model.weights
    weights, origin = initial_weights(config.model.design, classes, wanted)
    if origin.startswith("none ("):
        print(
            banner(
                f"NO IMAGENET WEIGHTS for {config.model.model}: {origin[6:-1]}.",
                "Training starts from RANDOM weights: it takes longer and ends lower.",
            )
        )
    return weights, known or origin
