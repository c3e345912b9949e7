"""The statistics of an ablation, against numbers worked by hand and scipy's."""

import math
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from handray.bones import BONES
from handray.reporting.ablation import (
    COLUMNS,
    OTHER_SEED,
    Noise,
    bootstrap_interval,
    by_slice,
    leaderboard,
    noise,
    paired,
    reseeded,
)
from handray.reporting.leaderboard import leaderboard_text, save_leaderboard
from handray.reporting.trials import Trial, TrialRecord, load_records

CLASSES = 2


def folder(bends=(0.0, 0.0, 30.0, math.nan), names=("Radius", "finger-1")):
    """Four images of two people, as far as statistics look at a data folder."""
    images = [
        SimpleNamespace(person=person, bend=bend, side=side)
        for person, bend, side in zip("AABB", bends, "RLRL", strict=True)
    ]
    return SimpleNamespace(train=tuple(images), class_names=tuple(names))


def record(policy, seed, dice_EN, fold=0, percents=(50, 100), rows=(0, 1, 2, 3)) -> TrialRecord:
    """Both classes of an image have one Dice."""
    dice_EN = np.array(dice_EN, np.float32)
    history = [{"percent": p, "dice": 0.0} for p in percents[: len(dice_EN)]]
    return TrialRecord(
        Trial(f"{policy}-{fold}-{seed}", fold, {"data.augment": policy, "train.seed": seed}),
        history,
        np.array(rows),
        np.repeat(dice_EN[:, :, None], CLASSES, axis=2),
    )


def test_a_policy_is_paired_with_the_baseline_of_its_fold_and_seed():
    none = [
        record("none", 0, [[0, 0, 0, 0], [0.5, 0.5, 0.5, 0.5]]),
        record("none", 1, [[0, 0, 0, 0], [0.6, 0.6, 0.6, 0.6]]),
    ]
    flip = [record("flip", 1, [[0, 0, 0, 0], [0.7, 0.6, 0.6, 0.5]]), record("flip", 2, [[1] * 4])]
    pairs = paired(flip, none)
    assert pairs.trials == 1, "seed 2 has no twin"
    assert pairs.difference_NC[:, 0] == pytest.approx([0.1, 0, 0, -0.1], abs=1e-6)


def test_a_stopped_trial_is_compared_at_the_same_share_of_the_training():
    none = record("none", 0, [[0.2] * 4, [0.9] * 4])
    stopped = record("flip", 0, [[0.3] * 4])
    assert stopped.stopped_early and not none.stopped_early
    pairs = paired([stopped], [none])
    assert pairs.difference_NC == pytest.approx(np.full((4, CLASSES), 0.1), abs=1e-6)
    assert paired([stopped], []) is None


def test_noise_is_the_pooled_deviation_over_seeds():
    # Seeds of policy a: 0.5, 0.7 (mean 0.6), of b: 0.2, 0.2; two degrees of freedom in all.
    def ended(policy, seed, dice):
        return record(policy, seed, [[0] * 4, [dice] * 4])

    level = noise(
        {
            "a": [ended("a", 0, 0.5), ended("a", 1, 0.7)],
            "b": [ended("b", 0, 0.2), ended("b", 1, 0.2)],
            "stopped": [record("stopped", 0, [[0.1] * 4]), record("stopped", 1, [[0.9] * 4])],
        }
    )
    assert level.freedom == 2
    assert level.deviation == pytest.approx(math.sqrt(2 * 0.1**2 / 2), rel=1e-5)
    # 4.3027 is Student's 97.5 % quantile for two degrees of freedom.
    assert level.floor(2) == pytest.approx(4.3027 * 0.1, rel=1e-4)
    assert math.isnan(Noise(math.nan, 0).floor(1))


def test_a_stopped_policy_is_held_against_the_noise_at_its_own_percent():
    # Half-way seeds are 0.4 apart, at the end they agree.
    none = [record("none", seed, [[half] * 4, [0.9] * 4]) for seed, half in enumerate((0.1, 0.5))]
    poor = [record("poor", seed, [[half] * 4]) for seed, half in enumerate((0.0, 0.4))]
    board = leaderboard({"none": none, "poor": poor}, folder()).set_index("policy")
    # Both policies' deviation is 0.4 / sqrt(2); half of 2 seeds' freedom comes from each.
    expected = 4.3027 * math.sqrt(2 * 0.2**2 * 2 / 2)
    assert board.loc["poor", "noise_floor"] == pytest.approx(expected, rel=1e-4)
    assert board.loc["none", "noise_floor"] == pytest.approx(0)


def test_the_interval_agrees_with_scipys_where_every_image_is_a_person():
    values = np.random.default_rng(3).normal(0.3, 0.1, 60)
    ours = bootstrap_interval(values, np.arange(60))
    theirs = stats.bootstrap(
        (values,), np.mean, n_resamples=4000, method="percentile", rng=np.random.default_rng(0)
    ).confidence_interval
    assert ours == pytest.approx((theirs.low, theirs.high), abs=0.003)


