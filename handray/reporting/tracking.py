"""MLflow: a parent run, a child run a fold. Only the driver writes, since sqlite has one writer."""

import logging
import os
import re
import shutil
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")  # the outbox tries for longer
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # the farewell has it

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from handray.inference.members import OUT_OF_FOLD, OUTPUT
from handray.inference.submission import json_beside, levels_beside
from handray.reporting.console import warn
from handray.reporting.outbox import Outbox
from handray.reporting.run_folder import BEST, REPORT, RUNS, RunFolder

EXPERIMENT = "handray"
PATIENCE = 60.0
"""Seconds that the end of a job waits for a server that is away."""
UNKNOWN_CODES = ("INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST")
"""What MLflow says of an id that it doesn't know."""
FINAL_CODES = (*UNKNOWN_CODES, "PERMISSION_DENIED")
CURVES = ("loss", "dice", "lr", "images_per_s", "wait_share")


def tracking_uri() -> str:
    """MLFLOW_TRACKING_URI, else a sqlite file beside the runs."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{_local_store() / 'mlflow.db'}"


class Tracker:
    """The MLflow runs of one training; made again for the same run ids, it goes on in them.

    Runs are started at once, or it raises; all else is sent by a thread, and kept while the server
    is away, so that nothing waits for it but ``settle``.
    """

    def __init__(self, home: RunFolder) -> None:
        """Open the tracking store; ``home`` names the runs and remembers their ids."""
        self.uri, self.home = tracking_uri(), home
        self.client, self.experiment = _open()
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


def check_tracking(uri: str | None = None) -> None:
    """See that the tracking store answers, before MLflow's client tries for minutes.

    Args:
        uri: of the store, where it isn't this process's own.

    Raises:
        ValueError: it doesn't.

    """
    uri = uri or tracking_uri()
    file = _sqlite_file(uri) if uri.startswith("sqlite:") else None
    if file and not file.exists():
        return
    try:
        if uri.startswith(("http://", "https://")):
            # urllib takes no password in a URL, and an answer that asks for one is an answer.
            server = re.sub("//[^/@]*@", "//", uri.rstrip("/"))
            with suppress(urllib.error.HTTPError):
                urllib.request.urlopen(f"{server}/health", timeout=10).close()
            return
        if file and not os.access(file, os.W_OK):
            raise OSError("the file can't be written to")
        MlflowClient(tracking_uri=uri).search_experiments(max_results=1)
    except Exception as error:  # whatever the store's driver raises
        reason = str(error).strip().split("\n")[0]
        raise ValueError(
            f"MLFLOW_TRACKING_URI {uri} can't be used ({reason}); "
            "start the server, or unset it to track in a file beside the runs"
        ) from error


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


def download_submission(
    run_id: str,
    into: Path,
    out_of_fold: bool = False,
    levels: bool = False,
    option: str = "--runs",
) -> Path:
    """Fetch the output.csv of a run, parent or fold, and its JSON.

    Args:
        run_id: MLflow's id.
        into: an existing folder.
        out_of_fold: fetch the out-of-fold masks as well, where the run has them.
        levels: the same for levels.
        option: of the command line that named the run, for messages.

    Returns:
        Path of the CSV.

    Raises:
        ValueError: the store doesn't answer, no such run, or it has no output.csv.

    """
    results = [OUTPUT, OUT_OF_FOLD] if out_of_fold else [OUTPUT]
    _fetch(option, run_id, into, results, [OUTPUT], levels)
    return into / OUTPUT


def download_results(run_id: str, into: Path) -> list[Path]:
    """Fetch the CSVs of a run, its test images' and its out-of-fold masks, with their JSONs.

    Raises:
        ValueError: the store doesn't answer, no such run, or it has neither.

    """
    results = [OUTPUT, OUT_OF_FOLD]
    names = _fetch("--runs", run_id, into, results, results)
    return [into / result for result in results if result in names]


def run_name(run_id: str) -> str:
    """The name of a run; raises ValueError where the store doesn't answer or has no such run."""
    return str(_find_run("--runs", run_id)[1].info.run_name)


