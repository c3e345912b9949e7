"""What a check found, and lines that say it once for all nodes alike."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Verdict = Literal["ok", "note", "wrong"]


@dataclass(frozen=True)
class Finding:
    """The outcome of one check; wrong comes with the remedy, a note stops nothing."""

    check: str
    verdict: Verdict
    sentence: str


@dataclass(frozen=True)
class Located:
    """A finding and the node that it is of; empty for the cluster as a whole."""

    node: str
    finding: Finding


def lines(found: Iterable[Located], nodes: int) -> list[str]:
    """One line for each finding, with the nodes that have it in common.

    Args:
        found: in the order in which they are to be told.
        nodes: of the cluster.

    """
    where: dict[Finding, list[str]] = {}
    for one in found:
        where.setdefault(one.finding, []).append(one.node)
    return [
        f"{finding.verdict:<6} {finding.check}: {_place(names, nodes)}{finding.sentence}"
        for finding, names in where.items()
    ]


def _place(names: list[str], nodes: int) -> str:
    if nodes == 1 or names == [""]:
        return ""
    return f"all {nodes} nodes: " if len(names) == nodes else f"{', '.join(names)}: "
