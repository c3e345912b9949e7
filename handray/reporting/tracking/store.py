"""The tracking store: a server, or a sqlite file beside the runs."""

import logging
import os
import re
import tempfile
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path

from mlflow import MlflowClient

from handray.reporting.run_folder import RUNS

EXPERIMENT = "handray"
UNKNOWN_CODES = ("INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST")
"""What MLflow says of an id that it doesn't know."""


def tracking_uri() -> str:
    """MLFLOW_TRACKING_URI, else a sqlite file beside the runs."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{_local_store() / 'mlflow.db'}"


def check_tracking(uri: str | None = None) -> None:
    """See that the tracking store answers, before MLflow's client tries for minutes.

    Args:
        uri: of the store, where it isn't this process's own.

    Raises:
        ValueError: it doesn't.

    """
    uri = uri or tracking_uri()
    file = _sqlite_file(uri) if uri.startswith("sqlite:") else None
    try:
        if file and not file.exists():
            if file.parent.absolute() != _local_store():
                tempfile.TemporaryFile(dir=file.parent).close()
            return
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


def is_there() -> bool:
    """Whether there is a store; one in a file is made with the first run."""
    uri = tracking_uri()
    return not uri.startswith("sqlite:") or _sqlite_file(uri).exists()


def open_store() -> MlflowClient:
    """A client of the store, which keeps to itself what is no trouble, and its tracebacks too."""
    logging.getLogger("alembic").setLevel(logging.WARNING)
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    logging.getLogger("mlflow.store.db").setLevel(logging.CRITICAL)
    return MlflowClient(tracking_uri=tracking_uri())


def open_experiment() -> tuple[MlflowClient, str]:
    """A client of the store, and the id that handray's experiment has there, made if need be."""
    local = tracking_uri().startswith("sqlite:")
    if local:
        _local_store().mkdir(parents=True, exist_ok=True)
    client = open_store()
    known = client.get_experiment_by_name(EXPERIMENT)
    if known is not None:
        return client, str(known.experiment_id)
    # A server keeps artifacts itself; for sqlite they lie beside the database.
    location = f"file://{_local_store() / 'mlartifacts'}" if local else None
    return client, str(client.create_experiment(EXPERIMENT, artifact_location=location))


def _sqlite_file(uri: str) -> Path:
    return Path(uri.removeprefix("sqlite:///"))


def _local_store() -> Path:
    return Path(RUNS).absolute()
