"""MLflow for real, in sqlite: runs that are opened again, curves without doubles, downloads."""

import pytest
from mlflow import MlflowClient

from handray.reporting.run_folder import RunFolder
from handray.reporting.tracking.fetch import (
    download_results,
    download_submission,
    finished_runs,
    run_name,
)
from handray.reporting.tracking.store import check_tracking, tracking_uri
from handray.reporting.tracking.tracker import start_tracking

NAMES = ("Radius", "Ulna")


def record(epoch: int) -> dict:
    curves = {"loss": 0.5, "dice": 0.7, "lr": 0.1, "images_per_s": 3.0, "wait_share": 0.0}
    return {"epoch": epoch, **curves, "class_dice": [0.6, 0.8]}


@pytest.fixture
def home(tmp_path, monkeypatch) -> RunFolder:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    home = RunFolder("mine")
    home.claim({})
    home.note(weights="none")
    return home


def test_a_second_start_goes_on_in_the_same_runs_and_logs_no_epoch_twice(home, tmp_path):
    first = start_tracking(
        home, {"optim.lr": 0.1}, children={f"fold{n}": {"fold": n} for n in (0, 1)}
    )
    first.log_epochs("fold0", [record(1)], NAMES)
    first.settle()
    second = start_tracking(
        RunFolder("mine"), {"optim.lr": 0.1}, children={f"fold{n}": {"fold": n} for n in (0, 1)}
    )
    assert second.ids == first.ids
    second.log_epochs("fold0", [record(1), record(2)], NAMES)
    second.settle()
    client = MlflowClient(tracking_uri=tracking_uri())
    history = client.get_metric_history(first.ids["fold0"], "dice_of/Ulna")
    assert [(metric.step, metric.value) for metric in history] == [(1, 0.8), (2, 0.8)]
    child = client.get_run(first.ids["fold0"])
    assert child.data.tags["mlflow.parentRunId"] == first.ids["parent"]
    assert client.get_run(first.ids["parent"]).data.params == {"optim.lr": "0.1"}
    assert (tmp_path / "runs/mlflow.db").exists()


def test_classes_of_any_name_have_a_curve(home):
    tracker = start_tracking(home, {}, children={"fold0": {"fold": 0}})
    tracker.log_epochs("fold0", [record(1)], ["M1 (left)", "Ω/β"])
    tracker.settle()
    client = MlflowClient(tracking_uri=tracking_uri())
    for name, dice in (("M1 _left_", 0.6), ("Ω_β", 0.8)):
        (metric,) = client.get_metric_history(tracker.ids["fold0"], f"dice_of/{name}")
        assert metric.value == dice


@pytest.mark.parametrize("uri", ["http://127.0.0.1:9", "carrier://pigeon", "runs/files"])
def test_a_store_that_cannot_be_used_is_told_in_one_sentence(home, monkeypatch, uri):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(ValueError, match=f"^MLFLOW_TRACKING_URI {uri} can't be used") as caught:
        check_tracking()
    assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match=f"^MLFLOW_TRACKING_URI {uri} can't be used"):
        download_submission("abc", home.path)


@pytest.mark.parametrize("uri", ["", "sqlite:///runs/mlflow.db"])
def test_a_store_beside_the_runs_needs_nothing_to_be_there(tmp_path, monkeypatch, uri):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    check_tracking()
    assert not (tmp_path / "runs/mlflow.db").exists()


@pytest.mark.parametrize("file", ["/missing/mlflow.db", "/proc/mlflow.db"])
def test_a_store_that_cannot_be_made_is_told_before_work_starts(home, monkeypatch, file):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{file}")
    with pytest.raises(ValueError, match=f"^MLFLOW_TRACKING_URI sqlite:///{file} can't be used"):
        check_tracking()


def test_a_run_that_was_deleted_is_started_anew(home):
    first = start_tracking(home, {}, children={"fold0": {"fold": 0}})
    MlflowClient(tracking_uri=tracking_uri()).delete_run(first.ids["fold0"])
    second = start_tracking(home, {}, children={"fold0": {"fold": 0}})
    assert second.ids["parent"] == first.ids["parent"]
    assert second.ids["fold0"] != first.ids["fold0"]


def test_a_submission_comes_back_with_its_json(home, tmp_path):
    tracker = start_tracking(home, {}, children={"fold0": {"fold": 0}})
    files = [tmp_path / f"{name}{end}" for name in ("output", "oof") for end in (".csv", ".json")]
    files += [tmp_path / "output_levels.npz", tmp_path / "best.pt"]
    for file in files:
        file.write_text(file.name)
    tracker.log_files("fold0", files)
    tracker.settle()
    into = tmp_path / "into"
    into.mkdir()
    assert download_submission(tracker.ids["fold0"], into).read_text() == "output.csv"
    assert sorted(path.name for path in into.iterdir()) == ["output.csv", "output.json"]
    download_submission(tracker.ids["fold0"], into, out_of_fold=True, levels=True)
    names = ["oof.csv", "oof.json", "output.csv", "output.json", "output_levels.npz"]
    assert sorted(path.name for path in into.iterdir()) == names


def test_runs_without_a_submission_and_unknown_runs_are_named(home, tmp_path):
    with pytest.raises(ValueError, match="--runs abc: there is no tracking store at sqlite"):
        download_submission("abc", tmp_path)
    assert not (tmp_path / "runs/mlflow.db").exists()
    tracker = start_tracking(home, {}, children={"fold0": {"fold": 0}})
    with pytest.raises(ValueError, match=r"\(mine-fold0\) has no output.csv"):
        download_submission(tracker.ids["fold0"], tmp_path)
    with pytest.raises(ValueError, match="--runs abc: no such run at sqlite"):
        download_submission("abc", tmp_path)


def test_results_are_what_a_run_has_of_its_two_csvs(home, tmp_path):
    tracker = start_tracking(home, {}, children={"fold0": {"fold": 0}, "fold1": {"fold": 1}})
    into, files = tmp_path / "into", [tmp_path / f"oof{end}" for end in (".csv", ".json")]
    into.mkdir()
    for file in files:
        file.write_text(file.name)
    tracker.log_files("fold0", files)
    tracker.settle()
    assert download_results(tracker.ids["fold0"], into) == [into / "oof.csv"]
    assert sorted(path.name for path in into.iterdir()) == ["oof.csv", "oof.json"]
    with pytest.raises(ValueError, match=r"\(mine-fold1\) has no output.csv"):
        download_results(tracker.ids["fold1"], into)


def test_finished_runs_are_listed_by_name_those_of_folds_apart(home, tmp_path):
    assert finished_runs(parts=True) == {}
    assert not (tmp_path / "runs/mlflow.db").exists()
    tracker = start_tracking(home, {}, children={"fold0": {"fold": 0}, "fold1": {"fold": 1}})
    tracker.end(["parent", "fold1"], "FINISHED")
    tracker.settle()
    assert finished_runs(parts=False) == {tracker.ids["parent"]: "mine"}
    assert finished_runs(parts=True) == {tracker.ids["fold1"]: "mine-fold1"}
    assert run_name(tracker.ids["fold1"]) == "mine-fold1"
