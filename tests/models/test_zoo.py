"""Every network of the zoo by one test: shapes, gradients, sizes, states, 16-bit arithmetic."""

import functools
import re

import pytest
import torch
from torch import nn

from handray.models.outline import check_pass, outline
from handray.models.weights import initial_weights
from handray.models.zoo import (
    ACTIVATIONS,
    NETWORKS,
    Design,
    build_network,
    check_design,
    check_size,
    network,
    parameter_count,
    table,
)
from handray.training.losses import weighted_sum
from handray.training.optim import ENCODERS
from handray.training.state import save_network

QUICK = ("hrnet_small", "unet", "lraspp_mobilenet", "hrnet_scratch")


CLASSES = 29


@functools.lru_cache(maxsize=1)
def built(name: str) -> nn.Module:
    """Tests of one name follow each other, so one network is kept."""
    torch.manual_seed(0)
    return build_network(Design(name), CLASSES)


def losses_step(model: nn.Module, image: torch.Tensor) -> torch.Tensor:
    """Forward and backward pass in training; the logits."""
    model.train().zero_grad(set_to_none=True)
    logits = model(image)
    target = (torch.rand_like(logits, dtype=torch.float32) < 0.1).float()
    weighted_sum("bce+dice")(logits, target).backward()
    return logits


@pytest.mark.parametrize("name", NETWORKS, scope="class")
class TestEveryNetwork:
    def test_gives_logits_of_the_images_size_and_every_trained_parameter_a_gradient(self, name):
        model, its = built(name), network(name)
        logits = losses_step(model, torch.randn(its.least_images, 1, its.least, its.least))
        assert logits.shape == (its.least_images, CLASSES, its.least, its.least)
        assert logits.dtype == torch.float32
        trained = [(key, p) for key, p in model.named_parameters() if p.requires_grad]
        assert trained
        without = [key for key, p in trained if p.grad is None]
        assert not without, "DDP would wait for these for ever"

    def test_comes_back_from_its_state(self, name):
        model, its = built(name), network(name)
        again = build_network(Design(name), CLASSES)
        again.load_state_dict(model.state_dict())
        image = torch.randn(1, 1, its.least, its.least)
        with torch.inference_mode():
            assert torch.equal(again.eval()(image), model.eval()(image))

    def test_needs_the_images_a_pass_that_it_says(self, name):
        its = network(name)
        image = torch.randn(1, 1, its.least, its.least)
        if its.least_images == 1:
            built(name).train()(image)
        else:
            with pytest.raises(ValueError, match="more than 1 value per channel"):
                built(name).train()(image)

    def test_starts_at_the_share_that_a_bone_covers(self, name):
        priors = [
            module
            for module in built(name).modules()
            if isinstance(module, nn.Conv2d)
            and module.out_channels == CLASSES
            and module.bias is not None
            and torch.allclose(module.bias.sigmoid(), torch.tensor(0.005))
        ]
        assert len(priors) == 1

    def test_refuses_other_sizes_with_the_nearest_that_fits(self, name):
        its, design = network(name), Design(name)
        check_size(design, its.least)
        check_size(design, 1024)
        with pytest.raises(ValueError, match=f"got {its.least - 1}; try {its.least}$"):
            check_size(design, its.least - 1)
        with pytest.raises(ValueError, match=f"multiple of {its.multiple} .*got 1025; try 1024$"):
            check_size(design, 1025)

    def test_has_the_parameters_and_the_encoder_that_the_help_says(self, name):
        model, its = built(name), network(name)
        assert round(parameter_count(model) / 1e6, 1) == its.millions
        assert f"{name:<20} {its.millions:6.1f}  multiples of {its.multiple} from {its.least}" in (
            table()
        )
        has_encoder = any(key.startswith(ENCODERS) for key, _ in model.named_parameters())
        assert has_encoder != its.from_scratch


LIGHT = {
    **{name: Design(name) for name in ("hrnet_small", "lraspp_mobilenet", "fcn_resnet50")},
    **{name: Design(name) for name in ("unet_scratch", "hrnet_scratch")},
    **{name: Design(name, "resnet18") for name, its in NETWORKS.items() if its.encoder},
    "segformer": Design("segformer", "mit_b0"),
}
"""A light network of every code path: 16-bit arithmetic is slow on most CPUs."""


@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", LIGHT)
def test_a_step_under_autocast_gives_finite_gradients(name, precision):
    its, model = network(name), build_network(LIGHT[name], 4)
    with torch.autocast("cpu", dtype=precision):
        logits = losses_step(model, torch.randn(its.least_images, 1, its.least, its.least))
    assert torch.isfinite(logits).all()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


