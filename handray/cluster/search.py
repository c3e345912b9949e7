"""A hyper-parameter search as a sweep: Optuna proposes, ASHA stops, every trial is tracked.

The study is a file in the run's folder, so a search goes on where it was stopped.
"""

import warnings
from argparse import Namespace
from dataclasses import dataclass
from typing import Any

import optuna
import ray.tune
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.trial import TrialState
from ray.tune.search.optuna import OptunaSearch

from handray.cluster.asha import AshaByFold
from handray.cluster.sweep import Sweep
from handray.cluster.trial import trial_name
from handray.config import Config, flatten
from handray.data.radiographs import DataFolder
from handray.reporting.run_folder import RunFolder
from handray.reporting.tracking.store import check_tracking
from handray.reporting.trial_runs import begin, ending, track_trials
from handray.search_space import Choice, Space, sizes_of

STUDY = "optuna.db"
FEWEST = 8
"""Trials from which on importances are worth a look."""


@dataclass(frozen=True)
class Search:
    """What is searched, and for how long."""

    config: Config
    """That of the first trial."""
    space: Space
    fold: int
    """Which one is held out."""
    trials: int
    """Trials in all, those of earlier starts included."""
    minutes: float | None
    """Wall minutes of this start; None for no limit."""

    def run(
        self, options: Namespace, data: DataFolder, home: RunFolder, facts: dict[str, Any]
    ) -> dict[str, str]:
        """Run the trials that are missing.

        Args:
            options: of ``add_job_flags``.
            data: what is trained on.
            home: the run's folder.
            facts: what the run is of.

        Returns:
            One sentence for each trial that failed, by name.

        """
        check_tracking()
        sizes = sizes_of(self.config)
        sweep = Sweep.of_trials(options, self.config, sizes, data, home, self.trials)
        tracker, past = begin(home, facts, sweep.origin)
        track_trials(tracker, past, data.class_names)
        study = self._study(home)
        _end_orphans(study, {r.trial.name: r.history[-1]["dice"] for r in past})
        missing = self.trials - len(past)
        with ending(tracker) as failures:
            if missing > 0:
                failures |= sweep.run(
                    sizes,
                    {"fold": self.fold},
                    ray.tune.TuneConfig(
                        search_alg=self._proposer(study, home),
                        scheduler=AshaByFold((), past),
                        num_samples=missing,
                        time_budget_s=60 * self.minutes if self.minutes else None,
                    ),
                    missing,
                    lambda record: track_trials(tracker, [record], data.class_names),
                )
        return failures

    def _study(self, home: RunFolder) -> optuna.Study:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        study = optuna.create_study(
            storage=_storage(home), study_name=home.name, direction="maximize", load_if_exists=True
        )
        if not study.trials:
            own = flatten(self.config)
            study.enqueue_trial({key: own[key] for key in self.space})
        return study

    def _proposer(self, study: optuna.Study, home: RunFolder) -> OptunaSearch:
        # Another seed at each start, or a search that goes on would propose the same again.
        seed = self.config.train.seed + len(study.trials)
        return OptunaSearch(
            space=_Draw(self.space),
            metric="dice",
            mode="max",
            study_name=home.name,
            storage=_storage(home),
            sampler=optuna.samplers.TPESampler(seed=seed, constant_liar=True),
        )


@dataclass(frozen=True)
class _Draw:
    """Draws a trial's keys; Tune pickles it with its own state."""

    space: Space

    def __call__(self, trial: optuna.Trial) -> dict[str, Any]:
        for key, domain in self.space.items():
            if isinstance(domain, Choice):
                trial.suggest_categorical(key, domain.values)
            else:
                trial.suggest_float(key, domain.low, domain.high, log=domain.log)
        return {"number": trial.number}


def load_study(home: RunFolder) -> optuna.Study:
    """The study of a run's folder."""
    return optuna.load_study(storage=_storage(home), study_name=home.name)


def ended(study: optuna.Study) -> int:
    """Trials that ran to their end or were stopped early."""
    return len(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED)))


def importances(study: optuna.Study) -> dict[str, float]:
    """Share of each key in what makes trials good, the largest first; empty for too few trials."""
    if ended(study) < FEWEST:
        return {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it is experimental, and that all trials are equal
        return get_param_importances(study, evaluator=PedAnovaImportanceEvaluator())


def _storage(home: RunFolder) -> optuna.storages.RDBStorage:
    return optuna.storages.RDBStorage(f"sqlite:///{home.path / STUDY}")


def _end_orphans(study: optuna.Study, dice: dict[str, float]) -> None:
    """Close trials that an earlier start left open as their records say; others are done again."""
    for trial in study.get_trials(states=(TrialState.RUNNING,)):
        value = dice.get(trial_name(trial.number))
        state = TrialState.FAIL if value is None else TrialState.COMPLETE
        study.tell(trial.number, value, state=state)
        if value is None:
            study.enqueue_trial(trial.params)
