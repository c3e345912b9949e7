"""Bare servers to a CSV by cluster.yaml, the servers being hosts made here: `make cluster-test`.

cluster.yaml is run as it is: the hosts have its addresses, its user and its shared mount.
"""

import csv
import shutil
import time
from pathlib import Path

import pytest
import yaml
from hosts import HOME, MISSING, TOP, Host, Hosts
from processes import SMALL_TRAINING

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(bool(MISSING), reason=f"hosts need {', '.join(MISSING)}"),
]

PROVIDER = yaml.safe_load((TOP / "cluster.yaml").read_text())["provider"]
HEAD, WORKERS = PROVIDER["head_ip"], PROVIDER["worker_ips"]
TRAINING = [*map(str, SMALL_TRAINING), "--epochs", "2", "--workers-per-fold", "2"]
SUBMIT = [
    *("env", "RAY_AUTH_MODE=token", f"RAY_API_SERVER_ADDRESS=http://{HEAD}:8265"),
    *("ray", "job", "submit", "--working-dir", ".", "--"),
]


@pytest.fixture
def hosts(tmp_path):
    with Hosts([HEAD, *WORKERS], tmp_path) as found:
        yield found


def ray(hosts: Hosts, *words: str) -> str:
    """Output of a ray command on the laptop."""
    code, output = hosts.laptop.run("ray", *words)
    assert code == 0, output
    return output


def bring_up(hosts: Hosts) -> None:
    """`ray up`, and all servers are there."""
    ray(hosts, "up", "--yes", "cluster.yaml")
    limit = time.monotonic() + 600
    while "6.0 CPU" not in (status := ray(hosts, "exec", "cluster.yaml", "ray status")):
        assert time.monotonic() < limit, status
        time.sleep(1)
    (hosts.laptop.home / ".ray").mkdir()
    ray(hosts, "rsync-down", "cluster.yaml", "~/.ray/auth_token", f"{HOME}/.ray/auth_token")


def hosts_of_ranks(hosts: Hosts) -> set[str]:
    """Addresses of the servers where ranks are just now."""
    return {a for a, server in hosts.servers.items() if server.processes("RayTrainWorker")}


def check_run(run: Path, folds: int, images: int, classes: int) -> None:
    """Every fold is there, and every row of the CSV."""
    assert {path.name for path in run.glob("fold?")} == {f"fold{fold}" for fold in range(folds)}
    with (run / "output.csv").open() as file:
        rows = [(row["image_name"], row["class"]) for row in csv.DictReader(file)]
    assert len(rows) == len(set(rows)) == images * classes


def test_bare_servers_train_each_fold_on_two_of_them(hosts, phantoms):
    shutil.copytree(phantoms, hosts.folder / "shared/hands")
    bring_up(hosts)
    job = [*SUBMIT, "python", "jobs/train_kfold.py", *TRAINING, "--data", "/mnt/handray/hands"]
    process = hosts.laptop.start(*job)
    most: set[str] = set()
    while process.poll() is None:
        most = max(most, hosts_of_ranks(hosts), key=len)
        time.sleep(1)
    output = process.communicate()[0]
    assert process.returncode == 0, output
    assert len(most) == 2, f"ranks of one fold were at {most}\n{output}"
    assert "3 nodes, 6 CPUs" in output
    (hosts.laptop.home / "runs").mkdir()
    ray(hosts, "rsync-down", "cluster.yaml", "~/handray/runs/small/", f"{HOME}/runs/small/")
    check_run(hosts.laptop.home / "runs/small", folds=2, images=2, classes=29)
    again = ["submit", "cluster.yaml", "jobs/train_kfold.py", *TRAINING]
    assert "nothing to do" in ray(hosts, *again, "--data", "/mnt/handray/hands")
    gcs = hosts.servers[HEAD].processes("gcs_server")
    ray(hosts, "up", "--yes", "--no-restart", "cluster.yaml")
    assert hosts.servers[HEAD].processes("gcs_server") == gcs, "a second time disturbs nobody"
    artifacts = hosts.servers[HEAD].home / "handray/runs/mlartifacts"
    assert list(artifacts.rglob("output.csv")), "the head's MLflow server keeps the files"
    ray(hosts, "down", "--yes", "cluster.yaml")
    assert not hosts.servers[HEAD].processes("gcs_server")


def listening(host: Host) -> dict[int, set[str]]:
    """Port to the addresses that a host listens on there."""
    code, output = host.run("ss", "-Hltn")
    assert code == 0, output
    found: dict[int, set[str]] = {}
    for line in output.splitlines():
        address, _, port = line.split()[3].rpartition(":")
        found.setdefault(int(port), set()).add(address.strip("[]").removeprefix("::ffff:"))
    return found


def test_without_the_token_nothing_is_run_and_people_are_met_on_the_clusters_network(hosts):
    bring_up(hosts)
    ports = listening(hosts.servers[HEAD])
    for port in (8265, 10001, 5000):  # the dashboard, Ray's client, MLflow
        assert HEAD in ports[port]
        assert ports[port] <= {HEAD, "127.0.0.1"}, f"port {port} is open to other networks"
    (hosts.laptop.home / ".ray/auth_token").write_text("guessed")
    code, output = hosts.laptop.run(*SUBMIT, "true")
    assert code != 0
    assert "token is invalid" in output
    status = ["env", "RAY_AUTH_MODE=token", "timeout", "60", "ray", "status"]
    code, output = hosts.laptop.run(*status, "--address", f"{HEAD}:6379")
    assert code != 0
    assert "CPU" not in output
