"""Levels of a result: written, read again, averaged."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from handray.inference.ensemble import average_levels
from handray.inference.levels import LEVELS, MIDDLE, read_levels, write_levels
from handray.inference.submission import Submission, levels_beside
from handray.masks.rle import RunRows, decode, encode

HW = (20, 24)
CLASSES = ("Radius", "Ulna")


def probability(seed: int):
    y, x = np.mgrid[: HW[0], : HW[1]]
    rng = np.random.default_rng(seed)
    centres = rng.uniform(6, 14, (2, 2))
    return np.stack([np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / 40) for cy, cx in centres])


def levels_of(map_CHW) -> list[Submission]:
    return [
        Submission(
            ("a.png",),
            CLASSES,
            RunRows.join([encode(plane > level) for plane in map_CHW]),
            np.array([HW]),
        )
        for level in LEVELS
    ]


def test_what_is_written_is_read_again(tmp_path):
    path = levels_beside(tmp_path / "oof.csv")
    assert path.name == "oof_levels.npz"
    levels = levels_of(probability(0))
    write_levels(path, levels)
    again = read_levels(path)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    for before, after in zip(levels, again, strict=True):
        assert (after.image_names, after.class_names) == (before.image_names, before.class_names)
        assert np.array_equal(after.rows.bounds, before.rows.bounds)
        assert np.array_equal(after.rows.offsets, before.rows.offsets)
        assert np.array_equal(after.sizes_hw, before.sizes_hw)
    assert LEVELS[MIDDLE] == 0.5


def test_a_missing_or_damaged_file_is_named(tmp_path):
    path = tmp_path / "oof_levels.npz"
    with pytest.raises(ValueError, match="run 7 has no levels"):
        read_levels(path, "run 7")
    write_levels(path, levels_of(probability(0)))
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 255
    for damaged in (whole[:300], b"", bytes(flipped)):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"oof_levels.npz is damaged"):
            read_levels(path)


def test_runs_that_do_not_fit_the_images_are_refused(tmp_path):
    levels = levels_of(probability(0))
    for fault, bounds in {"past the end": [470, 481], "out of order": [9, 5]}.items():
        rows = RunRows.join([np.array(bounds, np.int32), np.zeros(0, np.int32)])
        write_levels(tmp_path / "oof_levels.npz", [replace(level, rows=rows) for level in levels])
        with pytest.raises(ValueError, match=fault):
            read_levels(tmp_path / "oof_levels.npz")


@pytest.mark.parametrize("members", [3, 10])
def test_the_average_of_levels_is_that_of_the_probabilities_without_bias(members):
    maps = [probability(seed) for seed in range(members)]
    averaged = average_levels([levels_of(each) for each in maps])
    mean_CHW = np.mean(maps, axis=0)
    for level, one in zip(LEVELS, averaged, strict=True):
        for c in range(2):
            mask, exact = decode(one.rows[c], HW), mean_CHW[c] > level
            # A pixel's levels tell its probability to within 0.1, or 0.2 at both ends.
            assert not (mask & (mean_CHW[c] < level - 0.15)).any()
            assert not (~mask & (mean_CHW[c] > level + 0.15)).any()
            if level == 0.5:
                assert mask.sum() == pytest.approx(exact.sum(), rel=0.1)
    masks = [decode(one.rows[0], HW) for one in averaged]
    assert all((inner <= outer).all() for outer, inner in itertools.pairwise(masks))


def test_the_average_of_one_member_is_the_member():
    levels = levels_of(probability(4))
    for before, after in zip(levels, average_levels([levels]), strict=True):
        assert np.array_equal(after.rows.bounds, before.rows.bounds)
