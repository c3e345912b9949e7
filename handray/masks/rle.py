"""Runs: a mask as the ends of its stretches of ones. Codec to masks and to the competition's text.

Convention: pixels are numbered row by row from 0 (row-major), so a run may cross the row end. In
memory a mask is one flat int32 array [start, end, start, end, ...], half-open, ascending, no two
runs touching: one mask has exactly one such array. As text it is "start length start length ...",
starts counted from 1; the empty mask is the empty array and "".
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Runs = NDArray[np.int32]
"""(2R,) [start, end) pairs of one mask, 0-based, ascending, gaps of at least one pixel."""

MOST_PIXELS = 2**31 - 1
"""Positions are int32: enough for a 46340 x 46340 image."""

CHARACTERS_AT_ONCE, NUMBERS_AT_ONCE = 1_000_000, 100_000
"""How much text is parsed, and how many numbers are written, in one piece."""


class RunTextError(ValueError):
    """A run-length text that can't be a mask; `row` is its index among the texts given."""

    def __init__(self, row: int, fault: str) -> None:
        super().__init__(fault)
        self.row = row
        self.fault = fault


@dataclass(frozen=True, eq=False)
class RunRows:
    """Many masks in two arrays; row r owns bounds[offsets[r]:offsets[r + 1]]."""

    bounds: Runs
    offsets: NDArray[np.int64]

    @classmethod
    def join(cls, rows: Sequence[Runs]) -> "RunRows":
        """One table of the given masks, in order."""
        offsets = np.zeros(len(rows) + 1, np.int64)
        np.cumsum([len(runs) for runs in rows], out=offsets[1:])
        bounds = np.concatenate(rows) if rows else np.zeros(0, np.int32)
        return cls(bounds.astype(np.int32, copy=False), offsets)

    @classmethod
    def stack(cls, parts: Sequence["RunRows"]) -> "RunRows":
        """One table of all the parts' rows, in order."""
        sizes = np.concatenate([[0], *(np.diff(part.offsets) for part in parts)])
        bounds = np.concatenate([np.zeros(0, np.int32), *(part.bounds for part in parts)])
        return cls(bounds, np.cumsum(sizes, dtype=np.int64))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, row: int) -> Runs:
        first, last = self.offsets[row], self.offsets[row + 1]
        return self.bounds[first:last]

    def row_of_bounds(self) -> NDArray[np.int64]:
        """The row that each of `bounds` belongs to."""
        return np.repeat(np.arange(len(self), dtype=np.int64), np.diff(self.offsets))

    def part(self, first: int, last: int) -> "RunRows":
        """Rows first to last - 1 as views."""
        offsets = self.offsets[first : last + 1]
        return RunRows(self.bounds[offsets[0] : offsets[-1]], offsets - offsets[0])

    def take(self, rows: Iterable[int]) -> "RunRows":
        """The named rows, in the named order."""
        return RunRows.join([self[row] for row in rows])


def encode(mask_HW: NDArray[np.bool_] | NDArray[np.uint8]) -> Runs:
    """Runs of the non-zero pixels of a whole image."""
    return encode_box(mask_HW, 0, 0, mask_HW.shape[1])


def encode_box(
    mask_hw: NDArray[np.bool_] | NDArray[np.uint8], y0: int, x0: int, width: int
) -> Runs:
    """Runs, in an image `width` pixels wide, of a mask that covers only its box at (y0, x0).

    Raises ValueError where the box sticks out of the image on the left, right or top.
    """
    height_box, width_box = mask_hw.shape
    if y0 < 0 or x0 < 0 or x0 + width_box > width:
        raise ValueError(f"a box of {width_box} columns at ({y0}, {x0}) leaves the {width} columns")
    # A blank column ends each row's runs; a box as wide as the image needs none: there runs go on.
    stride = width_box if width_box == width else width_box + 1
    ones = np.zeros(height_box * stride + 2, np.bool_)
    ones[1:-1].reshape(height_box, stride)[:, :width_box] = mask_hw
    bounds = np.flatnonzero(ones[1:] != ones[:-1])
    if stride != width:
        y, x = np.divmod(bounds, stride)
        bounds = y * width + x
    return (bounds + (y0 * width + x0)).astype(np.int32)


