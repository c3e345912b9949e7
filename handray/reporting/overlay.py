"""Pictures of masks over radiographs.

Axes: H W pixels of the source frame.
"""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from handray.masks.rle import RunRows, decode
from handray.reporting.colours import bgr
from handray.whole_files import write_bytes


def draw_overlay(
    image: NDArray[np.uint8],
    classes: RunRows,
    colours: Sequence[str],
    fill: float = 0.3,
    parts: int = 700,
) -> NDArray[np.uint8]:
    """Fill and outline each class in its colour, (H, W, 3) uint8 BGR.

    Args:
        image: radiograph, (H, W) gray or (H, W, 3) BGR.
        classes: runs of each class in the same frame.
        colours: of each class, such as ``class_colours`` gives.
        fill: how much of the colour covers the inside, 0 to 1.
        parts: of the image's longer side, one of which is as wide as an outline.

    """
    height, width = image.shape[:2]
    coloured = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR) if image.ndim == 2 else image.copy()
    picture = np.asarray(coloured, np.uint8)
    line = max(1, max(height, width) // parts)
    for number, name in enumerate(colours):
        mask_HW = decode(classes[number], (height, width))
        if fill:
            paint(picture, mask_HW, name, fill)
        found = cv2.findContours(mask_HW.view(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(picture, found[0], -1, bgr(name), line)
    return picture


def paint(picture: NDArray[np.uint8], where: NDArray[np.bool_], colour: str, share: float) -> None:
    """Cover pixels (H, W) of a BGR picture (H, W, 3) with a share of a colour, 0 to 1, in place."""
    mixed = (1 - share) * picture[where] + share * np.array(bgr(colour))
    picture[where] = mixed.astype(np.uint8)


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
    done, encoded = cv2.imencode(".png", cv2.vconcat(lines))
    if not done:
        raise OSError(f"{path}: could not encode the picture")
    write_bytes(path, encoded.tobytes())
