"""What people bring: images and labels as bytes, checked before anything is done with them.

Nothing here writes a file.
"""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from handray.data.imagefile import decode_colour, decode_gray, image_size
from handray.data.labelfile import parse_label

MOST_IMAGE_MB, MOST_CSV_MB, MOST_NETWORK_MB = 64, 200, 1024
"""What an upload may weigh: a label as much as an image."""
MOST_PIXELS = 100_000_000
"""A small file can hold an image that no memory does."""

Polygons = Mapping[int, NDArray[np.int32]]


@dataclass(frozen=True, eq=False)
class Picture:
    """A radiograph that was read; its file's bytes stay, for those who want its colours."""

    name: str
    content: bytes
    image_HW: NDArray[np.uint8]
    """Gray, source frame."""

    @property
    def hw(self) -> tuple[int, int]:
        """Height and width, pixels."""
        return self.image_HW.shape[0], self.image_HW.shape[1]

    def colour_HW3(self) -> NDArray[np.uint8]:
        """The same in colour, BGR."""
        return decode_colour(self.content)


def read_picture(content: bytes, name: str) -> Picture:
    """An image file's pixels; raises ValueError, with its name, for one that is none."""
    _check_weight(content, name, MOST_IMAGE_MB)
    try:
        height, width = image_size(content)
        if height * width > MOST_PIXELS:
            raise ValueError(
                f"{width} x {height} pixels are more than can be shown; make it smaller than "
                f"{MOST_PIXELS / 1e6:.0f} million pixels"
            )
        return Picture(name, content, decode_gray(content))
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


def read_polygons(
    content: bytes, name: str, picture: Picture, class_names: Sequence[str]
) -> Polygons:
    """A label file's polygons by class number, in the picture's source frame.

    Raises:
        ValueError: all that is wrong with it, such as being another image's.

    """
    _check_weight(content, name, MOST_IMAGE_MB)
    label = parse_label(content, class_names, picture.hw)
    faults = [*_other_image(content, picture.name), *label.faults]
    if faults:
        raise ValueError("; ".join([f"{name}: {faults[0]}", *faults[1:3]]))
    return label.polygons


def _other_image(content: bytes, image: str) -> list[str]:
    """A fault where the label names an image, by its stem, and it isn't this one."""
    with suppress(ValueError, RecursionError):  # parse_label says that it is no JSON
        document = json.loads(content)
        named = document.get("filename") if isinstance(document, dict) else None
        if isinstance(named, str) and PurePosixPath(named).stem != PurePosixPath(image).stem:
            return [f"it is the label of {named}, the image is {image}; give the one of this image"]
    return []


def _check_weight(content: bytes, name: str, most_mb: int) -> None:
    if len(content) > most_mb << 20:
        raise ValueError(
            f"{name}: {len(content) >> 20} MB are more than the {most_mb} MB that can be read"
        )
