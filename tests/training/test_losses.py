"""Losses worked by hand, and the text that names them."""

import math

import pytest
import torch

from handray.training.losses import LOSSES, weighted_sum

BIG = 30.0
"""A logit whose probability is 1 to float precision."""


def test_bce_of_an_undecided_network_is_the_logarithm_of_two():
    assert LOSSES["bce"](torch.zeros(1, 2, 4, 4), torch.ones(1, 2, 4, 4)).item() == pytest.approx(
        math.log(2)
    )


@pytest.mark.parametrize("scale", [1.0, 10.0, 60.0])
def test_bce_and_its_gradient_are_torchs_own(scale):
    torch.manual_seed(0)
    logits = (scale * torch.randn(2, 3, 16, 16)).requires_grad_()
    target = (torch.rand(2, 3, 16, 16) < 0.3).float()
    theirs = torch.nn.functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    expected = torch.autograd.grad(theirs.mean(), logits)[0]
    # The value ends at 88 a pixel, where float32's sigmoid does; the gradient doesn't.
    limited = theirs.clamp(max=88).mean().item()
    assert LOSSES["bce"](logits, target).item() == pytest.approx(limited, rel=1e-4)
    assert torch.allclose(torch.autograd.grad(LOSSES["bce"](logits, target), logits)[0], expected)


def test_dice_is_taken_of_each_image_and_class_and_then_averaged():
    # Image 0: both pixels hit, (2*2+1)/(2+2+1) = 1. Image 1: one of two, (2*1+1)/(1+2+1) = 3/4.
    logits = torch.tensor([[[[BIG, BIG]]], [[[BIG, -BIG]]]])
    assert LOSSES["dice"](logits, torch.ones(2, 1, 1, 2)).item() == pytest.approx(
        1 - (1 + 0.75) / 2
    )


def test_an_absent_class_costs_nothing_where_nothing_is_predicted():
    empty = torch.zeros(1, 1, 8, 8)
    assert LOSSES["dice"](empty - BIG, empty).item() == pytest.approx(0, abs=1e-6)
    assert LOSSES["dice"](empty + BIG, empty).item() == pytest.approx(1 - 1 / 65)


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_are_those_of_finite_differences(name):
    torch.manual_seed(0)
    logits = torch.randn(2, 3, 4, 4, dtype=torch.float64, requires_grad=True)
    target = (torch.rand(2, 3, 4, 4) < 0.3).double()
    assert torch.autograd.gradcheck(lambda x: LOSSES[name](x, target), logits)


def test_a_text_is_a_weighted_sum():
    torch.manual_seed(0)
    logits, target = torch.randn(2, 3, 8, 8), (torch.rand(2, 3, 8, 8) < 0.3).float()
    expected = 7 * LOSSES["bce"](logits, target) + 0.5 * LOSSES["dice"](logits, target)
    assert weighted_sum("7*bce + 0.5*dice")(logits, target).item() == pytest.approx(expected.item())


def test_a_million_half_precision_pixels_do_not_overflow():
    logits = torch.full((1, 1, 1024, 1024), 20.0, dtype=torch.float16, requires_grad=True)
    loss = weighted_sum("bce+dice")(logits, torch.ones(1, 1, 1024, 1024))
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-5)
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("bce+hinge", "--loss hinge is not known; choose of: bce, dice"),
        ("", "is not known"),
        ("0*bce", r"--loss 0\*bce: the weight must be a number above 0"),
        ("much*dice", r"--loss much\*dice: the weight must be a number above 0, e.g. 0.5\*dice"),
        ("nan*dice", "must be a number above 0"),
    ],
)
def test_a_text_that_names_no_loss_is_refused(text, sentence):
    with pytest.raises(ValueError, match=sentence):
        weighted_sum(text)
