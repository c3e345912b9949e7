"""An MLflow server that goes away while a job runs."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import pytest
from conftest import result
from faulty import PATIENCE
from processes import wait_for


class Server:
    """A real server of its own files, which can be killed and started again."""

    def __init__(self, folder) -> None:
        self.folder = folder
        folder.mkdir()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        store = ["--backend-store-uri", "sqlite:///mlflow.db", "--artifacts-destination", "files"]
        where = ["--host", "127.0.0.1", "--port", str(self.port), "--workers", "1"]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", "server", *store, *where],
            cwd=self.folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        wait_for(self.answers, self.process, PATIENCE)

    def answers(self) -> bool:
        try:
            urllib.request.urlopen(f"{self.uri}/health", timeout=5).close()
            return True
        except OSError:
            return False

    def kill(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@pytest.fixture
def server(tmp_path):
    one = Server(tmp_path / "server")
    one.start()
    yield one
    one.kill()


def fold_run(server):
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=server.uri)
    experiment = client.get_experiment_by_name("handray")
    runs = client.search_runs([experiment.experiment_id])
    return client, next(run for run in runs if run.info.run_name == "small-fold0")


def test_metrics_wait_for_a_server_that_comes_back_and_what_is_lost_is_named(
    faulty, undisturbed, server, table
):
    training = faulty(step_seconds=6, environment={"MLFLOW_TRACKING_URI": server.uri})
    process = training.start()
    training.reach(process, 2)
    server.kill()
    gone = time.time()
    training.reach(process, 12)
    server.start()
    assert time.time() - gone > 55
    client, run = fold_run(server)

    def epochs() -> list[int]:
        curve = client.get_metric_history(run.info.run_id, "loss")
        return sorted(metric.step for metric in curve)

    wait_for(lambda: epochs() == [1, 2], process, PATIENCE)
    server.kill()
    output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, output
    assert output.count(f"warning: MLflow at {server.uri} takes nothing") == 2
    assert output.count(f"MLflow at {server.uri} is back after ") == 1
    lost = (
        "curves of fold0, Dice of fold0, files of fold0, the end of fold0, files of parent, "
        "the end of parent"
    )
    assert f"warning: {server.uri} has not got {lost}; all of it is in {training.home}" in output
    assert "Traceback" not in output
    assert result(training.home) == undisturbed
    server.start()
    assert epochs() == [1, 2]
    table("MLflow server gone for a minute", "training goes on, curves are sent later", 0)
    table("MLflow server gone for good", "training goes on; what is lost is named", 60)
