"""Who has which pixels: one sweep over all members and the truth, then any vote is arithmetic.

Each member holds a pixel as often as its nested levels do, 0 to L times (L is 1 for a CSV). Pixels
of an image and class that the same members hold equally often make one entry, with its number of
pixels and how many of them are true. The Dice of a vote with any weights and numbers of votes is
exact from these counts.

Axes: M members, K entries, R rows (image by image, class by class), T numbers of votes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handray.masks.algebra import SMOOTH, areas
from handray.masks.rle import RunRows

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
CODE_BITS = 62
MOST_VOTES = 1000
"""Whole weights up to this sum are counted in a table of all sums."""
ROWS_AT_ONCE = 200
"""Rows of one sweep, whose arrays a processor's cache can hold."""


@dataclass(frozen=True, eq=False)
class Membership:
    """Entries of all rows, in the rows' order."""

    levels: int
    held_MK: NDArray[np.uint8]
    """How many of its levels each member has there."""
    row_K: Ints
    pixels_K: Floats
    true_K: Floats
    """Those of the pixels that are true."""
    truth_R: Ints
    """Pixels of the truth of each row."""

    def dice_RT(self, weights: Sequence[float], needed_T: Sequence[float]) -> Floats:
        """Dice of each row, as it is with so many votes; a level of a member counts its weight."""
        whole = all(float(weight).is_integer() for weight in weights) and sum(weights) <= MOST_VOTES
        support_K = np.zeros(len(self.row_K), np.int64 if whole else np.float64)
        for weight, held_K in zip(weights, self.held_MK, strict=True):
            if weight:
                support_K += held_K.astype(support_K.dtype) * (int(weight) if whole else weight)
        if whole:
            values = np.arange(self.levels * int(sum(weights)) + 1)
        else:
            values, support_K = np.unique(support_K, return_inverse=True)
        support_K += self.row_K * len(values)
        # A pixel counts where its support is at least what is needed.
        first_T = np.searchsorted(values, needed_T)
        shape = len(self.truth_R), len(values)
        true_RT, pixels_RT = (
            _from_above(np.bincount(support_K, counts_K, shape[0] * shape[1]), shape)[:, first_T]
            for counts_K in (self.true_K, self.pixels_K)
        )
        return (2 * true_RT + SMOOTH) / (pixels_RT + self.truth_R[:, None] + SMOOTH)


def _from_above(counts: NDArray[Any], shape: tuple[int, int]) -> Floats:
    """Pixels of each row with each value or a larger one, and a last column of none."""
    summed = counts.reshape(shape)[:, ::-1].cumsum(axis=1)[:, ::-1]
    return np.concatenate([summed, np.zeros((shape[0], 1))], axis=1)


def membership(members: Sequence[Sequence[RunRows]], truth: RunRows) -> Membership:
    """Count the pixels of every combination of members.

    Args:
        members: of each member its nested levels, equally many; a CSV has one.
        truth: with the same rows.

    Raises:
        ValueError: too many members for one table.

    """
    levels = len(members[0])
    bits = levels.bit_length()
    if 1 + bits * len(members) > CODE_BITS:
        most = (CODE_BITS - 1) // bits
        raise ValueError(f"a choice is made among at most {most} members, got {len(members)}")
    tables = [(truth, 1)]
    for number, member in enumerate(members):
        tables += [(rows, 1 << (1 + bits * number)) for rows in member]
    firsts = range(0, max(1, len(truth)), ROWS_AT_ONCE)
    parts = [_swept(tables, first, min(first + ROWS_AT_ONCE, len(truth))) for first in firsts]
    code_K, row_K, pixels_K, true_K = (np.concatenate(part) for part in zip(*parts, strict=True))
    mask = (1 << bits) - 1
    held_MK = np.stack([(code_K >> (bits * member)) & mask for member in range(len(members))])
    return Membership(levels, held_MK.astype(np.uint8), row_K, pixels_K, true_K, areas(truth))


def _swept(
    tables: Sequence[tuple[RunRows, int]], first: int, last: int
) -> tuple[Ints, Ints, Floats, Floats]:
    """Entries of rows first .. last - 1: (code of what holds them, row, pixels, true pixels).

    Each table comes with what its runs add to the code of their pixels; the truth adds 1.
    """
    pieces = [(rows.part(first, last), step) for rows, step in tables]
    stride = 1 + max((int(rows.bounds.max()) for rows, _ in pieces if len(rows.bounds)), default=0)
    places, steps = zip(*(_boundaries(rows, step, stride) for rows, step in pieces), strict=True)
    place = np.concatenate(places)
    order = np.argsort(place, kind="stable")
    place, code = place[order], np.cumsum(np.concatenate(steps)[order])
    length = np.diff(place, append=place[-1:])
    kept = (code > 1) & (length > 0)
    place, code, length = place[kept], code[kept], length[kept]
    held, row = code >> 1, place // stride
    # Numbers of the combinations, so that row and combination fit one sortable number.
    combinations, number = np.unique(held, return_inverse=True)
    entries, entry = np.unique(row * len(combinations) + number, return_inverse=True)
    row, number = np.divmod(entries, max(1, len(combinations)))
    pixels, true = (
        np.bincount(entry, counts, len(entries)).astype(np.float64)
        for counts in (length, length * (code & 1))
    )
    return combinations[number].astype(np.int64), row + first, pixels, true


def _boundaries(rows: RunRows, step: int, stride: int) -> tuple[Ints, Ints]:
    """Where runs start and end over all rows, and what is added to the code there."""
    steps = np.full(len(rows.bounds), step, np.int64)
    steps[1::2] = -step
    return rows.row_of_bounds() * stride + rows.bounds, steps
