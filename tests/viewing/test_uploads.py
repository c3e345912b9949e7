"""Uploads that are what they say, and a sentence for those that aren't."""

import json
import struct
import zlib

import cv2
import numpy as np
import pytest

from handray.viewing import uploads
from handray.viewing.uploads import read_picture, read_polygons

NAMES = ("one", "two")
IMAGE = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)


def png(image: np.ndarray) -> bytes:
    return cv2.imencode(".png", image)[1].tobytes()


def label(points, name="one", **more) -> bytes:
    return json.dumps({"annotations": [{"label": name, "points": points}], **more}).encode()


SQUARE = [[1, 1], [8, 1], [8, 8]]
PICTURE = read_picture(png(IMAGE), "hand.png")


def test_a_picture_is_read_in_gray_and_in_colour():
    assert PICTURE.hw == (30, 40)
    gray = cv2.cvtColor(IMAGE, cv2.COLOR_BGR2GRAY)
    assert np.abs(PICTURE.image_HW.astype(int) - gray).max() <= 1
    assert np.array_equal(PICTURE.colour_HW3(), IMAGE)


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "hand.png: the file is empty"),
        (b"no image at all", "hand.png: neither PNG nor JPEG"),
        (png(IMAGE)[:-30], "hand.png: PNG cut off"),
    ],
)
def test_what_is_no_image_is_refused_by_name(content, message):
    with pytest.raises(ValueError, match=message):
        read_picture(content, "hand.png")


def test_a_small_file_that_claims_a_huge_image_is_refused_before_it_is_decoded():
    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 0, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
    with pytest.raises(ValueError, match="100000 x 100000 pixels are more than can be shown"):
        read_picture(bomb, "bomb.png")


def test_a_file_that_weighs_too_much_is_refused(monkeypatch):
    monkeypatch.setattr(uploads, "MOST_IMAGE_MB", 1)
    with pytest.raises(ValueError, match=r"hand\.png: 2 MB are more than the 1 MB"):
        read_picture(bytes(2 << 20), "hand.png")


def test_a_label_gives_polygons_by_class():
    polygons = read_polygons(label(SQUARE, "two", filename="hand.jpg"), "l.json", PICTURE, NAMES)
    assert {number: points.tolist() for number, points in polygons.items()} == {1: SQUARE}


@pytest.mark.parametrize(
    "content, message",
    [
        (label(SQUARE, filename="foot.png"), "l.json: it is the label of foot.png, the image is"),
        (label([[1, 1], [50, 1], [8, 8]]), "l.json: 'one': 1 of 3 points outside the 40 x 30"),
        (label(SQUARE, "tooth"), "l.json: unknown class 'tooth'"),
        (b"{", "l.json: broken JSON"),
        (b"[]", "l.json: no list 'annotations'"),
        (b"[" * 100_000, "l.json: broken JSON"),
    ],
)
def test_a_label_of_another_image_or_none_is_refused(content, message):
    with pytest.raises(ValueError, match=message):
        read_polygons(content, "l.json", PICTURE, NAMES)
