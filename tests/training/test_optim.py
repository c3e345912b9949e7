"""Optimisers, the learning rate, averaged weights, precision."""

from collections import OrderedDict

import pytest
import torch
from torch import nn

from handray.config import OptimConfig
from handray.models.zoo import Design
from handray.training.optim import (
    BUILDERS,
    AveragedModel,
    build_optimizer,
    check_optimizer,
    learning_rate,
    plateaus,
)
from handray.training.precision import choose_precision, weakest
from handray.training.probe import chosen, fastest


def test_an_unknown_optimiser_lists_the_known_ones():
    with pytest.raises(ValueError, match="--optimizer lion is not known; choose one of: adam, ad"):
        check_optimizer("lion")


@pytest.mark.parametrize("name", BUILDERS)
def test_norms_and_biases_have_no_weight_decay_and_a_step_lowers_the_loss(name):
    # Channels last, as networks are trained: AdamP's own views refuse such weights.
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Conv2d(2, 3, 3))
    model = model.to(memory_format=torch.channels_last)
    optimizer = build_optimizer(model, OptimConfig(optimizer=name, lr=0.01, weight_decay=0.1))
    decayed = {id(p): g["weight_decay"] for g in optimizer.param_groups for p in g["params"]}
    assert decayed[id(model[2].weight)] == 0.1
    assert decayed[id(model[0].weight)] == 0.1
    assert [decayed[id(p)] for p in (model[0].bias, *model[1].parameters())] == [0, 0, 0]
    image = torch.randn(4, 1, 8, 8)
    before = (model(image) - 1).pow(2).mean()
    before.backward()
    optimizer.step()
    assert (model(image) - 1).pow(2).mean() < before


@pytest.mark.parametrize("part", ["encoder", "backbone"])
def test_the_head_comes_first_at_the_full_rate_and_the_encoder_at_its_share(part):
    encoder = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    head = nn.Conv2d(2, 3, 1)
    model = nn.Sequential(OrderedDict([(part, encoder), ("head", head)]))
    config = OptimConfig(optimizer="sgd", weight_decay=0.1, encoder_lr_factor=0.2)
    groups = build_optimizer(model, config).param_groups
    assert [(g["lr_factor"], g["weight_decay"], len(g["params"])) for g in groups] == [
        (1.0, 0.1, 1),
        (1.0, 0.0, 1),
        (0.2, 0.1, 1),
        (0.2, 0.0, 3),
    ]
    assert groups[0]["params"] == [head.weight]
    assert groups[2]["params"] == [encoder[0].weight]


def test_groups_without_parameters_and_parameters_without_gradients_are_left_out():
    model = nn.ModuleDict({"encoder": nn.Linear(2, 2), "head": nn.Linear(2, 2, bias=False)})
    model["encoder"].requires_grad_(False)
    assert [g["lr_factor"] for g in build_optimizer(model, OptimConfig()).param_groups] == [1.0]


def test_a_bias_of_several_axes_has_no_weight_decay():
    model = nn.Module()
    model.position_bias = nn.Parameter(torch.zeros(2, 2))
    config = OptimConfig(weight_decay=0.1)
    assert [g["weight_decay"] for g in build_optimizer(model, config).param_groups] == [0.0]


def test_a_rate_for_the_encoder_of_a_network_without_one_is_refused():
    with pytest.raises(ValueError, match="--encoder-lr-factor: this network has no encoder"):
        build_optimizer(nn.Conv2d(1, 2, 3), OptimConfig(encoder_lr_factor=0.1))


@pytest.mark.parametrize("factor", [0.0, -1.0, 1.5, float("nan")])
def test_an_encoder_that_learns_faster_than_its_head_or_nothing_is_refused(factor):
    with pytest.raises(ValueError, match=f"--encoder-lr-factor must be .* at most 1, got {factor}"):
        OptimConfig(encoder_lr_factor=factor)


def test_sgd_looks_ahead_with_nesterovs_momentum():
    weight = nn.Parameter(torch.zeros(1, 1))
    model = nn.ParameterDict({"weight": weight})
    optimizer = build_optimizer(model, OptimConfig(optimizer="sgd", lr=1.0, weight_decay=0.0))
    for expected in (-1.9, -4.61):
        # Gradient 1: velocity 1, then 0.9 * 1 + 1 = 1.9; a step goes by 1 + 0.9 * velocity.
        weight.grad = torch.ones(1, 1)
        optimizer.step()
        assert weight.item() == pytest.approx(expected)


