"""Everything that the audit measures of one image, film and label; runs wherever Ray sends it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from handray.bones import BONES, FOREARM
from handray.data.audit.film import Film, measure_film
from handray.data.audit.label import OnFilm, areas_and_overlaps, measure_on_film, work_frame
from handray.data.audit.order import Order, check_order
from handray.data.audit.shape import Shape, shape_of
from handray.data.files import read_bytes
from handray.data.imagefile import decode_gray, image_mode
from handray.data.radiographs import Radiograph


@dataclass(frozen=True, eq=False)
class LabelMeasures:
    """Measures of one label; channels are keys, source pixels."""

    shapes: dict[int, Shape]
    pixels_C: NDArray[np.int64]
    """Of each class, 0 where it isn't there."""
    overlaps: dict[tuple[int, int], int]
    """Pixels that two classes share."""
    on_film: OnFilm
    order: Order | None
    """None where the classes aren't bones, or too few are labelled."""
    places: Mapping[int, complex]
    """Centres in the frame of the hand, or of the image where no class is a bone. The forearm has
    none: where it lies is the bend of the wrist."""
    unit: float
    """Source pixels of that frame's unit: the middle metacarpal, or the image's longer side; nan
    where the frame is unknown."""

    @property
    def contrast(self) -> float:
        """Gray levels by which bones are brighter than what surrounds them, mean over classes."""
        return mean_of(self.on_film.contrast_C)

    @property
    def mirrored_contrast(self) -> float:
        """The same as if the label were mirrored."""
        return mean_of(self.on_film.mirrored_contrast_C)


@dataclass(frozen=True, eq=False)
class Measures:
    """Measures of one image."""

    film: Film
    mode: str
    """As the file has it: gray, RGB, palette, ..."""
    label: LabelMeasures | None
    """None for an image without polygons."""


def measure(radiograph: Radiograph, class_names: Sequence[str]) -> Measures:
    """Measure one image with its label.

    Raises:
        ValueError: the image can't be read.

    """
    try:
        content = read_bytes(radiograph.image_path)
        image_HW, mode = decode_gray(content), image_mode(content)
    except (OSError, ValueError) as error:
        raise ValueError(f"{radiograph.image_path}: {error}") from error
    label = None
    if radiograph.polygons:
        label = measure_label(image_HW, radiograph, class_names)
    return Measures(measure_film(image_HW), mode, label)


def measure_label(
    image_HW: NDArray[np.uint8], radiograph: Radiograph, class_names: Sequence[str]
) -> LabelMeasures:
    """Measure a label on its film, source frame."""
    polygons, classes = radiograph.polygons, len(class_names)
    shapes = {c: shape for c, polygon in polygons.items() if (shape := shape_of(polygon))}
    pixels_C, overlaps = areas_and_overlaps(polygons, image_HW.shape, classes)
    small_HW, small_polygons = work_frame(image_HW, polygons)
    order, places, unit = _in_frame(shapes, class_names, max(image_HW.shape))
    return LabelMeasures(
        shapes,
        pixels_C,
        overlaps,
        measure_on_film(small_HW, small_polygons, classes),
        order,
        places,
        unit,
    )


def _in_frame(
    shapes: dict[int, Shape], class_names: Sequence[str], side: int
) -> tuple[Order | None, Mapping[int, complex], float]:
    """Order, places and unit; of a hand with too few bones to find its frame, none at all."""
    if not set(class_names) & set(BONES):
        return None, {c: shape.centre / side for c, shape in shapes.items()}, float(side)
    names = {c: class_names[c] for c in shapes if class_names[c] in BONES}
    order = check_order({name: shapes[c] for c, name in names.items()})
    if order is None:
        return None, {}, float("nan")
    places = {c: order.places[name] for c, name in names.items() if name not in FOREARM}
    return order, places, order.unit


def mean_of(values: NDArray[np.float64]) -> float:
    """The mean of those that are known; nan without any."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")