def finished_runs(parts: bool, most: int = 200) -> dict[str, str]:
    """Name of each finished run by its id, the latest first; none where nothing was tracked yet.

    Args:
        parts: those of folds and trials, else those of whole jobs.
        most: how many of all runs are looked at.

    Raises:
        ValueError: the store doesn't answer.

    """
    check_tracking()
    uri = tracking_uri()
    if uri.startswith("sqlite:") and not _sqlite_file(uri).exists():
        return {}
    _quiet()
    try:
        client = MlflowClient(tracking_uri=uri)
        experiment = client.get_experiment_by_name(EXPERIMENT)
        if experiment is None:
            return {}
        ids, finished = [experiment.experiment_id], "attributes.status = 'FINISHED'"
        runs = client.search_runs(ids, finished, max_results=most)
    except MlflowException as error:
        raise ValueError(f"MLflow at {uri} refuses to list its runs ({error})") from error
    kept = [run for run in runs if (MLFLOW_PARENT_RUN_ID in run.data.tags) == parts]
    return {run.info.run_id: str(run.info.run_name) for run in kept}


def track_ensemble(
    result: Path, source: dict[str, Any], numbers: dict[str, float], report: Path | None = None
) -> str:
    """Make an MLflow run of a vote, which is a member for other votes in turn; its id.

    Args:
        result: the CSV; it and the JSON beside it are kept as artifacts.
        source: what that JSON says; its members become tags.
        numbers: metrics, such as ``oof_dice_mean``.
        report: a page about it, kept as well.

    """
    client, experiment = _open()
    members = enumerate(source["members"])
    tags = {f"member/{n}": str(about["run"] or about["name"]) for n, about in members}
    tags |= {"job": source["job"]}
    run = client.create_run(experiment, tags=tags, run_name=f"ensemble-{result.stem}")
    params = [Param(key, str(value)) for key, value in source.items() if key != "members"]
    now = int(1000 * time.time())
    metrics = [Metric(name, value, now, 0) for name, value in numbers.items()]
    client.log_batch(run.info.run_id, metrics=metrics, params=params)
    with tempfile.TemporaryDirectory(prefix="handray-") as folder:
        copy = Path(folder) / OUTPUT
        shutil.copy(result, copy)
        shutil.copy(json_beside(result), json_beside(copy))
        if report is not None:
            shutil.copy(report, Path(folder) / REPORT)
        client.log_artifacts(run.info.run_id, folder)
    client.set_terminated(run.info.run_id, "FINISHED")
    return str(run.info.run_id)


def download_checkpoint(run_id: str, into: Path) -> Path:
    """Fetch the best.pt of a fold's run.

    Args:
        run_id: MLflow's id.
        into: an existing folder.

    Returns:
        Path of the checkpoint.

    Raises:
        ValueError: the store doesn't answer, no such run, it is that of all folds, or it has no
            best.pt.

    """
    client, run = _find_run("--run", run_id)
    if BEST in _artifacts("--run", client, run_id):
        _download("--run", client, run_id, BEST, into)
        return into / BEST
    name = run.info.run_name
    if folds := _children(client, run):
        raise ValueError(
            f"--run {run_id} ({name}) is a run of all folds; name one of its folds: "
            f"{', '.join(folds)}"
        )
    raise ValueError(f"--run {run_id} ({name}) has no {BEST}; did its training finish?")


def fold_ids(run_id: str) -> list[str]:
    """The runs of a training's folds by name, for the run of the whole; else the run itself.

    Raises:
        ValueError: the store doesn't answer, or no such run.

    """
    client, run = _find_run("--run", run_id)
    return _children(client, run) or [run_id]


