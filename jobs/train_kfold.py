"""Train a network on every fold, predict the test images with each, and vote the folds to a CSV.

Reads a data set in the competition's layout (--data, else data/, else phantoms that it draws) and
leaves runs/NAME: per fold the best and last checkpoint, curves and out-of-fold masks; output.csv,
the voted test masks; oof.csv; report.html, the page to look at; overlay.png; summary.json. Ray runs
here, or on the cluster that RAY_ADDRESS names. MLflow tracks it in runs/mlflow.db, or where
MLFLOW_TRACKING_URI says.

  python jobs/train_kfold.py --model hrnet
  python jobs/train_kfold.py --model hrnet_small --data DIR --size 256 --minutes 10 --folds 3
  python jobs/train_kfold.py --model hrnet_small --data DIR --all-data

The same command goes on where it was stopped, by Ctrl-C or otherwise.
"""

import argparse

from handray.cli import Parser, run_job
from handray.config import Config, short_hash
from handray.data.folds import fold_table
from handray.flags import add_flags, from_flags
from handray.preparation import (
    add_job_flags,
    check_class_weights,
    check_fold,
    check_names,
    facts_of,
    read_data,
)
from handray.reporting.notify import Alarms
from handray.reporting.run_folder import RunFolder
from handray.whole_files import write_text


def main() -> int:
    """Exit code: 0 all folds are trained, 1 some failed, 2 bad input, 130 Ctrl-C, 143 SIGTERM."""
    options = _options()
    config = from_flags(options)
    chosen = _chosen_folds(options, config)
    parameters = check_names(config)
    if options.preset:
        print(f"--preset {options.preset}: {config.model.model} at {config.data.size} px")
    data = read_data(options)
    check_class_weights(config, data)
    facts = facts_of(config, data)
    run = RunFolder(options.name or f"{config.model.model}-{short_hash(facts)}")
    run.check(facts)
    if summary := run.summary():
        print(summary["table"])
        print(f"Run {run.name} is finished; nothing to do. Remove {run.path} to train it again.")
        return 0
    # Ray and MLflow take seconds to import: most mistakes are told before.
    from handray.cluster.experiment import Experiment
    from handray.cluster.shares import machines, plan
    from handray.reporting.tracking.store import check_tracking
    from handray.reporting.tracking.tracker import start_tracking

    with Alarms(options.notify, f"train_kfold {run.name}") as alarms:
        check_tracking()
        # What is sure is told before Ray starts; how many train at a time is known after.
        run.require_space(4 * parameters * _copies(config.data.folds, 1))
        missing = [fold for fold in chosen if fold in run.missing_folds(config.data.folds)]
        experiment = Experiment.open(
            options,
            config,
            [config.data.size],
            data,
            run,
            lambda streamed: plan(config.cluster, max(1, len(missing)), streamed, machines()),
        )
        run.require_space(4 * parameters * _copies(config.data.folds, experiment.shares.at_once))
        run.claim(facts)
        skipped = [*(fault.path for fault in data.faults), *data.excluded]
        run.note(weights=experiment.origin, skipped=skipped)
        table = fold_table(data.train, experiment.fold_of)
        write_text(run.path / "folds.csv", table.to_csv(index=False))
        tracker = start_tracking(run, facts, {f"fold{fold}": {"fold": fold} for fold in missing})
        return experiment.run(missing, tracker, alarms)


def _options() -> argparse.Namespace:
    parser = Parser(__doc__)
    add_job_flags(parser)
    some = parser.add_mutually_exclusive_group()
    some.add_argument(
        "--only-fold",
        type=int,
        metavar="N",
        help="train fold N alone, from 0; the same command without it adds the others",
    )
    some.add_argument(
        "--all-data",
        action="store_true",
        help="one network on all images, none held out: the same as --folds 1",
    )
    add_flags(parser)
    options = parser.parse_args()
    if options.all_data:
        if getattr(options, "data.folds") not in (None, 1):
            raise ValueError("--all-data is --folds 1; leave --folds out")
        setattr(options, "data.folds", 1)
    return options


def _chosen_folds(options: argparse.Namespace, config: Config) -> list[int]:
    if options.only_fold is None:
        return list(range(config.data.folds))
    check_fold("--only-fold", options.only_fold, config)
    return [options.only_fold]


def _copies(folds: int, at_once: int) -> int:
    """Networks that a run keeps on disk at a time.

    A fold: weights, their average, two moments, the best network and MLflow's copy of it; and for
    folds that train, the checkpoint before and the one that is being copied.
    """
    return 6 * folds + 15 * at_once


if __name__ == "__main__":
    run_job(main)
