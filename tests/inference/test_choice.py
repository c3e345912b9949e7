"""Membership counts against drawn pixels, and what is chosen by them."""

import math

import numpy as np
import pytest

from handray.inference.choice import (
    Judge,
    best_share,
    needed,
    probability_of,
    select,
    share_of,
)
from handray.inference.membership import membership
from handray.masks.algebra import dice_rows, vote_rows
from handray.masks.rle import RunRows, encode

CLASSES, IMAGES, SIDE = 3, 4, 12
RNG = np.random.default_rng(5)


def rows_of(masks_RHW) -> RunRows:
    return RunRows.join([encode(mask) for mask in masks_RHW])


def probabilities(truth_RHW, noise: float, seed: int):
    noisy = truth_RHW + noise * np.random.default_rng(seed).standard_normal(truth_RHW.shape)
    return np.clip(0.5 + 0.5 * (noisy - 0.5), 0, 1)


TRUTH = np.zeros((IMAGES * CLASSES, SIDE, SIDE), bool)
TRUTH[:, 3:9, 2:8] = True
TRUTH[5] = False
MEMBERS = [probabilities(TRUTH, noise, seed) for seed, noise in enumerate((0.6, 0.9, 1.2))]
LEVELS = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)


def hard(members=MEMBERS):
    return [[rows_of(p > 0.5)] for p in members]


def soft(members=MEMBERS):
    return [[rows_of(p > level) for level in LEVELS] for p in members]


@pytest.mark.parametrize("members", [hard(), soft()], ids=["csv", "levels"])
@pytest.mark.parametrize("weights", [(1, 1, 1), (0, 2, 1), (0.5, 0.25, 1.0)])
def test_the_dice_from_counts_is_that_of_the_voted_masks(members, weights):
    truth = rows_of(TRUTH)
    table = membership(members, truth)
    flat = [rows for member in members for rows in member]
    each = [weight for weight in weights for _ in members[0]]
    needed_T = [0.25 * sum(each), 0.5 * sum(each), 0.99 * sum(each)]
    dice_RT = table.dice_RT(weights, needed_T)
    for number, votes in enumerate(needed_T):
        expected = dice_rows(vote_rows(flat, votes, each), truth)
        assert dice_RT[:, number] == pytest.approx(expected, abs=1e-12)


def test_entries_are_the_combinations_of_members_with_their_pixels():
    # One row of five pixels: A has 0-2, B has 1-3, the truth 2-4.
    a, b, truth = ([[0, 3]], [[1, 4]], [[2, 5]])
    rows = [RunRows.join([np.array(runs[0], np.int32)]) for runs in (a, b, truth)]
    table = membership([[rows[0]], [rows[1]]], rows[2])
    entries = list(zip(table.held_MK.T.tolist(), table.pixels_K, table.true_K, strict=True))
    assert sorted(entries) == [([0, 1], 1, 1), ([1, 0], 1, 0), ([1, 1], 2, 1)]
    assert table.truth_R.tolist() == [3]


def test_more_rows_than_one_sweep_takes_give_the_same(monkeypatch):
    whole = membership(soft(), rows_of(TRUTH))
    monkeypatch.setattr("handray.inference.membership.ROWS_AT_ONCE", 5)
    parts = membership(soft(), rows_of(TRUTH))
    assert np.array_equal(whole.dice_RT((1, 1, 1), [9.0]), parts.dice_RT((1, 1, 1), [9.0]))


def test_too_many_members_are_refused():
    empty = RunRows.join([np.zeros(0, np.int32)])
    with pytest.raises(ValueError, match="among at most 20 members, got 21"):
        membership([[empty] * 7] * 21, empty)
    assert membership([[empty]] * 61, empty).dice_RT([1] * 61, [1.0]) == pytest.approx(1)


def judge_of(members, truth=TRUTH, folds=(0, 0, 1, 2), classes=CLASSES):
    return Judge(membership(members, rows_of(truth)), classes, np.array(folds))


def test_votes_are_rounded_so_that_a_share_is_what_it_says():
    assert 6.999 < needed(0.7, [1] * 10) <= 7
    assert needed(0.1, [1, 1, 1]) == pytest.approx(0.3)
    assert judge_of(hard()).shares([2, 1, 0]) == (1 / 3, 2 / 3, 1)
    levels = judge_of(soft()).shares([1, 0, 0])
    # More than 0.2 is held by one level of seven, more than 0.8 by all of them.
    assert [math.ceil(7 * share) for share in (levels[0], levels[6], levels[-1])] == [1, 4, 7]
    assert [probability_of(share_of(p)) for p in (0.2, 0.5)] == pytest.approx([0.2, 0.5])
    with pytest.raises(ValueError, match=r"from 0\.2 to 0\.8, got 0\.9"):
        share_of(0.9)


def test_selection_leaves_out_who_only_does_harm_and_counts_the_best():
    noise = np.random.default_rng(1).random(TRUTH.shape) > 0.5
    judge = judge_of([*hard(), [rows_of(noise)]])
    choice = select(judge)
    alone = [best_share(judge, np.eye(4)[m].tolist()).dice for m in range(4)]
    assert choice.weights_M[3] == 0 and choice.weights_M[0] >= 1
    assert choice.dice >= max(alone)
    assert judge.dice_NC(choice).mean() == pytest.approx(choice.dice)


def test_each_class_can_need_its_own_share():
    # Class 0 is right where all agree, class 1 where anyone says so.
    inner, outer = np.zeros((2, SIDE, SIDE), bool), np.zeros((2, SIDE, SIDE), bool)
    inner[:, 4:8, 4:8], outer[:, 2:10, 2:10] = True, True
    truth = [inner[0], outer[0]]
    judge = judge_of([[rows_of(inner)], [rows_of(outer)]], truth, [0], classes=2)
    choice = best_share(judge, (1, 1), per_class=True)
    assert choice.share_C == (1.0, 0.5)
    assert choice.dice == pytest.approx(1)
    assert best_share(judge, (1, 1)).dice < 0.9


def test_the_honest_dice_chooses_without_the_images_that_it_scores():
    judge, asked = judge_of(hard()), []

    def choose(without):
        asked.append(without)
        return best_share(judge, (1, 1, 1), per_class=True, without=without)

    honest = judge.honest_dice_NC(choose)
    assert asked == [0, 1, 2]
    # Image 2 alone is fold 1: what was chosen on the other three scores it.
    others = Judge(membership(hard(), rows_of(TRUTH)), CLASSES, np.array([0, 0, 9, 1]))
    choice = best_share(others, (1, 1, 1), per_class=True, without=9)
    assert honest[2] == pytest.approx(judge.dice_NC(choice)[2])
    assert honest.mean() <= best_share(judge, (1, 1, 1), per_class=True).dice + 1e-9


def test_a_fold_left_out_has_no_part_in_the_mean():
    judge = judge_of(hard())
    choice = best_share(judge, (1, 0, 0))
    kept = judge.dice_NC(choice)[[0, 1, 3]].mean()
    assert judge.dice_CT((1, 0, 0), without=1).mean() == pytest.approx(kept)
