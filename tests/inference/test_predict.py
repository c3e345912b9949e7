"""Runs from logits against torch: interpolate, sigmoid, threshold, encode."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from handray.inference.predict import logit_threshold, runs_at_levels, runs_from_logits
from handray.inference.upsample import aligned_box, baseline_box
from handray.masks.planes import nearest_positions
from handray.masks.rle import decode, encode

SIZES = [
    ((64, 64), (128, 128)),
    ((64, 64), (256, 256)),
    ((160, 160), (512, 512)),
    ((96, 96), (250, 180)),
    ((128, 128), (100, 100)),
    ((128, 128), (64, 64)),
    ((64, 48), (64, 48)),
    ((60, 84), (61, 300)),
    ((50, 40), (20, 90)),
]


def smooth_logits(seed, classes, hw):
    """Blobs of a few pixels' width, values about -6 to 6, one class all below the threshold."""
    rng = np.random.default_rng(seed)
    coarse = torch.from_numpy(rng.normal(-1.5, 3, (1, classes, 9, 8)).astype(np.float32))
    logits = F.interpolate(coarse, size=hw, mode="bicubic")[0].numpy()
    logits[0] -= 50
    return logits


def by_torch(logits, source_hw, probability):
    resized = F.interpolate(torch.from_numpy(logits)[None], size=source_hw, mode="bilinear")
    return resized.sigmoid()[0].numpy(), (resized.sigmoid()[0] > probability).numpy()


@pytest.mark.parametrize("model_hw, source_hw", SIZES)
@pytest.mark.parametrize("probability", [0.5, 0.2, 0.85])
def test_runs_are_those_of_interpolate_sigmoid_and_threshold(model_hw, source_hw, probability):
    for seed in range(3):
        logits = smooth_logits(seed, 6, model_hw)
        found = runs_from_logits(logits, source_hw, probability, baseline_box)
        probabilities, masks = by_torch(logits, source_hw, probability)
        assert len(found[0]) == 0 and any(len(runs) for runs in found)
        for runs, values, mask in zip(found, probabilities, masks, strict=True):
            differs = decode(runs, source_hw) != mask
            assert np.abs(values[differs] - probability).max(initial=0) < 2e-6
            assert differs.sum() <= 1


