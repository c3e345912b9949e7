"""Planes against the baseline's masks: drawn at source size, resized to the model's by nearest."""

import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from handray.masks.planes import draw_planes, nearest_positions, pack, plane_count, unpack

REAL = os.environ.get("HANDRAY_REAL_DATA")


def baseline(polygons, source_hw, size, classes):
    masks_CHW = np.zeros((classes, size, size), bool)
    for number, points in polygons.items():
        mask = np.zeros(source_hw, np.uint8)
        cv2.fillPoly(mask, [points], 1)
        masks_CHW[number] = cv2.resize(mask, (size, size), interpolation=cv2.INTER_NEAREST)
    return masks_CHW


def random_polygons(seed, source_hw, classes):
    """Overlapping star-like and tangled polygons, some partly or wholly outside."""
    rng = np.random.default_rng(seed)
    height, width = source_hw
    low, high = (-width // 2, -height // 2), (width * 3 // 2, height * 3 // 2)
    return {
        number: rng.integers(low, high, (rng.integers(1, 12), 2)).astype(np.int32)
        for number in rng.permutation(classes)[: max(1, classes * 3 // 4)].tolist()
    }


def test_class_c_is_bit_c_mod_8_of_byte_c_div_8():
    pixel = np.array([[2, 1]], np.int32)  # x 2, y 1
    planes = draw_planes({0: pixel, 7: pixel, 8: pixel, 28: pixel}, (4, 4), 4, 29)
    assert planes.shape == (4, 4, 4) and planes.dtype == np.uint8
    assert planes[1, 2].tolist() == [0b10000001, 0b00000001, 0, 0b00010000]
    assert planes.sum() == planes[1, 2].sum()


@pytest.mark.parametrize("classes, planes", [(1, 1), (8, 1), (9, 2), (29, 4), (32, 4), (40, 5)])
def test_planes_are_as_few_bytes_as_hold_the_classes(classes, planes):
    assert plane_count(classes) == planes
    assert draw_planes({}, (6, 6), 3, classes).shape == (3, 3, planes)


@pytest.mark.parametrize("classes", [1, 29, 40])
@pytest.mark.parametrize("size", [1, 7, 32, 50, 64, 97, 200])
@pytest.mark.parametrize("source_hw", [(64, 64), (50, 90), (91, 40)])
def test_planes_are_the_baselines_masks_bit_for_bit(classes, size, source_hw):
    for seed in range(4):
        polygons = random_polygons(seed, source_hw, classes)
        planes = draw_planes(polygons, source_hw, size, classes)
        np.testing.assert_array_equal(planes, pack(baseline(polygons, source_hw, size, classes)))


@pytest.mark.parametrize("size", [512, 1000])
def test_planes_of_a_2048_pixel_source_are_the_baselines(size):
    polygons = random_polygons(3, (2048, 2048), 5)
    planes = draw_planes(polygons, (2048, 2048), size, 5)
    np.testing.assert_array_equal(planes, pack(baseline(polygons, (2048, 2048), size, 5)))


@pytest.mark.parametrize("source, size", [(5, 5), (10, 5), (7, 3), (3, 7), (1, 4), (2048, 1536)])
def test_nearest_positions_are_those_of_a_uint8_resize(source, size):
    column = (np.arange(source) % 251).astype(np.uint8)[:, None]
    resized = cv2.resize(column, (size, size), interpolation=cv2.INTER_NEAREST)[:, 0]
    np.testing.assert_array_equal(nearest_positions(source, size) % 251, resized)


@pytest.mark.parametrize("classes", [1, 8, 29, 40])
def test_unpack_undoes_pack(classes):
    masks_CHW = np.random.default_rng(classes).random((2, classes, 5, 6)) > 0.5
    planes = torch.from_numpy(np.stack([pack(masks) for masks in masks_CHW]))
    unpacked = unpack(planes, classes)
    assert unpacked.dtype == torch.float32 and unpacked.is_contiguous()
    np.testing.assert_array_equal(unpacked.numpy(), masks_CHW.astype(np.float32))


@pytest.mark.parametrize("planes", [torch.zeros(1, 2, 2, 4), torch.zeros(1, 2, 2, 5).byte()])
def test_unpack_refuses_planes_of_another_width_or_dtype(planes):
    with pytest.raises(ValueError, match="29 classes take uint8 planes of 4 bytes, got"):
        unpack(planes, 29)


@pytest.mark.parametrize(
    "polygons, fault",
    [
        ({29: np.zeros((3, 2), np.int32)}, r"class 29 is not among the 29 classes 0\.\.28"),
        ({0: np.zeros((3, 2), np.float64)}, "int32 .*got float64"),
        ({0: np.zeros((3, 3), np.int32)}, r"shape \(3, 3\)"),
        ({0: np.zeros((0, 2), np.int32)}, "at least one point"),
    ],
)
def test_unfit_polygons_are_refused(polygons, fault):
    with pytest.raises(ValueError, match=fault):
        draw_planes(polygons, (8, 8), 8, 29)


@pytest.mark.skipif(not REAL, reason="HANDRAY_REAL_DATA names no folder of real radiographs")
@pytest.mark.parametrize("size", [256, 512, 640])
def test_planes_of_real_labels_are_the_baselines(size):
    folder = Path(REAL)
    names = folder.joinpath("classes.txt").read_text().split()
    files = sorted(folder.glob("train/outputs_json/*/*.json"))[::8]
    assert files
    for file in files:
        polygons = {
            names.index(shape["label"]): np.array(shape["points"], np.int32)
            for shape in json.loads(file.read_text())["annotations"]
        }
        image = next(folder.glob(f"train/DCM/{file.parent.name}/{file.stem}.png"))
        source_hw = cv2.imread(str(image), cv2.IMREAD_UNCHANGED).shape[:2]
        planes = draw_planes(polygons, source_hw, size, len(names))
        expected = pack(baseline(polygons, source_hw, size, len(names)))
        np.testing.assert_array_equal(planes, expected)
