"""jobs/tune_hparams.py as a user starts it: a search, its best config, and bad input."""

import json

import optuna
import pandas as pd
import pytest
from processes import JOBS, mlflow_runs, run
from processes import SMALL_SEARCH as SMALL

from handray.config import flatten
from handray.flags import from_flags
from handray.recipes import small_ablation


@pytest.fixture(scope="module")
def search(shared_ray, phantoms, tmp_path_factory):
    """Three trials on two CPUs."""
    folder = tmp_path_factory.mktemp("search")
    arguments = [*SMALL, "--data", phantoms]
    code, output = run("tune_hparams.py", *arguments, folder=folder, RAY_ADDRESS=shared_ray)
    assert code == 0, output
    return folder, output


def test_the_study_mlflow_and_the_table_agree_on_every_trial(search):
    folder, _ = search
    study = optuna.load_study(
        study_name="small", storage=f"sqlite:///{folder}/runs/small/optuna.db"
    )
    ended = {f"trial{t.number:04d}": t for t in study.trials if t.value is not None}
    assert len(ended) == 3
    own = flatten(small_ablation())
    own_first = [t for t in ended.values() if t.params["optim.lr"] == own["optim.lr"]]
    assert len(own_first) == 1 and own_first[0].params["data.size"] == 64
    table = pd.read_csv(folder / "runs/small/trials.csv").set_index("trial")
    tracked = {run.info.run_name: run.data for run in mlflow_runs(folder)[1]}
    assert set(tracked) == {"small"} | {f"small-{name}" for name in ended}
    assert set(table.index) == set(ended)
    for name, trial in ended.items():
        logged = tracked[f"small-{name}"]
        assert trial.value == pytest.approx(table.loc[name, "dice"])
        assert logged.metrics["final_dice"] == pytest.approx(trial.value)
        for key, value in trial.params.items():
            assert logged.params[key] == str(value)
            assert str(table.loc[name, key]) == pytest.approx(str(value)) or table.loc[
                name, key
            ] == pytest.approx(value)


def test_the_best_configuration_is_one_that_train_kfold_takes(search, load_job, monkeypatch):
    folder, output = search
    best = json.loads((folder / "runs/small/best.json").read_text())
    table = pd.read_csv(folder / "runs/small/trials.csv")
    assert best["optim.lr"] == pytest.approx(table["optim.lr"][0])
    assert output.rstrip().endswith(f"--config {folder}/runs/small/best.json")
    command = ["train_kfold.py", "--config", f"{folder}/runs/small/best.json", "--batch", "2"]
    monkeypatch.setattr("sys.argv", command)
    config = from_flags(load_job(JOBS / "train_kfold.py")._options())
    assert {**best, "train.batch": 2}.items() <= flatten(config).items()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--trials", "0"], "--trials must be at least 1, got 0"),
        (["--timeout", "0"], "--timeout must be above 0 minutes, got 0"),
        (["--folds", "1"], "--folds 1 holds nothing out, so there is no Dice to compare by"),
        (["--minutes", "3"], "--minutes: trials are compared at the same epoch"),
        (["--optimizer", "sgd"], "--optimizer sgd is outside what is searched: adam, adamw, adamp"),
        (["--lr", "0.5"], "--lr 0.5 is outside what is searched: 0.0001 to 0.01"),
        (["--only-fold", "9"], "--only-fold 9: folds are 0 to 4"),
    ],
)
def test_a_wrong_flag_is_one_sentence_and_leaves_nothing(run_here, arguments, sentence, tmp_path):
    code, output = run_here("tune_hparams.py", *arguments, folder=tmp_path)
    assert code == 2
    assert sentence in output
    assert not list(tmp_path.iterdir())
