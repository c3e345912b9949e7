"""Votes over submissions against decode, sum, threshold, encode; and members that don't match."""

import cv2
import numpy as np
import pytest

from handray.inference import ensemble
from handray.inference.ensemble import vote_submissions, votes_needed
from handray.inference.submission import Submission
from handray.masks.rle import RunRows, decode, encode

HW = (12, 15)
IMAGES = ("a.png", "b.png", "c.png")


def member(name="m.csv", images=IMAGES, classes=("Radius", "Ulna"), seed=0, hw=HW, **more):
    rng = np.random.default_rng(seed)
    noise = rng.random((*HW, len(images) * len(classes)), np.float32)
    masks = np.moveaxis(cv2.blur(noise, (5, 5)) > 0.5, -1, 0)
    sizes_hw = None if hw is None else np.array([hw] * len(images))
    rows = RunRows.join([encode(mask) for mask in masks])
    return Submission(images, tuple(classes), rows, sizes_hw, name=name, **more)


def shuffled(submission, image_order, class_order):
    images = tuple(submission.image_names[i] for i in image_order)
    classes = tuple(submission.class_names[c] for c in class_order)
    runs = [submission.runs(i, c) for i in image_order for c in class_order]
    return Submission(
        images, classes, RunRows.join(runs), submission.sizes_hw, name="s.csv", reordered=True
    )


@pytest.mark.parametrize("classes", [2, 29, 40])
@pytest.mark.parametrize("needed", [1, 3, 5])
@pytest.mark.parametrize("at_once", [1, 500, 10**6])
def test_a_vote_is_decode_sum_threshold_encode(monkeypatch, classes, needed, at_once):
    monkeypatch.setattr(ensemble, "BOUNDARIES_AT_ONCE", at_once)
    members = [member(seed=seed, classes=[f"c{n}" for n in range(classes)]) for seed in range(5)]
    voted = vote_submissions(members, needed)
    assert (voted.image_names, len(voted.class_names)) == (IMAGES, classes)
    for row in range(len(IMAGES) * classes):
        votes_HW = sum(decode(m.rows[row], HW).astype(int) for m in members)
        np.testing.assert_array_equal(voted.rows[row], encode(votes_HW >= needed))


def test_members_that_are_all_empty_vote_for_nothing():
    empty = Submission(("a.png",), ("Ulna",), RunRows.join([np.zeros(0, np.int32)]))
    voted = vote_submissions([empty, empty], 1)
    assert len(voted.rows) == 1 and len(voted.rows[0]) == 0


def test_one_member_alone_is_its_own_vote():
    alone = member()
    np.testing.assert_array_equal(vote_submissions([alone], 1).rows.bounds, alone.rows.bounds)


def test_members_in_another_order_are_matched_by_name():
    first, second = member(seed=1), member(seed=2)
    moved = shuffled(second, [2, 0, 1], [1, 0])
    expected = vote_submissions([first, second], 2)
    for members in ([first, moved], [moved, first]):
        voted = vote_submissions(members, 2)
        assert voted.image_names == IMAGES and voted.class_names == ("Radius", "Ulna")
        np.testing.assert_array_equal(voted.rows.bounds, expected.rows.bounds)
        np.testing.assert_array_equal(voted.rows.offsets, expected.rows.offsets)


def test_sizes_come_from_any_member_that_knows_them():
    voted = vote_submissions([member(hw=None), member(seed=1)], 1)
    assert voted.sizes_hw.tolist() == [list(HW)] * 3
    assert vote_submissions([member(hw=None)], 1).sizes_hw is None


@pytest.mark.parametrize(
    "other, sentence",
    [
        (
            {"images": ("a.png", "c.png")},
            r"image 'b.png' is in one.csv \(3 in all\) but not in two.csv \(2\)",
        ),
        (
            {"images": (*IMAGES, "d.png")},
            r"image 'd.png' is in two.csv \(4 in all\) but not in one.csv \(3\)",
        ),
        (
            {"classes": ("Radius", "Ulna", "Femur")},
            r"class 'Femur' is in two.csv \(3 in all\) but not in one.csv \(2\)",
        ),
        (
            {"hw": (30, 15)},
            r"image 'a.png' is 12 x 15 in one.csv but 30 x 15 in two.csv; sizes come from",
        ),
    ],
)
def test_the_first_difference_between_members_is_named(other, sentence):
    with pytest.raises(ValueError, match=f"members differ: {sentence}"):
        vote_submissions([member("one.csv"), member("two.csv", **other)], 1)


def test_29_and_30_classes_differ():
    names = [f"c{number}" for number in range(30)]
    with pytest.raises(ValueError, match=r"class 'c29' is in two.csv \(30 in all\) .* \(29\)"):
        vote_submissions(
            [member("one.csv", classes=names[:29]), member("two.csv", classes=names)], 1
        )


def test_sizes_that_disagree_for_one_image_only_are_found():
    sizes_hw = np.array([HW, HW, (40, 40)])
    odd = Submission(IMAGES, ("Radius", "Ulna"), member().rows, sizes_hw, name="two.csv")
    with pytest.raises(ValueError, match=r"'c\.png' is 12 x 15 in one\.csv but 40 x 40 in two"):
        vote_submissions([member("one.csv"), odd], 1)


def test_no_members_make_no_ensemble():
    with pytest.raises(ValueError, match="at least one member"):
        vote_submissions([], 1)


@pytest.mark.parametrize("members, needed", [(1, 1), (2, 1), (3, 2), (5, 3), (9, 6), (10, 7)])
def test_the_default_is_the_source_teams_rule(members, needed):
    assert votes_needed(members) == needed == max(1, int(0.7 * members))


def test_the_default_is_the_source_teams_rule_for_1_to_89_members():
    assert all(votes_needed(n) == max(1, int(0.7 * n)) for n in range(1, 90))


@pytest.mark.parametrize(
    "members, fraction, needed", [(5, 0.5, 2), (5, 1, 5), (3, 0.01, 1), (100, 0.29, 29)]
)
def test_a_fraction_of_the_members_is_rounded_down_to_1_at_least(members, fraction, needed):
    assert votes_needed(members, fraction=fraction) == needed


@pytest.mark.parametrize("votes", [1, 4])
def test_votes_can_be_1_to_the_number_of_members(votes):
    assert votes_needed(4, votes=votes) == votes


@pytest.mark.parametrize(
    "rule, sentence",
    [
        ({"votes": 0}, "--votes must be 1 to 4, the number of members; got 0"),
        ({"votes": 5}, "--votes must be 1 to 4, the number of members; got 5"),
        ({"fraction": 0.0}, r"--vote-fraction must be above 0 and at most 1, got 0\.0"),
        ({"fraction": 1.1}, r"--vote-fraction must be above 0 and at most 1, got 1\.1"),
        ({"fraction": float("nan")}, "--vote-fraction must be above 0"),
        ({"votes": 1, "fraction": 0.5}, "not both"),
    ],
)
def test_a_rule_that_no_vote_can_follow_is_refused(rule, sentence):
    with pytest.raises(ValueError, match=sentence):
        votes_needed(4, **rule)
