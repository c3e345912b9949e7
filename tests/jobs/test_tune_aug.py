"""jobs/tune_aug.py as a user starts it: an ablation, one seed more, and bad input."""

import json

import pandas as pd
import pytest
from processes import JOBS, mlflow_runs, run
from processes import SMALL_ABLATION as SMALL

from handray.reporting.ablation import OTHER_SEED


@pytest.fixture(scope="module")
def ablation(phantoms, tmp_path_factory):
    """Three trials, the noise's among them, and one more by the same command with two seeds."""
    folder = tmp_path_factory.mktemp("ablation")
    records = folder / "runs/small/trials"
    arguments = [*SMALL, "--data", phantoms]
    code, output = run("tune_aug.py", *arguments, "--repeats", 1, folder=folder)
    assert code == 0, output
    first = {path: path.stat().st_mtime_ns for path in records.glob("*.npz")}
    assert len(first) == 3
    # Each of the 13 images once for all trials.
    assert "13 images were decoded for 3 trials" in output
    code, output = run("tune_aug.py", *arguments, folder=folder)
    assert code == 0, output
    assert all(path.stat().st_mtime_ns == at for path, at in first.items()), "not run again"
    return folder, output


def test_more_seeds_are_added_to_what_is_there(ablation):
    folder, output = ablation
    names = {path.stem for path in (folder / "runs/small/trials").iterdir()}
    assert names == {f"{p}-fold0-seed{s}" for p in ("none", "flip") for s in (0, 1)}
    assert f"3 of 4 trials are in {folder}/runs/small already" in output
    board = pd.read_csv(folder / "runs/small/leaderboard.csv").set_index("policy")
    assert board.loc["flip", "seeds"] == "0 1"


def test_it_leaves_the_leaderboard_and_says_where(ablation):
    folder, output = ablation
    board = pd.read_csv(folder / "runs/small/leaderboard.csv")
    assert set(board["policy"]) == {"none", "flip", OTHER_SEED}
    assert (board.set_index("policy").loc["none", "difference"]) == 0
    assert "leaderboard.csv, slices.csv, leaderboard.png" in output.splitlines()[-1]
    assert {"carpals", "right hand"} <= set(pd.read_csv(folder / "runs/small/slices.csv")["slice"])


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
    arguments, sentence, load_job, phantoms, tmp_path, monkeypatch
):
    job = load_job(JOBS / "tune_aug.py")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["tune_aug.py", "--data", str(phantoms), *arguments])
    with pytest.raises(ValueError) as caught:
        job.main()
    assert sentence in str(caught.value)
    assert not (tmp_path / "runs").exists()
