import math
import random

import numpy as np
import pytest

from handray.data.folds import assign_folds, fold_table
from handray.data.radiographs import Radiograph


def radiograph(person, number=0, bend=math.nan, side=""):
    return Radiograph(
        name=f"{person}-{number}.png",
        person=person,
        image_path=f"/data/train/DCM/{person}/{person}-{number}.png",
        height=64,
        width=64,
        bytes=100,
        digest="",
        side=side,
        bend=bend,
    )


def people(straight, bent, images=2):
    """People with two images each; a bent person's images are both bent."""
    bends = [0.0] * straight + [30.0] * bent
    persons = [(f"ID{number:03}", bend) for number, bend in enumerate(bends)]
    return [radiograph(p, number, bend) for p, bend in persons for number in range(images)]


def sizes(folds, chosen=None):
    return np.bincount(folds if chosen is None else folds[chosen], minlength=max(folds) + 1)


def test_a_person_is_never_on_two_sides():
    radiographs = people(straight=30, bent=7)
    folds = assign_folds(radiographs, 5, seed=0)
    for first, second in zip(folds[::2], folds[1::2], strict=True):  # two images a person
        assert first == second


def test_folds_are_of_equal_size_where_that_is_possible():
    folds = assign_folds(people(straight=36, bent=4), 5, seed=0)
    assert folds.dtype == np.int64
    assert sizes(folds).tolist() == [16] * 5  # 40 people x 2 images / 5


@pytest.mark.parametrize("seed", range(5))
def test_sizes_differ_by_one_person_at_most(seed):
    folds = assign_folds(people(straight=358, bent=42), 7, seed)
    assert sizes(folds).max() - sizes(folds).min() <= 2  # 800 images / 7, two a person


@pytest.mark.parametrize("seed", range(5))
def test_bent_wrists_are_spread_evenly(seed):
    radiographs = people(straight=45, bent=5)
    bent = np.array([r.bend > 12 for r in radiographs])
    assert sizes(assign_folds(radiographs, 5, seed), bent).tolist() == [2] * 5


def test_a_wrist_bent_to_the_other_side_counts_as_bent_too():
    radiographs = [radiograph(f"ID{n}", bend=b) for n, b in enumerate([30, -30, 0, 0])]
    folds = assign_folds(radiographs, 2, seed=0)
    assert folds[0] != folds[1]


@pytest.mark.parametrize("seed", range(5))
def test_people_with_many_images_do_not_unbalance_the_folds(seed):
    """One person of 6 images, six of 1: the six go together."""
    radiographs = [radiograph("A", number) for number in range(6)]
    radiographs += [radiograph(person) for person in "BCDEFG"]
    assert sorted(sizes(assign_folds(radiographs, 2, seed))) == [6, 6]


@pytest.mark.parametrize("seed", range(5))
def test_straight_wrists_even_out_the_sizes_that_bent_ones_leave(seed):
    """Two images each. Bent: both of A, one of B, one of C: so A | B C, and D joins A."""
    bends = {"A": (30, 30), "B": (30, 0), "C": (30, 0), "D": (0, 0)}
    radiographs = [radiograph(p, n, bend) for p in bends for n, bend in enumerate(bends[p])]
    folds = assign_folds(radiographs, 2, seed)
    bent = np.array([r.bend > 12 for r in radiographs])
    assert (sizes(folds).tolist(), sizes(folds, bent).tolist()) == ([4, 4], [2, 2])


@pytest.mark.parametrize("seed", range(5))
def test_bent_wrists_are_spread_before_sizes_are(seed):
    """A has 4 images, one of them bent; B, C and D one bent image each, and one joins A."""
    bends = {"A": (30, 0, 0, 0), "B": (30,), "C": (30,), "D": (30,)}
    radiographs = [radiograph(p, n, bend) for p in bends for n, bend in enumerate(bends[p])]
    bent = np.array([r.bend > 12 for r in radiographs])
    assert sizes(assign_folds(radiographs, 2, seed), bent).tolist() == [2, 2]


@pytest.mark.parametrize("seed", range(20))
def test_no_fold_is_empty_even_with_one_person_a_fold(seed):
    folds = assign_folds(people(straight=2, bent=3), 5, seed)
    assert sizes(folds).tolist() == [2] * 5


def test_a_persons_fold_does_not_depend_on_the_order_of_the_radiographs():
    radiographs = people(straight=20, bent=5)
    shuffled = random.Random(0).sample(radiographs, len(radiographs))
    pairs = [
        zip(rows, assign_folds(rows, 5, seed=3), strict=True) for rows in (radiographs, shuffled)
    ]
    first, second = ({r.name: int(fold) for r, fold in pair} for pair in pairs)
    assert first == second


def test_the_seed_decides_the_folds():
    radiographs = people(straight=20, bent=5)
    assert (assign_folds(radiographs, 5, 1) == assign_folds(radiographs, 5, 1)).all()
    assert (assign_folds(radiographs, 5, 1) != assign_folds(radiographs, 5, 2)).any()


@pytest.mark.parametrize("folds", [0, -1])
def test_no_folds_are_refused(folds):
    with pytest.raises(ValueError, match=f"--folds must be at least 1, got {folds}"):
        assign_folds(people(straight=4, bent=0), folds, seed=0)


def test_one_fold_holds_nobody_out_even_of_one_person():
    assert assign_folds(people(straight=1, bent=0), 1, seed=0).tolist() == [-1, -1]


def test_more_folds_than_people_are_refused_with_both_numbers_and_the_remedy():
    message = r"--folds is 5, but there are only 4 people .* take at most 4 or add people"
    with pytest.raises(ValueError, match=message):
        assign_folds(people(straight=4, bent=0), 5, seed=0)


def test_the_fold_table_has_a_row_a_radiograph_with_side_and_rounded_bend():
    radiographs = [radiograph("A", 0, 12.345, "R"), radiograph("B")]
    table = fold_table(radiographs, np.array([1, 0]))
    assert table.to_csv(index=False).splitlines() == [
        "image_name,person,side,bend,fold",
        "A-0.png,A,R,12.3,1",
        "B-0.png,B,,,0",
    ]
