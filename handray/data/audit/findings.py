"""What stands out in a folder: films that are unlike the others, labels that look wrong.

A finding is a reason to look at a picture, not a verdict.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from handray.data.audit.kinds import KINDS
from handray.data.audit.measure import LabelMeasures, Measures
from handray.data.audit.outliers import far_out, far_out_areas, far_out_places
from handray.data.audit.sides import same_side_twice
from handray.data.pose import is_bent
from handray.data.radiographs import Radiograph

OFF_HAND = 0.35
"""Share of a polygon that lies on the background."""
LOW_CONTRAST = 0.3
"""Of the folder's median: labels below it don't lie on bones."""
FOREIGN, BULGE = 0.02, 0.2
"""Share of a mask that is foreign, and share of that which sticks out of the bone."""
NEARLY_ALL = 0.95
"""Share of the other images that have a class; one without it is then odd."""


@dataclass(frozen=True)
class Finding:
    """One reason to look at an image; `score` orders those of a kind."""

    kind: str
    image: int
    """Number in the sequence that was measured."""
    score: float
    text: str
    channels: tuple[int, ...] = ()
    """The classes concerned; none means the whole image."""


def find(
    images: Sequence[Radiograph], measures: Sequence[Measures], class_names: Sequence[str]
) -> list[Finding]:
    """All findings of a folder, by kind, the strongest first."""
    labels = {n: one.label for n, one in enumerate(measures) if one.label is not None}
    found = [*_films(measures), *_bends(images)]
    mirrored = dict(_mirrored(labels))
    beside = list(_beside(labels, set(mirrored)))
    # Of a label that doesn't lie on its hand at all, one finding is enough.
    astray = {*mirrored, *(one.image for one in beside)}
    found += [
        Finding("mirrored", n, excess, "the label fits once it is mirrored")
        for n, excess in mirrored.items()
    ]
    found += [
        Finding("mirrored", n, 0.0, text)
        for n, text in same_side_twice(images, labels, set(mirrored))
    ]
    found += beside
    for n, label in labels.items():
        found += _swapped(n, label, class_names)
        if n not in astray:
            found += _on_film(n, label, class_names)
    found += _missing(labels, class_names)
    for kind, outliers in (
        ("area", far_out_areas(labels)),
        ("place", far_out_places(labels)),
    ):
        found += [
            Finding(kind, n, score, f"{class_names[c]}: {text}", (c,))
            for n, c, score, text in outliers
        ]
    order = list(KINDS)
    return sorted(found, key=lambda one: (order.index(one.kind), -one.score, one.image))


def _films(measures: Sequence[Measures]) -> Iterator[Finding]:
    numbers = {
        "mean gray level": [one.film.mean for one in measures],
        "contrast": [one.film.contrast for one in measures],
    }
    for what, values in numbers.items():
        for n, score in far_out(np.array(values), floor=4.0):
            yield Finding("exposure", n, abs(score), f"{what} {values[n]:.0f} of 255")
    for n, one in enumerate(measures):
        if len(one.film.metal):
            pieces = len(one.film.metal)
            share = float(one.film.metal[:, 2:].prod(axis=1).sum())
            yield Finding("metal", n, share, f"{pieces} piece{'s'[: pieces != 1]}")
        if one.film.strip_rows:
            share = one.film.strip_rows / one.film.height
            yield Finding("strip", n, share, f"{one.film.strip_rows} rows")


def _bends(images: Sequence[Radiograph]) -> Iterator[Finding]:
    for n, image in enumerate(images):
        if is_bent(image.bend):
            yield Finding("bent", n, abs(image.bend), f"{image.bend:+.0f} degrees")


def _mirrored(labels: dict[int, LabelMeasures]) -> Iterator[tuple[int, float]]:
    """Images whose mirrored label lies on bone, though the label doesn't; gray levels of excess."""
    usual = _usual_contrast(labels)
    for n, label in labels.items():
        excess = label.mirrored_contrast - label.contrast
        if label.order is not None and excess > 0 and label.mirrored_contrast > usual / 2:
            yield n, excess


def _beside(labels: dict[int, LabelMeasures], mirrored: set[int]) -> Iterator[Finding]:
    usual = _usual_contrast(labels)
    for n, label in labels.items():
        if label.order is not None and n not in mirrored and label.contrast < LOW_CONTRAST * usual:
            text = f"{label.contrast:.0f} gray levels brighter, {usual:.0f} are usual"
            yield Finding("beside", n, -label.contrast, text)


def _usual_contrast(labels: dict[int, LabelMeasures]) -> float:
    known = [label.contrast for label in labels.values() if not np.isnan(label.contrast)]
    return float(np.median(known)) if known else 0.0


def _swapped(n: int, label: LabelMeasures, class_names: Sequence[str]) -> Iterator[Finding]:
    if label.order is None or not label.order.swapped:
        return
    text = ", ".join(f"{name} lies on {bone}" for name, bone in label.order.swapped.items())
    channels = tuple(c for c, name in enumerate(class_names) if name in label.order.swapped)
    yield Finding("swapped", n, label.order.gain, text, channels)


def _on_film(n: int, label: LabelMeasures, class_names: Sequence[str]) -> Iterator[Finding]:
    if label.order is None:
        return
    on = label.on_film
    for c in np.flatnonzero((on.bright_C >= FOREIGN) & (on.bulge_C >= BULGE)).tolist():
        text = f"{class_names[c]}: {on.bright_C[c]:.0%} of the mask"
        yield Finding("ring", n, float(on.bright_C[c] * on.bulge_C[c]), text, (c,))
    for c in np.flatnonzero(on.off_hand_C > OFF_HAND).tolist():
        text = f"{class_names[c]}: {on.off_hand_C[c]:.0%} on the background"
        yield Finding("off hand", n, float(on.off_hand_C[c]), text, (c,))


def _missing(labels: dict[int, LabelMeasures], class_names: Sequence[str]) -> Iterator[Finding]:
    if not labels:
        return
    there_NC = np.array([label.pixels_C > 0 for label in labels.values()])
    share_C = there_NC.sum(axis=0) / max(1, len(labels) - 1)  # of the others
    for n, there_C in zip(labels, there_NC, strict=True):
        gone = np.flatnonzero(~there_C & (share_C >= NEARLY_ALL)).tolist()
        if gone:
            text = ", ".join(class_names[c] for c in gone)
            yield Finding("missing", n, float(len(gone)), text)
