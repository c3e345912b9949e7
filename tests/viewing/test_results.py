"""Results of CSVs: which masks belong to an image, and which image is next."""

from dataclasses import replace

import numpy as np
import pytest

from handray.bones import BONES
from handray.data.radiographs import read_folder
from handray.inference.labels import labels_of
from handray.inference.score import truth_rows
from handray.inference.submission import Submission, write_submission
from handray.masks.algebra import dice
from handray.masks.rle import RunRows, encode
from handray.viewing.results import (
    Results,
    arranged,
    next_worst,
    read_results,
    read_upload,
    worst_first,
)
from handray.viewing.shelf import Shelf


@pytest.fixture(scope="module")
def shelf(phantoms) -> Shelf:
    return Shelf.of(str(phantoms))


@pytest.fixture(scope="module")
def truth(shelf) -> Submission:
    """The labels of three images as a result."""
    images = shelf.folder.train[:3]
    rows = [truth_rows(image.polygons, len(BONES), (image.height, image.width)) for image in images]
    names = tuple(image.name for image in images)
    return Submission(names, BONES, RunRows.stack(rows), np.full((3, 2), 128))


def test_the_labels_themselves_have_a_dice_of_1_and_a_lost_bone_costs_its_image(truth, shelf):
    results = Results("perfect", (truth,))
    assert results.has_labels(shelf.labels)
    assert all((dice_C == 1).all() for dice_C in results.dice(shelf.labels).values())
    classes = len(BONES)
    spoilt = [truth.rows[row] for row in range(len(truth.rows))]
    spoilt[classes + 3] = spoilt[classes + 3][:0]
    lost = replace(truth, rows=RunRows.join(spoilt))
    scores = Results("lost", (lost,)).dice(shelf.labels)
    names = truth.image_names
    assert worst_first(scores, range(classes)) == {
        names[1]: pytest.approx(28 / 29, abs=1e-6), names[0]: 1, names[2]: 1
    }  # fmt: skip
    assert worst_first(scores, [0])[names[1]] == 1


def test_dice_is_in_the_labels_order_of_classes_and_leaves_out_what_has_no_label(truth, shelf):
    backwards = truth.rows.take(
        image * len(BONES) + c for image in range(2) for c in reversed(range(len(BONES)))
    )
    unknown = RunRows.join([encode(np.ones((128, 128), bool))] * len(BONES))
    names = (*truth.image_names[:2], "unknown.png")
    rows = RunRows.stack([backwards, unknown])
    mixed = Submission(names, tuple(reversed(BONES)), rows, np.full((3, 2), 128))
    found = Results("mixed", (mixed,)).dice(shelf.labels)
    assert set(found) == set(names[:2])
    assert all((dice_C == 1).all() for dice_C in found.values())


def test_masks_are_those_of_the_image_from_whichever_csv_has_it(truth):
    first = replace(truth, image_names=truth.image_names[:1], rows=truth.rows.part(0, len(BONES)),
                    sizes_hw=truth.sizes_hw[:1])  # fmt: skip
    rest = replace(truth, image_names=truth.image_names[1:], sizes_hw=truth.sizes_hw[1:],
                   rows=truth.rows.part(len(BONES), 3 * len(BONES)))  # fmt: skip
    results = Results("run", (first, rest))
    rows, classes = results.masks(truth.image_names[2], (128, 128))
    assert classes == BONES
    assert dice(rows[5], truth.runs(2, 5)) == 1
    assert results.masks("other.png", (128, 128)) is None


def test_masks_of_an_image_of_another_size_are_refused(truth):
    name = truth.image_names[0]
    with pytest.raises(ValueError, match="are of 128 x 128 pixels, the image has 200 x 100"):
        Results("mine", (truth,)).masks(name, (100, 200))
    sizeless = replace(truth, sizes_hw=None)
    with pytest.raises(ValueError, match=r"mine: its masks of .* go past the end of its 10 x 10"):
        Results("mine", (sizeless,)).masks(name, (10, 10))


def test_other_orders_of_classes_are_put_right_and_other_classes_refused():
    one, two = (encode(np.array([[bit]])) for bit in (True, False))
    rows = RunRows.join([one, two])
    assert [len(runs) for runs in map(arranged(rows, "ab", "ba", "x").__getitem__, (0, 1))] == [
        0,
        2,
    ]
    with pytest.raises(ValueError, match="mine has the class 'a': it has 2 classes where 1"):
        arranged(rows, ("a", "b"), ("b",), "mine")
    with pytest.raises(ValueError, match="mine lacks the class 'c'"):
        arranged(rows, ("a", "b"), ("a", "b", "c"), "mine")


def test_the_next_worst_goes_round():
    order = ["c", "a", "b"]
    assert [next_worst(order, now) for now in order] == ["a", "b", "c"]
    assert next_worst(order, "c", -1) == "b"
    assert next_worst(order, "gone") == "c"


def test_a_csv_is_the_same_from_a_file_and_as_an_upload(truth, shelf, tmp_path):
    path = tmp_path / "mine.csv"
    write_submission(path, truth)
    image = truth.image_names[1]
    for results in (
        read_results("mine", [path], shelf.size_of),
        read_upload(path.read_bytes(), "mine", shelf.size_of),
    ):
        rows, _ = results.masks(image, (128, 128))
        assert np.array_equal(rows.bounds, truth.rows.part(29, 58).bounds)


@pytest.mark.parametrize(
    "content, message",
    [
        (b"\xff\xfe\x00", "mine.csv is not UTF-8"),
        (b"a,b\n", "mine.csv lacks the column"),
        (b"image_name,class,rle\nnowhere.png,Ulna,1 2\n", "'nowhere.png' is not in"),
    ],
)
def test_an_upload_that_is_no_csv_of_the_folder_is_refused(shelf, content, message):
    with pytest.raises(ValueError, match=message):
        read_upload(content, "mine.csv", shelf.size_of)


def test_a_shelf_has_pictures_and_labels_by_name(shelf, phantoms):
    labelled, unlabelled = shelf.folder.train[0], shelf.folder.test[0]
    assert list(shelf.images) == [i.name for i in (*shelf.folder.train, *shelf.folder.test)]
    assert shelf.picture(labelled.name).hw == shelf.size_of(labelled.name) == (128, 128)
    assert shelf.polygons(labelled.name) is not None
    # Phantoms have the truth of their test images as well.
    truth = labels_of(read_folder(phantoms)).images[unlabelled.name].polygons
    assert set(shelf.polygons(unlabelled.name)) == set(truth)
