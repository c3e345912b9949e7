"""The page of an audit: pictures first, then numbers; what stands out, kind by kind."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from handray.data.audit.findings import KINDS, Finding
from handray.data.pose import BENT_DEGREES, is_bent
from handray.reporting import audit_figures as figures
from handray.reporting.audit import Audit
from handray.reporting.audit_pictures import cutout_of, glance
from handray.reporting.colours import class_colours
from handray.reporting.cutout import Cutout
from handray.reporting.page import (
    Block,
    Cell,
    Chip,
    Facts,
    Figure,
    Gallery,
    Picture,
    Section,
    Table,
    Text,
    Tile,
    plot,
    render,
)
from handray.reporting.suspects import Suspects

SHOWN = 12
"""Pictures of a kind; the others are listed."""
Paint = Callable[[Sequence[Cutout]], Sequence[Picture | None]]
"""Draws cutouts; None for an image that can't be read any more."""


@dataclass(frozen=True)
class Planned:
    """A tile whose picture isn't drawn yet."""

    cutout: Cutout
    title: str
    note: str = ""
    badge: str = ""


def audit_page(audit: Audit, suspects: Suspects | None, paint: Paint) -> str:
    """The page as HTML; `paint` is called once, with all pictures that it needs."""
    plans: dict[str, list[Planned]] = {"": _glance(audit)}
    for kind in KINDS:
        plans[kind] = _tiles(audit, kind)
    plans["suspects"] = [
        Planned(cutout, title, note, badge)
        for cutout, title, note, badge in (suspects.tiles(audit.images, SHOWN) if suspects else ())
    ]
    painted = iter(paint([one.cutout for plan in plans.values() for one in plan]))
    galleries = {
        kind: Gallery(
            [
                Tile(picture, one.title, one.note, one.badge)
                for one in plan
                if (picture := next(painted)) is not None
            ]
        )
        for kind, plan in plans.items()
    }
    sections = [_overview(audit, galleries[""]), *_faults(audit)]
    if suspects:
        blocks = [*suspects.blocks(), galleries["suspects"], suspects.table()]
        sections.append(Section("Labels that a network doubts", blocks, suspects.count))
    sections += [
        _finding_section(audit, kind, galleries[kind]) for kind in KINDS if galleries[kind].tiles
    ]
    sections += [_gray(audit), *_classes(audit), *_people(audit)]
    return render("Data audit", audit.data.root, sections)


def _overview(audit: Audit, gallery: Gallery) -> Section:
    data = audit.data
    mean, std, _ = audit.gray()
    faulty = {fault.path for fault in data.faults}
    suspicious = {one.image for one in audit.findings if KINDS[one.kind].is_fault}
    facts = {
        "training images": f"{len(data.train):,}",
        "people": f"{len({image.person for image in data.train}):,}",
        "test images": f"{len(data.test):,}",
        "classes": str(len(data.class_names)),
        "faulty files": str(len(faulty) + len(audit.unread)),
        "labels to look at": str(len(suspicious)),
        "mean of 0..1": f"{mean / 255:.4f}",
        "std of 0..1": f"{std / 255:.4f}",
    }
    if any(image.side for image in data.train):
        sides = audit.sides()
        facts["right, left hands"] = f"{sides['R']}, {sides['L']}"
        facts["bent wrists"] = str(sum(is_bent(image.bend) for image in data.train))
    else:
        facts["sizes"] = str(len(audit.sizes()))
        facts["labels"] = str(len(audit.labels))
    return Section("At a glance", [Facts(facts), gallery])


def _glance(audit: Audit) -> list[Planned]:
    colours = class_colours(audit.data.class_names)
    return [
        Planned(glance(image, colours), image.name, image.person)
        for image in audit.data.train[:: max(1, -(-len(audit.data.train) // SHOWN))]
    ]


def _faults(audit: Audit) -> list[Section]:
    rows = [[fault.path, fault.what] for fault in audit.data.faults]
    rows += [["", sentence] for sentence in audit.unread]
    blocks: list[Block] = [
        Text("These files, and what belongs to them, are left out of everything below."),
        Table(["file", "what is wrong"], rows, shown=30),
    ]
    found = [Section("Files that can't be used", blocks, len(rows))] if rows else []
    if audit.data.warnings:
        lines = Table(["warning"], [[line] for line in audit.data.warnings], shown=8)
        found.append(Section("Warnings of the reader", [lines], len(audit.data.warnings)))
    return found


def _by_image(audit: Audit, kind: str) -> list[list[Finding]]:
    """The findings of a kind, those of an image together, the strongest image first."""
    found = [finding for finding in audit.findings if finding.kind == kind]
    order = {n: place for place, n in enumerate(dict.fromkeys(one.image for one in found))}
    ranked = sorted(found, key=lambda one: order[one.image])
    return [list(group) for _, group in groupby(ranked, key=lambda one: one.image)]


def _tiles(audit: Audit, kind: str) -> list[Planned]:
    tiles = []
    for group in _by_image(audit, kind)[:SHOWN]:
        image = audit.images[group[0].image]
        channels = tuple(dict.fromkeys(c for one in group for c in one.channels))
        film = audit.measures[group[0].image].film
        cutout = cutout_of(kind, image, film, channels, audit.data.class_names)
        tiles.append(Planned(cutout, image.name, f"{image.person}. {_texts(group)}"))
    return tiles


def _texts(group: Sequence[Finding], most: int = 3) -> str:
    more = f"; {len(group) - most} more" if len(group) > most else ""
    return "; ".join(one.text for one in group[:most]) + more


def _finding_section(audit: Audit, kind: str, gallery: Gallery) -> Section:
    groups = _by_image(audit, kind)
    blocks: list[Block] = [Text(KINDS[kind].why), gallery]
    if len(groups) > len(gallery.tiles):
        rows = [
            [audit.images[group[0].image].name, audit.images[group[0].image].person, _texts(group)]
            for group in groups[len(gallery.tiles) :]
        ]
        blocks.append(Table(["image", "person", "what"], rows, shown=0))
    return Section(KINDS[kind].title, blocks, len(groups))


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
    why = (
        f"From exact counts of {int(train.sum()):,} pixels, divided once in float64. The last row "
        "is how the source report got its 0.036: image ** 2 in uint8 wraps around at 256, so that "
        "16 squared becomes 0. Normalised with it, images would spread "
        f"{std / wrapped:.1f} times too far. Training normalises with mean and standard deviation "
        "of its own images, measured anew at its --size; resizing smooths the latter a little."
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


def _people(audit: Audit) -> list[Section]:
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
    return [Section("People and sides", blocks, len(each))]
