"""What an audit counts and measures of the whole folder: gray levels, classes, overlaps, people."""

from itertools import groupby

import numpy as np

from handray.data.pose import BENT_DEGREES
from handray.reporting import audit_figures as figures
from handray.reporting.audit import Audit
from handray.reporting.colours import class_colours
from handray.reporting.page import Block, Cell, Chip, Figure, Section, Table, Text, plot


def number_sections(audit: Audit) -> list[Section]:
    """Charts and tables, each kind a section."""
    return [_gray(audit), *_classes(audit), _people(audit)]


def _gray(audit: Audit) -> Section:
    mean, std, wrapped = audit.gray()
    train, test = audit.counts(train=True), audit.counts(train=False)
    means = np.array([one.film.mean for one in audit.measures])
    contrasts = np.array([one.film.contrast for one in audit.measures])
    numbers = Table(
        ["of the training images", "of 255", "of 1"],
        [
            ["mean", mean, mean / 255],
            ["standard deviation", std, std / 255],
            ["what an overflow makes of it", wrapped, wrapped / 255],
        ],
    )
    times = f"{std / wrapped:.1f} times" if wrapped else "without limit"
    too_far = f" Normalised with it, these images would spread {times} too far."
    why = (
        f"From exact counts of {int(train.sum()):,} pixels, divided once in float64. In the last "
        "row image ** 2 in uint8 wraps around at 256, so that 16 squared becomes 0: the same "
        f"mistake gave the source report its 0.036.{too_far} Training normalises with mean and "
        "standard deviation of its own images, measured anew at its --size; resizing smooths the "
        "latter a little."
    )
    sizes = Table(
        ["size", "images"], [[size, count] for size, count in audit.sizes().most_common()], shown=5
    )
    modes = Table(
        ["pixels of the files", "images"],
        [[mode, count] for mode, count in audit.modes().most_common()],
    )
    return Section(
        "Gray levels and sizes",
        [
            Figure(plot(figures.gray_levels(train, test, mean, std), "histogram of gray levels")),
            numbers,
            Text(why, small=True),
            Figure(plot(figures.films(means, contrasts, audit.is_train), "brightness of films")),
            sizes,
            modes,
        ],
    )


def _classes(audit: Audit) -> list[Section]:
    if not audit.labels:
        return []
    names = audit.data.class_names
    colours = class_colours(names)
    chips = {name: Chip(name, colour) for name, colour in zip(names, colours, strict=True)}
    pixels_NC = np.array([label.pixels_C for label in audit.labels])
    head = ["class", "images", "5th percentile, px", "median, px", "95th percentile, px"]
    rows = [
        [chips[name], facts.images, *(_whole(v) for v in (facts.low, facts.median, facts.high))]
        for name, facts in audit.classes().items()
    ]
    sections = [
        Section(
            "Classes and areas",
            [
                Figure(plot(figures.class_areas(pixels_NC, names, colours), "areas of classes")),
                Table(head, rows, shown=len(rows) if len(rows) <= 60 else 40),
            ],
            len(names),
        )
    ]
    if overlaps := audit.overlaps():
        pairs: list[list[Cell]] = [
            [chips[one], chips[other], facts.images, f"{facts.share:.0%}", facts.iou]
            for (one, other), facts in overlaps.items()
        ]
        blocks: list[Block] = [
            Text("Classes are independent masks, so a pixel may belong to several."),
            Figure(plot(figures.pairs(overlaps), "overlaps of classes")),
            Table(["class", "and", "images", "of those with both", "mean IoU"], pairs),
        ]
        sections.append(Section("Overlaps", blocks, len(pairs)))
    return sections


def _whole(value: float) -> int | None:
    return None if np.isnan(value) else round(value)


def _people(audit: Audit) -> Section:
    train = audit.data.train
    each = [sum(1 for _ in group) for _, group in groupby(sorted(i.person for i in train))]
    counts = np.bincount(each)
    blocks: list[Block] = [
        Table(
            ["images of a person", "people"],
            [[n, int(count)] for n, count in enumerate(counts) if count],
        )
    ]
    if any(image.side for image in train):
        sides = audit.sides()
        unknown = f", {sides['']} unknown" if sides[""] else ""
        right, left = ([image.bend for image in train if image.side == side] for side in "RL")
        blocks = [
            Text(f"{sides['R']} right hands, {sides['L']} left hands{unknown}, by the label."),
            Figure(
                plot(figures.bends(right, left, BENT_DEGREES), "bend of the wrists"),
                f"Bend of the wrist; beyond {BENT_DEGREES:.0f} degrees it counts as bent, and "
                "folds spread bent wrists evenly.",
            ),
            *blocks,
        ]
    return Section("People and sides", blocks, len(each))
