"""PNG and JPEG files as bytes: is the file whole, how large is its picture, and its gray pixels.

A damaged PNG is found by its chunks' lengths and checksums, without inflating it.
PNG: W3C "Portable Network Graphics (Third Edition)", section 5; JPEG: ITU-T T.81, annex B.
"""

import struct
import zlib

import cv2
import numpy as np
import pyspng
from numpy.typing import NDArray

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")
"""Compared in lower case."""

_PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
_JPEG_MAGIC = b"\xff\xd8\xff"
_JPEG_END = b"\xff\xd9"
_START_OF_SCAN = 0xDA
# SOF0..SOF15 without DHT (C4), JPG (C8) and DAC (CC), which share the range.
_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_RGB = 2
_PNG_MODES = {0: "gray", _RGB: "RGB", 3: "palette", 4: "gray + alpha", 6: "RGB + alpha"}
"""By the header's colour type."""
_JPEG_MODES = {1: "gray", 3: "RGB", 4: "CMYK"}
"""By the number of components."""


def image_size(data: bytes) -> tuple[int, int]:
    """Height and width in pixels of a whole 8-bit PNG or JPEG file.

    Raises ValueError with a sentence about the file (it doesn't know its name) where the content is
    empty, neither format, cut off, damaged, or not 8 bits a channel.
    """
    size = _header(data)
    if data.startswith(_JPEG_MAGIC):
        # JPEG has no checksums: only a decoder tells, at an eighth of the size to be quick.
        _decode(data, cv2.IMREAD_REDUCED_GRAYSCALE_8)
    return size


def image_mode(data: bytes) -> str:
    """How a whole PNG or JPEG file keeps its pixels: gray, RGB, palette, gray + alpha, ..."""
    if data.startswith(_PNG_MAGIC):
        return _PNG_MODES.get(data[25], f"colour type {data[25]}")
    start = 2
    while start + 10 <= len(data) and data[start + 1] not in _START_OF_FRAME:
        fill = data[start + 1] == 0xFF
        start += 1 if fill else 2 + int.from_bytes(data[start + 2 : start + 4], "big")
    return _JPEG_MODES.get(data[start + 9], "unknown") if start + 10 <= len(data) else "unknown"


def decode_gray(data: bytes) -> NDArray[np.uint8]:
    """Pixels of a PNG or JPEG file, (H, W) uint8 0..255 in the source frame.

    Three identical channels give exactly that channel, others their luma (ITU-R BT.601), whatever
    gamma the file names. An orientation tag is not followed: labels are pixels of the picture as
    stored. Raises ValueError as `image_size` does.
    """
    _header(data)
    if data.startswith(_PNG_MAGIC) and data[25] == _RGB:
        return _gray_of_rgb(data)
    return _decode(data, cv2.IMREAD_GRAYSCALE)


def decode_colour(data: bytes) -> NDArray[np.uint8]:
    """The same with its colours, (H, W, 3) uint8 BGR; a gray file has three identical channels."""
    _header(data)
    return _decode(data, cv2.IMREAD_COLOR)


def _gray_of_rgb(data: bytes) -> NDArray[np.uint8]:
    """Gray pixels of an RGB PNG by libspng: a fifth faster than OpenCV (png_decoders.py)."""
    try:
        pixels_HW3 = pyspng.load(data, "RGB")
    except RuntimeError as error:
        raise ValueError(f"the image can't be decoded: {error}; export it again") from error
    return cv2.cvtColor(pixels_HW3, cv2.COLOR_RGB2GRAY).astype(np.uint8, copy=False)


def _decode(data: bytes, flags: int) -> NDArray[np.uint8]:
    """Pixels, uint8, by OpenCV, which says None or raises where it can't."""
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error as error:
        raise ValueError(f"the image can't be decoded: {error.err}; export it again") from error
    if pixels is None:
        raise ValueError("the image can't be decoded; export it again")
    return pixels.astype(np.uint8, copy=False)


def _header(data: bytes) -> tuple[int, int]:
    """Height and width, once the file's structure is whole; raises ValueError as `image_size`."""
    if not data:
        raise ValueError("the file is empty (0 bytes); copy it again")
    if data.startswith(_PNG_MAGIC):
        height, width, bits = _png_header(data)
    elif data.startswith(_JPEG_MAGIC):
        height, width, bits = _jpeg_header(data)
    else:
        raise ValueError(f"neither PNG nor JPEG: the content starts with {data[:8]!r}")
    if bits != 8:
        raise ValueError(f"{bits} bits a channel; 8-bit images are needed, convert it")
    if height < 1 or width < 1:
        raise ValueError(f"the header says {width} x {height} pixels; export the image again")
    return height, width


def _png_header(data: bytes) -> tuple[int, int, int]:
    """Height, width and bit depth, once every chunk up to IEND is there with the right checksum."""
    view = memoryview(data)
    start, kind, seen = len(_PNG_MAGIC), b"", set()
    while kind != b"IEND":
        if start + 12 > len(data):
            raise ValueError(f"PNG cut off after {len(data)} bytes; copy it again")
        length, kind = struct.unpack_from(">I4s", data, start)
        end = start + 12 + length
        if end > len(data):
            raise ValueError(f"PNG cut off after {len(data)} bytes; copy it again")
        if zlib.crc32(view[start + 4 : end - 4]) != int.from_bytes(view[end - 4 : end], "big"):
            raise ValueError(f"damaged PNG: wrong checksum of the chunk at byte {start}")
        seen.add(kind)
        start = end
    if not seen >= {b"IHDR", b"IDAT"} or data[12:16] != b"IHDR":
        raise ValueError("damaged PNG: no header or no pixels; export it again")
    width, height, bits = struct.unpack_from(">IIB", data, 16)
    return height, width, bits


def _jpeg_header(data: bytes) -> tuple[int, int, int]:
    """Height, width and bits a sample, once frame header, a scan and the end marker are there."""
    start, header = 2, None
    while start + 4 <= len(data) and data[start] == 0xFF:
        marker, length = data[start + 1], int.from_bytes(data[start + 2 : start + 4], "big")
        if marker == 0xFF:  # a fill byte before a marker
            start += 1
            continue
        if marker in _START_OF_FRAME and start + 9 <= len(data):
            bits, height, width = struct.unpack_from(">BHH", data, start + 4)
            header = height, width, bits
        if marker == _START_OF_SCAN:
            break
        start += 2 + length
    # Within a scan 0xFF is always stuffed, so the end marker can't occur in it by chance.
    if header is None or data.find(_JPEG_END, start) < 0:
        raise ValueError(f"JPEG cut off or damaged ({len(data)} bytes); copy it again")
    return header
