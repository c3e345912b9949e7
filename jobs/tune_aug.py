"""Compare augmentation policies: which of them help, and which differences are noise.

Each policy is trained on the same folds by the same seeds, every training a Ray Tune trial on one
GPU or CPU; all share one decode of the images. ASHA stops trials that are poor at a quarter and at
half of their training, among those of the same fold; the policy none is never stopped. A policy
is compared with none at the same epoch, fold and seed, image by image, with a 95 % interval over
people, and with the noise of the same policy by another seed.

Leaves runs/NAME: report.html, the page to look at; leaderboard.csv, slices.csv (wrists, sides,
groups of bones), leaderboard.png and a record of each trial. MLflow has a run a trial with the
resolved arguments of its transforms.

  python jobs/tune_aug.py                   the report's ablation, all policies, fold 0, two seeds
  python jobs/tune_aug.py --preset demo     the same, small enough for two cores
  python jobs/tune_aug.py --model hrnet --only-folds 0 1 --policies elastic_flip jitter+gamma

The same command goes on where it was stopped; trials that ended are not run again.
"""

import argparse
import sys
from collections import defaultdict
from pathlib import Path

from handray.cli import Parser, run_job
from handray.config import Config, replaced, short_hash
from handray.data.augment import TRANSFORMS
from handray.data.radiographs import DataFolder
from handray.flags import add_flags, from_flags
from handray.policies import MIXUP, POLICIES
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
from handray.reporting.ablation import BASELINE, by_slice, leaderboard, noise
from handray.reporting.ablation_report import write_ablation_report
from handray.reporting.console import warn
from handray.reporting.leaderboard import leaderboard_text, save_leaderboard
from handray.reporting.notify import Alarms, ended
from handray.reporting.run_folder import RunFolder
from handray.reporting.trials import TRIALS, Trial, TrialRecord, load_records

ABLATION = (*sorted([*TRANSFORMS, MIXUP]), *POLICIES)
PRESETS = {"demo": small_ablation}


def main() -> int:
    """Exit code: 0 all trials ended, 1 some failed, 2 bad input, 130 stopped by Ctrl-C."""
    options = _options()
    config = from_flags(options, PRESETS, "hrnet_small")
    check_trial(config)
    trials = _trials(options, config)
    for policy in dict.fromkeys(trial.changes["data.augment"] for trial in trials):
        check_names(replaced(config, {"data.augment": policy}))
    data = read_data(options, phantom_side=512 if options.preset else 2048)
    check_class_weights(config, data)
    facts = _facts(config, data)
    run = RunFolder(options.name or f"tune_aug-{short_hash(facts)}")
    run.check(facts)
    done = {record.trial.name for record in load_records(run.path / TRIALS)}
    missing = [trial for trial in trials if trial.name not in done]
    if len(missing) < len(trials):
        print(f"{len(trials) - len(missing)} of {len(trials)} trials are in {run.path} already")
    failures: dict[str, str] = {}
    if missing:
        # Ray and MLflow take seconds to import: most mistakes are told before.
        from handray.cluster.ablation import run_ablation

        with Alarms(options.notify, f"tune_aug {run.name}") as alarms:
            alarms.tell(f"starts: {len(missing)} trials")
            failures = run_ablation(options, config, data, run, facts, missing)
            alarms.tell(ended(len(missing), failures))
    wanted = {trial.name for trial in trials}
    records = [r for r in load_records(run.path / TRIALS) if r.trial.name in wanted]
    files = _conclude(records, config, data, run)
    if missing:
        from handray.reporting.tracking.tracker import send_files

        send_files(run, files)
    for name, sentence in failures.items():
        print(f"error: {name}: {sentence}", file=sys.stderr)
    return 1 if failures else 0


def _trials(options: argparse.Namespace, config: Config) -> list[Trial]:
    """Every policy, fold and seed, those of the baseline first; it has two seeds at least."""
    if options.repeats < 1:
        raise ValueError(f"--repeats must be at least 1, got {options.repeats}")
    for fold in options.only_folds:
        check_fold("--only-folds", fold, config)
    policies = dict.fromkeys(name for name in options.policies if name != BASELINE)
    first = [(BASELINE, r) for r in range(max(2, options.repeats))]
    others = [(policy, r) for r in range(options.repeats) for policy in policies]
    return [
        _trial(policy, fold, config.train.seed + r)
        for policy, r in (*first, *others)
        for fold in dict.fromkeys(options.only_folds)
    ]


def _trial(policy: str, fold: int, seed: int) -> Trial:
    changes = {"data.augment": policy, "train.seed": seed}
    return Trial(f"{policy}-fold{fold}-seed{seed}", fold, changes)


def _facts(config: Config, data: DataFolder) -> dict[str, object]:
    """What a run is of: its policies, seeds and folds may be added to by later commands."""
    return {key: v for key, v in facts_of(config, data).items() if key != "data.augment"}


def _conclude(
    records: list[TrialRecord], config: Config, data: DataFolder, run: RunFolder
) -> list[Path]:
    """Leave the tables, the picture and the report, and say what they show; their paths."""
    policies: dict[str, list[TrialRecord]] = defaultdict(list)
    for record in records:
        policies[str(record.trial.changes["data.augment"])].append(record)
    if not policies[BASELINE]:
        print(f"No trial of {BASELINE} ended, so there is nothing to compare with.")
        return []
    board, slices, level = leaderboard(policies, data), by_slice(policies, data), noise(policies)
    files = save_leaderboard(run.path, board, slices, level)
    print(leaderboard_text(board, level))
    try:
        files.append(write_ablation_report(run, config, data, policies, board, slices, level))
    except Exception as error:  # without this look at what is done, the work is as good
        warn(f"no report was written: {type(error).__name__}: {error}")
    print(f"\n{len(records)} trials. In {run.path}: {', '.join(file.name for file in files)}")
    return files


def _options() -> argparse.Namespace:
    parser = Parser(__doc__)
    add_job_flags(parser)
    add = parser.add_argument
    add(
        "--policies",
        nargs="+",
        default=ABLATION,
        metavar="NAME",
        help="what to compare with none, as for --augment (default: every transform alone, and "
        "the report's combinations)",
    )
    add("--repeats", type=int, default=2, metavar="R", help="seeds of each policy (default: 2)")
    add(
        "--only-folds",
        nargs="+",
        type=int,
        default=[0],
        metavar="N",
        help="folds to train, of those that --folds makes (default: 0)",
    )
    add_flags(parser, PRESETS)
    return parser.parse_args()


if __name__ == "__main__":
    run_job(main)
