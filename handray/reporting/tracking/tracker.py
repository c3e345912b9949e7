"""What a job leaves in MLflow: a parent run, a child run a fold or trial; or the run of a vote.

Only the driver writes, since sqlite has one writer.
"""

import re
import shutil
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from mlflow.entities import Metric, Param, Run
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from handray.inference.members import OUTPUT
from handray.inference.submission import json_beside
from handray.reporting.console import warn
from handray.reporting.outbox import Outbox
from handray.reporting.run_folder import REPORT, RunFolder
from handray.reporting.tracking.store import UNKNOWN_CODES, open_experiment, tracking_uri

PATIENCE = 60.0
"""Seconds that the end of a job waits for a server that is away."""
FINAL_CODES = (*UNKNOWN_CODES, "PERMISSION_DENIED")
CURVES = ("loss", "dice", "lr", "images_per_s", "wait_share")


class Tracker:
    """The MLflow runs of one training; made again for the same run ids, it goes on in them.

    Runs are started at once, or it raises; all else is sent by a thread, and kept while the server
    is away, so that nothing waits for it but ``settle``.
    """

    def __init__(self, home: RunFolder) -> None:
        """Open the tracking store; ``home`` names the runs and remembers their ids."""
        self.uri, self.home = tracking_uri(), home
        self.client, self.experiment = open_experiment()
        self.ids: dict[str, str] = home.notes().get("mlflow", {})
        self.outbox = Outbox(f"MLflow at {self.uri}", _is_final, pause=5)

    def start(self, key: str, facts: dict[str, Any], tags: dict[str, str]) -> str:
        """Start or reopen the run ``parent`` or a child of it, such as ``fold0``; its id."""
        if key in self.ids and self._is_there(self.ids[key]):
            self.client.update_run(self.ids[key], status="RUNNING")
            return self.ids[key]
        name = self.home.name if key == "parent" else f"{self.home.name}-{key}"
        tags = dict(tags)
        if key != "parent":
            tags[MLFLOW_PARENT_RUN_ID] = self.ids["parent"]
        run = self.client.create_run(self.experiment, tags=tags, run_name=name)
        self.ids[key] = run.info.run_id
        self.home.note(mlflow=self.ids)
        params = [Param(name, str(value)) for name, value in facts.items()]
        self.client.log_batch(run.info.run_id, params=params)
        return self.ids[key]

    def log_epochs(self, key: str, records: Sequence[dict[str, Any]], names: Sequence[str]) -> None:
        """Add epochs to a fold's curves, with a Dice curve a class; those known are left out."""
        run, now = self.ids[key], int(1000 * time.time())

        def send() -> None:
            known = {metric.step for metric in self.client.get_metric_history(run, "dice")}
            for record in records:
                if record["epoch"] in known:
                    continue
                by_class = zip(names, record["class_dice"], strict=True)
                # MLflow takes letters, digits and little else in a metric's name.
                values = {"dice_of/" + re.sub(r"[^\w.\- ]", "_", n): d for n, d in by_class}
                # Dice comes last: an epoch that has it is there as a whole.
                values |= {curve: record[curve] for curve in sorted(CURVES, key="dice".__eq__)}
                metrics = [Metric(k, float(v), now, record["epoch"]) for k, v in values.items()]
                # MLflow takes at most 1000 metrics at once.
                for start in range(0, len(metrics), 1000):
                    self.client.log_batch(run, metrics=metrics[start : start + 1000])

        self.outbox.put(f"curves of {key}", send)

    def log_numbers(self, key: str, numbers: dict[str, float]) -> None:
        """Add final numbers to a run."""
        now = int(1000 * time.time())
        metrics = [Metric(name, value, now, 0) for name, value in numbers.items()]
        run = self.ids[key]
        self.outbox.put(f"Dice of {key}", lambda: self.client.log_batch(run, metrics=metrics))

    def log_files(self, key: str, files: Sequence[Path]) -> None:
        """Copy files, which must stay where they are, to a run's artifacts under their names."""
        for file in files:
            send = partial(self.client.log_artifact, self.ids[key], str(file))
            self.outbox.put(f"files of {key}", send)

    def log_json(self, key: str, name: str, content: dict[str, Any]) -> None:
        """Keep plain types among a run's artifacts."""
        send = partial(self.client.log_dict, self.ids[key], content, name)
        self.outbox.put(f"files of {key}", send)

    def end(self, keys: Sequence[str], status: str) -> None:
        """Close runs as FINISHED, FAILED or KILLED."""
        for key in keys:
            send = partial(self.client.set_terminated, self.ids[key], status)
            self.outbox.put(f"the end of {key}", send)

    def settle(self, patience: float = PATIENCE) -> None:
        """Wait until all is sent; say what is lost where the server stays silent for so long."""
        if lost := self.outbox.settle(patience):
            warn(f"{self.uri} has not got {', '.join(lost)}; all of it is in {self.home.path}")

    def is_finished(self, key: str) -> bool:
        """Whether a run was ended as FINISHED, by this process or an earlier one."""
        with suppress(MlflowException, KeyError):
            return bool(self.client.get_run(self.ids[key]).info.status == "FINISHED")
        return False

    def _is_there(self, run: str) -> bool:
        with suppress(MlflowException):
            return self.client.get_run(run).info.lifecycle_stage == "active"
        return False


