"""The page of an audit: pictures first, then numbers; what stands out, kind by kind."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby, zip_longest

from handray.data.audit.findings import Finding
from handray.data.audit.kinds import KINDS
from handray.data.pose import is_bent
from handray.reporting.audit import Audit
from handray.reporting.audit_numbers import number_sections
from handray.reporting.audit_pictures import cutout_of, glance
from handray.reporting.colours import class_colours
from handray.reporting.cutout import Cutout
from handray.reporting.page import (
    Block,
    Cell,
    Facts,
    Gallery,
    Picture,
    Section,
    Table,
    Text,
    Tile,
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
    tiles = {
        kind: [
            Tile(picture, one.title, one.note, one.badge) if (picture := next(painted)) else None
            for one in plan
        ]
        for kind, plan in plans.items()
    }
    sections = [_overview(audit, _gallery(tiles[""])), *_faults(audit)]
    if suspects:
        blocks = [*suspects.blocks(), _gallery(tiles["suspects"]), suspects.table()]
        sections.append(Section("Labels that a network doubts", blocks, suspects.count))
    sections += [_finding_section(audit, kind, tiles[kind]) for kind in KINDS if tiles[kind]]
    sections += number_sections(audit)
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


def _finding_section(audit: Audit, kind: str, tiles: Sequence[Tile | None]) -> Section:
    """Pictures of the first images that have it, and a list of all that aren't shown."""
    groups = _by_image(audit, kind)
    blocks: list[Block] = [Text(KINDS[kind].why), _gallery(tiles)]
    others = [group for group, tile in zip_longest(groups, tiles) if tile is None]
    if others:
        rows: list[list[Cell]] = [
            [audit.images[group[0].image].name, audit.images[group[0].image].person, _texts(group)]
            for group in others
        ]
        blocks.append(Table(["image", "person", "what"], rows, shown=0))
    return Section(KINDS[kind].title, blocks, len(groups))


def _gallery(tiles: Sequence[Tile | None]) -> Gallery:
    return Gallery([tile for tile in tiles if tile is not None])