def _fetch(
    option: str,
    run_id: str,
    into: Path,
    results: Sequence[str],
    least: Sequence[str],
    levels: bool = False,
) -> set[str]:
    """Fetch CSVs that a run has and what is beside them; the names of all that it has.

    Raises:
        ValueError: the store doesn't answer, no such run, or it has none of ``least``.

    """
    client, run = _find_run(option, run_id)
    names = _artifacts(option, client, run_id)
    if names.isdisjoint(least):
        name = run.info.run_name
        raise ValueError(f"{option} {run_id} ({name}) has no {OUTPUT}; did its training finish?")
    for result in map(Path, results):
        wanted = [result, json_beside(result), *([levels_beside(result)] if levels else [])]
        for artifact in names.intersection(map(str, wanted)):
            _download(option, client, run_id, artifact, into)
    return names


def _artifacts(option: str, client: MlflowClient, run_id: str) -> set[str]:
    """Names of a run's artifacts."""
    try:
        return {artifact.path for artifact in client.list_artifacts(run_id)}
    except MlflowException as error:
        raise ValueError(f"{option} {run_id}: its files can't be listed ({error})") from error


def _download(option: str, client: MlflowClient, run_id: str, name: str, into: Path) -> None:
    """Fetch one file of a run, by a name of ours; MLflow refuses what would leave ``into``."""
    try:
        client.download_artifacts(run_id, name, str(into))
    except MlflowException as error:
        raise ValueError(f"{option} {run_id}: {name} can't be fetched ({error})") from error
    if not (into / name).is_file():
        raise ValueError(f"{option} {run_id}: {name} is no file")


def _children(client: MlflowClient, run: Run) -> list[str]:
    children = client.search_runs(
        [run.info.experiment_id], f"tags.`{MLFLOW_PARENT_RUN_ID}` = '{run.info.run_id}'"
    )
    return [child.info.run_id for child in sorted(children, key=lambda c: str(c.info.run_name))]


def _find_run(option: str, run_id: str) -> tuple[MlflowClient, Run]:
    """Look a run up that ``option`` of the command line named, with the client that found it."""
    check_tracking()
    uri = tracking_uri()
    remedy = "see the ids in the training's last lines or in the MLflow UI"
    if uri.startswith("sqlite:") and not _sqlite_file(uri).exists():
        raise ValueError(f"{option} {run_id}: there is no tracking store at {uri}; {remedy}")
    _quiet()
    client = MlflowClient(tracking_uri=uri)
    try:
        return client, client.get_run(run_id)
    except MlflowException as error:
        if error.error_code in UNKNOWN_CODES:
            raise ValueError(f"{option} {run_id}: no such run at {uri}; {remedy}") from error
        raise ValueError(f"{option} {run_id}: MLflow at {uri} refuses it ({error})") from error


def _open() -> tuple[MlflowClient, str]:
    """A client of the tracking store, and the experiment's id there."""
    _quiet()
    uri = tracking_uri()
    if uri.startswith("sqlite:"):
        _local_store().mkdir(parents=True, exist_ok=True)
    client = MlflowClient(tracking_uri=uri)
    return client, _experiment(client, uri)


def _quiet() -> None:
    """Have MLflow keep to itself what is no trouble, and tracebacks of what it raises as well."""
    logging.getLogger("alembic").setLevel(logging.WARNING)
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    logging.getLogger("mlflow.store.db").setLevel(logging.CRITICAL)


def _sqlite_file(uri: str) -> Path:
    return Path(uri.removeprefix("sqlite:///"))


def _local_store() -> Path:
    return Path(RUNS).absolute()


def _experiment(client: MlflowClient, uri: str) -> str:
    known = client.get_experiment_by_name(EXPERIMENT)
    if known is not None:
        return str(known.experiment_id)
    # A server keeps artifacts itself; for sqlite they lie beside the database.
    location = f"file://{_local_store() / 'mlartifacts'}" if uri.startswith("sqlite:") else None
    return str(client.create_experiment(EXPERIMENT, artifact_location=location))