@pytest.mark.parametrize("model_hw, source_hw", SIZES)
def test_lone_pixels_spread_as_in_the_whole_image(model_hw, source_hw):
    """One bright pixel in a corner, at an edge, inside: boxes that meet the image's border."""
    height, width = model_hw
    places = [(0, 0), (height - 1, width - 1), (0, width // 3), (height // 2 + 1, width // 2)]
    logits = np.full((len(places), height, width), -3.0, np.float32)
    for number, (y, x) in enumerate(places):
        logits[number, y, x] = 9.3
    masks = by_torch(logits, source_hw, 0.5)[1]
    for runs, mask in zip(
        runs_from_logits(logits, source_hw, upsample=baseline_box), masks, strict=True
    ):
        np.testing.assert_array_equal(decode(runs, source_hw), mask)


def test_runs_of_an_unscaled_image_are_its_own_pixels():
    logits = smooth_logits(5, 4, (30, 40))
    for runs, logit in zip(runs_from_logits(logits, (30, 40)), logits, strict=True):
        np.testing.assert_array_equal(runs, encode(logit > logit_threshold(0.5)))


def test_levels_are_nested_and_each_is_that_of_its_probability():
    logits = smooth_logits(1, 5, (64, 64))
    levels = runs_at_levels(logits, (128, 128), [0.2, 0.5, 0.8])
    expected_of = {p: runs_from_logits(logits, (128, 128), p) for p in (0.2, 0.5, 0.8)}
    for level, probability in zip(levels, [0.2, 0.5, 0.8], strict=True):
        for runs, expected in zip(level, expected_of[probability], strict=True):
            np.testing.assert_array_equal(runs, expected)
    masks = [[decode(runs, (128, 128)) for runs in level] for level in levels]
    assert not any((tight & ~loose).any() for loose, tight in zip(*masks[::2], strict=True))


@pytest.mark.parametrize("probability", [0.5, 0.2, 0.3, 0.8, 0.9, 0.001, 0.999, 1e-6])
def test_above_the_logit_threshold_is_above_the_probability(probability):
    threshold = np.float32(logit_threshold(probability))
    near = np.concatenate(
        [
            np.nextafter(threshold, np.float32(direction) * np.ones(16, np.float32) * np.inf)
            for direction in (-1, 1)
        ]
        + [np.full(16, threshold)]
    )
    values = torch.from_numpy(near)
    above = (values.sigmoid() > probability).numpy()
    np.testing.assert_array_equal(above, near > threshold)


def test_the_threshold_of_a_half_lies_just_above_zero():
    assert logit_threshold(0.5) == pytest.approx(8.94e-8, rel=1e-3)


@pytest.mark.parametrize("probability", [0, 1, -0.5, 50, float("nan")])
def test_a_probability_outside_0_to_1_is_refused(probability):
    with pytest.raises(ValueError, match="between 0 and 1, got"):
        runs_from_logits(np.zeros((1, 4, 4), np.float32), (8, 8), probability)


@pytest.mark.parametrize("logits", [np.zeros((4, 4), np.float32), np.zeros((1, 4, 4))])
def test_logits_of_another_shape_or_dtype_are_refused(logits):
    with pytest.raises(ValueError, match=r"logits are float32 \(C, h, w\), got"):
        runs_from_logits(logits, (8, 8))


@pytest.mark.parametrize("model_hw, source_hw", SIZES)
def test_aligned_upsampling_meets_each_logit_where_its_label_was_taken(model_hw, source_hw):
    """A logit that grows with the source's x comes back as x, so cuts lie where they must."""
    rows, columns = (nearest_positions(s, m) for s, m in zip(source_hw, model_hw, strict=True))
    for cut in (source_hw[1] // 4, source_hw[1] // 2):
        right = np.tile((columns - cut + 0.5).astype(np.float32), (model_hw[0], 1))
        runs = runs_from_logits(right[None], source_hw)[0]
        expected = np.tile(np.arange(source_hw[1]) >= cut, (source_hw[0], 1))
        # Beyond the last sampled column the last value goes on, so nothing is lost there.
        np.testing.assert_array_equal(decode(runs, source_hw), expected)
    down = np.tile((source_hw[0] // 2 - rows[:, None] - 0.5).astype(np.float32), (1, model_hw[1]))
    expected = np.tile(np.arange(source_hw[0])[:, None] < source_hw[0] // 2, (1, source_hw[1]))
    np.testing.assert_array_equal(
        decode(runs_from_logits(down[None], source_hw)[0], source_hw), expected
    )


@pytest.mark.parametrize("model, source", [(64, 256), (80, 256), (128, 256), (128, 100)])
def test_a_disc_comes_back_in_its_place_and_the_baselines_way_moves_it(model, source):
    y, x = np.mgrid[:source, :source].astype(np.float32)
    distance = source / 5 - np.hypot(x - 0.43 * source, y - 0.55 * source)
    positions = nearest_positions(source, model)
    logits = distance[np.ix_(positions, positions)][None]
    truth = distance > 0

    def centre(mask):
        return np.argwhere(mask).mean(axis=0)

    ours = decode(runs_from_logits(logits, (source, source), upsample=aligned_box)[0], truth.shape)
    theirs = decode(
        runs_from_logits(logits, (source, source), upsample=baseline_box)[0], truth.shape
    )
    assert centre(ours) == pytest.approx(centre(truth), abs=0.15)
    scale = source / model
    # Half a model pixel less half a source pixel, and what rounding down takes on average.
    moved = (scale - 1) / 2 + np.mean(np.arange(model) * scale - positions)
    assert centre(theirs) - centre(truth) == pytest.approx([moved, moved], abs=0.15)


def test_an_aligned_box_has_all_that_lies_above_the_threshold():
    logits = smooth_logits(1, 6, (60, 84))
    rows, columns = nearest_positions(61, 60), nearest_positions(300, 84)
    for logit, runs in zip(logits, runs_from_logits(logits, (61, 300)), strict=True):
        tall = np.stack([np.interp(np.arange(61), rows, column) for column in logit.T], axis=1)
        whole = np.stack([np.interp(np.arange(300), columns, row) for row in tall])
        sure = np.abs(whole) > 1e-4
        np.testing.assert_array_equal(decode(runs, (61, 300))[sure], (whole > 0)[sure])
