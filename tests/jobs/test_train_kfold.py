"""jobs/train_kfold.py as a user starts it: to the end, again, and with bad input."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from pages import read_page
from processes import SMALL_TRAINING as SMALL
from processes import mlflow_runs, run
from webhooks import SECRET, receiving

from handray.data.radiographs import read_folder, read_truth
from handray.inference.levels import MIDDLE, read_levels
from handray.inference.score import score
from handray.inference.submission import read_submission
from handray.training.state import load_network


@pytest.fixture(scope="module")
def trained(phantoms, tmp_path_factory) -> tuple[Path, str]:
    """A whole small training with two ranks a fold."""
    folder = tmp_path_factory.mktemp("train")
    ranks = ["--workers-per-fold", 2, "--activation-checkpointing"]
    arguments = [*SMALL, "--epochs", 2, *ranks, "--data", phantoms]
    with receiving() as server:
        code, output = run("train_kfold.py", *arguments, folder=folder, HANDRAY_NOTIFY=server.url)
    assert code == 0, output
    (folder / "told.txt").write_text("\n".join(server.texts))
    return folder, output


def test_a_webhook_is_told_of_start_folds_and_end_and_its_address_is_written_nowhere(trained):
    folder, output = trained
    told = (folder / "told.txt").read_text().splitlines()
    assert all(text.startswith("train_kfold small on ") for text in told)
    starts, *folds, ends = (text.split(": ", 1)[1] for text in told)
    assert starts == "starts: hrnet_small on 13 images, folds 0, 1"
    assert sorted(text[:22] for text in folds) == [f"fold {n}  finished: Dice" for n in (0, 1)]
    assert ends.startswith("finished in ") and "oof_dice_mean 0." in ends
    assert SECRET not in output
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert len(files) > 20
    assert not [path for path in files if SECRET.encode() in path.read_bytes()]


def test_a_wrong_webhook_is_refused_and_a_right_one_told_of_bad_input_without_being_shown(
    run_here, phantoms, tmp_path
):
    arguments = ["train_kfold.py", *SMALL, "--data", phantoms]
    code, output = run_here(*arguments, "--notify", f"hooks/{SECRET}", folder=tmp_path)
    assert code == 2
    assert output.startswith("error: argument --notify: neither http:// nor https://")
    assert SECRET not in output
    with receiving() as server:
        code, output = run_here(
            *arguments,
            *("--notify", server.url),
            folder=tmp_path,
            MLFLOW_TRACKING_URI="http://127.0.0.1:9",
        )
    assert code == 2 and SECRET not in output
    assert [text.split(": ", 1)[1][:60] for text in server.texts] == [
        "failed: MLFLOW_TRACKING_URI http://127.0.0.1:9 can't be used"
    ]


def test_output_has_every_test_image_and_class_in_the_competitions_format(trained, phantoms):
    folder, _ = trained
    table = pd.read_csv(folder / "runs/small/output.csv", keep_default_na=False)
    data = read_folder(phantoms)
    expected = [(image.name, name) for image in data.test for name in data.class_names]
    assert list(table.columns) == ["image_name", "class", "rle"]
    assert list(zip(table["image_name"], table["class"], strict=True)) == expected


def test_out_of_fold_masks_cover_every_training_image_and_score_what_the_summary_says(
    trained, phantoms
):
    folder, _ = trained
    data, home = read_folder(phantoms), folder / "runs/small"
    summary = json.loads((home / "summary.json").read_text())
    out_of_fold = read_submission(home / "oof.csv")
    assert out_of_fold.image_names == tuple(image.name for image in data.train)
    labels = {image.name: image.polygons for image in data.train}
    assert summary["oof_dice_mean"] == pytest.approx(score(out_of_fold, labels).dice())
    truth = read_truth(phantoms, data)
    test = score(read_submission(home / "output.csv"), truth).dice()
    assert summary["test_dice_mean"] == pytest.approx(test)
    assert summary["seconds"] > 0
    for fold, dice in enumerate(summary["fold_dice"]):
        part = read_submission(home / f"fold{fold}/oof.csv")
        assert dice == pytest.approx(score(part, labels).dice()), "as the ranks validated it"


def test_a_checkpoint_has_all_that_prediction_needs(trained):
    folder, _ = trained
    home = folder / "runs/small/fold1"
    weights, about = load_network(home / "best.pt")
    assert about["config"]["model"]["model"] == "hrnet_small"
    assert len(about["class_names"]) == 29
    assert (about["size"], about["fold"]) == (64, 1)
    assert 0 < about["mean"] < 255
    assert all(isinstance(value, torch.Tensor) for value in weights.values())
    assert "optimizer" in torch.load(home / "last.pt", weights_only=True)


def test_folds_keep_people_apart(trained):
    table = pd.read_csv(trained[0] / "runs/small/folds.csv")
    assert (table.groupby("person")["fold"].nunique() == 1).all()
    assert set(table.columns) == {"image_name", "person", "side", "bend", "fold"}


def test_mlflow_has_one_parent_and_a_child_a_fold_with_curves_and_artifacts(trained):
    folder, _ = trained
    client, runs = mlflow_runs(folder)
    parents = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    children = [run for run in runs if run not in parents]
    assert len(parents) == 1 and len(children) == 2, "no lost and no double runs"
    parent = parents[0]
    assert all(run.info.status == "FINISHED" for run in runs)
    assert all(c.data.tags["mlflow.parentRunId"] == parent.info.run_id for c in children)
    assert parent.data.params["data.size"] == "64"
    assert parent.data.params["optim.optimizer"] == "adamp"
    assert parent.data.tags["weights"] == "none"
    assert parent.data.metrics.keys() >= {"oof_dice_mean", "test_dice_mean"}
    names = {artifact.path for artifact in client.list_artifacts(parent.info.run_id)}
    assert names >= {"output.csv", "output.json", "oof.csv", "folds.csv", "config.json"}
    for child in children:
        steps = [m.step for m in client.get_metric_history(child.info.run_id, "loss")]
        assert sorted(steps) == [1, 2]
        assert "dice_of/Pisiform" in child.data.metrics
        names = {artifact.path for artifact in client.list_artifacts(child.info.run_id)}
        assert names >= {"best.pt", "history.json", "oof.csv", "output.csv"}
        assert "last.pt" not in names, "optimiser states stay at home"


def test_the_report_is_one_page_that_shows_the_run_and_an_artifact(trained):
    folder, output = trained
    home = folder / "runs/small"
    page = read_page(home / "report.html")
    summary = json.loads((home / "summary.json").read_text())
    assert f"{summary['oof_dice_mean']:.4f}" in page.sections["In numbers"]
    assert f"{summary['test_dice_mean']:.4f}" in page.sections["In numbers"]
    assert {name for name, some in page.pictures.items() if some} >= {
        *("Curves", "Dice by class", "Dice by slice", "Worst cases", "Threshold"),
        *("Reliability of probabilities", "Test images", "Time spent"),
    }
    for part in ("decoding", "steps", "waiting for data", "validation"):
        assert part in page.sections["Time spent"]
    parent = training_of(mlflow_runs(folder)[1])
    assert parent in page.sections["What was run"]
    client, _ = mlflow_runs(folder)
    assert "report.html" in {artifact.path for artifact in client.list_artifacts(parent)}
    assert "report.html" in output


def test_the_end_shows_dice_the_worst_classes_and_where_everything_lies(trained):
    folder, output = trained
    for part in (
        "fold 0 ",
        "fold 1 ",
        "oof_dice_mean",
        "Worst classes",
        str(folder / "runs/small"),
    ):
        assert part in output
    assert "Traceback" not in output
    assert "raylet" not in output


def test_a_finished_run_says_so_and_changes_nothing(trained, run_here, phantoms):
    folder, _ = trained
    home = folder / "runs/small"
    before = {path: path.stat().st_mtime_ns for path in home.rglob("*")}
    # Another number of workers is no other config.
    code, output = run_here(
        "train_kfold.py", *SMALL, "--epochs", 2, "--data", phantoms, folder=folder
    )
    assert code == 0
    assert "is finished; nothing to do" in output
    assert {path: path.stat().st_mtime_ns for path in home.rglob("*")} == before


def test_the_same_name_with_another_config_or_data_names_the_keys(
    trained, run_here, phantoms, tmp_path
):
    folder, _ = trained
    arguments = [*SMALL, "--epochs", 5, "--data", phantoms]
    code, output = run_here("train_kfold.py", *arguments, folder=folder)
    assert code == 2
    assert "another config or other data (train.epochs was 2, now 5)" in output
    other = tmp_path / "other"
    shutil.copytree(phantoms, other)
    shutil.rmtree(other / "train/DCM/ID001")
    shutil.rmtree(other / "train/outputs_json/ID001")
    code, output = run_here("train_kfold.py", *SMALL, "--epochs", 2, "--data", other, folder=folder)
    assert code == 2
    assert "(data was " in output


def training_of(runs) -> str:
    """The run that has children: a tracked vote has no parent either."""
    return next(filter(None, (r.data.tags.get("mlflow.parentRunId") for r in runs)))


def test_runs_of_mlflow_vote_with_each_other_and_with_csvs(trained, run_here):
    folder, _ = trained
    _, runs = mlflow_runs(folder)
    children = [r.info.run_id for r in runs if "mlflow.parentRunId" in r.data.tags]
    code, output = run_here(
        "ensemble.py", "--runs", ",".join(children), "--out", "voted.csv", folder=folder
    )
    assert code == 0, output
    home = folder / "runs/small"
    # int(0.7 * 2) = 1 vote of 2: the job's own vote of its folds.
    assert (folder / "voted.csv").read_text() == (home / "output.csv").read_text()
    parent = training_of(runs)
    csv = home / "fold0/output.csv"
    arguments = ["--runs", parent, children[0], "--csv", csv, "--votes", 3, "--out", "all.csv"]
    code, output = run_here("ensemble.py", *arguments, folder=folder)
    assert code == 0, output
    code, output = run_here("ensemble.py", "--runs", "0" * 32, "--out", "none.csv", folder=folder)
    assert code == 2
    assert f"--runs {'0' * 32}: no such run" in output
    assert not (folder / "none.csv").exists()


def test_the_levels_that_a_run_keeps_vote_softly_and_choose(trained, run_here, phantoms):
    folder, _ = trained
    home = folder / "runs/small"
    middle = read_levels(home / "oof_levels.npz")[MIDDLE]
    csv = read_submission(home / "oof.csv")
    assert np.array_equal(middle.rows.bounds, csv.rows.bounds)
    assert np.array_equal(middle.rows.offsets, csv.rows.offsets)
    _, runs = mlflow_runs(folder)
    parent = training_of(runs)
    arguments = ["--runs", parent, "--soft", "--select", "--data", phantoms, "--out", "soft.csv"]
    code, output = run_here("ensemble.py", *arguments, folder=folder)
    assert code == 0, output
    assert "no part in the choice" in output and "a mean probability above" in output


def test_all_data_is_one_network_and_finished_without_a_report_too(shared_ray, phantoms, tmp_path):
    in_the_way = tmp_path / "runs/small/report.html"
    in_the_way.mkdir(parents=True)
    # Folds of SMALL stand before --all-data, so it is given as the number that it means.
    arguments = [*SMALL, "--epochs", 1, "--data", phantoms, "--folds", 1, "--cache", "cache"]
    code, output = run("train_kfold.py", *arguments, folder=tmp_path, RAY_ADDRESS=shared_ray)
    assert code == 0, output
    assert f"Mapping 15 images from {tmp_path}/cache, decoding 15" in output
    assert "warning: no report was written: IsADirectoryError" in output
    home = tmp_path / "runs/small"
    summary = json.loads((home / "summary.json").read_text())
    assert "oof_dice_mean" not in summary and 0 <= summary["test_dice_mean"] <= 1
    assert not (home / "oof.csv").exists() and (home / "output.csv").exists()
    assert set(pd.read_csv(home / "folds.csv")["fold"]) == {-1}
    assert load_network(home / "fold0/best.pt")[1]["epoch"] == 1


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--model", "hrnot"], "error: --model hrnot is not known; choose one of: hrnet, "),
        (["--size", "1000"], "error: --size must be a multiple of 32"),
        (["--encoder", "resnet50"], "error: --encoder resnet50: hrnet has its own"),
        (["--model", "unet", "--encoder", "resnot50"], "error: --encoder resnot50: neither smp"),
        (["--class-weights", "Pisform=2"], "error: --class-weights Pisform=2: no class has this"),
        (["--only-fold", "5"], "error: --only-fold 5: folds are 0 to 4; choose one of them"),
        (["--all-data", "--folds", "3"], "error: --all-data is --folds 1; leave --folds out"),
        (["--folds", "8"], "error: --folds is 8, but there are only 7 people"),
        (["--augment", "swirl"], "error: --augment swirl is not known"),
        (["--loss", "hinge"], "error: --loss hinge is not known"),
        (["--name", "a/b"], "error: --name a/b: a run's name can't"),
        (["--weights", "nothing.pt"], "error: --weights nothing.pt: no such file"),
        (
            ["--cache", "/dev/null"],
            "error: --cache /dev/null can't be written to (Not a dir",
        ),
        (["--cache", "c", "--size", "1048576"], "/c needs 76800.00 GiB for decoded images, but"),
        (["--epochs", "many"], "error: argument --epochs: invalid int value: 'many'"),
    ],
)
def test_a_wrong_flag_is_one_sentence_and_leaves_nothing(
    run_here, arguments, sentence, phantoms, tmp_path
):
    code, output = run_here("train_kfold.py", "--data", phantoms, *arguments, folder=tmp_path)
    assert code == 2, output
    assert sentence in output
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        ({"RAY_ADDRESS": "127.0.0.1:9"}, "error: no Ray answers at RAY_ADDRESS 127.0.0.1:9"),
        (
            {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9"},
            "error: MLFLOW_TRACKING_URI http://127.0.0.1:9 can't be used",
        ),
    ],
)
def test_a_server_that_does_not_answer_is_named_before_anything_is_written(
    run_here, environment, sentence, phantoms, tmp_path
):
    arguments = [*SMALL, "--data", phantoms]
    code, output = run_here("train_kfold.py", *arguments, folder=tmp_path, **environment)
    assert code == 2, output
    assert sentence in output
    assert list(tmp_path.iterdir()) == []


def test_a_broken_driver_is_told_before_anything_is_decoded(shared_ray, phantoms, tmp_path):
    fake = tmp_path / "bin/nvidia-smi"
    fake.parent.mkdir()
    fake.write_text("#!/bin/sh\necho 'NVIDIA-SMI has failed'; exit 9\n")
    fake.chmod(0o755)
    code, output = run(
        *("train_kfold.py", *SMALL, "--data", phantoms),
        folder=tmp_path,
        RAY_ADDRESS=shared_ray,
        PATH=f"{fake.parent}:{os.environ['PATH']}",
    )
    assert code == 2, output
    assert "error: GPUs: nvidia-smi fails (NVIDIA-SMI has failed): install" in output
    assert "ecoding" not in output and not (tmp_path / "runs/small/config.json").exists()


def test_a_folder_without_images_names_the_layout(run_here, tmp_path):
    (tmp_path / "empty").mkdir()
    code, output = run_here("train_kfold.py", "--data", "empty", folder=tmp_path)
    assert code == 2
    assert "train/DCM" in output
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]


def test_all_faults_are_listed_together_and_skip_bad_would_go_on(run_here, phantoms, tmp_path):
    bad = tmp_path / "bad"
    shutil.copytree(phantoms, bad)
    images = sorted((bad / "train/DCM").rglob("*.png"))
    images[0].write_bytes(images[0].read_bytes()[:1000])
    label = sorted((bad / "train/outputs_json").rglob("*.json"))[5]
    label.write_text("{}")
    code, output = run_here("train_kfold.py", "--data", bad, folder=tmp_path)
    assert code == 2
    assert images[0].name in output and label.name in output
    assert "annotations" in output and "--skip-bad" in output
    assert [path.name for path in tmp_path.iterdir()] == ["bad"]
    data = read_folder(bad)
    assert len(data.train) == 11


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes to read-only folders as well")
def test_a_read_only_folder_is_told_before_anything_starts(run_here, phantoms, tmp_path):
    tmp_path.chmod(0o500)
    code, output = run_here("train_kfold.py", "--data", phantoms, folder=tmp_path)
    assert code == 2
    assert "error: " in output


def test_an_image_counts_once_whatever_the_ranks(trained, phantoms):
    """13 images in 2 folds and 2 ranks: one rank of a fold validates one image fewer."""
    table = pd.read_csv(trained[0] / "runs/small/folds.csv")
    sizes = table["fold"].value_counts().to_numpy()
    assert np.any(sizes % 2), "an odd count, so that ranks differ"
    for fold in (0, 1):
        part = read_submission(trained[0] / f"runs/small/fold{fold}/oof.csv")
        held_out = table.loc[table["fold"] == fold, "image_name"]
        assert sorted(part.image_names) == sorted(held_out)
