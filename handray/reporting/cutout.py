"""A part of a film with outlines over it, for a page; drawn wherever Ray sends it.

Axes: H W pixels of the source frame, N points xy.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from handray.data.radiographs import Radiograph, read_image
from handray.reporting.colours import bgr
from handray.reporting.page import Picture, photo

SIDE = 560
"""Of a picture, pixels."""
MARGIN = 0.6
"""Around what is shown, as a share of its longer side."""
LEAST_SHARE = 0.16
"""Of the film's longer side: no cutout is smaller."""
SUBPIXEL = 4

Polygon = NDArray[np.int32]
Box = tuple[int, int, int, int]
"""x0, y0, x1, y1, source pixels, half-open."""


@dataclass(frozen=True, eq=False)
class Outline:
    """A polygon (N, 2) xy in source pixels, its colour, and a name to be written over it."""

    points: Polygon
    colour: str
    name: str = ""
    thick: bool = True


@dataclass(frozen=True, eq=False)
class Cutout:
    """What is to be drawn."""

    image: Radiograph
    outlines: Sequence[Outline] = ()
    box: Box | None = None
    """None for the whole film."""


def draw_cutout(cutout: Cutout) -> Picture:
    """Draw it, sharp outlines over the film at the picture's size.

    Raises:
        ValueError: the image can't be read.

    """
    image_HW = read_image(cutout.image.image_path)
    x0, y0, x1, y1 = cutout.box or (0, 0, image_HW.shape[1], image_HW.shape[0])
    part_HW = image_HW[y0:y1, x0:x1]
    scale = SIDE / max(part_HW.shape)
    size = [max(1, round(extent * scale)) for extent in part_HW.shape[::-1]]
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    gray = cv2.resize(part_HW, size, interpolation=method)
    picture = cv2.cvtColor(gray, cv2.COLOR_GRAY2BGR)
    for outline in sorted(cutout.outlines, key=lambda one: one.thick):
        points_N2 = (outline.points - (x0, y0) + 0.5) * scale - 0.5
        fixed_N2 = np.rint(points_N2 * 2**SUBPIXEL).astype(np.int32)
        paint, line = bgr(outline.colour), 2 if outline.thick else 1
        cv2.polylines(picture, [fixed_N2], True, paint, line, cv2.LINE_AA, SUBPIXEL)
    for outline in cutout.outlines:
        if outline.name:
            _write(picture, outline, (outline.points.mean(axis=0) - (x0, y0)) * scale)
    return photo(picture.astype(np.uint8), cutout.image.name)


def around(polygons: Sequence[Polygon], hw: tuple[int, int]) -> Box | None:
    """The part of a film of (height, width) around polygons; None without any, for the whole."""
    if not polygons:
        return None
    points_N2 = np.concatenate(polygons)
    low, high = points_N2.min(axis=0), points_N2.max(axis=0)
    extent = int((high - low).max())
    side = max((1 + MARGIN) * extent, LEAST_SHARE * max(hw))
    centre = (low + high) / 2
    x0, y0 = np.maximum(np.floor(centre - side / 2), 0).astype(int).tolist()
    x1, y1 = np.minimum(np.ceil(centre + side / 2), hw[::-1]).astype(int).tolist()
    return (x0, y0, max(x1, x0 + 1), max(y1, y0 + 1))


def outlines_of(
    polygons: Mapping[int, Polygon],
    colours: Sequence[str],
    names: Mapping[int, str] | None = None,
) -> list[Outline]:
    """Polygons by channel in their colours; with names, those without one stay in the back."""
    if names is None:
        return [Outline(p, colours[c], thick=False) for c, p in polygons.items()]
    return [
        Outline(p, colours[c] if c in names else "#7d8794", names.get(c, ""), c in names)
        for c, p in polygons.items()
    ]


def _write(picture: cv2.typing.MatLike, outline: Outline, place: NDArray[np.float64]) -> None:
    """A name in its colour on a dark plate, inside the picture."""
    font, size = cv2.FONT_HERSHEY_SIMPLEX, 0.5
    (width, height), _ = cv2.getTextSize(outline.name, font, size, 1)
    x = int(np.clip(place[0] - width / 2, 4, max(4, picture.shape[1] - width - 4)))
    y = int(np.clip(place[1] + height / 2, height + 4, picture.shape[0] - 8))
    cv2.rectangle(picture, (x - 4, y - height - 4), (x + width + 4, y + 6), (22, 18, 13), -1)
    cv2.putText(picture, outline.name, (x, y), font, size, bgr(outline.colour), 1, cv2.LINE_AA)