def decode(runs: Runs, hw: tuple[int, int]) -> NDArray[np.bool_]:
    """The mask (H, W) of the runs; raises ValueError where they go past its last pixel."""
    height, width = hw
    if len(runs) and runs[-1] > height * width:
        raise ValueError(f"the runs end at pixel {runs[-1]}, the image has {height} x {width}")
    pixels = np.zeros(height * width, np.bool_)
    for start, end in runs.reshape(-1, 2).tolist():
        pixels[start:end] = True
    return pixels.reshape(height, width)


def format_runs(runs: Runs) -> str:
    """The competition's text of one mask."""
    return format_rows(RunRows.join([runs]))[0]


def format_rows(rows: RunRows) -> list[str]:
    """The competition's text of each row; "" for an empty one."""
    texts: list[str] = []
    for first, last in pieces(rows.offsets, NUMBERS_AT_ONCE):
        part = rows.part(first, last)
        numbers = np.empty(len(part.bounds), np.uint32)
        numbers[0::2] = part.bounds[0::2] + 1
        numbers[1::2] = part.bounds[1::2] - part.bounds[0::2]
        text, starts = _decimals(numbers)
        ends = starts[part.offsets].tolist()
        texts += [text[a : b - 1] if b > a else "" for a, b in pairwise(ends)]
    return texts


