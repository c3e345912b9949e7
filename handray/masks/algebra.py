"""Arithmetic on runs, exact, without drawing a pixel: areas, Dice, unions, votes.

Every function has a form for one mask and one for many rows; the second is one sweep over all the
rows' boundaries. Runs and their convention: handray/masks/rle.py.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from handray.masks.rle import RunRows, Runs

Needed = float | NDArray[np.float64]
"""Votes that a pixel needs: the same in all rows, or (rows,)."""

SMOOTH = 1e-4
"""The competition's addend in Dice: empty against empty is 1."""


def area(runs: Runs) -> int:
    """Pixels of one mask."""
    return int(areas(RunRows.join([runs]))[0])


def areas(rows: RunRows) -> NDArray[np.int64]:
    """Pixels of each row's mask, (rows,)."""
    lengths = rows.bounds[1::2] - rows.bounds[0::2]
    up_to = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
    return np.diff(up_to[rows.offsets // 2])


def intersection_area(first: Runs, second: Runs) -> int:
    """Pixels in both masks."""
    return int(intersection_areas(RunRows.join([first]), RunRows.join([second]))[0])


def intersection_areas(first: RunRows, second: RunRows) -> NDArray[np.int64]:
    """Pixels in both masks, row by row, (rows,); raises ValueError for unequal numbers of rows."""
    return areas(vote_rows([first, second], 2))


def dice(first: Runs, second: Runs) -> float:
    """The competition's Dice of two masks, (2 I + 1e-4) / (A + B + 1e-4), in (0, 1]."""
    return float(dice_rows(RunRows.join([first]), RunRows.join([second]))[0])


def dice_rows(first: RunRows, second: RunRows) -> NDArray[np.float64]:
    """The competition's Dice row by row, (rows,); raises ValueError for unequal numbers of rows."""
    common = intersection_areas(first, second)
    return (2 * common + SMOOTH) / (areas(first) + areas(second) + SMOOTH)


def union(members: Sequence[Runs]) -> Runs:
    """Pixels in any of the masks."""
    return vote(members, 1)


def vote(members: Sequence[Runs], needed: float, weights: Sequence[float] | None = None) -> Runs:
    """Pixels that at least `needed` of the masks have; see vote_rows."""
    return vote_rows([RunRows.join([runs]) for runs in members], needed, weights).bounds


def vote_rows(
    members: Sequence[RunRows], needed: Needed, weights: Sequence[float] | None = None
) -> RunRows:
    """Row by row, the pixels where the members' weights (1 each by default) sum to `needed`.

    One sorted sweep of +1 and -1 at the run boundaries; row r's pixels are moved by r times a
    stride that no run reaches, so that one sweep serves all rows. Weights are summed in float64 in
    the members' order. Raises ValueError for no members, unequal numbers of rows, needed <= 0,
    negative weights.
    """
    return vote_levels(members, [needed], weights)[0]


def vote_levels(
    members: Sequence[RunRows], levels: Sequence[Needed], weights: Sequence[float] | None = None
) -> list[RunRows]:
    """`vote_rows` for several numbers of votes, in one sweep."""
    _check_vote(members, levels, weights)
    row_count = len(members[0])
    stride = 1 + max((int(m.bounds.max()) for m in members if len(m.bounds)), default=0)
    keys, code_bits = _sorted_boundaries(members, stride, named=weights is not None)
    support = _support(keys, code_bits, weights)
    positions = keys >> code_bits
    del keys
    return [_rows_of(positions, support, needed, stride, row_count) for needed in levels]


def _rows_of(
    positions: NDArray[np.int64],
    support: NDArray[np.int32] | NDArray[np.float64],
    needed: Needed,
    stride: int,
    row_count: int,
) -> RunRows:
    if isinstance(needed, np.ndarray):
        needed = needed[positions // stride]
    inside = np.zeros(len(positions) + 1, np.bool_)
    np.greater_equal(support, needed, out=inside[1:])
    edges = positions[np.flatnonzero(inside[1:] != inside[:-1])]
    # Where one member's run ends and another's starts, the support peaks for no pixel at all.
    edges = edges[np.repeat(edges[0::2] < edges[1::2], 2)]
    firsts = np.searchsorted(edges, np.arange(row_count + 1, dtype=np.int64) * stride)
    return RunRows((edges % stride).astype(np.int32), firsts.astype(np.int64))


def _check_vote(
    members: Sequence[RunRows], levels: Sequence[Needed], weights: Sequence[float] | None
) -> None:
    counts = [len(member) for member in members]
    if not counts or len(set(counts)) > 1:
        raise ValueError(f"a vote needs members with equally many rows, got rows {counts}")
    for needed in levels:
        if not np.all(np.asarray(needed) > 0):
            raise ValueError(f"votes that are needed must be above 0, got {needed}")
        if isinstance(needed, np.ndarray) and needed.shape != (counts[0],):
            raise ValueError(f"expected votes for {counts[0]} rows, got {needed.shape}")
    if weights is not None and (len(weights) != len(members) or not all(w >= 0 for w in weights)):
        raise ValueError(f"expected {len(members)} weights of 0 or more, got {list(weights)}")


def _sorted_boundaries(
    members: Sequence[RunRows], stride: int, named: bool
) -> tuple[NDArray[np.int64], int]:
    """All boundaries as sorted keys, and the number of low bits that don't belong to the position.

    A key is position, then 1 for an end (so that starts come first), then the member where `named`.
    """
    member_bits = (len(members) - 1).bit_length() if named else 0
    keys = []
    for number, member in enumerate(members):
        key = (member.row_of_bounds() * stride + member.bounds) << (member_bits + 1)
        key[1::2] |= 1 << member_bits
        keys.append(key | number if named else key)
    # Each member's keys are sorted already, which the stable sort's merges profit from (5-fold).
    return np.sort(np.concatenate(keys), kind="stable"), member_bits + 1


def _support(
    keys: NDArray[np.int64], code_bits: int, weights: Sequence[float] | None
) -> NDArray[np.int32] | NDArray[np.float64]:
    """Sum of the members (or of their weights) that hold the pixels after each boundary."""
    step = (1 - 2 * ((keys >> (code_bits - 1)) & 1)).astype(np.int32)
    if weights is None:
        return np.cumsum(step, dtype=np.int32)
    member = keys & ((1 << (code_bits - 1)) - 1)
    support = np.zeros(len(keys))
    for number, weight in enumerate(weights):
        support += weight * np.cumsum(np.where(member == number, step, 0))
    return support
