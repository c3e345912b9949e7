"""A sweep on the real Tune: trials side by side, one stopped, its CPU back, one decode for all."""

import time
from dataclasses import asdict, replace
from types import SimpleNamespace

import numpy as np
import pytest
import ray.tune
import torch

from handray.cluster.asha import AshaByFold
from handray.cluster.fold import Decoded, FoldTask
from handray.cluster.shares import Machine
from handray.cluster.sweep import Sweep, share_out
from handray.cluster.trial import _Training
from handray.config import ClusterConfig, Config, replaced
from handray.data.folds import assign_folds
from handray.data.radiographs import read_folder
from handray.data.stream import Frame, cache_rows
from handray.models.zoo import build_network
from handray.recipes import recipe
from handray.reporting.run_folder import RunFolder
from handray.reporting.trials import TRIALS, Trial, TrialRecord, load_records

CONFIG = replaced(
    recipe("hrnet_small"),
    {
        "data.size": 64,
        "data.passes": 4,
        "data.augment": "none",
        "train.epochs": 4,
        "optim.ema": 0.0,
        "optim.warmup": 0.0,
        "optim.lr": 1e-9,
        "optim.schedule": "constant",
    },
)
POOR = {"optim.lr": 1.0, "train.seed": 0, "data.augment": "none"}


def everywhere(classes: int) -> dict[str, torch.Tensor]:
    """A network that sees every bone in every pixel: a low Dice, yet above that of seeing none."""
    torch.manual_seed(0)
    model = build_network(CONFIG.model.design, classes)
    model.classify.bias.data.fill_(10.0)
    return model.state_dict()


def past(fold: int, dice: float) -> TrialRecord:
    history = [{"percent": percent, "dice": dice} for percent in (25, 50, 75, 100)]
    return TrialRecord(Trial("past", fold, {}), history, np.arange(1), np.zeros((4, 1, 1)))


@pytest.fixture(scope="module")
def swept(one_ray, phantoms, tmp_path_factory):
    """Four trials on two CPUs: a steady one, two that ruin the network, one that can't train."""
    folder = tmp_path_factory.mktemp("sweep")
    data = read_folder(phantoms)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        home = RunFolder("sweep")
    home.claim({})
    fold_of = assign_folds(data.train, CONFIG.data.folds, 0)
    trials = [
        Trial("steady", 0, {"train.seed": 0}),
        Trial("poor", 0, POOR),
        Trial("poor-but-kept", 0, POOR),
        Trial("elsewhere", 1, POOR),
        Trial("broken", 0, {"optim.lr": 1e30, "optim.clip": 1e30, "optim.optimizer": "sgd"}),
    ]
    shares = share_out(CONFIG.cluster, len(trials), False, [Machine(2)])
    sweep = Sweep(
        CONFIG,
        data,
        fold_of,
        home,
        str(folder / "storage"),
        everywhere(len(data.class_names)),
        "here",
        shares,
        streamed=False,
        verbose=False,
    )
    (folder / "storage").mkdir()
    tune_config = ray.tune.TuneConfig(scheduler=AshaByFold({"poor-but-kept"}, [past(0, 0.005)]))
    heard: list[str] = []
    failures = sweep.run(
        [64],
        {"trial": ray.tune.grid_search([asdict(trial) for trial in trials])},
        tune_config,
        len(trials),
        lambda record: heard.append(record.trial.name),
    )
    records = {record.trial.name: record for record in load_records(home.path / TRIALS)}
    return records, failures, heard


def test_two_trials_run_side_by_side_on_two_cpus_with_a_thread_each():
    shares = share_out(ClusterConfig(), 5, False, [Machine(2)])
    assert (shares.at_once, shares.ranks, shares.threads) == (2, 1, 1)
    assert 0.5 < shares.cpus <= 1
    gpus = share_out(ClusterConfig(), 5, False, [Machine(8, 2), Machine(8, 1)])
    assert (gpus.at_once, gpus.use_gpu) == (3, True)
    assert share_out(ClusterConfig(), 5, True, [Machine(2)]).at_once == 1, "one CPU decodes"


