"""jobs/tune_aug.py as a user starts it: an ablation, and bad input."""

import json

import pandas as pd
import pytest
from pages import read_page
from processes import SMALL_ABLATION as SMALL
from processes import mlflow_runs, run

from handray.reporting.ablation import OTHER_SEED


@pytest.fixture(scope="module")
def ablation(shared_ray, phantoms, tmp_path_factory):
    """Four trials, two at a time."""
    folder = tmp_path_factory.mktemp("ablation")
    arguments = [*SMALL, "--data", phantoms, "--cache", "cache"]
    code, output = run("tune_aug.py", *arguments, folder=folder, RAY_ADDRESS=shared_ray)
    assert code == 0, output
    return folder, output


def test_all_trials_share_one_decode(ablation):
    folder, output = ablation
    names = {path.stem for path in (folder / "runs/small/trials").iterdir()}
    assert names == {f"{p}-fold0-seed{s}" for p in ("none", "flip") for s in (0, 1)}
    # Each of the 13 images once for all trials.
    assert "13 images were decoded for 4 trials" in output


def test_it_leaves_the_leaderboard_and_says_where(ablation):
    folder, output = ablation
    board = pd.read_csv(folder / "runs/small/leaderboard.csv")
    assert set(board["policy"]) == {"none", "flip", OTHER_SEED}
    assert (board.set_index("policy").loc["none", "difference"]) == 0
    assert "leaderboard.csv, slices.csv, leaderboard.png, report.html" in output.splitlines()[-1]
    assert {"carpals", "right hand"} <= set(pd.read_csv(folder / "runs/small/slices.csv")["slice"])


def test_its_report_shows_policies_classes_slices_hard_images_and_time(ablation):
    folder, _ = ablation
    page = read_page(folder / "runs/small/report.html")
    assert page.headings == [
        *("In numbers", "Policies", "Curves", "Dice by class", "Dice by slice", "Worst cases"),
        *("Time spent", "What was run"),
    ]
    pictures = {name: len(some) for name, some in page.pictures.items()}
    assert all(pictures[name] == 1 for name in page.headings[1:5]) and pictures["Time spent"] == 1
    assert 1 <= pictures["Worst cases"] <= 6
    assert "flip" in page.sections["In numbers"] and OTHER_SEED in page.sections["Policies"]
    client, runs = mlflow_runs(folder)
    parent = next(run for run in runs if run.info.run_name == "small")
    names = {artifact.path for artifact in client.list_artifacts(parent.info.run_id)}
    assert names == {"leaderboard.csv", "slices.csv", "leaderboard.png", "report.html"}


def test_mlflow_has_a_run_a_trial_with_its_transforms(ablation):
    folder, _ = ablation
    _, runs = mlflow_runs(folder)
    by_name = {run.info.run_name: run for run in runs}
    assert set(by_name) == {"small"} | {
        f"small-{p}-fold0-seed{s}" for p in ("none", "flip") for s in (0, 1)
    }
    assert {run.info.status for run in runs} == {"FINISHED"}
    flip = by_name["small-flip-fold0-seed1"].data
    assert [t["transform"] for t in json.loads(flip.params["transforms"])] == ["HorizontalFlip"]
    assert (flip.params["data.augment"], flip.params["train.seed"]) == ("flip", "1")
    assert "final_dice" in flip.metrics


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--policies", "swirl"], "--augment swirl is not known; join some of affine"),
        (["--repeats", "0"], "--repeats must be at least 1, got 0"),
        (["--only-folds", "5"], "--only-folds 5: folds are 0 to 4"),
        (["--minutes", "3"], "--minutes: trials are compared at the same epoch"),
        (["--workers-per-fold", "2"], "--workers-per-fold 2: a trial trains in one proces"),
    ],
)
def test_a_wrong_flag_is_one_sentence_and_leaves_nothing(
    run_here, arguments, sentence, phantoms, tmp_path
):
    code, output = run_here("tune_aug.py", "--data", phantoms, *arguments, folder=tmp_path)
    assert code == 2
    assert sentence in output
    assert not (tmp_path / "runs").exists()
