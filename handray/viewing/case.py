"""What is looked at: one radiograph with its label and what others say of it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from handray.inference.score import truth_rows
from handray.masks.rle import RunRows
from handray.viewing.results import Results
from handray.viewing.uploads import Picture, Polygons


@dataclass(frozen=True, eq=False)
class Prediction:
    """Masks of the radiograph."""

    name: str
    rows_C: RunRows
    """Source frame, in the case's order of classes."""
    logits_CHW: NDArray[np.float32] | None = None
    """Model frame, where a network has just predicted them."""


Named = TypeVar("Named", Prediction, Results)


@dataclass(frozen=True, eq=False)
class Case:
    """One radiograph."""

    picture: Picture
    class_names: tuple[str, ...]
    polygons: Polygons | None
    """The label, by class number, source frame."""
    truth_C: RunRows | None
    predictions: tuple[Prediction, ...]

    @classmethod
    def of(
        cls,
        picture: Picture,
        class_names: Sequence[str],
        polygons: Polygons | None,
        predictions: Sequence[Prediction],
    ) -> "Case":
        """Put the parts together; the label's masks are drawn here."""
        truth = None
        if polygons is not None:
            truth = truth_rows(polygons, len(class_names), picture.hw)
        return cls(picture, tuple(class_names), polygons, truth, tuple(predictions))


def with_own_names(all_named: Sequence[Named]) -> list[Named]:
    """The same predictions or results; those of one name are numbered from the second on."""
    seen: dict[str, int] = {}
    named = []
    for one in all_named:
        count = seen[one.name] = seen.get(one.name, 0) + 1
        named.append(one if count == 1 else replace(one, name=f"{one.name} ({count})"))
    return named
