"""Test-time augmentation changes nothing where the network is equivariant by construction."""

import pytest
import torch

from handray.inference.tta import TTAS, mean_logits

SIDE = 64
RAMP = torch.arange(SIDE, dtype=torch.float32).expand(2, SIDE, SIDE) + 50
NOISE = torch.randint(0, 200, (2, SIDE, SIDE), generator=torch.Generator().manual_seed(0))


def pointwise(image_BHW: torch.Tensor) -> torch.Tensor:
    """Each logit a line in its own pixel: it moves as the pixels move."""
    image = image_BHW.float().unsqueeze(1)
    return torch.cat([image - 80, 3 - 2 * image], dim=1)


def relative(image_BHW: torch.Tensor) -> torch.Tensor:
    """Each logit of its pixel over the image's mean: brightness is nothing to it."""
    image = image_BHW.float()
    return pointwise(image / image.mean((-2, -1), keepdim=True))


def beside(image_BHW: torch.Tensor) -> torch.Tensor:
    """A network that looks to the left."""
    return pointwise(image_BHW.float().roll(1, dims=-1))


@pytest.mark.parametrize(
    ("name", "network"), [("none", beside), ("flip", pointwise), ("flip+multiply", relative)]
)
def test_an_equivariant_network_is_left_as_it_is(name, network):
    ours = mean_logits(name, network, NOISE.to(torch.uint8), 32)
    assert ours.dtype == torch.float32
    torch.testing.assert_close(ours, network(NOISE), rtol=1e-5, atol=1e-4)


def test_several_scales_keep_a_pointwise_network_on_a_smooth_image():
    ours = mean_logits("multiscale", pointwise, RAMP, 16)
    # At the very edge a resize repeats the last pixel.
    torch.testing.assert_close(ours[..., 4:-4], pointwise(RAMP)[..., 4:-4], rtol=0, atol=1e-3)


def test_views_are_mapped_back_before_they_are_averaged():
    mirrored = beside(NOISE.flip(-1)).flip(-1)
    expected = (beside(NOISE) + mirrored) / 2
    torch.testing.assert_close(mean_logits("flip", beside, NOISE, 32), expected)
    assert not torch.equal(beside(NOISE), mirrored)


@pytest.mark.parametrize(("name", "views"), [("none", 1), ("flip", 2), ("flip+multiply", 6)])
def test_the_network_is_asked_once_a_view(name, views):
    asked = []
    mean_logits(name, lambda image: asked.append(image.shape) or pointwise(image), NOISE, 32)
    assert asked == [(2, SIDE, SIDE)] * views


@pytest.mark.parametrize(("multiple", "sizes"), [(16, [48, 64, 80]), (64, [64])])
def test_scales_are_sizes_that_the_network_takes_and_none_twice(multiple, sizes):
    asked = []
    network = lambda image: asked.append(image.shape[-1]) or pointwise(image)  # noqa: E731
    mean_logits("multiscale", network, NOISE, multiple)
    assert asked == sizes


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(ValueError, match="--tta rot90 is not known; choose one of: none, flip"):
        mean_logits("rot90", pointwise, NOISE, 32)
    assert list(TTAS) == ["none", "flip", "flip+multiply", "multiscale"]