def test_the_poor_trial_is_stopped_at_its_first_rung_and_others_run_to_their_end(swept):
    records, _, heard = swept
    percents = {name: record.percent for name, record in records.items()}
    assert percents == {"steady": 100, "poor": 25, "poor-but-kept": 100, "elsewhere": 100}
    assert records["poor"].stopped_early and len(records["poor"].history) == 1
    assert sorted(heard) == sorted(records)


def test_a_trial_that_fails_says_why_and_does_not_sink_the_others(swept):
    _, failures, _ = swept
    assert list(failures) == ["broken"]
    assert "the loss became" in failures["broken"]


def test_a_record_has_each_images_dice_after_each_epoch(swept, phantoms):
    records, _, _ = swept
    data = read_folder(phantoms)
    steady = records["steady"]
    fold_of = assign_folds(data.train, CONFIG.data.folds, 0)
    assert steady.rows_N.tolist() == np.flatnonzero(fold_of == 0).tolist()
    assert steady.dice_ENC.shape == (4, len(steady.rows_N), len(data.class_names))
    for epoch, dice_NC in zip(steady.history, steady.dice_ENC, strict=True):
        assert epoch["dice"] == pytest.approx(dice_NC.mean(), rel=1e-5)
    assert steady.history[-1]["dice"] > 0.005 > records["poor"].history[-1]["dice"]


def test_checkpoints_of_trials_that_ended_are_dropped(swept, tmp_path_factory):
    storage = next(tmp_path_factory.getbasetemp().glob("sweep*/storage"), None)
    assert storage is not None, "kept, since a trial failed"
    assert [path.name for path in storage.glob("*.pt")] == []


def test_a_checkpoint_is_gone_on_with_by_the_same_trial_alone(
    one_ray, phantoms, tmp_path, monkeypatch
):
    data = read_folder(phantoms)
    config = replaced(CONFIG, {"cluster.checkpoint_minutes": 1e-9, "train.epochs": 2})
    kept = []

    class Board:
        """Takes what a trial tells, in this process."""

        def __getattr__(self, name):
            return SimpleNamespace(remote=lambda *told: kept.append((name, *told)))

    frame = Frame(64, len(data.class_names))
    task = FoldTask(
        fold=0,
        config=config,
        class_names=data.class_names,
        train=data.train,
        test=(),
        decoded=Decoded(cache_rows(data.train, frame), 35.0, 45.0),
        fold_of=tuple(assign_folds(data.train, CONFIG.data.folds, 0).tolist()),
        threads=1,
        board=Board(),
        weights=None,
    )

    def epochs_of(trial: Trial, config: Config) -> list[int]:
        """Epochs that are reported by a process that finds what is in the storage."""
        reported: list[int] = []
        get = ray.get
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(ray, "get", lambda of: None if of is None else get(of))
            patch.setattr(ray.tune, "report", lambda told: reported.append(told["epoch"]))
            folder = tmp_path / f"process{len(kept)}"
            folder.mkdir()
            _Training(trial, replace(task, config=config), str(tmp_path), folder).run()
        return reported

    trial = Trial("one", 0, {"train.seed": 0})
    assert epochs_of(trial, config) == [1, 2]
    posted = len([told for told in kept if told[0] == "post"])
    assert epochs_of(trial, config) == [1, 2], "handed over again, not trained again"
    assert len([told for told in kept if told[0] == "post"]) == posted
    longer = replaced(config, {"train.epochs": 3})
    assert epochs_of(trial, longer) == [1, 2, 3]
    assert len([told for told in kept if told[0] == "post"]) > posted, "another config: from anew"
    other = replaced(config, {"train.seed": 5})
    with monkeypatch.context() as patch:
        _stop_at_the_first_checkpoint(patch)
        with pytest.raises(InterruptedError):
            epochs_of(trial, other)
    assert epochs_of(trial, other) == [1, 2], "from within its first epoch"


def _stop_at_the_first_checkpoint(patch) -> None:
    save = _Training._save

    def stop(training, state) -> None:
        assert state.step, "within an epoch"
        save(training, state)
        raise InterruptedError

    patch.setattr("handray.training.pace.LOOK_SECONDS", 0.0)
    patch.setattr(_Training, "_save", stop)


def test_all_cpus_come_back(swept):
    limit = time.monotonic() + 30
    while ray.available_resources().get("CPU") != ray.cluster_resources()["CPU"]:
        assert time.monotonic() < limit, ray.available_resources()
        time.sleep(0.2)
