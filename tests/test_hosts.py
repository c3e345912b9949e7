"""Faults of hosts while they train: `make hosts-test`, 20 minutes on two cores.

One `ray up` for all of them. A fold's two ranks are on two of three hosts; a fault strikes in the
first fold, after its first checkpoint.
"""

import os
import re
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import fault_table
import pytest
from hosts import HOME, MISSING, Host, Hosts
from test_cluster import HEAD, SUBMIT, TRAINING, WORKERS, bring_up, check_run, hosts_of_ranks, ray

from handray.cluster.checkpoints import SEAL

pytestmark = [
    pytest.mark.hosts,
    pytest.mark.skipif(bool(MISSING), reason=f"hosts need {', '.join(MISSING)}"),
]
LONGER = [*TRAINING, "--epochs", "3", "--passes", "1", "--data", "/mnt/handray/hands", "--name"]
FULL = """
used=$(df --output=used /tmp | tail -1)
mount -o remount,size=$((used + 1000))k /tmp
head -c 64M /dev/zero > /tmp/filler 2> /dev/null
true
"""
EMPTY = "rm -f /tmp/filler; mount -o remount,size=50% /tmp"


@dataclass
class Cluster:
    """Hosts that train."""

    hosts: Hosts
    struck: float = 0.0
    """When the last fault came."""
    known: set[Path] | None = None
    """Checkpoints that were there then; None once another one is."""
    lost: float = 0.0
    """Seconds from the fault, or from the same command after a stop, to the next checkpoint."""

    def train(self, name: str, strike: Callable[[str], None] | None = None) -> tuple[int, str]:
        """Train; a fault strikes a worker of the first fold. Exit code and output."""
        job = self.hosts.laptop.start(*SUBMIT, "python", "jobs/train_kfold.py", *LONGER, name)
        worker: set[str] = set()
        while job.poll() is None:
            checkpoints = self.checkpoints(name)
            if strike and checkpoints and (worker := hosts_of_ranks(self.hosts) - {HEAD}):
                self.known, self.struck = checkpoints, time.monotonic()
                strike(min(worker))
                strike = None
            elif self.known is not None and checkpoints - self.known:
                self.known, self.lost = None, time.monotonic() - self.struck
            time.sleep(0.2)
        output, _ = job.communicate()
        assert strike is None, f"the job ended before the fault came\n{output}"
        return job.returncode, output

    def checkpoints(self, name: str) -> set[Path]:
        """The whole checkpoints of the first fold."""
        fold = self.hosts.folder / "shared" / name / "fold0"
        return {seal.parent for seal in fold.glob(f"checkpoint_*/{SEAL}")}

    def again(self, name: str) -> str:
        """The same command goes on after a stop to all folds and every row; its output."""
        self.known, self.struck = self.checkpoints(name), time.monotonic()
        code, output = self.train(name)
        assert code == 0, output
        self.check(name)
        return output

    def check(self, name: str) -> None:
        """All folds are there, and every row."""
        runs = self.hosts.laptop.home / "runs" / name
        runs.mkdir(parents=True)
        ray(
            self.hosts,
            "rsync-down",
            "cluster.yaml",
            f"~/handray/runs/{name}/",
            f"{HOME}/runs/{name}/",
        )
        check_run(runs, folds=2, images=2, classes=29)

    def add(self, fault: str, outcome: str) -> None:
        """A row of the table."""
        assert self.known is None, "no checkpoint came after the fault"
        fault_table.keep([fault_table.row(f"{fault}, across hosts", outcome, self.lost)])

    def wait(self) -> None:
        """Wait until all servers are nodes again."""
        limit = time.monotonic() + 900
        while "/6.0 CPU" not in (status := ray(self.hosts, "exec", "cluster.yaml", "ray status")):
            assert time.monotonic() < limit, status
            time.sleep(2)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory, phantoms):
    folder = tmp_path_factory.mktemp("hosts")
    with Hosts([HEAD, *WORKERS], folder) as hosts:
        shutil.copytree(phantoms, folder / "shared/hands")
        bring_up(hosts)
        yield Cluster(hosts)


def kill(host: Host, kind: str) -> None:
    found = host.processes(kind)
    assert found, f"{host.name} has no {kind}"
    for process in found:
        os.kill(process, signal.SIGKILL)


def survived(cluster: Cluster, name: str, fault: str, strike: Callable[[str], None]) -> str:
    """The job ends by itself, with all folds and every row; its output."""
    code, output = cluster.train(name, strike)
    assert code == 0, output
    cluster.check(name)
    cluster.add(fault, "the job ended with all folds and every row")
    return output


def test_a_workers_network_is_cut_for_half_a_minute(cluster):
    def cut(worker: str) -> None:
        cluster.hosts.plug(worker, "down")
        time.sleep(30)
        cluster.hosts.plug(worker, "up")

    survived(cluster, "cable", "a worker's network cut for 30 s", cut)
    cluster.wait()


def test_a_raylet_is_killed(cluster):
    def strike(worker: str) -> None:
        kill(cluster.hosts.servers[worker], "raylet/raylet")

    survived(cluster, "raylet", "a worker's raylet killed", strike)
    cluster.wait()


def test_a_host_loses_power_and_comes_back(cluster):
    lost = []

    def strike(worker: str) -> None:
        lost.append(worker)
        cluster.hosts.servers[worker].kill()

    survived(cluster, "power", "a worker switched off", strike)
    cluster.hosts.boot(lost[0])
    cluster.wait()


def test_the_driver_on_the_head_is_killed(cluster):
    def strike(_: str) -> None:
        kill(cluster.hosts.servers[HEAD], "jobs/train_kfold.py")

    code, output = cluster.train("driver", strike)
    assert code != 0, output
    cluster.again("driver")
    cluster.add(
        "the driver on the head killed",
        "the job ended; the same command went on from the checkpoint to all folds and every row",
    )


def test_a_hosts_disk_is_full(cluster):
    full = []

    def strike(_: str) -> None:
        # The host of the rank that writes checkpoints.
        for address in hosts_of_ranks(cluster.hosts):
            host = cluster.hosts.servers[address]
            if not host.run("sh", "-c", "ls /tmp/handray-fold-*/scratch/last.pt")[0]:
                full.append(host)
                host.run("sh", "-c", FULL)
        assert len(full) == 1

    code, output = cluster.train("disk", strike)
    assert code == 1, output
    assert re.search(r"error: .* /tmp .*make room, then the same command goes on", output), output
    full[0].run("sh", "-c", EMPTY)
    cluster.again("disk")
    cluster.add(
        "a host's disk full at a checkpoint",
        "the job ended with a sentence; once there was room, the same command went on",
    )
