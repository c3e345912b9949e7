"""One label file: the competition's JSON of polygons, checked against the classes and the image.

The points are pixels of the image as stored. The file's own metadata (3060 x 3060) is wrong and is
never read: nobody rescales.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Label:
    """A label file's channel -> polygon, int32 (N, 2) xy, source frame, and what is wrong."""

    polygons: dict[int, NDArray[np.int32]] = field(default_factory=dict)
    faults: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def parse_label(data: bytes, class_names: Sequence[str], size: tuple[int, int] | None) -> Label:
    """The polygons of a label file's content, or every fault in it, a sentence each; never raises.

    size is the image's (height, width), None where unknown: then no point is outside. Of several
    polygons of one class the last wins, as in the competition; that is a warning.
    """
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        return Label(faults=(f"broken JSON: {error}",))
    annotations = document.get("annotations") if isinstance(document, dict) else None
    if not isinstance(annotations, list):
        return Label(faults=("no list 'annotations' in the JSON; export the label again",))
    return _collect(annotations, class_names, size)


def _collect(
    annotations: list[Any], class_names: Sequence[str], size: tuple[int, int] | None
) -> Label:
    channels = {name: channel for channel, name in enumerate(class_names)}
    polygons: dict[int, NDArray[np.int32]] = {}
    unknown: dict[str, None] = {}
    faults, warnings = [], []
    for number, annotation in enumerate(annotations, 1):
        entry = annotation if isinstance(annotation, dict) else {}
        name = entry.get("label")
        if not isinstance(name, str):
            faults.append(f"annotation {number} has no 'label'")
        elif name not in channels:
            unknown[name] = None
        else:
            try:
                polygon = as_polygon(entry.get("points"), size)
            except ValueError as error:
                faults.append(f"{name!r}: {error}")
                continue
            if channels[name] in polygons:
                warnings.append(f"several polygons of {name!r}; the last one is used")
            polygons[channels[name]] = polygon
    if unknown:
        faults.append(_unknown_classes(list(unknown), class_names))
    if not annotations:
        warnings.append("labels no class at all")
    return Label({c: polygons[c] for c in sorted(polygons)}, tuple(faults), tuple(warnings))


def as_polygon(points: object, size: tuple[int, int] | None) -> NDArray[np.int32]:
    """Points of a JSON file as int32 (N, 2) xy, rounded to whole pixels.

    Raises ValueError where they are not pairs of numbers, fewer than 3, or outside an image of
    size (height, width): x is 0 to width - 1, y 0 to height - 1.
    """
    try:
        array = np.array(points)
    except ValueError:  # rows of different lengths
        array = np.empty(0, object)
    if isinstance(points, list) and len(points) < 3:
        raise ValueError(f"a polygon needs at least 3 points, got {len(points)}")
    if array.dtype.kind not in "iuf" or array.ndim != 2 or array.shape[1] != 2:
        raise ValueError("'points' is not a list of number pairs [[x, y], ...]")
    if not np.isfinite(array).all():
        raise ValueError("'points' holds NaN or infinity")
    xy_N2 = np.rint(array)
    if size is not None:
        height, width = size
        outside = ((xy_N2 < 0) | (xy_N2 >= (width, height))).any(axis=1)
        if outside.any():
            x, y = xy_N2[outside][0]
            raise ValueError(
                f"{outside.sum()} of {len(xy_N2)} points outside the {width} x {height} image, "
                f"first ({x:.0f}, {y:.0f})"
            )
    with np.errstate(invalid="ignore"):  # beyond int32 only where the size is unknown
        return np.ascontiguousarray(xy_N2, np.int32)


def _unknown_classes(unknown: list[str], class_names: Sequence[str]) -> str:
    shown = ", ".join(repr(name) for name in unknown[:3])
    more = f" and {len(unknown) - 3} more" if len(unknown) > 3 else ""
    known = ", ".join(class_names[:3]) + (f" ... {class_names[-1]}" if len(class_names) > 3 else "")
    return (
        f"unknown class {shown}{more}; known are {known} ({len(class_names)} in all), "
        "classes.txt in the data folder names others"
    )
