"""Panels colour what they say they do."""

import cv2
import numpy as np
import pytest

from handray.masks.rle import RunRows, encode
from handray.reporting.colours import BOTH, EXTRA, MISSED, SWAPPED, bgr
from handray.viewing import window as window_module
from handray.viewing.drawing import Look, Panel, as_jpeg, vote_colours
from handray.viewing.window import Window

SIDE = 60
GRAY = 100
RED, BLUE = "#ff0000", "#0000ff"


@pytest.fixture(autouse=True)
def panel_of_own_size(monkeypatch):
    monkeypatch.setattr(window_module, "PANEL", SIDE)


def panel(**look) -> Panel:
    window = Window.whole((SIDE, SIDE))
    photo = window.photo(np.full((SIDE, SIDE), GRAY, np.uint8))
    return Panel(
        photo, window, SIDE, Look(**{"outline": False, "fill": True, "strength": 1} | look)
    )


def rows_of(*boxes: tuple[int, int, int, int] | None) -> RunRows:
    masks = []
    for box in boxes:
        mask = np.zeros((SIDE, SIDE), bool)
        if box:
            top, bottom, left, right = box
            mask[top:bottom, left:right] = True
        masks.append(encode(mask))
    return RunRows.join(masks)


TWO = rows_of((10, 20, 10, 20), (30, 50, 30, 50))


def colour_at(picture: np.ndarray, y: int, x: int) -> tuple[int, ...]:
    return tuple(picture[y, x].tolist())


def test_only_the_chosen_classes_are_drawn_in_their_colours():
    picture = panel().overlay(TWO, [RED, BLUE], [1])
    assert colour_at(picture, 40, 40) == bgr(BLUE)
    assert colour_at(picture, 15, 15) == (GRAY,) * 3
    assert colour_at(panel().overlay(TWO, [RED, BLUE], [0, 1]), 15, 15) == bgr(RED)


def test_fill_covers_by_its_strength_and_no_strength_leaves_the_radiograph():
    half = panel(strength=0.5).overlay(TWO, [RED, BLUE], [0])
    assert colour_at(half, 15, 15) == (50, 50, 178)  # halfway from 100 to blue 0, green 0, red 255
    nothing = panel(strength=0, outline=True)
    assert np.array_equal(nothing.overlay(TWO, [RED, BLUE], [0, 1]), nothing.photo)


def test_an_outline_follows_the_border_and_leaves_the_inside():
    picture = panel(outline=True, fill=False).overlay(TWO, [RED, BLUE], [1])
    assert colour_at(picture, 30, 40) == bgr(BLUE)
    assert colour_at(picture, 40, 40) == (GRAY,) * 3


def test_a_difference_shows_what_is_in_both_missed_and_extra():
    truth, ours = rows_of((10, 30, 10, 30)), rows_of((20, 40, 10, 30))
    picture = panel().difference(ours, truth, [0])
    assert colour_at(picture, 15, 20) == bgr(MISSED)
    assert colour_at(picture, 35, 20) == bgr(EXTRA)
    faint = [(GRAY + part) // 2 for part in bgr(BOTH)]
    assert colour_at(picture, 25, 20) == tuple(faint)
    assert colour_at(picture, 5, 5) == (GRAY,) * 3


def test_a_pixel_that_is_given_to_another_class_has_a_colour_of_its_own():
    picture = panel().difference(
        rows_of(None, (10, 30, 10, 30)), rows_of((10, 30, 10, 30), None), [0, 1]
    )
    assert colour_at(picture, 20, 20) == bgr(SWAPPED)


def test_votes_show_how_many_members_have_a_pixel_and_the_fewest_of_any_class():
    one = rows_of((0, 10, 0, 10), (0, 10, 20, 30))
    other = rows_of((0, 10, 0, 20), None)
    third = rows_of((0, 10, 0, 20), None)
    picture = panel().votes([one, other, third], [0, 1])
    by_votes = [bgr(colour) for colour in vote_colours(3)]
    assert colour_at(picture, 5, 25) == by_votes[0]
    assert colour_at(picture, 5, 15) == by_votes[1]
    assert colour_at(picture, 5, 5) == tuple((GRAY + part) // 2 for part in bgr(BOTH))
    assert colour_at(panel().votes([one, other, third], [0]), 5, 25) == (GRAY,) * 3


def test_heat_leaves_the_radiograph_at_zero_and_is_brightest_from_the_most_on():
    values = np.zeros((SIDE, SIDE), np.float32)
    values[:, 30:] = 5
    picture = panel().heat(values, most=3)
    assert colour_at(picture, 0, 0) == (GRAY,) * 3
    assert picture[0, 40].sum() > 600


def test_each_number_of_votes_has_a_colour():
    assert [len(set(vote_colours(members))) for members in (2, 3, 6)] == [1, 2, 5]


def test_the_picture_file_keeps_colours_at_full_resolution():
    picture = np.zeros((SIDE, SIDE, 3), np.uint8)
    picture[:, 30:] = bgr(RED)
    read = cv2.imdecode(np.frombuffer(as_jpeg(picture), np.uint8), cv2.IMREAD_COLOR)
    assert np.abs(read[:, 26:34].astype(int) - picture[:, 26:34]).max() < 60
