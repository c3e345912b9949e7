"""Disks, object stores and GPU memory that are full."""

import platform
import subprocess
import time
from contextlib import contextmanager, suppress

import numpy as np
import pytest
import ray
from conftest import result
from faulty import PATIENCE, check_rows
from processes import mlflow_runs
from ray.cluster_utils import Cluster


@contextmanager
def disk(path, megabytes):
    """A small disk of its own at a folder."""
    path.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(path)]
    if subprocess.run(command, capture_output=True).returncode:
        pytest.skip("mounting a small disk takes root and the right to mount")
    try:
        yield path
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


def enlarge(path, megabytes):
    subprocess.run(["mount", "-o", f"remount,size={megabytes}m", str(path)], check=True)


def fill(path):
    """Write a file until not a page is left."""
    filler = path / "filler"
    for size in (1 << 20, 1 << 12):
        with filler.open("ab", buffering=0) as file, suppress(OSError):
            while file.write(bytes(size)):
                pass
    return filler


def test_a_disk_that_is_full_at_a_checkpoint_is_one_sentence_and_goes_on_with_room(
    faulty, undisturbed, table, tmp_path
):
    training = faulty()
    # A checkpoint takes 31 MB; the second doesn't fit.
    with disk(tmp_path / "storage", 45) as storage:
        code, output = training.run("--storage", storage)
        assert code == 1, output
        assert output.count("no room for a checkpoint in") == 1
        assert f"error: fold 0: no room for a checkpoint in {storage}/small" in output
        assert "make room, then the same command goes on" in output
        assert "Traceback" not in output
        left = sum(file.stat().st_size for file in storage.rglob("*") if file.is_file())
        assert left < 35e6, "nothing half-written"
        enlarge(storage, 300)
        again = time.time()
        code, output = training.run("--storage", storage)
        assert code == 0, output
        assert result(training.home) == undisturbed
        assert training.went_on(again)[1] == 6, "from the first checkpoint"
    table("disk full at a checkpoint", "one sentence, exit code 1; goes on with room")


def test_a_disk_that_is_full_at_the_csv_and_for_mlflow_leaves_nothing_in_part(faulty, table):
    training = faulty("pause handray.reporting.results:write_submission 1", folds=("--all-data",))
    with disk(training.folder / "runs", 300) as runs:
        arguments = ["--folds", 1, "--epochs", 1]
        process = training.start(*arguments)
        training.paused(process)
        filler = fill(runs)
        training.sign().unlink()
        output, _ = process.communicate(timeout=PATIENCE)
        assert process.returncode == 2, output
        assert f"error: the disk of {training.home} on {platform.node()} is full; " in output
        assert "make room, then the same command goes on" in output
        assert "warning: MLflow at sqlite:///" in output and "disk is full" in output
        assert "Traceback" not in output
        assert not list(training.home.rglob("*.tmp")), "nothing half-written"
        assert not (training.home / "output.csv").exists()
        filler.unlink()
        code, output = training.run(*arguments, plain=True)
        assert code == 0, output
        check_rows(training.home / "output.csv", images=2)
        assert {run.info.status for run in mlflow_runs(training.folder)[1]} == {"FINISHED"}
    table("disk full at the CSV and in MLflow", "one sentence, exit code 2; goes on with room")


def test_a_full_object_store_whose_spill_disk_is_full_trains_all_the_same(
    faulty, undisturbed, table, tmp_path
):
    with disk(tmp_path / "spill", 8) as spill:
        cluster = Cluster(
            initialize_head=True,
            head_node_args={
                "num_cpus": 2,
                "object_store_memory": 80 * 10**6,
                "object_spilling_directory": str(spill),
            },
        )
        ray.init(address=cluster.address, log_to_driver=False)
        try:
            held = ray.put(np.ones(76 * 10**6, np.uint8))
            with pytest.raises(ray.exceptions.OutOfDiskError):
                ray.put(np.ones(8 * 10**6, np.uint8))
            training = faulty(environment={"RAY_ADDRESS": cluster.address})
            code, output = training.run()
            del held
        finally:
            ray.shutdown()
            cluster.shutdown()
        assert code == 0, output
        assert result(training.home) == undisturbed
    table("object store and its spill disk full", "trains all the same, from other memory", 0)
