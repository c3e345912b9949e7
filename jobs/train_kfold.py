"""Train a network on every fold, predict the test images with each, and vote the folds to a CSV.

Reads a data set in the competition's layout (--data, else data/, else phantoms that it draws) and
leaves runs/NAME: per fold the best and last checkpoint, curves and out-of-fold masks; output.csv,
the voted test masks; oof.csv; overlay.png; summary.json. Ray runs here, or on the cluster that
RAY_ADDRESS names. MLflow tracks it in runs/mlflow.db, or where MLFLOW_TRACKING_URI says.

  python jobs/train_kfold.py --model hrnet
  python jobs/train_kfold.py --model hrnet_small --data DIR --size 256 --minutes 10 --folds 3

The same command goes on where it was stopped, by Ctrl-C or otherwise.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

from handray.bones import BONES
from handray.cli import Parser, run_job
from handray.config import Config, identity, short_hash
from handray.data.folds import assign_folds, fold_table
from handray.data.phantom_folder import draw_folder
from handray.data.radiographs import DataFolder, faults_error, folder_digest, read_folder
from handray.models.weights import initial_weights
from handray.models.zoo import outline, parameter_count
from handray.recipes import add_flags, from_flags
from handray.reporting.console import Counting, banner
from handray.reporting.run_folder import RunFolder, write_text

PHANTOMS = Path("phantoms")


def main() -> int:
    """Exit code: 0 all folds are trained, 1 some failed, 2 bad input, 130 stopped by Ctrl-C."""
    options = _options()
    config = from_flags(options)
    parameters = _check_names(config)
    if options.preset:
        print(f"--preset {options.preset}: {config.model.model} at {config.data.size} px")
    data = _read_data(options)
    _check_class_weights(config, data)
    fold_of = assign_folds(data.train, config.data.folds, config.train.seed)
    facts = {**identity(config), "classes": len(data.class_names), "data": folder_digest(data)[:16]}
    run = RunFolder(options.name or f"{config.model.model}-{short_hash(facts)}")
    run.check(facts)
    if summary := run.summary():
        print(summary["table"])
        print(f"Run {run.name} is finished; nothing to do. Remove {run.path} to train it again.")
        return 0
    # Ray and MLflow take seconds to import: most mistakes are told before.
    from handray.cluster.decoding import is_streamed
    from handray.cluster.experiment import Experiment, check_reach
    from handray.cluster.runtime import nodes, plan, start_ray
    from handray.reporting.tracking import check_tracking, start_tracking

    check_tracking()
    weights, origin = _weights(config, len(data.class_names), parameters, run)
    print(start_ray(options.verbose))
    streamed = is_streamed(config, data)
    folds = max(1, len(run.missing_folds(config.data.folds)))
    shares = plan(config.cluster, folds, streamed, nodes())
    storage = _storage(options, run)
    check_reach(storage, data.train[0].image_path)
    run.claim(facts)
    run.note(weights=origin, skipped=[fault.path for fault in data.faults])
    write_text(run.path / "folds.csv", fold_table(data.train, fold_of).to_csv(index=False))
    tracker = start_tracking(run, facts, config.data.folds)
    return Experiment(config, data, fold_of, run, storage, weights, shares, streamed).run(
        tracker, options.verbose
    )


def _options() -> argparse.Namespace:
    parser = Parser(__doc__)
    add = parser.add_argument
    add("--data", metavar="DIR", help="data set in the competition's layout (default: data/)")
    add("--skip-bad", action="store_true", help="leave faulty files out instead of stopping")
    add("--name", help="name of the run (default: the model and a hash of config and data)")
    add("--storage", metavar="URL", help="path or s3:// that all nodes reach, for checkpoints")
    add("-v", "--verbose", action="store_true", help="show the log of Ray and of the workers")
    add_flags(parser)
    return parser.parse_args()


def _check_names(config: Config) -> int:
    """Build what flags name, before anything is read; returns the network's parameters.

    Raises:
        ValueError: a policy, loss, optimiser or encoder that isn't known, or doesn't fit.

    """
    from handray.data.augment import Augment
    from handray.training.losses import weighted_sum
    from handray.training.optim import build_optimizer, check_optimizer

    Augment.of(config.data)
    weighted_sum(config.train.loss)
    check_optimizer(config.optim.optimizer)
    model = outline(config.model.design, len(BONES))
    build_optimizer(model, config.optim)
    return parameter_count(model)


def _read_data(options: argparse.Namespace) -> DataFolder:
    """The data set of --data, else data/, else the phantoms; its faults end the job."""
    root = options.data or ("data" if Path("data/train/DCM").is_dir() else None)
    if root is None:
        root = PHANTOMS
        print(
            banner(
                f"NO DATA SET: neither data/train/DCM nor --data. MADE-UP HANDS in {root}/ it is.",
                "They show that all works; they are no substitute for X-rays.",
            )
        )
        draw_folder(root, 24, 6, 2048, 0, Counting("drawing made-up hands"))
    data = read_folder(root, Counting(f"reading {root}"))
    for warning in data.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    if data.faults and not options.skip_bad:
        raise faults_error(data)
    people = len({image.person for image in data.train})
    print(
        f"{data.root}: {len(data.train)} images of {people} people to train on, "
        f"{len(data.test)} to predict, {len(data.class_names)} classes"
    )
    return data


def _check_class_weights(config: Config, data: DataFolder) -> None:
    from handray.training.losses import class_weights

    class_weights(config.train.class_weights, data.class_names)


def _storage(options: argparse.Namespace, run: RunFolder) -> str:
    """Where checkpoints are kept: an absolute path, since workers change directory, or a URL."""
    if options.storage is None:
        return str(run.path / "ray")
    if "://" in options.storage:
        return f"{options.storage.rstrip('/')}/{run.name}"
    return str(Path(options.storage).absolute() / run.name)


def _weights(config: Config, classes: int, parameters: int, run: RunFolder) -> tuple[Any, str]:
    """The weights that folds start from and where they came from; a random start is said aloud."""
    # A fold: weights, their average, two moments, the best network and MLflow's copy of it; and
    # the folds that are copied just now.
    at_once = config.cluster.folds_at_once or 1
    run.require_space(4 * parameters * (6 * config.data.folds + 10 * at_once))
    # Folds that start after a restart start as the first ones did.
    known = run.notes().get("weights", "")
    wanted = "none" if known.startswith("none") else known or config.model.weights
    weights, origin = initial_weights(config.model.design, classes, wanted)
    if origin.startswith("none ("):
        print(
            banner(
                f"NO IMAGENET WEIGHTS for {config.model.model}: {origin[6:-1]}.",
                "Training starts from RANDOM weights: it takes longer and ends lower.",
            )
        )
    return weights, known or origin


if __name__ == "__main__":
    run_job(main)
