"""ASHA that compares like with like: trials of one fold, and some that are never stopped."""

from collections.abc import Collection, Sequence
from types import SimpleNamespace
from typing import Any

from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, TrialScheduler

from handray.cluster.trial import asked_for
from handray.reporting.trials import TrialRecord

GRACE_PERCENT = 25
"""Of a whole training that every trial gets."""
REDUCTION = 2
"""At 25 and 50 percent the better half goes on."""


class AshaByFold(FIFOScheduler):
    """A scheduler a fold, since folds differ in how hard they are.

    Time is the percent of a whole training and the measure is held-out Dice, which trials report
    as ``percent`` and ``dice``.
    """

    def __init__(self, never_stopped: Collection[str], past: Sequence[TrialRecord]) -> None:
        """Start with what is known.

        Args:
            never_stopped: names of trials that run to their end whatever they reach.
            past: records of trials that ended in an earlier start; Ray keeps no rungs.

        """
        super().__init__()
        self.never_stopped = frozenset(never_stopped)
        self._by_fold: dict[int, ASHAScheduler] = {}
        for record in past:
            twin = SimpleNamespace(trial_id=f"past-{record.trial.name}")
            scheduler = self._scheduler(record.trial.fold)
            scheduler.on_trial_add(None, twin)
            for epoch in record.history:
                scheduler.on_trial_result(None, twin, epoch)

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """Give the trial to its fold's scheduler."""
        self._of(trial).on_trial_add(tune_controller, trial)

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Whether a trial goes on after an epoch."""
        decision: str = self._of(trial).on_trial_result(tune_controller, trial, result)
        if asked_for(trial.config).name in self.never_stopped:
            return TrialScheduler.CONTINUE
        return decision

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        """Let the fold's scheduler forget a trial that has ended."""
        self._of(trial).on_trial_complete(tune_controller, trial, result)

    def on_trial_remove(self, tune_controller: Any, trial: Any) -> None:
        """Let the fold's scheduler forget a trial that never ran."""
        self._of(trial).on_trial_remove(tune_controller, trial)

    def _of(self, trial: Any) -> ASHAScheduler:
        return self._scheduler(asked_for(trial.config).fold)

    def _scheduler(self, fold: int) -> ASHAScheduler:
        if fold not in self._by_fold:
            # Above 100, so that a training that ends does so by itself.
            self._by_fold[fold] = ASHAScheduler(
                time_attr="percent",
                metric="dice",
                mode="max",
                max_t=101,
                grace_period=GRACE_PERCENT,
                reduction_factor=REDUCTION,
            )
        return self._by_fold[fold]
