"""Search for the best settings of a network: Optuna proposes, ASHA stops what is poor.

Searched are learning rate, weight decay, optimiser, loss, size and strength of the augmentation
(handray/search_space.py), around the recipe of --model; the threshold is chosen afterwards, on the
out-of-fold masks. Every trial is one training on one fold, on one GPU or CPU.

Leaves runs/NAME: best.json, which train_kfold.py --config takes; trials.csv; search.png with the
history and what mattered; optuna.db, the study. MLflow has a run a trial.

  python jobs/tune_hparams.py --trials 30
  python jobs/tune_hparams.py --model hrnet --trials 100 --timeout 600
  python jobs/train_kfold.py --config runs/NAME/best.json

The same command goes on where it was stopped; a larger --trials adds to what is there.
"""

import argparse
import sys

from handray.cli import Parser, run_job
from handray.config import Config, short_hash
from handray.flags import add_flags, from_flags
from handray.preparation import (
    add_job_flags,
    check_class_weights,
    check_fold,
    check_names,
    check_trial,
    facts_of,
    read_data,
)
from handray.recipes import small_ablation
from handray.reporting.notify import Alarms, ended
from handray.reporting.run_folder import RunFolder
from handray.reporting.search_report import save_search, search_text, trial_table
from handray.reporting.trials import TRIALS, load_records
from handray.search_space import check_inside, space_of

PRESETS = {"demo": small_ablation}


def main() -> int:
    """Exit code: 0 all trials ended, 1 some failed, 2 bad input, 130 stopped by Ctrl-C."""
    options = _options()
    config = from_flags(options, PRESETS, "hrnet_small")
    check_trial(config)
    _check(options, config)
    check_names(config)
    data = read_data(options, phantom_side=512 if options.preset else 2048)
    check_class_weights(config, data)
    # A later command may ask for more trials.
    facts = {**facts_of(config, data), "fold": options.only_fold}
    run = RunFolder(options.name or f"tune_hparams-{short_hash(facts)}")
    run.check(facts)
    # Ray, Optuna and MLflow take seconds to import: most mistakes are told before.
    from handray.cluster.search import Search, importances, load_study

    search = Search(config, space_of(config), options.only_fold, options.trials, options.timeout)
    with Alarms(options.notify, f"tune_hparams {run.name}") as alarms:
        alarms.tell(f"starts: {options.trials} trials")
        failures = search.run(options, data, run, facts)
        alarms.tell(ended(options.trials, failures))
    records = load_records(run.path / TRIALS)
    if not records:
        print("No trial ended.")
        return 1
    shares = importances(load_study(run))
    files = save_search(run.path, config, records, shares)
    print(search_text(trial_table(records), shares))
    print(
        f"\n{len(records)} trials. In {run.path}: {', '.join(file.name for file in files)}\n"
        f"Train all folds with the best: python jobs/train_kfold.py --config {files[-1]}"
    )
    for name, sentence in failures.items():
        print(f"error: {name}: {sentence}", file=sys.stderr)
    return 1 if failures else 0


def _check(options: argparse.Namespace, config: Config) -> None:
    if options.trials < 1:
        raise ValueError(f"--trials must be at least 1, got {options.trials}")
    if options.timeout is not None and not options.timeout > 0:
        raise ValueError(f"--timeout must be above 0 minutes, got {options.timeout}")
    check_fold("--only-fold", options.only_fold, config)
    check_inside(config, space_of(config))


def _options() -> argparse.Namespace:
    parser = Parser(__doc__)
    add_job_flags(parser)
    add = parser.add_argument
    add("--trials", type=int, default=30, metavar="N", help="trials in all (default: 30)")
    add("--timeout", type=float, metavar="MINUTES", help="wall minutes after which it ends")
    add(
        "--only-fold",
        type=int,
        default=0,
        metavar="N",
        help="fold that is held out, of those that --folds makes (default: 0)",
    )
    add_flags(parser, PRESETS)
    return parser.parse_args()


if __name__ == "__main__":
    run_job(main)
