"""One phantom as files: an image and its label, each under its name only when it is whole."""

import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from handray.data.phantom import Polygons, draw_hand
from handray.whole_files import write_bytes

METADATA_SIDE = 3060
"""What real labels say of films of 2048 px, though their points are pixels of the film."""


@dataclass(frozen=True)
class Film:
    """One film: where it goes, and how to draw it; size in px."""

    image_path: Path
    label_path: Path
    seed: int
    person: int
    side: str
    size: int
    bent: bool

    def is_drawn(self) -> bool:
        """Whether both files are there."""
        return self.image_path.exists() and self.label_path.exists()


def draw_film(film: Film) -> None:
    """Draw one film and write its image and its label."""
    phantom = draw_hand(film.seed, film.person, film.side, film.size, film.bent)
    label = label_json(phantom.polygons, film.image_path.with_suffix(".jpg").name, film.size)
    for path, content in (
        (film.label_path, label.encode()),
        (film.image_path, encode_png(phantom.image_HW)),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, content)


def label_json(polygons: Polygons, filename: str, size: int) -> str:
    """A label in the competition's schema, its misleading metadata included."""
    annotations = [
        {
            "id": f"{number}-{Path(filename).stem}",
            "type": "poly_seg",
            "attributes": {},
            "points": points.tolist(),
            "label": bone,
        }
        for number, (bone, points) in enumerate(polygons.items(), 1)
    ]
    side = METADATA_SIDE if size == 2048 else size
    metadata = {"height": side, "width": side}
    return json.dumps({"annotations": annotations, "filename": filename, "metadata": metadata})


def encode_png(image_HW: NDArray[np.uint8]) -> bytes:
    """An 8 bit PNG of three identical channels."""
    image_HW3 = cv2.cvtColor(image_HW, cv2.COLOR_GRAY2BGR)
    _, data = cv2.imencode(".png", image_HW3, [cv2.IMWRITE_PNG_COMPRESSION, 2])
    return data.tobytes()


def sweep(folder: Path) -> None:
    """Delete what an interruption left half-written."""
    for temporary in folder.rglob(".*.tmp"):
        temporary.unlink(missing_ok=True)
