"""The loop, run with lists of batches: no Ray, no files."""

import copy
import math
import os
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

from handray.config import Config, replaced
from handray.data.order import rank_columns
from handray.masks.planes import pack, unpack
from handray.training.batch import Batch, Normalisation
from handray.training.loop import Learner, Surroundings, TrainingFailureError, _loss, fit
from handray.training.metrics import Overlap
from handray.training.mixup import draw_mix
from handray.training.optim import AveragedModel, build_optimizer
from handray.training.precision import choose_precision
from handray.training.ranks import Ranks
from handray.training.state import TrainState, load_network, save_network

CLASS_NAMES, SIZE, STEPS = ("bright", "brighter", "brightest"), 16, 4
CLASSES = len(CLASS_NAMES)
CONFIG = replaced(
    Config(),
    {
        "train.batch": 4,
        "train.epochs": 3,
        "optim.lr": 0.01,
        "optim.optimizer": "adamw",
        "train.precision": "fp32",
    },
)


def plain_network() -> nn.Module:
    """No batch statistics, so that a batch's split over ranks changes nothing."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.GELU(), nn.Conv2d(8, CLASSES, 1))


def batch(epoch: int, step: int, size: int = 4) -> Batch:
    rng = np.random.default_rng((epoch, step))
    image = rng.integers(0, 256, (size, SIZE, SIZE), dtype=np.uint8)
    planes = np.stack([pack(np.stack([one > 60, one > 128, one > 200])) for one in image])
    names = tuple(f"e{epoch}s{step}i{i}.png" for i in range(size))
    return Batch(names, torch.from_numpy(image), torch.from_numpy(planes))


def perfect(_: nn.Module) -> Overlap:
    ones = np.ones((2, CLASSES), np.int64)
    return Overlap(np.arange(2), ones, 2 * ones)


@dataclass
class Run:
    """One training in this process, and what it told."""

    config: Config = CONFIG
    ranks: Ranks = field(default_factory=Ranks)
    model: nn.Module = field(default_factory=plain_network)
    checkpoints: list[dict[str, Any]] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        precision = choose_precision(self.config.train.precision, self.ranks.device)
        parallel = DistributedDataParallel(self.model) if self.ranks.count > 1 else self.model
        self.learner = Learner(
            self.config, CLASS_NAMES, Normalisation(128.0, 74.0), precision, self.ranks, parallel
        )
        self.state = TrainState(
            self.model,
            AveragedModel(self.model, self.config.optim.ema),
            build_optimizer(self.model, self.config.optim),
            precision.scaler(),
        )

    def batches(self, epoch, start):
        for step in range(start, STEPS):
            whole = batch(epoch, step)
            planned, accumulate = self.config.cluster.workers_per_fold, self.config.train.accumulate
            yield whole.take(
                rank_columns(4, planned, accumulate, self.ranks.rank, self.ranks.count)
            )

    def checkpoint(self, state, is_best):
        self.checkpoints.append({"is_best": is_best, **copy.deepcopy(state.state_dict())})

    def world(self, **other) -> Surroundings:
        parts = {
            "batches": self.batches,
            "steps_an_epoch": STEPS,
            "validate": perfect,
            "progress": lambda state, pace: None,
            "checkpoint": self.checkpoint,
        }
        return Surroundings(**(parts | other))

    def fit(self, **other) -> "Run":
        fit(self.state, self.learner, self.world(**other))
        return self


def weights(model: nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def test_the_loss_falls_and_every_epoch_leaves_a_record():
    run = Run().fit()
    losses = [record["loss"] for record in run.state.history]
    assert len(losses) == 3
    assert losses[-1] < losses[0]
    assert [record["steps"] for record in run.state.history] == [4, 8, 12]
    record = run.state.history[0]
    assert record["dice"] == pytest.approx(1.0)
    assert len(record["class_dice"]) == CLASSES
    assert 0 <= record["wait_share"] < 1
    assert record["images_per_s"] > 0


def test_only_the_first_of_equal_epochs_is_the_best():
    assert [c["is_best"] for c in Run().fit().checkpoints] == [True, False, False]


def test_where_nothing_is_held_out_the_last_epoch_is_kept():
    nothing = Overlap(np.zeros(0, np.int64), *np.zeros((2, 0, CLASSES), np.int64))
    run = Run().fit(validate=lambda _: nothing)
    assert [c["is_best"] for c in run.checkpoints] == [True, True, True]
    assert all(math.isnan(record["dice"]) for record in run.state.history)


def test_training_twice_gives_the_same_weights_bit_by_bit():
    assert torch.equal(weights(Run().fit().model), weights(Run().fit().model))


@pytest.mark.parametrize("stop", [0, 1])
def test_going_on_from_a_checkpoint_ends_where_an_unbroken_run_does(stop, tmp_path):
    unbroken = Run().fit()
    torch.save(unbroken.checkpoints[stop], tmp_path / "last.pt")
    resumed = Run()
    resumed.state.load_state_dict(torch.load(tmp_path / "last.pt", weights_only=True))
    resumed.fit()
    assert torch.equal(weights(unbroken.model), weights(resumed.model))
    ours, theirs = unbroken.state.average.model, resumed.state.average.model
    assert torch.equal(weights(ours), weights(theirs))
    assert [r["loss"] for r in resumed.state.history] == [r["loss"] for r in unbroken.state.history]


def test_going_on_in_the_middle_of_an_epoch_changes_nothing(monkeypatch):
    unbroken = Run().fit()
    # A look at the clock after every step, and a checkpoint at every look.
    monkeypatch.setattr("handray.training.pace.LOOK_SECONDS", 0.0)
    stopped = Run(config=replaced(CONFIG, {"cluster.checkpoint_minutes": 1e-9})).fit()
    middle = next(c for c in stopped.checkpoints if c["epoch"] == 1 and c["step"] == 2)
    resumed = Run()
    resumed.state.load_state_dict(middle)
    resumed.fit()
    assert torch.equal(weights(unbroken.model), weights(resumed.model))
    assert resumed.state.history[1]["loss"] == pytest.approx(unbroken.state.history[1]["loss"])


@pytest.mark.parametrize("at", [6, 2 * STEPS])
def test_a_rank_that_is_leaving_has_the_state_kept_a_step_later_and_changes_nothing(at):
    unbroken = Run().fit()
    asked = iter(range(1, 100))
    told = Run().fit(is_leaving=lambda _looked: next(asked) == at)
    kept = next(c for c in told.checkpoints if c["step"])
    assert kept["steps"] == (7 if at == 6 else at), "before the validation, after the last step"
    assert torch.equal(weights(unbroken.model), weights(told.model))
    resumed = Run()
    resumed.state.load_state_dict(kept)
    resumed.fit()
    assert torch.equal(weights(unbroken.model), weights(resumed.model))
    losses = [[r["loss"] for r in run.state.history] for run in (unbroken, resumed)]
    assert losses[0] == pytest.approx(losses[1])


def test_an_epoch_that_was_kept_as_the_minutes_ended_is_still_validated():
    config = replaced(CONFIG, {"train.minutes": 1.0})
    asked = iter(range(1, 100))
    with pytest.raises(InterruptedError):
        run = Run(config=config)
        run.fit(is_leaving=lambda _looked: next(asked) == 2, validate=_interrupt)
    (kept,) = run.checkpoints
    resumed = Run(config=config)
    resumed.state.load_state_dict({**kept, "seconds": 61.0})
    resumed.fit()
    (epoch,) = resumed.state.history
    assert epoch["steps"] == resumed.state.steps >= kept["steps"]


def _interrupt(_: nn.Module) -> Overlap:
    raise InterruptedError


def test_accumulated_parts_make_the_same_step_as_the_whole_batch():
    whole = Run().fit()
    parts = Run(config=replaced(CONFIG, {"train.accumulate": 4})).fit()
    assert torch.allclose(weights(whole.model), weights(parts.model), atol=1e-5)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_reduced_precision_trains_on_the_cpu_as_well(precision):
    run = Run(config=replaced(CONFIG, {"train.precision": precision})).fit()
    assert run.state.history[-1]["loss"] < run.state.history[0]["loss"]


def test_minutes_end_the_training_and_shape_the_learning_rate():
    rates = []
    run = Run(config=replaced(CONFIG, {"train.minutes": 1.5 / 60, "train.epochs": 1}))
    run.fit(progress=lambda state, pace: rates.append(state.optimizer.param_groups[0]["lr"]))
    assert run.state.epoch > 1, "epochs don't count where minutes do"
    assert rates[-1] < 0.2 * max(rates)
    assert 1.0 < run.state.seconds < 3.0


def test_an_encoder_learns_at_its_share_of_the_rate():
    torch.manual_seed(0)
    model = nn.Sequential(OrderedDict(encoder=nn.Conv2d(1, 4, 1), head=nn.Conv2d(4, CLASSES, 1)))
    changes = {"optim.encoder_lr_factor": 0.1, "optim.schedule": "constant"}
    run = Run(config=replaced(CONFIG, changes), model=model).fit()
    rates = [group["lr"] for group in run.state.optimizer.param_groups]
    assert rates == pytest.approx([0.01, 0.01, 0.001, 0.001])
    assert run.state.history[-1]["lr"] == pytest.approx(0.01)


def test_a_plateau_halves_the_rate_from_the_next_epoch_on_also_after_a_restart():
    changes = {"optim.schedule": "plateau", "train.epochs": 8}
    unbroken = Run(config=replaced(CONFIG, changes)).fit()
    # The Dice is 1 in every epoch, so epochs 2 to 6 are a plateau.
    expected = [0.01] * 6 + [0.005] * 2
    assert [r["lr"] for r in unbroken.state.history] == pytest.approx(expected)
    resumed = Run(config=replaced(CONFIG, changes))
    resumed.state.load_state_dict(unbroken.checkpoints[5])
    resumed.fit()
    assert torch.equal(weights(unbroken.model), weights(resumed.model))


def test_weights_of_classes_reach_the_loss():
    equal = Run(config=replaced(CONFIG, {"train.class_weights": "bright=5,brighter=5,brightest=5"}))
    heavy = Run(config=replaced(CONFIG, {"train.class_weights": "bright=5"}))
    first = [run.fit().state.history[0]["loss"] for run in (Run(), equal, heavy)]
    assert first[1] == pytest.approx(first[0], rel=1e-4)
    assert first[2] != pytest.approx(first[0], rel=1e-3)


def test_a_loss_that_is_no_number_stops_with_step_images_and_remedy():
    run = Run()

    def broken(epoch, start):
        for number, whole in enumerate(run.batches(epoch, start)):
            if (epoch, number) == (1, 2):
                with torch.no_grad():
                    run.model[0].bias.fill_(float("nan"))
            yield whole

    sentence = r"loss became nan by step 7 \(epoch 2, images e1s2i0.png, .*--lr.*--precision fp32"
    with pytest.raises(TrainingFailureError, match=sentence):
        run.fit(batches=broken)


def test_a_network_comes_back_with_its_facts(tmp_path):
    model = plain_network()
    save_network(tmp_path / "best.pt", model, {"size": 64, "class_names": ["a", "b"]})
    state, about = load_network(tmp_path / "best.pt")
    assert about == {"size": 64, "class_names": ["a", "b"]}
    assert all(torch.equal(state[key], value) for key, value in model.state_dict().items())
    assert [path.name for path in tmp_path.iterdir()] == ["best.pt"]


def _one_of_ranks(rank: int, ranks: int, planned: int, folder: str) -> None:
    dist.init_process_group("gloo", f"file://{folder}/meet", world_size=ranks, rank=rank)
    changes = {"cluster.workers_per_fold": planned, "train.accumulate": 1}
    run = Run(config=replaced(CONFIG, changes), ranks=Ranks(rank, ranks)).fit()
    assert run.learner.ranks.agreed(float(rank)) == 0.0
    if rank == 0:
        curve = [record["loss"] for record in run.state.history]
        torch.save({"curve": curve, "weights": weights(run.model)}, f"{folder}/result.pt")
    dist.barrier()
    dist.destroy_process_group()


@pytest.mark.parametrize(("ranks", "planned"), [(2, 2), (3, 4)])
def test_ranks_learn_what_one_rank_with_the_whole_batch_learns(ranks, planned, tmp_path):
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    mp.spawn(_one_of_ranks, (ranks, planned, str(tmp_path)), nprocs=ranks)
    two, one = torch.load(tmp_path / "result.pt"), Run().fit()
    assert two["curve"] == pytest.approx([r["loss"] for r in one.state.history], rel=1e-5)
    assert torch.allclose(two["weights"], weights(one.model), atol=1e-5)


def mixed(changes: dict[str, Any] | None = None) -> Run:
    config = replaced(CONFIG, {"data.augment": "mixup", "optim.lr": 1e-9, **(changes or {})})
    return Run(config)


def test_mixup_mixes_an_image_with_another_one_and_can_be_drawn_again():
    whole = batch(0, 0)
    mixes = [draw_mix(whole, 0.2, (seed,)) for seed in range(200)]
    for mix in mixes:
        assert set(mix.partners.names) == set(whole.names)
        assert all(own != other for own, other in zip(whole.names, mix.partners.names, strict=True))
        assert 0.5 <= mix.own <= 1
    again = draw_mix(whole, 0.2, (7,))
    assert (again.own, again.partners.names) == (mixes[7].own, mixes[7].partners.names)
    assert torch.equal(
        again.partners.image_BHW[0], whole.image_BHW[whole.names.index(again.partners.names[0])]
    )
    assert len({mix.partners.names for mix in mixes}) == 6, "circles of four images"


def test_mixups_cross_entropy_is_that_against_the_mixed_label():
    run = mixed({"train.loss": "bce"})
    whole = batch(0, 0)
    mix = draw_mix(whole, 1.0, (3,))
    ours = _loss(run.learner, whole, mix.partners, mix.own)
    normalise = run.learner.normalise
    image = mix.own * normalise(whole.image_BHW) + (1 - mix.own) * normalise(mix.partners.image_BHW)
    soft = mix.own * unpack(whole.planes_BHWP, CLASSES)
    soft += (1 - mix.own) * unpack(mix.partners.planes_BHWP, CLASSES)
    torch.testing.assert_close(ours, F.binary_cross_entropy_with_logits(run.model(image), soft))


def test_mixup_is_the_same_in_parts_and_needs_two_images():
    whole, parts = mixed(), mixed({"train.accumulate": 4})
    losses = [[record["loss"] for record in run.fit().state.history] for run in (whole, parts)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    with pytest.raises(ValueError, match=r"mixup needs at least two images .*; try --batch 2"):
        replaced(CONFIG, {"data.augment": "flip+mixup", "train.batch": 1, "train.accumulate": 1})
