"""An ablation as a sweep: a list of trials, ASHA a fold, and every trial tracked."""

import json
from argparse import Namespace
from dataclasses import asdict
from typing import Any

import ray.tune

from handray.cluster.asha import AshaByFold
from handray.cluster.sweep import Sweep
from handray.config import Config, replaced
from handray.data.augment import arguments
from handray.data.radiographs import DataFolder
from handray.reporting.ablation import BASELINE
from handray.reporting.run_folder import RunFolder
from handray.reporting.tracking.store import check_tracking
from handray.reporting.trial_runs import begin, ending, track_trials
from handray.reporting.trials import Trial, TrialRecord


def run_ablation(
    options: Namespace,
    config: Config,
    data: DataFolder,
    home: RunFolder,
    facts: dict[str, Any],
    trials: list[Trial],
) -> dict[str, str]:
    """Train trials that differ in their policy, fold and seed, and keep and track their records.

    Args:
        options: of ``add_job_flags``.
        config: of a trial that changes nothing.
        data: what is trained on.
        home: the run's folder.
        facts: what the run is of.
        trials: those that have no record yet.

    Returns:
        One sentence for each trial that failed, by name.

    """
    check_tracking()
    sweep = Sweep.of_trials(options, config, [config.data.size], data, home, len(trials))
    tracker, past = begin(home, facts, sweep.origin)

    def about(record: TrialRecord) -> dict[str, Any]:
        its = replaced(config, record.trial.changes).data
        resolved = arguments(its.augment, its.size, its.augment_strength)
        return {"transforms": json.dumps(resolved)}

    def track(records: list[TrialRecord]) -> None:
        track_trials(tracker, records, data.class_names, about)

    never_stopped = {t.name for t in trials if t.changes["data.augment"] == BASELINE}
    tune_config = ray.tune.TuneConfig(scheduler=AshaByFold(never_stopped, past))
    space = {"trial": ray.tune.grid_search([asdict(trial) for trial in trials])}
    track(past)
    with ending(tracker) as failures:
        failures |= sweep.run(
            [config.data.size], space, tune_config, len(trials), lambda record: track([record])
        )
    return failures