@pytest.mark.parametrize(
    ("progress", "rate"), [(0.0, 0.02), (0.1, 1.0), (0.2, 2.0), (0.6, 1.0), (1.0, 0.0)]
)
def test_the_rate_rises_in_the_warm_up_and_falls_as_a_cosine(progress, rate):
    config = OptimConfig(lr=2.0, warmup=0.2)
    assert learning_rate(progress, config) == pytest.approx(rate)


def test_the_constant_schedule_stays_at_the_peak():
    assert learning_rate(0.9, OptimConfig(lr=2.0, schedule="constant")) == 2.0


@pytest.mark.parametrize(
    ("dice", "count"),
    [
        ([], 0),
        ([0.5, 0.6, 0.7], 0),
        # The best, then four epochs that don't beat it, then the fifth: equal is no improvement.
        ([0.9, 0.8, 0.8, 0.9, 0.8], 0),
        ([0.9, 0.8, 0.8, 0.9, 0.8, 0.8], 1),
        # An improvement in the fourth epoch counts anew.
        ([0.5, 0.4, 0.4, 0.4, 0.6, 0.5, 0.5, 0.5, 0.5], 0),
        # Five more after the first five.
        ([0.9] + 9 * [0.8], 1),
        ([0.9] + 10 * [0.8], 2),
        # After a plateau the best stays: 0.85 is better than the last, yet not than 0.9.
        ([0.9] + 5 * [0.8] + 5 * [0.85], 2),
        ([0.9] + 5 * [0.8] + [0.95] + 4 * [0.9], 1),
    ],
)
def test_five_epochs_without_a_better_dice_are_a_plateau(dice, count):
    assert plateaus(dice) == count


def test_each_plateau_halves_the_rate_after_the_warm_up():
    config = OptimConfig(lr=2.0, warmup=0.2, schedule="plateau")
    assert learning_rate(0.1, config) == pytest.approx(1.0)
    assert learning_rate(0.5, config) == 2.0
    assert learning_rate(0.5, config, [0.9] + 5 * [0.8]) == 1.0
    assert learning_rate(0.9, config, [0.9] + 10 * [0.8]) == 0.5


def test_the_average_starts_close_to_the_model_and_copies_its_buffers():
    model = nn.BatchNorm2d(1)
    average = AveragedModel(model, decay=0.9)
    with torch.no_grad():
        model.weight.fill_(11.0)
        model.running_mean.fill_(5.0)
    average.update(model)
    # The first decay is (1 + 0) / (10 + 0): 0.1 * 1 + 0.9 * 11 = 10.
    assert average.model.weight.item() == pytest.approx(10.0)
    assert average.model.running_mean.item() == 5.0


def test_a_decay_below_the_first_ones_counts_from_the_start():
    model = nn.BatchNorm2d(1)
    average = AveragedModel(model, decay=0.05)
    with torch.no_grad():
        model.weight.fill_(11.0)
    average.update(model)
    # min(0.05, 0.1): 0.05 * 1 + 0.95 * 11 = 10.5.
    assert average.model.weight.item() == pytest.approx(10.5)


def test_without_a_decay_the_average_is_the_model():
    model = nn.Linear(1, 1)
    average = AveragedModel(model, decay=0.0)
    with torch.no_grad():
        model.weight.fill_(3.0)
    average.update(model)
    assert average.model.weight.item() == 3.0


def test_only_fp16_scales_its_gradients():
    device = torch.device("cpu")
    for name, scales in {"fp16": True, "bf16": False, "fp32": False}.items():
        assert choose_precision(name, device).scaler().is_enabled() == scales


def test_ranks_agree_on_the_weakest_arithmetic():
    names = {n: choose_precision(n, torch.device("cpu")) for n in ("bf16", "fp16", "fp32")}
    assert weakest([names["bf16"], names["fp16"], names["bf16"]]).name == "fp16"
    assert weakest([names["bf16"], names["fp32"]]).name == "fp32"
    assert weakest([names["bf16"]]).name == "bf16"


def test_a_network_is_tried_in_every_arithmetic_that_the_cpu_has():
    choice = fastest(Design("hrnet_scratch"), 5, threads=1)
    usual = choose_precision("auto", torch.device("cpu"))
    assert choice.name in (usual.name, "fp32")
    ways = 4 if usual.name == "bf16" else 2
    assert f"slowest of {ways} ways" in choice.reason


def test_another_arithmetic_must_gain_a_tenth_on_the_usual_one():
    assert chosen([1.0, 0.95, 2.0]) == 0
    assert chosen([1.0, 0.95, 0.8]) == 2


def test_auto_says_why():
    choice = choose_precision("auto", torch.device("cpu"))
    assert choice.name in ("bf16", "fp32")
    assert "this CPU has" in choice.reason
