"""Networks with their rule, against the same worked densely with torch."""

import numpy as np
import pytest
import torch

from handray.inference.predict import runs_from_logits
from handray.inference.rule import Rule
from handray.inference.trained import TrainedNetwork, _corners, mean_of, predict_masks
from handray.inference.upsample import aligned_plane
from handray.masks.algebra import vote
from handray.masks.rle import decode, encode

NAMES = ("one", "two", "three")
SIDE = 160
IMAGE = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE + 32), dtype=np.uint8)
HALF = (0.5,) * len(NAMES)


@pytest.fixture(scope="module")
def networks(untrained, tmp_path_factory):
    folder = tmp_path_factory.mktemp("networks")
    return [
        TrainedNetwork(untrained(folder / f"{seed}.pt", NAMES, seed, size), torch.device("cpu"))
        for seed, size in enumerate((64, 64, 128))
    ]


def masks_of(networks, rule) -> list[np.ndarray]:
    rows = predict_masks(networks, IMAGE, rule)
    return [rows[c] for c in range(len(NAMES))]


def alone(network, threshold: float = 0.5) -> list[np.ndarray]:
    return runs_from_logits(network.logits(IMAGE), IMAGE.shape, threshold)


def test_a_network_alone_is_its_logits_above_the_threshold_of_each_class(networks):
    network = networks[0]
    thresholds = (0.4, 0.5, 0.6)
    for c, runs in enumerate(masks_of([network], Rule(thresholds))):
        assert np.array_equal(runs, alone(network, thresholds[c])[c])
        whole = torch.from_numpy(aligned_plane(network.logits(IMAGE)[c], IMAGE.shape))
        assert np.array_equal(decode(runs, IMAGE.shape), (whole.sigmoid() > thresholds[c]).numpy())
    assert any(len(runs) for runs in alone(network))


def test_networks_of_several_sizes_vote(networks):
    votes = masks_of(networks, Rule(HALF, votes=2))
    for c, runs in enumerate(votes):
        assert np.array_equal(runs, vote([alone(network)[c] for network in networks], 2))


def test_soft_is_the_mean_probability(networks):
    members = [network.logits(IMAGE) for network in networks[:2]]
    mean = torch.stack([torch.from_numpy(member).sigmoid() for member in members]).mean(0)
    ours = torch.from_numpy(mean_of(members)).sigmoid()
    torch.testing.assert_close(ours, mean, rtol=0, atol=1e-6)
    soft = masks_of(networks[:2], Rule(HALF, soft=True))
    expected = runs_from_logits(mean.logit().numpy(), IMAGE.shape)
    differing = [
        (decode(a, IMAGE.shape) != decode(b, IMAGE.shape)).sum()
        for a, b in zip(soft, expected, strict=True)
    ]
    assert sum(differing) <= 3, "but for pixels at the threshold"


def test_soft_brings_smaller_networks_into_the_frame_of_the_largest(networks):
    small, large = networks[0].logits(IMAGE), networks[2].logits(IMAGE)
    ours = torch.from_numpy(mean_of([small, large])).sigmoid()
    raised = np.stack([aligned_plane(plane, large.shape[1:]) for plane in small])
    expected = (torch.from_numpy(raised).sigmoid() + torch.from_numpy(large).sigmoid()) / 2
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-6)
    # Pixel 2 k of 128 is where pixel k of 64 was taken from.
    assert np.array_equal(raised[:, ::2, ::2], small)


def test_one_window_over_the_whole_image_is_one_pass(networks):
    square = IMAGE[:, :SIDE]
    rule = Rule(HALF, window=SIDE, stride=SIDE)
    whole = networks[0]._mean(torch.from_numpy(square.copy()), "none").numpy()
    ours = networks[0].window_logits(square, rule)
    np.testing.assert_allclose(ours, whole, atol=1e-4)
    rows = predict_masks(networks[:1], square, rule)
    assert np.array_equal(rows[0], encode(torch.from_numpy(ours[0]).sigmoid().numpy() > 0.5))


def test_windows_cover_every_pixel_and_end_at_the_edges(networks):
    assert list(_corners((100, 64), 64, 32)) == [(0, 0), (32, 0), (36, 0)]
    assert list(_corners((64, 64), 64, 32)) == [(0, 0)]
    ours = networks[0].window_logits(IMAGE, Rule(HALF, window=64, stride=32))
    assert ours.shape == (len(NAMES), *IMAGE.shape) and np.isfinite(ours).all()
    small = networks[0].window_logits(IMAGE[:40, :50], Rule(HALF, window=64, stride=32))
    assert small.shape == (len(NAMES), 40, 50), "smaller than a window"
