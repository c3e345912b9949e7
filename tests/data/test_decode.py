"""Decoding brings image and label to the model frame as the competition's baseline does."""

import cv2
import numpy as np
import pytest

from handray.data.decode import decode
from handray.data.radiographs import Radiograph, read_folder
from handray.masks.planes import pack


def baseline(radiograph: Radiograph, size: int, classes: int):
    """Read, draw every class on the whole image, then resize: bilinear, and nearest for masks."""
    image = cv2.imread(radiograph.image_path)
    masks = []
    for number in range(classes):
        mask = np.zeros(image.shape[:2], np.uint8)
        if number in radiograph.polygons:
            cv2.fillPoly(mask, [radiograph.polygons[number]], 1)
        masks.append(cv2.resize(mask, (size, size), interpolation=cv2.INTER_NEAREST))
    resized = cv2.resize(image, (size, size), interpolation=cv2.INTER_LINEAR)
    return resized[..., 0], pack(np.stack(masks).astype(bool))


@pytest.mark.parametrize("size", [64, 96, 128, 160])
def test_a_phantom_is_decoded_bit_by_bit_as_the_baseline_does(phantoms, size):
    data = read_folder(phantoms)
    for radiograph in data.train[:3]:
        for ours, theirs in zip(
            decode(radiograph, size, 29), baseline(radiograph, size, 29), strict=True
        ):
            assert np.array_equal(ours, theirs)


def test_a_real_radiograph_is_decoded_bit_by_bit_as_the_baseline_does(real_data):
    data = read_folder(real_data)
    classes = len(data.class_names)
    for radiograph in data.train[:5]:
        for ours, theirs in zip(
            decode(radiograph, 256, classes), baseline(radiograph, 256, classes), strict=True
        ):
            assert np.array_equal(ours, theirs)
