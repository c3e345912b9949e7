"""A page for people: one HTML file that opens from disk, with its pictures and style inside.

Whoever makes a page puts plain blocks together; all text is escaped. The look is page.html.j2.
"""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Plot

JPEG_QUALITY = 88
TEMPLATE = "page.html.j2"


@dataclass(frozen=True)
class Chip:
    """A table's cell with a colour, "#rrggbb", before its text: a class, say."""

    text: str
    colour: str


@dataclass(frozen=True)
class Picture:
    """An image as it goes into the page; see `photo` and `plot`."""

    source: str
    """A data URI."""
    alt: str


@dataclass(frozen=True)
class Text:
    """A paragraph; `small` for remarks."""

    text: str
    small: bool = False
    kind = "text"


@dataclass(frozen=True)
class Facts:
    """A few numbers that everybody should see, by what they are."""

    facts: Mapping[str, str]
    kind = "facts"


Cell = str | int | float | Chip | None


@dataclass(frozen=True)
class Table:
    """Rows of cells under a head; numbers are set to the right, None is an empty cell.

    A long table shows its first `shown` rows, the others when asked for.
    """

    head: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    caption: str = ""
    shown: int = 12
    kind = "table"


@dataclass(frozen=True)
class Figure:
    """A plot over the whole width, with a caption."""

    picture: Picture
    caption: str = ""
    kind = "figure"


@dataclass(frozen=True)
class Tile:
    """A picture of a gallery: a title, a note below, and a badge (a number, say) over it."""

    picture: Picture
    title: str
    note: str = ""
    badge: str = ""


@dataclass(frozen=True)
class Gallery:
    """Pictures side by side; each fills the window when it is clicked. `width`: of a tile, px."""

    tiles: Sequence[Tile]
    width: int = 240
    kind = "gallery"


Block = Text | Facts | Table | Figure | Gallery


@dataclass(frozen=True)
class Section:
    """A heading, found in the page's contents, and its blocks; `count` stands beside it there."""

    title: str
    blocks: Sequence[Block]
    count: int | None = None


def photo(image: NDArray[np.uint8], alt: str, side: int | None = None) -> Picture:
    """A radiograph or overlay as JPEG: (H, W) gray or (H, W, 3) BGR, uint8, at most `side` px."""
    longest = max(image.shape[:2])
    if side is not None and longest > side:
        size = [max(1, round(extent * side / longest)) for extent in image.shape[1::-1]]
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA).astype(np.uint8)
    done, encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    if not done:
        raise OSError(f"{alt}: could not encode the picture")
    return Picture(_data_uri("image/jpeg", encoded.tobytes()), alt)


def plot(figure: "Plot", alt: str) -> Picture:
    """A matplotlib figure as SVG, sharp at any size, the same bytes each time."""
    from matplotlib import rc_context

    content = io.BytesIO()
    with rc_context({"svg.hashsalt": "handray"}):
        figure.savefig(content, format="svg", bbox_inches="tight", metadata={"Date": None})
    return Picture(_data_uri("image/svg+xml", content.getvalue()), alt)


def render(title: str, subtitle: str, sections: Sequence[Section]) -> str:
    """The page as HTML; write it with `whole_files.write_text`."""
    return _template().render(title=title, subtitle=subtitle, sections=sections)


def _data_uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


@cache
def _template() -> Template:
    room = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    room.filters["cell"] = _cell
    room.tests["a_chip"] = lambda cell: isinstance(cell, Chip)
    return room.get_template(TEMPLATE)


def _cell(value: str | int | float | None) -> str:
    """A cell's text: whole numbers with thin spaces, others as they are worth reading."""
    if value is None:
        return ""
    if isinstance(value, int):
        return f"{value:,}".replace(",", "\u202f")
    if isinstance(value, float):
        return "" if np.isnan(value) else f"{value:.4g}"
    return value
