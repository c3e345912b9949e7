"""A machine that is lost or taken away, beside the driver's, while two ranks train a fold."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import result
from faulty import INJECT, PATIENCE
from processes import wait_for
from ray.cluster_utils import Cluster

RANKS = ["--workers-per-fold", 2]


@pytest.fixture
def on_cluster(faulty, monkeypatch):
    """A training, and Ray's head with one CPU for one of its two ranks."""
    training = faulty(step_seconds=0.5)
    # Ranks have the environment of their nodes.
    monkeypatch.setenv("PYTHONPATH", f"{INJECT}:{os.environ.get('PYTHONPATH', '')}")
    monkeypatch.setenv("HANDRAY_TEST_TRACE", str(training.trace))
    monkeypatch.setenv("HANDRAY_TEST_STEP_SECONDS", "0.5")
    monkeypatch.setenv("HANDRAY_TEST_SESSION", str(training.session))
    monkeypatch.setenv("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", "20")  # instead of a minute
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    training.environment["RAY_ADDRESS"] = cluster.address
    yield training, cluster
    cluster.shutdown()


def test_a_fold_waits_for_a_lost_node_and_ends_with_a_sentence_where_it_stays_away(
    on_cluster, table
):
    training, cluster = on_cluster
    node = cluster.add_node(num_cpus=1)
    process = training.start(*RANKS)
    training.reach(process, 8)
    cluster.remove_node(node, allow_graceful=False)
    lost = time.time()
    wait_for(lambda: not training.ranks(), process, PATIENCE)
    node = cluster.add_node(num_cpus=1)
    training.reach(process, 13)
    _, resumed, seconds = training.went_on(lost)
    assert resumed == 6
    table("node of one of two ranks lost for a while", "waits, goes on once it is back", seconds)
    cluster.remove_node(node, allow_graceful=False)
    output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1, output
    assert "error: fold 0: the cluster no longer has 2 x {'CPU': " in output
    assert "the same command goes on once the lost machines are back" in output
    again = time.time()
    code, output = training.run()
    assert code == 0, output
    _, resumed, seconds = training.went_on(again)
    assert resumed == 12
    assert [number for number, *_ in result(training.home)["curve"]] == [6, 12, 18]
    table("node lost for good", "exit code 1 after minutes; goes on with fewer ranks", seconds)


def test_elastic_goes_on_with_fewer_ranks_grows_again_and_keeps_a_step_at_a_nodes_sigterm(
    on_cluster, table
):
    training, cluster = on_cluster
    node = cluster.add_node(num_cpus=1)
    # 70 steps an epoch.
    process = training.start(*RANKS, "--elastic", 1, "--passes", 40)
    training.reach(process, 75)
    cluster.remove_node(node, allow_graceful=False)
    lost = time.time()
    wait_for(lambda: len({step.process for step in training.steps()}) == 2, process, PATIENCE)
    training.reach(process, 80)
    _, resumed, seconds = training.went_on(lost)
    assert resumed == 70
    table("node lost, --elastic 1", "goes on with one rank and the same batch", seconds)
    returned = subprocess.Popen(
        [
            Path(sys.executable).with_name("ray"),
            *("start", f"--address={cluster.address}", "--num-cpus=1", "--block"),
        ],
        env={**os.environ, "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "20"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for(lambda: len({step.process for step in training.steps()}) == 3, process, PATIENCE)
        grown = training.steps()[-1].number
        training.reach(process, grown + 10)
        assert len(training.ranks()) == 2, "two ranks again"
        returned.send_signal(signal.SIGTERM)
        told, step = time.time(), training.steps()[-1].number
        output, _ = process.communicate(timeout=PATIENCE)
    finally:
        returned.kill()
        returned.wait()
    assert process.returncode == 0, output
    assert output.count("fold 0: 1 of 2 ranks; going on from step") == 2
    _, resumed, seconds = training.went_on(told)
    assert resumed >= step, "not from the epoch's start, which is all that there was"
    assert [number for number, *_ in result(training.home)["curve"]] == [70, 140, 210]
    table("SIGTERM to a node (20 s notice)", "keeps its step first, goes on from there", seconds)