def test_images_need_not_be_square():
    for name in QUICK:
        with torch.inference_mode():
            logits = build_network(Design(name), 3).eval()(torch.randn(1, 1, 64, 96))
        assert logits.shape == (1, 3, 64, 96)


@pytest.mark.parametrize("name", [name for name in NETWORKS if name.startswith("hrnet_w")])
def test_hrnet_has_the_papers_head_on_all_four_resolutions(name):
    with torch.device("meta"):
        model = build_network(Design(name), 29)
    channels = model.backbone.feature_info.channels()
    assert model.backbone.feature_info.reduction() == [4, 8, 16, 32]
    assert channels == [channels[0] * 2**step for step in range(4)]
    assert model.classify.in_channels == sum(channels)


def test_w48_has_720_channels():
    with torch.device("meta"):
        assert build_network(Design("hrnet"), 29).classify.in_channels == 720


@pytest.mark.parametrize(
    "encoder",
    ["resnet18", "hrnet_w18_small", "densenet121", "efficientnet-b0", "convnext_atto", "mit_b0"],
)
@pytest.mark.parametrize("name", ["unet", "pan"])
def test_an_encoder_of_smp_or_timm_takes_the_place_of_the_networks_own(name, encoder):
    design = Design(name, encoder)
    size = 256 if name == "pan" else 64
    check_size(design, size)
    model = build_network(design, 3)
    logits = losses_step(model, torch.randn(2, 1, size, size))
    assert logits.shape == (2, 3, size, size)
    trained = [(key, p) for key, p in model.named_parameters() if p.requires_grad]
    assert not [key for key, p in trained if p.grad is None], "DDP would wait for these for ever"


@pytest.mark.parametrize(
    ("encoder", "images", "size", "reason"),
    [
        ("resnest14d", 1, 64, "can't train on 1 image.* of 64 px a pass .Expected more than 1"),
        ("swin_tiny_patch4_window7_224", 2, 64, r"can't train on 2 .*\(Input height \(64\)"),
    ],
)
def test_an_encoder_that_cannot_take_the_batch_is_told_before_training(
    encoder, images, size, reason
):
    design = Design("unet", encoder)
    model = outline(design, 3)
    with pytest.raises(ValueError, match=f"--encoder {encoder} with --model unet {reason}"):
        check_pass(model, design, images, size)
    check_pass(model, design, 2, 224)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("name", ["unet_scratch", "hrnet_scratch"])
def test_maps_of_the_networks_from_scratch_neither_fade_nor_grow(name, activation):
    torch.manual_seed(0)
    model = build_network(Design(name, activation=activation), 29)
    seen = []
    model.dropout.register_forward_hook(lambda _module, maps, _out: seen.append(maps[0]))
    model(torch.randn(2, 1, 96, 96))
    assert 0.3 < seen[0].square().mean().sqrt() < 3


def test_gray_input_sums_the_first_weights_over_colours():
    """A gray image gives what three equal colours gave torchvision's own first convolution."""
    from handray.models.torchvision_nets import _make_gray

    colour = nn.Conv2d(3, 4, 3)
    gray = nn.Conv2d(3, 4, 3)
    gray.load_state_dict(colour.state_dict())
    _make_gray(gray)
    image = torch.randn(1, 1, 8, 8)
    assert torch.allclose(gray(image), colour(image.expand(-1, 3, -1, -1)), atol=1e-5)


@pytest.mark.parametrize(
    ("design", "sentence"),
    [
        (Design("hrnot"), "--model hrnot is not known; choose one of: hrnet, "),
        (Design("hrnet", "resnet50"), "--encoder resnet50: hrnet has its own; those .* are unet, "),
        (Design("unet", "resnot50"), "--encoder resnot50: neither smp nor timm .*; try resnet50"),
        (
            Design("deeplabv3plus", "hrnet_w18"),
            "--encoder hrnet_w18 doesn't go with smp's DeepLabV3Plus .*another --model",
        ),
        (Design("unet", "", "relu"), "--activation relu: unet has its own; .* unet_scratch, hrnet"),
        (
            Design("unet_scratch", "", "tanh"),
            "--activation tanh is not known; choose one of: selu, relu, silu",
        ),
    ],
)
def test_a_design_that_cannot_be_built_is_one_sentence(design, sentence):
    with pytest.raises(ValueError, match=sentence):
        check_design(design)
        build_network(design, 3)


