"""Optimisers, the learning rate, averaged weights, precision."""

import pytest
import torch
from torch import nn

from handray.config import OptimConfig
from handray.training.optim import (
    BUILDERS,
    AveragedModel,
    build_optimizer,
    check_optimizer,
    learning_rate,
)
from handray.training.precision import choose_precision, weakest


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


@pytest.mark.parametrize(
    ("progress", "rate"), [(0.0, 0.02), (0.1, 1.0), (0.2, 2.0), (0.6, 1.0), (1.0, 0.0)]
)
def test_the_rate_rises_in_the_warm_up_and_falls_as_a_cosine(progress, rate):
    config = OptimConfig(lr=2.0, warmup=0.2)
    assert learning_rate(progress, config) == pytest.approx(rate)


def test_the_constant_schedule_stays_at_the_peak():
    assert learning_rate(0.9, OptimConfig(lr=2.0, schedule="constant")) == 2.0


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


def test_auto_says_why():
    choice = choose_precision("auto", torch.device("cpu"))
    assert choice.name in ("bf16", "fp32")
    assert "this CPU has" in choice.reason
