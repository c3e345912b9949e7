"""Faults planted into drawn hands, and whether the audit finds those and no others."""

from collections import Counter

import numpy as np
import planted
import pytest

from handray.bones import BONES
from handray.data.audit.findings import Finding, find
from handray.data.audit.kinds import KINDS

SEEDS, PEOPLE, SIZE = (0, 1, 2), 7, 128
PLANTED = ("mirrored", "swapped", "ring")


@pytest.fixture(scope="module")
def audited() -> list[tuple[dict[int, str], list[Finding]]]:
    """What was planted into each folder of 14 hands, and what was found."""
    folders = []
    for seed in SEEDS:
        hands = planted.draw_people(seed, PEOPLE, SIZE)
        truth = planted.spoil(hands, seed, share=0.4)
        folders.append((truth, find(*planted.measured(hands), BONES)))
    return folders


def test_every_mirrored_hand_swapped_name_and_ring_in_a_mask_is_found(audited):
    planted_of: Counter[str] = Counter()
    for truth, found in audited:
        kinds = {(finding.image, finding.kind) for finding in found}
        planted_of.update(truth.values())
        assert {(image, kind) for image, kind in truth.items()} <= kinds
    assert all(planted_of[kind] >= 3 for kind in PLANTED), planted_of


@pytest.mark.parametrize("kind", PLANTED)
def test_four_of_five_that_are_accused_of_a_fault_have_it(audited, kind):
    accused = right = 0
    for truth, found in audited:
        images = {finding.image for finding in found if finding.kind == kind}
        accused += len(images)
        right += sum(truth.get(image) == kind for image in images)
    assert right >= 0.8 * accused > 0


def test_four_of_five_labels_to_look_at_have_a_fault(audited):
    accused = right = 0
    for truth, found in audited:
        images = {finding.image for finding in found if KINDS[finding.kind].is_fault}
        accused += len(images)
        right += len(images & truth.keys())
    assert right >= 0.8 * accused > 0


def test_a_lost_class_and_one_in_a_corner_of_the_film_are_named():
    hands = planted.draw_people(5, 5, SIZE)
    low = SIZE - 12
    corner = [(1, low), (8, low), (8, SIZE - 2), (1, SIZE - 2)]
    hands[3].polygons["finger-8"] = np.array(corner, np.int32)
    del hands[4].polygons["Lunate"]
    found = find(*planted.measured(hands), BONES)
    texts = {(one.kind, one.image): one.text for one in found}
    assert texts["missing", 4] == "Lunate"
    assert texts["off hand", 3] == "finger-8: 100% on the background"
    assert "finger-8" in texts["place", 3]


def test_an_empty_folder_and_one_image_have_no_outliers():
    assert find([], [], BONES) == []
    hands = planted.draw_people(0, 1, SIZE)[:1]
    assert not [one for one in find(*planted.measured(hands), BONES) if KINDS[one.kind].is_fault]