def test_images_of_one_person_are_drawn_together():
    # Two people: means of draws can only be 0, 0.5 and 1, whatever the number of their images.
    values, people = np.array([0.0] * 50 + [1.0] * 50), np.repeat([7, 9], 50)
    assert bootstrap_interval(values, people) == (0.0, 1.0)
    single = bootstrap_interval(values, np.arange(100))
    assert 0.35 < single[0] < single[1] < 0.65
    assert np.isnan(bootstrap_interval(values, ["ID001"] * 100)).all(), "nothing of other people"


def policies(gain: float):
    rng = np.random.default_rng(0)

    def ended(policy, seed, plus):
        dice = 0.5 + plus + 0.001 * rng.standard_normal(4)
        return record(policy, seed, [[0] * 4, dice])

    return {
        "none": [ended("none", 0, 0), ended("none", 1, 0)],
        "good": [ended("good", 0, gain), ended("good", 1, gain)],
        "same": [ended("same", 0, 0), ended("same", 1, 0)],
        "poor": [record("poor", 0, [[-0.2] * 4]), record("poor", 1, [[-0.2] * 4])],
    }


def test_the_leaderboard_tells_a_gain_from_the_noise_and_puts_the_best_first():
    board = leaderboard(policies(0.1), folder())
    assert tuple(board.columns) == COLUMNS
    assert board["policy"].tolist()[0] == "good" and board["policy"].tolist()[-1] == "poor"
    rows = board.set_index("policy")
    assert set(rows.index) == {"good", "none", OTHER_SEED, "same", "poor"}
    assert rows.loc["good", "difference"] == pytest.approx(0.1, abs=0.005)
    assert rows.loc["good", "low"] <= rows.loc["good", "difference"] <= rows.loc["good", "high"]
    assert not rows.loc["good", "inside_noise"]
    assert rows.loc["same", "inside_noise"] and rows.loc[OTHER_SEED, "inside_noise"]
    assert rows.loc["none", ["difference", "low", "high"]].tolist() == [0, 0, 0]
    assert rows["stopped_early"].to_dict()["poor"] and rows.loc["poor", "epochs_run"] == 1
    assert rows.loc["good", ["folds", "seeds"]].tolist() == ["0", "0 1"]


def test_a_gain_as_small_as_the_noise_is_labelled_so(tmp_path):
    records, data = policies(0.0005), folder()
    board = leaderboard(records, data)
    assert board.set_index("policy").loc["good", "inside_noise"]
    text = leaderboard_text(board, noise(records))
    assert "good" in text and "inside the noise" in text and "3 degrees of freedom" in text
    files = save_leaderboard(tmp_path, board, by_slice(records, data), noise(records))
    assert [file.name for file in files] == ["leaderboard.csv", "slices.csv", "leaderboard.png"]
    assert pd.read_csv(files[0])["policy"].tolist() == board["policy"].tolist()
    assert files[2].read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize(
    ("dice", "difference"), [([0.5, 0.7, 0.1], 0.2), ([0.1, 0.3, 0.6, 0.5], 0.05)]
)
def test_the_baseline_is_compared_with_itself_in_disjoint_pairs_of_seeds(dice, difference):
    none = [record("none", seed, [[0] * 4, [d] * 4]) for seed, d in enumerate(dice)]
    pairs = reseeded(none)
    assert pairs.difference_NC.mean() == pytest.approx(difference, abs=1e-6)
    assert pairs.trials == len(dice) // 2


def test_without_repeats_nothing_stands_out_of_the_unknown_noise():
    records = {name: same[:1] for name, same in policies(0.1).items()}
    board = leaderboard(records, folder())
    assert board["inside_noise"].all()
    assert OTHER_SEED not in set(board["policy"])
    assert "the noise is unknown" in leaderboard_text(board, noise(records))


def test_slices_are_wrists_sides_and_groups_of_bones():
    none = record("none", 0, [[0] * 4, [0.5] * 4])
    flip = record("flip", 0, [[0] * 4, [0.5, 0.5, 0.9, 0.5]])
    flip.dice_ENC[1, 0, 1] = 0.7
    table = by_slice({"none": [none], "flip": [flip]}, folder()).set_index(["policy", "slice"])
    gains = table.loc["flip"]["difference"].to_dict()
    # Image 2 is bent, of the right side; image 3's bend is unknown. Class 1 is a finger's.
    assert gains == pytest.approx(
        {
            "bent wrist": 0.4,
            "straight wrist": 0.2 / 4,
            "right hand": (0.2 + 0.8) / 4,
            "left hand": 0,
            "fingers": (0.2 + 0.4) / 4,
            "forearm": 0.4 / 4,
        },
        abs=1e-6,
    )
    assert len(BONES) > CLASSES and "carpals" not in gains


def test_a_record_comes_back_from_its_file_and_a_damaged_one_is_named(tmp_path):
    first = record("flip", 3, [[0.1] * 4, [0.2] * 4])
    first.save(tmp_path / "trials")
    (again,) = load_records(tmp_path / "trials")
    assert vars(again.trial) == vars(first.trial) and again.history == first.history
    assert np.array_equal(again.dice_ENC, first.dice_ENC)
    assert np.array_equal(again.rows_N, first.rows_N)
    whole = next((tmp_path / "trials").iterdir()).read_bytes()
    (tmp_path / "trials/cut.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"cut.npz is damaged .*; remove it to run that trial"):
        load_records(tmp_path / "trials")