@pytest.mark.parametrize(
    ("size", "nearest"), [(1000, 992), (1010, 1024), (0, 64), (31, 64), (32, 64)]
)
def test_a_size_that_does_not_fit_names_the_nearest_that_does(size, nearest):
    with pytest.raises(ValueError, match=f"got {size}; try {nearest}$"):
        check_size(Design("hrnet"), size)
    check_size(Design("hrnet"), nearest)


def test_an_encoder_that_cannot_be_dilated_doubles_pans_least_size():
    check_size(Design("pan", "resnet50"), 128)
    with pytest.raises(ValueError, match="got 128; try 256"):
        check_size(Design("pan", "densenet121"), 128)


@pytest.mark.parametrize("name", QUICK)
def test_weights_of_a_checkpoint_are_loaded_and_another_classifier_starts_anew(
    name, tmp_path, capsys
):
    design, ours = Design(name), build_network(Design(name), 3)
    save_network(tmp_path / "best.pt", ours, {"size": 64})
    state, origin = initial_weights(design, 3, str(tmp_path / "best.pt"))
    assert origin == str(tmp_path / "best.pt")
    assert all(torch.equal(state[key], value) for key, value in ours.state_dict().items())
    other, _ = initial_weights(design, 7, str(tmp_path / "best.pt"))
    assert re.search(r"has other classes: .*\.weight, .* start anew", capsys.readouterr().err)
    build_network(design, 7).load_state_dict(other)


def test_weights_that_cannot_be_used_are_refused(tmp_path):
    small = Design("hrnet_small")
    with pytest.raises(ValueError, match=r"no such file; give a checkpoint or one of auto"):
        initial_weights(small, 3, str(tmp_path / "nothing.pt"))
    (tmp_path / "text.pt").write_text("no checkpoint")
    with pytest.raises(ValueError, match="not a checkpoint that torch can read"):
        initial_weights(small, 3, str(tmp_path / "text.pt"))
    (tmp_path / "text.pt").write_text("Results of fold 0: Dice 0.95")
    with pytest.raises(ValueError, match="not a checkpoint that torch can read"):
        initial_weights(small, 3, str(tmp_path / "text.pt"))
    model = build_network(small, 3)
    save_network(tmp_path / "small.pt", model, {})
    with pytest.raises(ValueError, match=r"no weights for|another shape"):
        initial_weights(Design("hrnet_w18"), 3, str(tmp_path / "small.pt"))
    damaged = bytearray((tmp_path / "small.pt").read_bytes())
    middle = len(damaged) // 2
    damaged[middle : middle + 4096] = bytes(4096)
    (tmp_path / "damaged.pt").write_bytes(damaged)
    with pytest.raises(ValueError, match=r"damaged.pt is damaged: the checksum of .* is wrong"):
        initial_weights(small, 3, str(tmp_path / "damaged.pt"))
    model.classify.bias.data[1] = torch.nan
    save_network(tmp_path / "nan.pt", model, {})
    with pytest.raises(ValueError, match=r"classify.bias holds numbers that aren't finite"):
        initial_weights(small, 3, str(tmp_path / "nan.pt"))


def test_weights_of_a_deeper_encoder_are_not_cut_to_fit(tmp_path):
    save_network(tmp_path / "deep.pt", build_network(Design("unet", "resnet34"), 3), {})
    with pytest.raises(ValueError, match=r"of another network than unet, which has no encoder\."):
        initial_weights(Design("unet", "resnet18"), 3, str(tmp_path / "deep.pt"))


@pytest.mark.parametrize("name", ["hrnet_small", "unet", "segformer"])
def test_where_the_hub_is_out_of_reach_auto_starts_at_random_and_imagenet_insists(
    name, monkeypatch
):
    # A closed port of this machine stands for a network without the hub; what follows is real.
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    state, origin = initial_weights(Design(name), 3, "auto")
    assert state is None
    assert origin.startswith("none (the model hub is out of reach")
    with pytest.raises(ValueError, match=f"--weights imagenet: the weights of {name}"):
        initial_weights(Design(name), 3, "imagenet")


def test_networks_from_scratch_have_no_weights_to_load():
    assert initial_weights(Design("unet_scratch"), 3, "auto") == (None, "none")
    with pytest.raises(ValueError, match="unet_scratch is trained from scratch; use --weights non"):
        initial_weights(Design("unet_scratch"), 3, "imagenet")
