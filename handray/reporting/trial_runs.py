"""Trials as MLflow runs: each a child of the sweep's, logged as it ends."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from handray.reporting.tracking import Tracker
from handray.reporting.trials import TrialRecord


def track_trials(
    tracker: Tracker,
    records: Iterable[TrialRecord],
    class_names: Sequence[str],
    about: Callable[[TrialRecord], dict[str, Any]],
) -> None:
    """Log the trials that aren't logged yet.

    Args:
        tracker: of the sweep, its parent run started.
        records: of trials that ended.
        class_names: in channel order.
        about: parameters of a trial's run beside its changes to the config.

    """
    for record in records:
        key = record.trial.name
        if tracker.is_finished(key):
            continue
        facts = {"fold": record.trial.fold, **record.trial.changes, **about(record)}
        tracker.start(key, facts, {"stopped_early": str(record.stopped_early)})
        tracker.log_epochs(key, record.history, class_names)
        tracker.log_numbers(key, {"final_dice": record.history[-1]["dice"]})
        tracker.end([key], "FINISHED")
