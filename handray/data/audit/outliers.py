"""Values far from the rest, by Tukey's outer fences: three interquartile ranges from the quartiles.

Axes: N images, C classes. Areas and places are compared in the hand frame where the label shows a
hand, else in the image's, so that a distance or a small hand doesn't make an outlier.
"""

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from handray.data.audit.measure import LabelMeasures

FENCE = 3.0
FEWEST = 8
"""Values below which nothing is far from the rest."""
AREA_FLOOR, PLACE_FLOOR = 0.05, 0.01
"""Least interquartile range: of the logarithm of areas, and in units of the frame."""

Outlier = tuple[int, int, float, str]
"""Image, class, interquartile ranges beyond the quartile, text."""


def far_out(values_N: NDArray[np.float64], floor: float) -> list[tuple[int, float]]:
    """Number and signed score of what lies beyond the outer fences; nan is left out."""
    known = np.flatnonzero(~np.isnan(values_N))
    if len(known) < FEWEST:
        return []
    low, high = np.percentile(values_N[known], [25, 75])
    spread = max(high - low, floor)
    score = np.maximum(values_N[known] - high, 0) - np.maximum(low - values_N[known], 0)
    beyond = np.abs(score) > FENCE * spread
    return [(int(n), float(s / spread)) for n, s in zip(known[beyond], score[beyond], strict=True)]


def far_out_areas(labels: Mapping[int, LabelMeasures]) -> Iterator[Outlier]:
    """Classes of images whose area is far from the class's others."""
    for c in _classes(labels):
        rows = [n for n, label in labels.items() if c in label.shapes]
        relative = np.array([labels[n].shapes[c].area / labels[n].unit ** 2 for n in rows])
        for at, score in far_out(np.log(relative), AREA_FLOOR):
            times = relative[at] / np.nanmedian(relative)
            yield rows[at], c, abs(score), f"{times:.2g} times the usual area"


def far_out_places(labels: Mapping[int, LabelMeasures]) -> Iterator[Outlier]:
    """Classes of images whose centre is far from the class's others."""
    for c in _classes(labels):
        rows = [n for n, label in labels.items() if c in label.places]
        places = np.array([labels[n].places[c] for n in rows], np.complex128)
        if not rows:
            continue
        usual = np.median(places.real) + 1j * np.median(places.imag)
        distance = np.abs(places - usual)
        for at, score in far_out(distance, PLACE_FLOOR):
            if score > 0:
                what = "a metacarpal's length" if labels[rows[at]].order else "the image's side"
                yield rows[at], c, score, f"{distance[at]:.2f} of {what} from its usual place"


def _classes(labels: Mapping[int, LabelMeasures]) -> list[int]:
    return sorted({c for label in labels.values() for c in label.shapes})