def _is_final(error: Exception) -> bool:
    """Whether MLflow's answer would be the same another time."""
    return isinstance(error, MlflowException) and error.error_code in FINAL_CODES


def start_tracking(
    home: RunFolder, facts: dict[str, Any], children: dict[str, dict[str, Any]]
) -> Tracker:
    """Start or reopen a parent run and a child run for each training that isn't finished.

    Args:
        home: the run's folder, which remembers the run ids.
        facts: the parent's parameters, plain types.
        children: key of each child, such as ``fold0``, and its parameters.

    """
    tracker = Tracker(home)
    tracker.start("parent", facts, {"weights": home.notes()["weights"]})
    for key, its in children.items():
        tracker.start(key, its, {})
    return tracker


def send_files(home: RunFolder, files: Sequence[Path]) -> None:
    """Add files to a run that has ended; where its server is away there is a warning."""
    try:
        tracker = Tracker(home)
    except Exception as error:  # whatever the server's client raises
        warn(f"MLflow has not got {', '.join(file.name for file in files)} ({error})")
        return
    tracker.log_files("parent", files)
    tracker.settle()


def track_ensemble(
    result: Path, source: dict[str, Any], numbers: dict[str, float], report: Path | None = None
) -> str:
    """Make an MLflow run of a vote, which is a member for other votes in turn; its id.

    Args:
        result: the CSV; it and the JSON beside it are kept as artifacts.
        source: what that JSON says; its members become tags.
        numbers: metrics, such as ``oof_dice_mean``.
        report: a page about it, kept as well.

    Raises:
        OSError: the store doesn't take it; a run that was begun is there as FAILED.

    """
    members = enumerate(source["members"])
    tags = {f"member/{n}": str(about["run"] or about["name"]) for n, about in members}
    tags |= {"job": source["job"]}
    params = [Param(key, str(value)) for key, value in source.items() if key != "members"]
    now = int(1000 * time.time())
    metrics = [Metric(name, value, now, 0) for name, value in numbers.items()]
    run: Run | None = None
    try:
        client, experiment = open_experiment()
        run = client.create_run(experiment, tags=tags, run_name=f"ensemble-{result.stem}")
        client.log_batch(run.info.run_id, metrics=metrics, params=params)
        with tempfile.TemporaryDirectory(prefix="handray-") as folder:
            copy = Path(folder) / OUTPUT
            shutil.copy(result, copy)
            shutil.copy(json_beside(result), json_beside(copy))
            if report is not None:
                shutil.copy(report, Path(folder) / REPORT)
            client.log_artifacts(run.info.run_id, folder)
        client.set_terminated(run.info.run_id, "FINISHED")
    except (MlflowException, OSError) as error:
        if run is not None:
            with suppress(MlflowException, OSError):
                client.set_terminated(run.info.run_id, "FAILED")
        sentence = f"{result} is written, but MLflow at {tracking_uri()} has not got it ({error})"
        raise OSError(sentence) from error
    return str(run.info.run_id)
