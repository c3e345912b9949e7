"""What the audit measures, on films and labels small enough to count by hand."""

import math
from itertools import combinations

import cv2
import numpy as np
import pytest

from handray.bones import BONES, CARPALS
from handray.data.audit.film import measure_film
from handray.data.audit.gray import mean_std, wrapped_std
from handray.data.audit.label import areas_and_overlaps, measure_on_film
from handray.data.audit.order import check_order
from handray.data.audit.outliers import far_out
from handray.data.audit.shape import shape_of
from handray.data.imagefile import image_mode
from handray.data.phantom import draw_polygons


def box(x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
    """A rectangle with its border, (x1 - x0 + 1) by (y1 - y0 + 1) pixels."""
    return np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], np.int32)


def shapes(polygons):
    return {name: shape_of(polygon) for name, polygon in polygons.items()}


def test_mean_and_std_are_exact_and_the_overflow_is_the_reports():
    counts = np.zeros(256, np.int64)
    counts[[0, 16, 100]] = 2, 1, 1  # squares 0, 256, 10000; mod 256: 0, 0, 16
    mean, std = mean_std(counts)
    assert mean == 29
    assert std == pytest.approx(math.sqrt(10256 / 4 - 29**2))
    assert wrapped_std(counts) == math.sqrt(16 / 4)
    image = np.array([[0, 0, 16, 100]], np.uint8)
    assert wrapped_std(counts) == math.sqrt((image**2).mean())


def test_levels_are_counted_beyond_what_float32_can_count():
    film = measure_film(np.full((4200, 4200), 7, np.uint8))
    assert film.counts[7] == 4200 * 4200 > 2**24


def test_the_strip_along_the_top_ends_where_brightness_falls():
    image = np.full((200, 100), 20, np.uint8)
    assert measure_film(image).strip_rows == 0
    image[:5] = 180
    assert measure_film(image).strip_rows == 5
    image[0] = 0  # a scanner's border above it
    assert measure_film(image).strip_rows == 5


def test_a_hand_that_reaches_the_top_is_no_strip():
    image = np.full((200, 100), 20, np.uint8)
    image[:, 40:60] = 180
    assert measure_film(image).strip_rows == 0


def test_saturated_pieces_are_boxed_but_not_the_strip_nor_an_overexposed_film():
    image = np.full((200, 100), 20, np.uint8)
    image[:4] = 255
    image[50:60, 30:50] = 255
    image[100:103, 70:74] = 250
    assert measure_film(image).metal.tolist() == [[30, 50, 20, 10], [70, 100, 4, 3]]
    image[20:] = 255
    assert len(measure_film(image).metal) == 0


def test_areas_and_overlaps_count_pixels_with_their_border():
    polygons = {0: box(0, 0, 9, 9), 2: box(5, 5, 14, 6), 3: box(20, 20, 20, 20)}
    area_C, overlaps = areas_and_overlaps(polygons, (30, 30), 4)
    assert area_C.tolist() == [100, 0, 20, 1]
    assert overlaps == {(0, 2): 10}


def test_contrast_is_of_bone_against_its_surroundings_and_of_the_mirrored_label():
    image = np.full((64, 64), 10, np.uint8)
    image[20:40, 8:20] = 90
    found = measure_on_film(image, {0: box(8, 20, 19, 39)}, 2)
    assert found.contrast_C[0] == 80
    assert found.mirrored_contrast_C[0] == 0
    assert math.isnan(found.contrast_C[1])
    assert found.off_hand_C[0] == 0


def test_a_mask_on_the_background_is_off_the_hand_by_its_share():
    image = np.full((64, 64), 10, np.uint8)
    image[20:60, 20:40] = 90
    found = measure_on_film(image, {0: box(20, 20, 39, 59), 1: box(36, 20, 43, 29)}, 2)
    assert found.off_hand_C.tolist() == [0, 0.5]


def test_a_ring_bulges_out_of_its_bone_and_a_pin_does_not():
    image = np.full((64, 64), 10, np.uint8)
    image[10:50, 20:30] = 90
    image[28:32, 10:40] = 255
    bone = box(20, 10, 29, 49)
    assert measure_on_film(image, {0: bone}, 1).bulge_C[0] == 0
    right = [(20, 10), (29, 10), (29, 28), (39, 28), (39, 31), (29, 31), (29, 49)]
    left = [(20, 49), (20, 31), (10, 31), (10, 28), (20, 28)]
    ringed = np.array([*right, *left], np.int32)
    found = measure_on_film(image, {0: ringed}, 1)
    assert found.bright_C[0] == pytest.approx(120 / 480)
    assert found.bulge_C[0] == pytest.approx(80 / 120)
    image[28:32] = 10
    image[15:45, 24:26] = 255
    found = measure_on_film(image, {0: bone}, 1)
    assert found.bright_C[0] > 0 and found.bulge_C[0] == 0


@pytest.mark.parametrize("side", ["right", "left"])
def test_exchanged_carpals_are_named_whichever_they_are(side):
    own = shapes(draw_polygons(1, 3, side, 512, bent=True))
    assert check_order(own).swapped == {}
    for one, other in combinations(CARPALS, 2):
        order = check_order({**own, one: own[other], other: own[one]})
        assert order.swapped == {one: other, other: one}
        assert order.side == side[0].upper()


def test_nothing_is_said_of_a_few_bones():
    own = shapes(draw_polygons(1, 3, "right", 512, bent=False))
    assert check_order({name: own[name] for name in BONES[:7]}) is None


def test_the_frame_of_a_hand_is_its_middle_metacarpal():
    polygons = draw_polygons(1, 3, "left", 2048, bent=False)
    order = check_order(shapes(polygons))
    assert order.unit == pytest.approx(shape_of(polygons["finger-11"]).length, rel=0.1)
    assert abs(order.places["Capitate"]) < 0.05
    assert order.places["finger-1"].real < 0 < order.places["finger-16"].real


def test_values_beyond_three_interquartile_ranges_are_far_out():
    # Quartiles 2 and 6, so the fences are at -10 and 18.
    values = np.array([0, 1, 2, 3, 4, 5, 6, 18, 19.0])
    assert far_out(values, floor=0.1) == [(8, 13 / 4)]
    assert far_out(values[:7], floor=0.1) == []
    assert far_out(np.array([*[5.0] * 9, 5.2, np.nan]), floor=0.1) == []


@pytest.mark.parametrize(
    "suffix, shape, mode",
    [
        (".png", (8, 8), "gray"),
        (".png", (8, 8, 3), "RGB"),
        (".png", (8, 8, 4), "RGB + alpha"),
        (".jpg", (8, 8), "gray"),
        (".jpg", (8, 8, 3), "RGB"),
    ],
)
def test_how_a_file_keeps_its_pixels_is_read_from_its_header(suffix, shape, mode):
    _, data = cv2.imencode(suffix, np.zeros(shape, np.uint8))
    assert image_mode(data.tobytes()) == mode
