"""Whole jobs that are killed or fail, and go on."""

import json
import os
import signal
from pathlib import Path

from processes import (
    SMALL_ABLATION,
    SMALL_SEARCH,
    SMALL_TRAINING,
    mlflow_runs,
    run,
    start,
    wait_for,
    workers,
)


def kill_all(process) -> None:
    """SIGKILL the driver and the Ray that it started."""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def times(paths) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in paths}


def test_an_audit_that_is_stopped_leaves_nothing(phantoms, tmp_path):
    arguments = ["--data", phantoms, "--out", "page.html"]
    process = start("check_data.py", *arguments, folder=tmp_path, HANDRAY_TEST_SESSION="5")
    wait_for(lambda: workers("ray::", 5), process)
    os.killpg(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 130, output
    assert not list(tmp_path.iterdir())


def test_a_training_goes_on_after_a_workers_death_and_the_drivers(phantoms, tmp_path):
    home = tmp_path / "runs/small"
    ranks = ["--workers-per-fold", 2]
    arguments = [*SMALL_TRAINING, "--epochs", 4, *ranks, "--data", phantoms]
    process = start("train_kfold.py", *arguments, folder=tmp_path, HANDRAY_TEST_SESSION="7")
    checkpoints = (home / "ray").glob
    wait_for(lambda: any(checkpoints("fold0/checkpoint_*/last.pt")), process)
    victims = workers("RayTrainWorker", 7)
    assert len(victims) == 2, "two ranks train the fold"
    os.kill(victims[-1], signal.SIGKILL)
    wait_for(lambda: set(workers("RayTrainWorker", 7)) - set(victims), process)
    wait_for(lambda: any(checkpoints("fold1/checkpoint_*/last.pt")), process)
    first = times([home / "fold0/best.pt"])
    kill_all(process)
    code, output = run("train_kfold.py", *arguments, folder=tmp_path)
    assert code == 0, output
    assert times(first) == first, "not trained again"
    for fold in (0, 1):
        history = json.loads((home / f"fold{fold}/history.json").read_text())
        assert [record["epoch"] for record in history] == [1, 2, 3, 4]
    assert not list(home.glob("*.partial"))
    client, runs = mlflow_runs(tmp_path)
    assert len(runs) == 3 and {run.info.status for run in runs} == {"FINISHED"}
    for child in (r for r in runs if "mlflow.parentRunId" in r.data.tags):
        steps = [m.step for m in client.get_metric_history(child.info.run_id, "loss")]
        assert sorted(steps) == [1, 2, 3, 4], "each epoch once, also one that a kill had lost"


def test_one_fold_is_trained_alone_and_the_same_command_adds_the_others(phantoms, tmp_path):
    home = tmp_path / "runs/small"
    arguments = [*SMALL_TRAINING, "--epochs", 1, "--data", phantoms]
    code, output = run("train_kfold.py", *arguments, "--only-fold", 1, folder=tmp_path)
    assert code == 0, output
    assert "aren't trained yet: 0" in output
    assert not (home / "fold0").exists() and not (home / "summary.json").exists()
    first = times([home / "fold1/best.pt"])
    code, output = run("train_kfold.py", *arguments, folder=tmp_path)
    assert code == 0, output
    assert times(first) == first, "not trained again"
    assert (home / "summary.json").exists()


def test_a_loss_that_explodes_fails_the_folds_with_a_sentence_and_none_counts_as_finished(
    phantoms, tmp_path, table
):
    arguments = [*SMALL_TRAINING, "--epochs", 9, "--lr", 1e12, "--clip", 1e12, "--data", phantoms]
    code, output = run("train_kfold.py", *arguments, folder=tmp_path)
    assert code == 1, output
    for fold in (0, 1):
        assert f"error: fold {fold}: the loss became " in output
    assert "half the --lr" in output
    assert not list((tmp_path / "runs/small").glob("fold*/"))
    assert not (tmp_path / "runs/small/summary.json").exists()
    assert {run.info.status for run in mlflow_runs(tmp_path)[1]} == {"FAILED"}
    table("a loss that is no number", "exit code 1; step, images and remedy are named")


def test_an_ablation_goes_on_after_a_trials_death_and_the_drivers(phantoms, tmp_path):
    records = tmp_path / "runs/small/trials"
    arguments = [*SMALL_ABLATION, "--data", phantoms]
    process = start("tune_aug.py", *arguments, folder=tmp_path, HANDRAY_TEST_SESSION="9")
    wait_for(lambda: len(workers("ImplicitFunc", 9)) == 2, process)
    os.kill(workers("ImplicitFunc", 9)[0], signal.SIGKILL)
    wait_for(lambda: len(list(records.glob("none*.npz"))) == 2, process)
    kill_all(process)
    first = times(records.glob("*.npz"))
    code, output = run("tune_aug.py", *arguments, folder=tmp_path)
    assert code == 0, output
    assert times(first) == first, "not run again"
    assert {path.stem for path in records.iterdir()} == {
        f"{policy}-fold0-seed{seed}" for policy in ("none", "flip") for seed in (0, 1)
    }
    assert f"{len(first)} of 4 trials are in {tmp_path}/runs/small already" in output
    assert f"13 images were decoded for {4 - len(first)} trial" in output
    assert {run.info.status for run in mlflow_runs(tmp_path)[1]} == {"FINISHED"}


def test_a_search_goes_on_after_the_drivers_death(phantoms, tmp_path):
    records = tmp_path / "runs/small/trials"
    arguments = [*SMALL_SEARCH, "--data", phantoms]
    process = start("tune_hparams.py", *arguments, folder=tmp_path)
    wait_for(lambda: any(records.glob("trial*.npz")), process)
    kill_all(process)
    first = times(records.glob("trial*.npz"))
    code, output = run("tune_hparams.py", *arguments, folder=tmp_path)
    assert code == 0, output
    assert times(first) == first, "not run again"
    assert len(list(records.glob("trial*.npz"))) == 3
