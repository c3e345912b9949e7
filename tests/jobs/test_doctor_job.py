"""jobs/doctor.py on a cluster of two nodes, and what it says of bad input."""

import pytest
from processes import run

from handray.cluster.doctor.findings import Finding, Located


@pytest.fixture(scope="module")
def two_nodes():
    """RAY_ADDRESS of a cluster of two real raylets on this machine."""
    from ray.cluster_utils import Cluster

    small = {"num_cpus": 1, "object_store_memory": 80 << 20, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=small)
    cluster.add_node(num_cpus=1, object_store_memory=80 << 20)
    yield cluster.address
    cluster.shutdown()


def test_two_nodes_are_examined_and_told_alike(two_nodes, phantoms, tmp_path):
    code, output = run(
        *("doctor.py", "--data", phantoms, "--size", 4096, "--storage", tmp_path / "storage"),
        folder=tmp_path,
        RAY_ADDRESS=two_nodes,
    )
    assert code == 0, output
    said = output.splitlines()
    assert "2 nodes" in said[0]
    assert "ok     OpenCV: all 2 nodes: one distribution" in said
    assert "ok     data: all 2 nodes: reached" in said
    assert "ok     storage: all 2 nodes: reached" in said
    assert any(line.startswith("ok     all-reduce: gloo, 2 ranks, one a node: ") for line in said)
    assert any(line.startswith("ok     clock: all 2 nodes: ") for line in said)
    assert any("note   object store: " in line and "--cache DIR" in line for line in said)
    assert said[-1] == "Nothing is wrong"
    assert list((tmp_path / "storage").iterdir()) == []


def test_what_is_wrong_is_told_by_the_exit_code(one_ray, run_here, monkeypatch, tmp_path):
    full = Located("", Finding("disk", "wrong", "is full: make room"))
    monkeypatch.setattr("handray.cluster.runtime.start_ray", lambda verbose: "Ray of the tests")
    monkeypatch.setattr("handray.cluster.doctor.examine.examine", lambda *asked: [[full]])
    code, said = run_here("doctor.py", folder=tmp_path)
    assert code == 1
    assert "wrong  disk: is full: make room\n" in said
    assert said.endswith("1 thing wrong\n")


@pytest.mark.parametrize(
    "arguments, told",
    [
        (("--size", 0), "--size 0"),
        (("--data", "nowhere"), "no such data folder: nowhere"),
        (("--storge", "x"), "--storge"),
    ],
)
def test_bad_input_is_one_sentence(run_here, tmp_path, arguments, told):
    code, said = run_here("doctor.py", *arguments, folder=tmp_path)
    assert code == 2
    assert told in said and said.count("\n") == 1
