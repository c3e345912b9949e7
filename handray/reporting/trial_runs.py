"""Trials as MLflow runs: each a child of the sweep's, logged as it ends."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from handray.reporting.run_folder import RunFolder
from handray.reporting.tracking.tracker import PATIENCE, Tracker, start_tracking
from handray.reporting.trials import TRIALS, TrialRecord, load_records


def begin(home: RunFolder, facts: dict[str, Any], origin: str) -> tuple[Tracker, list[TrialRecord]]:
    """Make the folder this sweep's own; its tracker, and the records of earlier starts.

    Args:
        home: the run's folder.
        facts: what the run is of.
        origin: where the weights come from that trials start with.

    Raises:
        ValueError: another process works in the folder, or a record is damaged.

    """
    home.claim(facts)
    home.note(weights=origin)
    return start_tracking(home, facts, {}), load_records(home.path / TRIALS)


@contextmanager
def ending(tracker: Tracker) -> Iterator[dict[str, str]]:
    """End the sweep's run as what happens inside says; takes what failed, by trial."""
    failures: dict[str, str] = {}
    status = "FINISHED"
    try:
        yield failures
        status = "FAILED" if failures else status
    except BaseException as error:
        status = "KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED"
        raise
    finally:
        tracker.end(["parent"], status)
        tracker.settle(patience=5 if status == "KILLED" else PATIENCE)


def track_trials(
    tracker: Tracker,
    records: Iterable[TrialRecord],
    class_names: Sequence[str],
    about: Callable[[TrialRecord], dict[str, Any]] = lambda _: {},
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
