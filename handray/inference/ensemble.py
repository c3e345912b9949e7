"""Many submissions to one: every pixel goes to the classes that enough members vote for.

Votes are counted on runs, all rows of many images in one sweep; no pixel is drawn.
"""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from handray.inference.submission import Submission
from handray.masks.algebra import vote_levels
from handray.masks.rle import RunRows, pieces

DEFAULT_FRACTION = 0.7
"""The source team's rule: votes >= max(1, int(0.7 * members))."""

BOUNDARIES_AT_ONCE = 100_000
"""Run ends in one sweep: such a piece fits a processor's cache and takes little memory."""


def votes_needed(members: int, votes: int | None = None, fraction: float | None = None) -> int:
    """How many of the members must agree: `votes`, or a fraction of them rounded down, 1 at least.

    With neither, the fraction is 0.7. Raises ValueError for both, votes outside 1..members, or a
    fraction outside (0, 1].
    """
    if votes is not None and fraction is not None:
        raise ValueError("give --votes or --vote-fraction, not both")
    if votes is not None:
        if not 1 <= votes <= members:
            raise ValueError(f"--votes must be 1 to {members}, the number of members; got {votes}")
        return votes
    fraction = DEFAULT_FRACTION if fraction is None else fraction
    if not 0 < fraction <= 1:
        raise ValueError(f"--vote-fraction must be above 0 and at most 1, got {fraction}; try 0.5")
    # 0.29 * 100 is 28.999999999999996 in binary; the user meant 29.
    return max(1, int(round(fraction * members, 9)))


def vote_submissions(
    members: Sequence[Submission],
    needed: float | NDArray[np.float64],
    weights: Sequence[float] | None = None,
) -> Submission:
    """The submission of all pixels that at least `needed` members have.

    `needed` is for all classes or (classes,), in the order of `first_in_order`'s; `weights` is what
    each member counts for, 1 by default. Images and classes are in that member's order. Identical
    to decoding every mask, summing, `>= needed`, encoding. Raises ValueError for no members, and
    where members differ in images, classes or sizes, naming the first difference.
    """
    return _vote(members, [needed], weights)[0]


def average_levels(members: Sequence[Sequence[Submission]]) -> list[Submission]:
    """The levels of the members' mean probability, as far as their own levels tell it.

    A pixel of probability p is held by the levels below p, so that p lies half a level above
    their number; level l of the mean, counted from 0, is exceeded by l + 1/2 levels a member.
    """
    flat = [level for member in members for level in member]
    return _vote(flat, [len(members) * (level + 0.5) for level in range(len(members[0]))], None)


def first_in_order(members: Sequence[Submission]) -> Submission:
    """The member whose order of images and classes counts; raises ValueError for none."""
    if not members:
        raise ValueError("an ensemble needs at least one member; name CSVs or runs")
    return next((member for member in members if not member.reordered), members[0])


def aligned(members: Sequence[Submission]) -> list[RunRows]:
    """All members' rows in the order of `first_in_order`; raises ValueError where they differ."""
    reference = first_in_order(members)
    for member in members:
        _check_same(reference, member)
    return [_rows_as_in(reference, member) for member in members]


def _vote(
    members: Sequence[Submission],
    levels: Sequence[float | NDArray[np.float64]],
    weights: Sequence[float] | None,
) -> list[Submission]:
    """A submission for each number of votes."""
    reference, tables = first_in_order(members), aligned(members)
    classes = len(reference.class_names)
    boundaries = np.sum([rows.offsets for rows in tables], axis=0)

    def sweep(stretch: tuple[int, int]) -> list[RunRows]:
        class_R = np.arange(*stretch) % classes
        return vote_levels(
            [rows.part(*stretch) for rows in tables],
            [level[class_R] if isinstance(level, np.ndarray) else level for level in levels],
            weights,
        )

    with ThreadPoolExecutor(os.cpu_count()) as threads:
        voted = list(threads.map(sweep, pieces(boundaries, BOUNDARIES_AT_ONCE)))
    known = [member for member in members if member.sizes_hw is not None]
    return [
        Submission(
            image_names=reference.image_names,
            class_names=reference.class_names,
            rows=RunRows.stack(level),
            sizes_hw=sizes_as_in(reference, known[0]) if known else None,
            name=f"vote of {len(members)}",
        )
        for level in zip(*voted, strict=True)
    ]


def _check_same(reference: Submission, member: Submission) -> None:
    """Raise ValueError for the first image, class or size in which two submissions differ."""
    for kind, ours, theirs in [
        ("image", reference.image_names, member.image_names),
        ("class", reference.class_names, member.class_names),
    ]:
        for has, lacks, names, others in [
            (reference, member, ours, theirs),
            (member, reference, theirs, ours),
        ]:
            known = set(others)
            missing = [name for name in names if name not in known]
            if missing:
                raise ValueError(
                    f"members differ: {kind} {missing[0]!r} is in {has.name} ({len(names)} in all) "
                    f"but not in {lacks.name} ({len(others)})"
                )
    if reference.sizes_hw is None or member.sizes_hw is None:
        return
    theirs_hw = sizes_as_in(reference, member)
    differ = np.flatnonzero((reference.sizes_hw != theirs_hw).any(axis=1))
    if len(differ):
        image = int(differ[0])
        here, there = (" x ".join(map(str, hw[image])) for hw in (reference.sizes_hw, theirs_hw))
        raise ValueError(
            f"members differ: image {reference.image_names[image]!r} is {here} in {reference.name} "
            f"but {there} in {member.name}; sizes come from the JSON beside a CSV, else from "
            f"--data, else from --image-size"
        )


def _rows_as_in(reference: Submission, member: Submission) -> RunRows:
    """The member's rows in the reference's order of images and classes."""
    if (member.image_names, member.class_names) == (reference.image_names, reference.class_names):
        return member.rows
    image_at = {name: at for at, name in enumerate(member.image_names)}
    class_at = {name: at for at, name in enumerate(member.class_names)}
    return member.rows.take(
        image_at[image] * len(class_at) + class_at[class_name]
        for image in reference.image_names
        for class_name in reference.class_names
    )


def sizes_as_in(reference: Submission, member: Submission) -> np.ndarray:
    """The member's known sizes (images, 2) in the reference's order of images."""
    assert member.sizes_hw is not None, "asked for sizes that are unknown"
    at = {name: at for at, name in enumerate(member.image_names)}
    return member.sizes_hw[[at[name] for name in reference.image_names]]
