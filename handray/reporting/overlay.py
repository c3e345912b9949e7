"""Pictures of masks over radiographs.

Axes: H W pixels of the source frame.
"""

import colorsys
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from handray.masks.rle import RunRows, decode


def draw_overlay(
    image_HW: NDArray[np.uint8], classes: RunRows, fill: float = 0.3
) -> NDArray[np.uint8]:
    """Fill and outline each class in a colour of its own, (H, W, 3) uint8 BGR.

    Args:
        image_HW: gray radiograph, source frame.
        classes: runs of each class in the same frame.
        fill: how much of the colour covers the inside, 0 to 1.

    """
    picture = cv2.cvtColor(image_HW, cv2.COLOR_GRAY2BGR)
    line = max(1, max(image_HW.shape) // 700)
    for number in range(len(classes)):
        mask = decode(classes[number], image_HW.shape).view(np.uint8)
        # Steps of the golden ratio give neighbours in the class order distant hues.
        hue = number * 0.618034 % 1
        colour = [int(255 * part) for part in reversed(colorsys.hsv_to_rgb(hue, 0.75, 1))]
        inside = mask.astype(bool)
        picture[inside] = ((1 - fill) * picture[inside] + fill * np.array(colour)).astype(np.uint8)
        outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(picture, outlines, -1, colour, line)
    return picture.astype(np.uint8)


def save_sheet(path: Path, rows: Sequence[Sequence[NDArray[np.uint8]]], height: int = 700) -> None:
    """Write rows of pictures, (H, W, 3) uint8 BGR, as one PNG, each ``height`` pixels high.

    Raises:
        OSError: the file can't be written.

    """
    lines = []
    for row in rows:
        widths = [round(picture.shape[1] * height / picture.shape[0]) for picture in row]
        cells = [
            cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
            for picture, width in zip(row, widths, strict=True)
        ]
        lines.append(cv2.hconcat(cells))
    partial = path.with_name(f".{path.name}")
    done, encoded = cv2.imencode(".png", cv2.vconcat(lines))
    if not done:
        raise OSError(f"{path}: could not encode the picture")
    partial.write_bytes(encoded.tobytes())
    partial.replace(path)
