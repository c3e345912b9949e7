import copy

import pytest
import segmentation_models_pytorch as smp
import torch
from torch import nn
from torch.distributed._tools.mem_tracker import MemTracker, _MemRefType
from torchvision.models.densenet import DenseNet

from handray.models.checkpointing import checkpoint_activations
from handray.models.hrnet import HRNetV2


def _densenet():
    return DenseNet(4, (2, 2), num_init_features=8, drop_rate=0.3, num_classes=2)


def _unet():
    return smp.Unet("resnet18", encoder_weights=None, in_channels=1, classes=2)


NETWORKS = {
    "hrnet": (lambda: HRNetV2("hrnet_w18_small", 2), 1, 1 + 3),
    "unet": (_unet, 1, 8 + 5),
    "densenet_with_dropout": (_densenet, 3, 4),
}
"""Builder, channels in, and blocks: HRNet's bottleneck and modules, U-Net's residual and decoder
blocks, DenseNet's layers."""


def _pair(name):
    """A network, its checkpointed copy, and two images."""
    torch.manual_seed(0)
    build, channels, blocks = NETWORKS[name]
    plain = build()
    checkpointed = copy.deepcopy(plain)
    assert checkpoint_activations(checkpointed) == blocks
    return plain, checkpointed, torch.randn(2, channels, 64, 64)


def _loss(model, images, precision=None):
    torch.manual_seed(1)  # dropout
    with torch.autocast("cpu", dtype=precision, enabled=precision is not None):
        return model(images).float().square().mean()


def _step(model, images, precision=None):
    loss = _loss(model, images, precision)
    loss.backward()
    return loss.detach()


def _bytes_kept(model, images):
    """What is alive between the forward and the backward pass, but for weights and buffers."""
    with MemTracker() as tracker:
        loss = _loss(model, images)
        alive = tracker.get_tracker_snapshot("current")[images.device]
    assert loss.requires_grad
    return sum(size for kind, size in alive.items() if str(kind) == str(_MemRefType.ACT))


@pytest.mark.parametrize(
    ("name", "precision"),
    [*((name, None) for name in NETWORKS), ("densenet_with_dropout", torch.bfloat16)],
)
def test_loss_gradients_and_running_statistics_are_those_of_the_plain_network(name, precision):
    plain, checkpointed, images = _pair(name)
    for _ in range(2):  # the second step starts from the first one's running statistics
        ours = _step(checkpointed, images, precision)
        theirs = _step(plain, images, precision)
        assert torch.equal(ours, theirs)
    for ours, theirs in zip(checkpointed.parameters(), plain.parameters(), strict=True):
        assert (ours.grad is None) == (theirs.grad is None)
        if ours.grad is not None:
            torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-5, atol=1e-7)
    for ours, theirs in zip(checkpointed.buffers(), plain.buffers(), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("name", NETWORKS)
def test_names_of_weights_and_the_logits_of_an_evaluation_stay(name):
    plain, checkpointed, images = _pair(name)
    assert list(checkpointed.state_dict()) == list(plain.state_dict())
    checkpointed.load_state_dict(plain.state_dict())
    assert torch.equal(checkpointed.eval()(images), plain.eval()(images))


@pytest.mark.parametrize("name", NETWORKS)
def test_fewer_bytes_are_kept_for_the_backward_pass(name):
    plain, checkpointed, images = _pair(name)
    assert _bytes_kept(checkpointed, images) < 0.8 * _bytes_kept(plain, images)


def test_a_deep_copy_has_weights_and_gradients_of_its_own():
    _, original, images = _pair("unet")
    twin = copy.deepcopy(original)
    with torch.no_grad():
        before = twin.eval()(images)
        for parameter in original.parameters():
            parameter.zero_()
        assert torch.equal(twin(images), before)
    _step(twin.train(), images)
    assert all(p.grad is None for p in original.parameters())
    assert all(p.grad is not None for p in twin.parameters())


def test_a_second_call_changes_nothing():
    _, model, _ = _pair("unet")
    classes = [type(module) for module in model.modules()]
    assert checkpoint_activations(model) == 13
    assert [type(module) for module in model.modules()] == classes


def test_a_frozen_batch_norm_normalises_alike_in_the_recomputation():
    plain, checkpointed, images = _pair("unet")
    for model in (plain, checkpointed):
        model.train()
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        _step(model, images)
    for ours, theirs in zip(checkpointed.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-5, atol=1e-7)
