"""Jobs as a user starts them, in processes of their own."""

import os
import subprocess
import sys
import time
from pathlib import Path

JOBS = Path(__file__).parents[1] / "jobs"

SMALL_TRAINING = [
    *("--model", "hrnet_small", "--size", "64", "--folds", "2", "--batch", "4", "--seed", "1"),
    *("--weights", "none", "--augment", "flip", "--passes", "3", "--name", "small"),
    *("--optimizer", "adamp", "--encoder-lr-factor", "0.5", "--class-weights", "Pisiform=2"),
]

SMALL_ABLATION = [
    *("--preset", "demo", "--size", "64", "--epochs", "2", "--passes", "1", "--folds", "3"),
    *("--policies", "flip", "--name", "small"),
]

SMALL_SEARCH = [
    *("--preset", "demo", "--size", "64", "--epochs", "1", "--passes", "1", "--folds", "3"),
    *("--only-fold", "1", "--name", "small", "--trials", "3"),
]


def start(job: str, *arguments: object, folder: Path, **environment: str) -> subprocess.Popen[str]:
    """A job in a process group of its own, started in ``folder``."""
    known = {k: v for k, v in os.environ.items() if k not in ("RAY_ADDRESS", "MLFLOW_TRACKING_URI")}
    return subprocess.Popen(
        [sys.executable, str(JOBS / job), *map(str, arguments)],
        cwd=folder,
        env=known | environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def run(job: str, *arguments: object, folder: Path, **environment: str) -> tuple[int, str]:
    """Exit code and output of a job."""
    process = start(job, *arguments, folder=folder, **environment)
    output, _ = process.communicate(timeout=400)
    return process.returncode, output


def mlflow_runs(folder: Path):
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{folder}/runs/mlflow.db")
    experiment = client.get_experiment_by_name("handray")
    return client, client.search_runs([experiment.experiment_id])


def wait_for(condition, process: subprocess.Popen[str], seconds: float = 240) -> None:
    limit = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < limit, "waited too long"
        time.sleep(0.1)


def workers(kind: str, session: int | None = None) -> list[int]:
    """Processes of Ray's workers of a kind; those of one driver's session where it is given."""
    marker = b"" if session is None else f"HANDRAY_TEST_SESSION={session}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                title = (entry / "cmdline").read_bytes()
                environment = (entry / "environ").read_bytes()
            except OSError:
                continue
            if kind.encode() in title and marker in environment:
                found.append(int(entry.name))
    return found
