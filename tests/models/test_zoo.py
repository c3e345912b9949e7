"""Every network of the zoo: shapes, gradients, sizes, weights."""

import pytest
import torch

from handray.models.zoo import NETWORKS, check_size, initial_weights, network, parameter_count
from handray.training.losses import weighted_sum
from handray.training.state import save_network

SMALL = ("hrnet_small", "hrnet_w18")


@pytest.mark.parametrize("name", SMALL)
def test_logits_have_the_images_size_and_every_parameter_a_gradient(name):
    model = network(name).build(5, False)
    logits = model(torch.randn(2, 1, 64, 96))
    assert logits.shape == (2, 5, 64, 96)
    weighted_sum("bce+dice")(logits, torch.zeros_like(logits)).backward()
    without = [key for key, p in model.named_parameters() if p.grad is None]
    assert not without, "DDP would wait for these for ever"


@pytest.mark.parametrize("name", NETWORKS)
def test_the_head_is_the_papers_on_all_four_resolutions(name):
    with torch.device("meta"):
        model = network(name).build(29, False)
    channels = model.backbone.feature_info.channels()
    assert model.backbone.feature_info.reduction() == [4, 8, 16, 32]
    assert channels == [channels[0] * 2**step for step in range(4)]
    assert model.classify.in_channels == sum(channels)
    assert model.classify.out_channels == 29


def test_w48_has_720_channels_and_66_million_parameters():
    with torch.device("meta"):
        model = network("hrnet").build(29, False)
    assert model.classify.in_channels == 720
    assert round(parameter_count("hrnet", 29) / 1e6) == 66


def test_a_fresh_network_starts_at_the_share_that_a_bone_covers():
    model = network("hrnet_small").build(3, False)
    assert torch.sigmoid(model.classify.bias).tolist() == pytest.approx([0.005] * 3)


@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float16])
def test_a_step_under_autocast_gives_finite_gradients(precision):
    model = network("hrnet_small").build(4, False)
    with torch.autocast("cpu", dtype=precision):
        logits = model(torch.randn(2, 1, 64, 64))
    target = (torch.rand(2, 4, 64, 64) < 0.1).float()
    weighted_sum("bce+dice")(logits, target).backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())


@pytest.mark.parametrize(
    ("size", "nearest"), [(1000, 992), (1010, 1024), (0, 64), (31, 64), (32, 64)]
)
def test_a_size_that_does_not_fit_names_the_nearest_that_does(size, nearest):
    with pytest.raises(ValueError, match=f"got {size}; try {nearest}$"):
        check_size("hrnet", size)
    check_size("hrnet", nearest)


def test_weights_of_a_checkpoint_are_loaded_and_another_classifier_starts_anew(tmp_path):
    ours = network("hrnet_small").build(3, False)
    save_network(tmp_path / "best.pt", ours, {"size": 64})
    state, origin = initial_weights("hrnet_small", 3, str(tmp_path / "best.pt"))
    assert origin == str(tmp_path / "best.pt")
    assert all(torch.equal(state[key], value) for key, value in ours.state_dict().items())
    with pytest.warns(UserWarning, match=r"classify\.weight, classify\.bias start anew"):
        other, _ = initial_weights("hrnet_small", 7, str(tmp_path / "best.pt"))
    assert other["classify.weight"].shape[0] == 7


def test_weights_that_cannot_be_used_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"no such file; give a checkpoint or one of auto"):
        initial_weights("hrnet_small", 3, str(tmp_path / "nothing.pt"))
    (tmp_path / "text.pt").write_text("no checkpoint")
    with pytest.raises(ValueError, match="not a checkpoint that torch can read"):
        initial_weights("hrnet_small", 3, str(tmp_path / "text.pt"))
    save_network(tmp_path / "small.pt", network("hrnet_small").build(3, False), {})
    with pytest.raises(ValueError, match=r"no weights for|another shape"):
        initial_weights("hrnet_w18", 3, str(tmp_path / "small.pt"))


def test_where_the_hub_is_out_of_reach_auto_starts_at_random_and_imagenet_insists(monkeypatch):
    # A closed port of this machine stands for a network without the hub; what follows is real.
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    state, origin = initial_weights("hrnet_small", 3, "auto")
    assert state is None
    assert origin.startswith("none (the model hub is out of reach")
    with pytest.raises(ValueError, match="--weights imagenet: the weights of hrnet_small"):
        initial_weights("hrnet_small", 3, "imagenet")