def _decimals(numbers: NDArray[np.uint32]) -> tuple[str, NDArray[np.int64]]:
    """All numbers, each 1 or more with a space behind it; where each one starts, and the end.

    A dozen times as fast as ``str`` on each.
    """
    groups = -(-len(str(int(numbers.max(initial=0)))) // 4)
    bare, padded = _four_digits()
    characters = np.zeros((len(numbers), groups + 1), np.uint32)
    characters[:, -1] = np.array([b" "], "S4").view(np.uint32)
    rest = numbers
    for column in reversed(range(groups)):
        rest, low = np.divmod(rest, np.uint32(10_000))
        characters[:, column] = np.where(rest > 0, padded[low], bare[low])
    text = characters.tobytes().translate(None, b"\0")
    spaces = np.flatnonzero(np.frombuffer(text, np.uint8) == ord(" "))
    return text.decode("ascii"), np.concatenate([[0], spaces + 1])


@cache
def _four_digits() -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """The four bytes of 0 .. 9999 as text, with zero bytes in front (0 has no other), with "0"s."""
    padded = np.array([f"{number:04}" for number in range(10_000)], "S4")
    digits = padded.view(np.uint8).reshape(-1, 4)
    leading = np.logical_and.accumulate(digits == ord("0"), axis=1)
    return np.where(leading, np.uint8(0), digits).view(np.uint32)[:, 0], padded.view(np.uint32)


def pieces(offsets: NDArray[np.int64], size: int) -> Iterator[tuple[int, int]]:
    """Stretches [first, last) of rows that together hold about `size` of what `offsets` counts.

    Each has one row at least. What fits a processor's cache, and memory that is used again and
    again, makes the work on many rows several times as fast as all of them at once.
    """
    first, rows = 0, len(offsets) - 1
    while first < rows:
        last = int(np.searchsorted(offsets, offsets[first] + size, side="right")) - 1
        last = min(max(last, first + 1), rows)
        yield first, last
        first = last


def parse(text: str, pixels: int = MOST_PIXELS) -> Runs:
    """The runs of one text; see parse_rows."""
    return parse_rows([text], pixels).bounds


def parse_rows(texts: Sequence[str], pixels: int | NDArray[np.int64] = MOST_PIXELS) -> RunRows:
    """The runs of many texts at once; touching runs ("1 2 3 4") are legal and become one.

    `pixels` is the size of the image, one for all or one a text. Raises RunTextError for a text
    with a word that is no whole number, an odd count of numbers, a start or length below 1, a run
    that begins before the one before it ends, or a run past the image's end.
    """
    limit = np.broadcast_to(np.asarray(pixels, np.int64), (len(texts),))
    characters = np.concatenate([[0], np.cumsum([len(text) for text in texts], dtype=np.int64)])
    parts = []
    for first, last in pieces(characters, CHARACTERS_AT_ONCE):
        try:
            parts.append(_parse_piece(texts[first:last], limit[first:last]))
        except RunTextError as error:
            raise RunTextError(first + error.row, error.fault) from None
    return RunRows.stack(parts)


def _parse_piece(texts: Sequence[str], pixels: NDArray[np.int64]) -> RunRows:
    joined = " ".join(filter(None, texts))
    if not _is_tidy(joined):
        texts = [_tidied(row, text) for row, text in enumerate(texts)]
        joined = " ".join(filter(None, texts))
    counts = np.array([text.count(" ") + 1 if text else 0 for text in texts], np.int64)
    numbers = np.fromstring(joined, np.int64, sep=" ")  # only its binary mode is deprecated
    offsets = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
    _raise_first_fault(numbers, offsets, pixels)
    numbers[0::2] -= 1
    numbers[1::2] += numbers[0::2]
    return _merge_touching(RunRows(numbers.astype(np.int32), offsets))


def _is_tidy(joined: str) -> bool:
    """Digits and single spaces only: spaces then count the numbers, and fromstring can't fail."""
    if not joined.isascii() or "  " in joined or joined[:1] == " " or joined[-1:] == " ":
        return False
    characters = np.frombuffer(joined.encode(), np.uint8)
    return not ((characters - ord("0") > 9) & (characters != ord(" "))).any()


def _tidied(row: int, text: str) -> str:
    words = text.split()
    for word in words:
        if not re.fullmatch(r"[+-]?[0-9]+", word):
            raise RunTextError(row, f"{word[:40]!r} is not a whole number")
    return " ".join(words)


def _raise_first_fault(
    numbers: NDArray[np.int64], offsets: NDArray[np.int64], pixels: NDArray[np.int64]
) -> None:
    counts = np.diff(offsets)
    if (counts % 2).any():
        row = int(np.argmax(counts % 2))
        raise RunTextError(row, f"an odd count of numbers ({counts[row]}); each start has a length")
    starts, lengths = numbers[0::2], numbers[1::2]
    limit = np.repeat(np.minimum(pixels, MOST_PIXELS), counts // 2)
    bad = (starts < 1) | (lengths < 1) | (starts > limit) | (lengths > limit - starts + 1)
    first_of_row = np.zeros(len(starts) + 1, np.bool_)
    first_of_row[offsets // 2] = True
    bad[1:] |= (starts[1:] < starts[:-1] + lengths[:-1]) & ~first_of_row[1:-1]
    if not bad.any():
        return
    run = int(np.argmax(bad))
    row = int(np.searchsorted(offsets, 2 * run, side="right")) - 1
    before = None if first_of_row[run] else (int(starts[run - 1]), int(lengths[run - 1]))
    fault = _fault_of_run(int(starts[run]), int(lengths[run]), before, int(limit[run]))
    raise RunTextError(row, fault)


def _fault_of_run(start: int, length: int, before: tuple[int, int] | None, pixels: int) -> str:
    """What is wrong with a run that is known to be wrong, as a sentence without its end."""
    run = f"run '{start} {length}'"
    if start < 1:
        return f"{run} starts below 1; starts count from 1"
    if length < 1:
        return f"{run} has a length below 1"
    if start + length - 1 > pixels:
        return f"{run} goes past the end of the image of {pixels} pixels"
    assert before is not None, "a run without a fault"
    overlaps = "overlaps" if start >= before[0] else "goes back behind"
    return f"{run} {overlaps} the run before it, '{before[0]} {before[1]}'"


def _merge_touching(rows: RunRows) -> RunRows:
    """Rows whose runs are in order, made canonical: an end that is the next start vanishes."""
    bounds = rows.bounds
    touch = np.flatnonzero(bounds[1:-1:2] == bounds[2::2]) * 2 + 1
    touch = touch[~np.isin(touch + 1, rows.offsets)]  # the next row's first start stays
    if not len(touch):
        return rows
    gone = np.zeros(len(bounds) + 1, np.int64)
    gone[touch + 1] = 2
    kept = np.delete(bounds, np.concatenate([touch, touch + 1]))
    return RunRows(kept, rows.offsets - np.cumsum(gone)[rows.offsets])
