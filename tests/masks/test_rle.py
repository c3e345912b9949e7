"""Runs: codec, text and algebra against drawn masks and pycocotools."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pycocotools import mask as coco

from handray.masks import algebra, rle
from handray.masks.polygon import runs_of_polygon

MASKS = hnp.arrays(np.bool_, st.tuples(st.integers(1, 9), st.integers(1, 9)))
QUICK = settings(max_examples=150, deadline=None)


def drawn(rows):
    return np.array([[letter == "#" for letter in row] for row in rows])


def runs(*numbers):
    return np.array(numbers, np.int32)


def random_masks(seed, count, hw, share=0.4):
    """Blobs, and among them empty and full masks."""
    rng = np.random.default_rng(seed)
    masks = cv2.blur(rng.random((*hw, count), np.float32), (5, 5)) > 1 - share
    masks[..., 0], masks[..., 1] = False, True
    return list(np.moveaxis(masks, -1, 0))


@pytest.mark.parametrize(
    "rows, text",
    [
        (["#.", ".."], "1 1"),
        ([".#", "#."], "2 2"),
        (["##", "##"], "1 4"),
        (["#.", "#."], "1 1 3 1"),
        ([".#", ".#"], "2 1 4 1"),
        (["..", ".."], ""),
    ],
)
def test_runs_are_row_major_start_at_1_and_cross_the_row_end(rows, text):
    assert rle.format_runs(rle.encode(drawn(rows))) == text
    np.testing.assert_array_equal(rle.decode(rle.parse(text), (2, 2)), drawn(rows))


def test_runs_in_memory_are_half_open_pairs_from_0():
    assert rle.encode(drawn([".##.", "..#."])).tolist() == [1, 3, 6, 7]


@QUICK
@given(MASKS)
def test_decode_and_parse_undo_encode_and_format(mask):
    found = rle.encode(mask)
    np.testing.assert_array_equal(rle.decode(found, mask.shape), mask)
    np.testing.assert_array_equal(rle.parse(rle.format_runs(found), mask.size), found)


@pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")  # pycocotools' own
@QUICK
@given(MASKS)
def test_runs_of_the_transposed_mask_are_those_of_pycocotools(mask):
    counts = coco.frPyObjects(  # column-major: the transposed mask's rows
        {"size": list(mask.shape[::-1]), "counts": _counts(rle.encode(mask), mask.size)},
        *mask.shape[::-1],
    )
    np.testing.assert_array_equal(coco.decode(counts), mask.T)
    assert coco.area(counts) == algebra.area(rle.encode(mask))


def _counts(found, pixels):
    return np.diff([0, *found.tolist(), pixels]).tolist()


@QUICK
@given(MASKS, st.integers(0, 3), st.integers(0, 3), st.integers(0, 3))
def test_a_box_gives_the_runs_of_the_whole_image(box, top, left, right):
    image = np.zeros((box.shape[0] + top + 1, left + box.shape[1] + right), bool)
    image[top : top + box.shape[0], left : left + box.shape[1]] = box
    found = rle.encode_box(box, top, left, image.shape[1])
    np.testing.assert_array_equal(found, rle.encode(image))


def test_a_box_as_wide_as_the_image_joins_runs_over_the_row_end():
    assert rle.encode_box(drawn([".##", "##."]), 1, 0, 3).tolist() == [4, 8]


@pytest.mark.parametrize("y0, x0", [(0, 1), (-1, 0), (0, -1)])
def test_a_box_that_leaves_the_image_is_refused(y0, x0):
    with pytest.raises(ValueError, match=r"a box of 3 columns at .* leaves the 3 columns"):
        rle.encode_box(drawn(["###"]), y0, x0, 3)


def test_touching_runs_merge():
    assert rle.parse("1 2 3 4").tolist() == [0, 6]
    rows = rle.parse_rows(["1 2 3 4 8 1", "9 1", "10 1 11 1 12 1", "", "13 1"])
    assert rows.bounds.tolist() == [0, 6, 7, 8, 8, 9, 9, 12, 12, 13]
    assert rows.offsets.tolist() == [0, 4, 6, 8, 8, 10]


@pytest.mark.parametrize("at_once", [1, 40, 10**6])
def test_many_rows_are_read_and_written_as_one_by_one(monkeypatch, at_once):
    monkeypatch.setattr(rle, "CHARACTERS_AT_ONCE", at_once)
    monkeypatch.setattr(rle, "NUMBERS_AT_ONCE", at_once)
    # Numbers of one to ten digits, with zeros in and around their groups of four.
    starts = [1, 9, 10, 99, 1000, 9999, 10_000, 10_010, 100_000, 12_340_000, 2_000_000_001]
    texts = ["", *(f"{start} 10000 {start + 10_001} 7" for start in starts), "", "3 1"]
    rows = rle.parse_rows(texts)
    for row, text in enumerate(texts):
        numbers = np.array(text.split(), np.int64).reshape(-1, 2)
        expected = np.stack([numbers[:, 0] - 1, numbers.sum(axis=1) - 1], axis=1).ravel()
        np.testing.assert_array_equal(rows[row], expected)
    assert rle.format_rows(rows) == texts
    with pytest.raises(rle.RunTextError, match="length below 1") as fault:
        rle.parse_rows([*texts, "5 0", "1 1"])
    assert fault.value.row == len(texts)


@pytest.mark.parametrize("text", [" 3 4", "3 4 ", "3  4", "3\t4", "3 4\n", "+3 04"])
def test_odd_spacing_reads_the_same(text):
    rows = rle.parse_rows([text, "", "1 1"])
    assert rows[0].tolist() == [2, 6]
    assert rows[2].tolist() == [0, 1]


def test_blank_text_is_an_empty_mask():
    assert len(rle.parse("")) == len(rle.parse("  ")) == 0


@pytest.mark.parametrize(
    "text, fault",
    [
        ("1 2 3", r"an odd count of numbers \(3\); each start has a length"),
        ("1 two", r"'two' is not a whole number"),
        ("1 2.5", r"'2.5' is not a whole number"),
        ("1 \u0662", r"'\u0662' is not a whole number"),
        ("0 2", r"run '0 2' starts below 1; starts count from 1"),
        ("-4 2", r"run '-4 2' starts below 1"),
        ("3 0", r"run '3 0' has a length below 1"),
        ("3 -1", r"run '3 -1' has a length below 1"),
        ("5 3 7 1", r"run '7 1' overlaps the run before it, '5 3'"),
        ("5 3 1 2", r"run '1 2' goes back behind the run before it, '5 3'"),
        ("99 3", r"run '99 3' goes past the end of the image of 100 pixels"),
        ("101 1", r"run '101 1' goes past the end of the image of 100 pixels"),
        ("1 99999999999999999999", r"goes past the end of the image of 100 pixels"),
        ("99999999999999999999 9", r"goes past the end of the image of 100 pixels"),
    ],
)
def test_each_bad_text_has_its_own_sentence_and_names_its_row(text, fault):
    with pytest.raises(rle.RunTextError, match=fault) as caught:
        rle.parse_rows(["1 100", "", text, "9 999"], 100)
    assert caught.value.row == 2


def test_the_last_pixel_is_inside_and_rows_have_their_own_image_size():
    assert rle.parse("91 10", 100).tolist() == [90, 100]
    with pytest.raises(rle.RunTextError, match="past the end of the image of 50") as caught:
        rle.parse_rows(["91 10", "91 10"], np.array([100, 50]))
    assert caught.value.row == 1


def test_decode_refuses_runs_past_the_last_pixel():
    with pytest.raises(ValueError, match="end at pixel 7, the image has 2 x 3"):
        rle.decode(runs(0, 7), (2, 3))


def test_rows_can_be_joined_cut_reordered_and_stacked():
    rows = rle.RunRows.join([runs(0, 1), runs(), runs(2, 3, 5, 9)])
    assert [len(rows[row]) for row in range(len(rows))] == [2, 0, 4]
    assert rows.part(1, 3)[1].tolist() == [2, 3, 5, 9]
    assert rows.take([2, 0])[0].tolist() == [2, 3, 5, 9]
    stacked = rle.RunRows.stack([rows.part(0, 1), rows.part(1, 3)])
    assert stacked.bounds.tolist() == rows.bounds.tolist()
    assert stacked.offsets.tolist() == rows.offsets.tolist()
    assert len(rle.RunRows.join([])) == len(rle.RunRows.stack([])) == 0


# ---- algebra -----------------------------------------------------------------------------------


def test_dice_is_the_competitions_formula():
    first, second = runs(0, 4), runs(2, 6)  # 4 and 4 pixels, 2 in common
    assert algebra.dice(first, second) == (2 * 2 + 1e-4) / (4 + 4 + 1e-4)
    assert algebra.dice(runs(), runs()) == 1
    assert algebra.dice(first, runs()) == 1e-4 / (4 + 1e-4)


@pytest.mark.parametrize("votes, expected", [(1, [0, 9]), (2, [2, 5, 6, 7]), (3, [4, 5]), (4, [])])
def test_votes_are_counted_at_every_pixel(votes, expected):
    members = [runs(0, 5), runs(2, 7), runs(4, 5, 6, 9)]  # pixels 0..4, 2..6, and 4 with 6..8
    assert algebra.vote(members, votes).tolist() == expected


def test_runs_that_meet_end_to_start_neither_double_nor_split():
    assert algebra.vote([runs(0, 3), runs(3, 5)], 2).tolist() == []
    assert algebra.vote([runs(0, 3), runs(3, 5)], 1).tolist() == [0, 5]
    assert algebra.vote([runs(0, 3, 5, 6), runs(3, 5)], 1).tolist() == [0, 6]


def test_a_vote_of_empty_members_is_empty():
    assert len(algebra.vote([runs(), runs()], 1)) == 0
    rows = algebra.vote_rows([rle.RunRows.join([runs()] * 3)] * 2, 2)
    assert rows.offsets.tolist() == [0, 0, 0, 0]
    assert len(algebra.vote_rows([rle.RunRows.join([])], 1)) == 0
    assert len(algebra.union([runs(), runs()])) == 0


def test_weights_are_summed_where_members_overlap():
    members = [runs(0, 4), runs(2, 6), runs(5, 8)]
    assert algebra.vote(members, 3, [2, 1, 2]).tolist() == [2, 4, 5, 6]
    assert algebra.vote(members, 2, [2, 1, 2]).tolist() == [0, 4, 5, 8]


@pytest.mark.parametrize("votes", [1, 2, 3, 5])
@pytest.mark.parametrize("weights", [None, [1, 2, 0.5, 3, 0]])
def test_a_vote_on_runs_is_decode_sum_threshold_encode(votes, weights):
    hw = (13, 17)
    members = [random_masks(seed, 12, hw, 0.5) for seed in range(5)]
    rows = [rle.RunRows.join([rle.encode(mask) for mask in masks]) for masks in members]
    found = algebra.vote_rows(rows, votes, weights)
    assert len(found) == 12
    for row in range(12):
        weighted = zip(weights or [1] * 5, members, strict=True)
        votes_HW = sum(weight * masks[row].astype(float) for weight, masks in weighted)
        np.testing.assert_array_equal(found[row], rle.encode(votes_HW >= votes))


@QUICK
@given(st.lists(MASKS.map(lambda mask: np.resize(mask, (4, 5))), min_size=2, max_size=2))
def test_areas_unions_and_dice_are_those_of_the_pixels(masks):
    first, second = masks
    a, b = rle.encode(first), rle.encode(second)
    common = int((first & second).sum())
    assert algebra.area(a) == first.sum()
    assert algebra.intersection_area(a, b) == common
    np.testing.assert_array_equal(algebra.union([a, b]), rle.encode(first | second))
    total = int(first.sum() + second.sum())
    assert algebra.dice(a, b) == pytest.approx((2 * common + 1e-4) / (total + 1e-4), rel=1e-12)


def test_dice_of_many_rows_is_dice_of_each():
    hw = (20, 30)
    a, b = (rle.RunRows.join([rle.encode(m) for m in random_masks(seed, 9, hw)]) for seed in (1, 2))
    by_row = [algebra.dice(a[row], b[row]) for row in range(9)]
    np.testing.assert_array_equal(algebra.dice_rows(a, b), by_row)


@pytest.mark.parametrize(
    "members, votes, weights, fault",
    [
        ([], 1, None, "members with equally many rows"),
        ([runs()], 0, None, "votes that are needed must be above 0, got 0"),
        ([runs()], float("nan"), None, "votes that are needed must be above 0"),
        ([runs()], 1, [1, 1], "expected 1 weights"),
        ([runs()], 1, [-1], "weights of 0 or more"),
    ],
)
def test_a_vote_refuses_what_it_cannot_count(members, votes, weights, fault):
    with pytest.raises(ValueError, match=fault):
        algebra.vote(members, votes, weights)


def test_members_with_unequal_rows_are_refused():
    with pytest.raises(ValueError, match=r"equally many rows, got rows \[1, 2\]"):
        algebra.dice_rows(rle.RunRows.join([runs()]), rle.RunRows.join([runs(), runs()]))


# ---- polygons ----------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(40))
def test_runs_of_a_polygon_are_those_of_the_drawn_image(seed):
    rng = np.random.default_rng(seed)
    hw = tuple(rng.integers(5, 70, 2).tolist())
    points = rng.integers(-40, 110, (rng.integers(1, 9), 2)).astype(np.int32)
    image = np.zeros(hw, np.uint8)
    cv2.fillPoly(image, [points], 1)
    np.testing.assert_array_equal(runs_of_polygon(points, hw), rle.encode(image))


def test_border_pixels_are_inside_a_polygon():
    square = np.array([[1, 1], [3, 1], [3, 2], [1, 2]], np.int32)  # x 1..3, y 1..2 of 5 columns
    assert rle.format_runs(runs_of_polygon(square, (4, 5))) == "7 3 12 3"
