"""What part of a radiograph a panel shows, and that masks and image stay in place."""

import numpy as np
import pytest

from handray.masks.rle import RunRows, encode
from handray.viewing import window as window_module
from handray.viewing.window import Window


@pytest.fixture
def panel_of_8(monkeypatch):
    monkeypatch.setattr(window_module, "PANEL", 8)
    monkeypatch.setattr(window_module, "LEAST", 1)


def mask_of(rows: list[str]) -> np.ndarray:
    return np.array([[letter == "#" for letter in row] for row in rows])


def on_panel(window: Window, mask: np.ndarray) -> np.ndarray:
    drawn = np.zeros(window.panel_hw, np.uint8)
    part = window.mask(encode(mask), mask.shape[1])
    if part is not None:
        shown, top, left = part
        drawn[top:, left:][: shown.shape[0], : shown.shape[1]] = shown
    return drawn


def test_a_panel_of_the_image_s_own_size_shows_its_pixels(panel_of_8):
    mask = np.random.default_rng(0).random((6, 8)) > 0.6
    window = Window.whole(mask.shape)
    assert window.panel_hw == (6, 8)
    assert np.array_equal(on_panel(window, mask), mask)


def test_a_window_half_as_wide_shows_each_pixel_as_two_by_two(panel_of_8):
    mask = np.random.default_rng(0).random((8, 8)) > 0.5
    shown = on_panel(Window(2, 4, 6, 8), mask)
    assert np.array_equal(shown, mask[2:6, 4:8].repeat(2, axis=0).repeat(2, axis=1))


def test_a_mask_beside_the_window_is_not_drawn(panel_of_8):
    assert Window(0, 0, 2, 2).mask(encode(mask_of(["....", "....", "...#"])), 4) is None
    assert Window.whole((3, 4)).mask(encode(np.zeros((3, 4), bool)), 4) is None


def test_photo_and_mask_of_a_zoomed_window_lie_on_each_other():
    mask = np.zeros((300, 500), bool)
    mask[120:180, 230:330] = True
    image = np.where(mask, 200, 0).astype(np.uint8)
    window = Window(100, 200, 200, 350)
    bright = window.photo(image)[..., 0] > 100
    assert (bright != on_panel(window, mask).astype(bool)).mean() < 0.01


def test_a_window_around_masks_holds_them_with_room_and_stays_in_the_image():
    mask = np.zeros((400, 600), bool)
    mask[10:30, 500:600] = True
    window = Window.around(RunRows.join([encode(mask)]), mask.shape)
    # Twenty rows and a hundred columns: 140 px a side, moved in from the top right corner.
    assert (window.top, window.bottom, window.left, window.right) == (0, 140, 460, 600)


def test_around_nothing_is_the_whole_image():
    nothing = RunRows.join([encode(np.zeros((40, 60), bool))])
    assert Window.around(nothing, (40, 60)) == Window.whole((40, 60))


@pytest.mark.parametrize(
    "down, across, expected",
    [
        (0.5, 0.5, Window(150, 225, 250, 375)),
        (0, 0, Window(100, 150, 200, 300)),
        (1, 1, Window(200, 300, 300, 450)),
    ],
)
def test_twice_as_close_is_half_of_each_side_around_the_centre(down, across, expected):
    assert Window(100, 150, 300, 450).closer(2, down, across) == expected


def test_values_of_the_model_frame_stand_where_the_panel_shows_their_places(panel_of_8):
    values = np.array([[1, 2], [3, 4]], np.float32)
    shown = Window.whole((16, 16)).of_model_frame(values, (16, 16))
    assert np.array_equal(shown, values.repeat(4, axis=0).repeat(4, axis=1))
    right_half = Window(0, 8, 16, 16).of_model_frame(values, (16, 16))
    assert np.array_equal(right_half, np.array([[2], [4]]).repeat(4, axis=0).repeat(4, axis=1))
