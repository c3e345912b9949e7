"""What jobs fetch from MLflow: runs by their ids, results and checkpoints."""

from collections.abc import Sequence
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from handray.inference.members import OUT_OF_FOLD, OUTPUT
from handray.inference.submission import json_beside, levels_beside
from handray.reporting.run_folder import BEST
from handray.reporting.tracking.store import (
    EXPERIMENT,
    UNKNOWN_CODES,
    check_tracking,
    is_there,
    open_store,
    tracking_uri,
)


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
    if not is_there():
        return {}
    try:
        client = open_store()
        experiment = client.get_experiment_by_name(EXPERIMENT)
        if experiment is None:
            return {}
        ids, finished = [experiment.experiment_id], "attributes.status = 'FINISHED'"
        runs = client.search_runs(ids, finished, max_results=most)
    except MlflowException as error:
        raise ValueError(
            f"MLflow at {tracking_uri()} refuses to list its runs ({error})"
        ) from error
    kept = [run for run in runs if (MLFLOW_PARENT_RUN_ID in run.data.tags) == parts]
    return {run.info.run_id: str(run.info.run_name) for run in kept}


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
    if not is_there():
        raise ValueError(f"{option} {run_id}: there is no tracking store at {uri}; {remedy}")
    client = open_store()
    try:
        return client, client.get_run(run_id)
    except MlflowException as error:
        if error.error_code in UNKNOWN_CODES:
            raise ValueError(f"{option} {run_id}: no such run at {uri}; {remedy}") from error
        raise ValueError(f"{option} {run_id}: MLflow at {uri} refuses it ({error})") from error
