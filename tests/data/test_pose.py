import math

import numpy as np
import pytest

from handray.data.pose import hand_side, is_bent, wrist_bend

# An upright right hand at 2048 px, thumb on the image's left; (centre x, y), width, length.
UPRIGHT = {
    "Capitate": ((1000, 1000), 100, 180),
    "finger-11": ((1000, 700), 90, 540),
    "finger-1": ((460, 520), 70, 170),
    "finger-3": ((700, 880), 110, 380),
    "Radius": ((960, 1400), 180, 700),
    "Ulna": ((1160, 1400), 100, 650),
}
FOREARM = ("Radius", "Ulna")
ORIGIN = np.array([1000, 1000])


def bar(centre, width, length, degrees):
    """A bar along y, turned clockwise (as seen, y down) about its own centre."""
    corners = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) * (width / 2, length / 2)
    return turn(corners, degrees) + centre


def turn(points, degrees):
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return points @ np.array([[c, s], [-s, c]])


def hand(bend=0.0, rotation=0.0, mirror=False, without=()):
    """Bent to the little finger's side: the forearm's lower end swings right, anticlockwise."""
    polygons = {}
    for bone, (centre, width, length) in UPRIGHT.items():
        points = bar(centre, width, length, -bend if bone in FOREARM else 0) - ORIGIN
        points = turn(points * (-1 if mirror else 1, 1), rotation) + ORIGIN
        if bone not in without:
            polygons[bone] = np.rint(points).astype(np.int32)
    return polygons


def test_the_thumb_on_the_left_makes_a_right_hand_and_on_the_right_a_left_hand():
    assert hand_side(hand()) == "R"
    assert hand_side(hand(mirror=True)) == "L"


@pytest.mark.parametrize("rotation", range(0, 360, 30))
@pytest.mark.parametrize("mirror, side", [(False, "R"), (True, "L")])
def test_side_and_bend_hold_for_a_rotated_hand(rotation, mirror, side):
    polygons = hand(bend=25, rotation=rotation, mirror=mirror)
    assert hand_side(polygons) == side
    assert wrist_bend(polygons) == pytest.approx(25, abs=0.2)


@pytest.mark.parametrize("bend", [-20, -5, 0, 5, 20, 48])
@pytest.mark.parametrize("mirror", [False, True])
def test_bend_is_positive_to_the_little_fingers_side_on_both_hands(bend, mirror):
    assert wrist_bend(hand(bend=bend, mirror=mirror)) == pytest.approx(bend, abs=0.2)


def test_a_forearm_that_swings_to_the_little_finger_bends_positively():
    """Without the helper's trigonometry: 100 px aside on 577 px of length is tan 10 degrees."""
    polygons = hand()
    for bone in FOREARM:
        x = polygons[bone][:, 0].mean()
        slanted = [(x - 40, 1100), (x + 40, 1100), (x + 140, 1667), (x + 60, 1667)]
        polygons[bone] = np.array(slanted).astype(np.int32)
    assert wrist_bend(polygons) == pytest.approx(10, abs=0.5)


def test_bend_is_the_mean_of_radius_and_ulna():
    polygons = hand(bend=10)
    polygons["Ulna"] = hand(bend=20)["Ulna"]
    assert wrist_bend(polygons) == pytest.approx(15, abs=0.2)


@pytest.mark.parametrize("bone", ["Capitate", "finger-11", "Radius", "Ulna"])
def test_bend_is_unknown_without(bone):
    assert math.isnan(wrist_bend(hand(without=[bone])))


@pytest.mark.parametrize("bones", [["Capitate"], ["finger-11"], ["finger-1", "finger-3"]])
def test_side_is_unknown_without(bones):
    assert hand_side(hand(without=bones)) == ""


def test_one_bone_of_the_thumb_is_enough():
    assert hand_side(hand(without=["finger-1"])) == hand_side(hand(without=["finger-3"])) == "R"


def test_a_bone_without_area_counts_as_missing():
    flat = np.array([[5, 5], [9, 9], [5, 5]], np.int32)
    assert math.isnan(wrist_bend(hand() | {"Radius": flat}))
    assert hand_side(hand() | {"Capitate": flat}) == ""


def test_classes_that_are_not_bones_have_no_side_and_no_bend():
    assert hand_side({}) == ""
    assert math.isnan(wrist_bend({"tooth": hand()["Radius"]}))


@pytest.mark.parametrize(
    "bend, bent", [(12.0, False), (12.1, True), (-12.1, True), (0, False), (math.nan, False)]
)
def test_bent_is_beyond_12_degrees_to_either_side(bend, bent):
    assert is_bent(bend) is bent
