"""Losses worked by hand, and the text that names them."""

import math

import pytest
import segmentation_models_pytorch.losses as smp
import torch

from handray.training.losses import LOSSES, class_weights, weighted_sum

BIG = 30.0
"""A logit whose probability is 1 to float precision."""

THREE_QUARTERS = math.log(3)
"""A logit whose probability is 3/4: e^x / (e^x + 1)."""

NAMES = ("Pisiform", "Trapezoid", "Radius")


def example(images: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits and targets of three classes, each with pixels of both kinds."""
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(images, 3, 8, 8, generator=generator)
    return logits, (torch.rand(images, 3, 8, 8, generator=generator) < 0.3).float()


def test_bce_of_an_undecided_network_is_the_logarithm_of_two():
    loss_C = LOSSES["bce"](torch.zeros(1, 2, 4, 4), torch.ones(1, 2, 4, 4))
    assert loss_C.tolist() == pytest.approx([math.log(2)] * 2)


def test_bce_is_the_mean_over_all_pixels_of_all_images_and_shows_a_logit_that_is_no_number():
    # Right by a logit of 2: log(1 + exp(-2)) = 0.1269; wrong by 2: 2.1269.
    logits = torch.tensor([[[[2.0, 2.0]]], [[[2.0, -2.0]]]])
    target = torch.tensor([[[[1.0, 0.0]]], [[[1.0, 1.0]]]])
    assert LOSSES["bce"](logits, target).item() == pytest.approx((0.1269 + 2.1269) / 2, abs=1e-4)
    assert LOSSES["bce"](torch.full_like(logits, torch.inf), 0 * target).item() == math.inf


def test_dice_and_iou_are_taken_of_each_image_and_then_averaged():
    # Image 0: both pixels hit. Image 1: one of two. SMOOTH adds a pixel above and below.
    logits = torch.tensor([[[[BIG, BIG]]], [[[BIG, -BIG]]]])
    target = torch.ones(2, 1, 1, 2)
    # Dice (2*2+1)/(2+2+1) = 1 and (2*1+1)/(1+2+1) = 3/4; IoU (2+1)/(2+1) = 1 and (1+1)/(2+1) = 2/3.
    assert LOSSES["dice"](logits, target).item() == pytest.approx(1 - (1 + 3 / 4) / 2)
    assert LOSSES["iou"](logits, target).item() == pytest.approx(1 - (1 + 2 / 3) / 2)


def test_iou_of_soft_pixels_worked_by_hand():
    # Probabilities 3/4 on a bone's pixel, 1/4 beside it: overlap 3/4, union 1 + 1 - 3/4 = 5/4.
    logits = torch.tensor([[[[THREE_QUARTERS, -THREE_QUARTERS]]]])
    loss_C = LOSSES["iou"](logits, torch.tensor([[[[1.0, 0.0]]]]))
    assert loss_C.tolist() == pytest.approx([1 - (3 / 4 + 1) / (5 / 4 + 1)])


def test_focal_makes_a_pixel_that_is_right_cheaper_worked_by_hand():
    # Of two bone pixels one has the probability 3/4, so (1/4)^2 * log(4/3), the other 1/4, so
    # (3/4)^2 * log(4). A second class is the complement of the first: the same.
    logits = torch.tensor([[[[THREE_QUARTERS, -THREE_QUARTERS]]] * 2]).view(1, 2, 1, 2)
    target = torch.tensor([[[[1.0, 1.0]], [[0.0, 0.0]]]])
    expected = ((1 / 4) ** 2 * math.log(4 / 3) + (3 / 4) ** 2 * math.log(4)) / 2
    assert LOSSES["focal"](logits, target).tolist() == pytest.approx([expected] * 2)


def test_focal_is_finite_and_exact_far_from_the_truth_and_close_to_it():
    # Far: (1 - 0)^2 * 200. Close: (e^-30)^2 * e^-30, which 1 - p would round to 0.
    logits = torch.tensor([[[[-200.0]], [[BIG]]]])
    loss_C = LOSSES["focal"](logits, torch.ones(1, 2, 1, 1))
    assert loss_C.tolist() == pytest.approx([200.0, math.exp(-90)], rel=1e-4, abs=0)


@pytest.mark.parametrize("name", ["dice", "iou"])
def test_an_absent_class_costs_nothing_where_nothing_is_predicted(name):
    empty = torch.zeros(1, 1, 8, 8)
    assert LOSSES[name](empty - BIG, empty).item() == pytest.approx(0, abs=1e-6)
    assert LOSSES[name](empty + BIG, empty).item() == pytest.approx(1 - 1 / 65)


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_are_those_of_finite_differences(name):
    torch.manual_seed(0)
    logits = torch.randn(2, 3, 4, 4, dtype=torch.float64, requires_grad=True)
    target = (torch.rand(2, 3, 4, 4) < 0.3).double()
    assert LOSSES[name](logits, target).shape == (3,)
    assert torch.autograd.gradcheck(lambda x: LOSSES[name](x, target), logits)


@pytest.mark.parametrize(
    ("name", "theirs"),
    [
        # Theirs is (I + s) / ((P + T) / 2 + s), ours (2 I + SMOOTH) / (P + T + SMOOTH).
        ("dice", smp.DiceLoss("multilabel", from_logits=True, smooth=0.5)),
        ("iou", smp.JaccardLoss("multilabel", from_logits=True, smooth=1.0)),
        ("focal", smp.FocalLoss("multilabel", from_logits=True, gamma=2.0)),
    ],
)
def test_of_one_image_the_losses_are_those_of_segmentation_models_pytorch(name, theirs):
    logits, target = example(images=1)
    assert weighted_sum(name)(logits, target).item() == pytest.approx(theirs(logits, target).item())


def test_of_two_images_theirs_is_one_iou_of_all_pixels_and_ours_the_mean_of_two():
    # A large bone of 8 pixels, all hit, and a small one of 2 pixels, both missed.
    logits = torch.full((2, 1, 1, 8), -BIG)
    logits[0] = BIG
    target = torch.zeros(2, 1, 1, 8)
    target[0], target[1, ..., :2] = 1, 1
    theirs = smp.JaccardLoss("multilabel", from_logits=True, smooth=1.0)
    assert theirs(logits, target).item() == pytest.approx(1 - (8 + 1) / (10 + 1))
    ours = weighted_sum("iou")(logits, target).item()
    assert ours == pytest.approx(1 - ((8 + 1) / (8 + 1) + (0 + 1) / (2 + 1)) / 2)


@pytest.mark.parametrize(
    ("text", "weights"),
    [
        ("bce", {"bce": 1}),
        ("bce+dice+iou", {"bce": 1, "dice": 1, "iou": 1}),
        ("1*bce+1*dice", {"bce": 1, "dice": 1}),
        ("7*bce + 3*dice", {"bce": 7, "dice": 3}),
        ("3*bce+7*dice", {"bce": 3, "dice": 7}),
        ("0.5*focal+iou", {"focal": 0.5, "iou": 1}),
    ],
)
def test_a_text_is_a_weighted_sum_and_the_reports_ratios_of_bce_dice_and_iou_are(text, weights):
    logits, target = example()
    expected = sum(w * LOSSES[name](logits, target).mean().item() for name, w in weights.items())
    assert weighted_sum(text)(logits, target).item() == pytest.approx(expected)


def test_classes_with_weights_have_a_weighted_mean():
    # Class 0 costs log(2) a pixel, class 1 nothing: (2 * log(2) + 0.5 * 0) / (2 + 0.5).
    logits = torch.tensor([[[[0.0]], [[BIG]]]])
    total = weighted_sum("3*bce", torch.tensor([2.0, 0.5]))
    assert total(logits, torch.ones(1, 2, 1, 1)).item() == pytest.approx(3 * 2 * math.log(2) / 2.5)


@pytest.mark.parametrize("name", LOSSES)
def test_equal_weights_and_channels_last_logits_change_nothing(name):
    logits, target = example()
    plain = weighted_sum(name)(logits, target).item()
    last = logits.to(memory_format=torch.channels_last)
    assert weighted_sum(name, torch.full((3,), 5.0))(last, target).item() == pytest.approx(plain)


@pytest.mark.parametrize("name", LOSSES)
def test_a_million_half_precision_pixels_do_not_overflow(name):
    logits = torch.full((1, 1, 1024, 1024), 20.0, dtype=torch.float16, requires_grad=True)
    right = weighted_sum(name)(logits, torch.ones(1, 1, 1024, 1024))
    assert right.item() == pytest.approx(0, abs=1e-5)
    wrong = weighted_sum(name)(logits, torch.zeros(1, 1, 1024, 1024))
    # 1 - 1 / 2^20 where a share of pixels counts, -log(1 - p) = 20 where the logarithm does.
    assert wrong.item() == pytest.approx(1 if name in ("dice", "iou") else 20, rel=1e-5)
    (right + wrong).backward()
    assert torch.isfinite(logits.grad).all()


def test_classes_that_the_text_does_not_name_weigh_one():
    assert class_weights("Pisiform=2, Trapezoid = 1.5", NAMES).tolist() == [2.0, 1.5, 1.0]
    assert class_weights("Radius=0.25", NAMES).tolist() == [1.0, 1.0, 0.25]
    assert class_weights("", NAMES) is None


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("Pisifrom=2", "--class-weights Pisifrom=2: no class .* choose of: Pisiform$"),
        ("Skull=2", "no class has this name; choose of: Pisiform, Trapezoid, Radius$"),
        ("Radius=0", "--class-weights Radius=0: the weight must be a number, e.g. 2"),
        ("Radius=-1", "must be a number, e.g."),
        ("Radius=inf", "must be a number, e.g."),
        ("Radius=nan", "must be a number, e.g."),
        ("Radius=1e39", "must be a number, e.g. 2, between 1e-06 and 1e.06"),
        ("Radius=heavy", "must be a number, e.g."),
        ("Radius", "--class-weights Radius: write CLASS=WEIGHT, joined by commas, e.g. Pisiform=2"),
        ("Radius=2,", "write CLASS=WEIGHT"),
        ("Radius=2,Radius=3", "Radius=3: Radius has a weight already; give each class one"),
    ],
)
def test_weights_that_fit_no_class_are_refused(text, sentence):
    with pytest.raises(ValueError, match=sentence):
        class_weights(text, NAMES)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("bce+hinge", "--loss hinge is not known; join some of bce, dice, iou, focal by"),
        ("", "is not known"),
        ("0*bce", r"--loss 0\*bce: the weight must be a number, e.g."),
        ("much*dice", r"--loss much\*dice: the weight must be a number, e.g. 0.5\*dice"),
        ("nan*dice", "must be a number, e.g."),
    ],
)
def test_a_text_that_names_no_loss_is_refused(text, sentence):
    with pytest.raises(ValueError, match=sentence):
        weighted_sum(text)
