"""The report of a vote whose members were judged by labels: what each is worth, and the vote.

Axes: M members, T shares of the votes, N images, C classes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from handray.inference.ballot import Ballot
from handray.inference.choice import Choice, probability_of, share_of
from handray.inference.labels import Labels
from handray.inference.submission import Submission
from handray.reporting import figures, sections
from handray.reporting.ablation import bootstrap_interval
from handray.reporting.choosing import Chooser
from handray.reporting.judged import Judged, Mean
from handray.reporting.page import Figure, Section, Table, plot, render
from handray.whole_files import write_text


@dataclass(frozen=True, eq=False)
class JudgedVote:
    """A vote and what it was judged by."""

    names: Sequence[str]
    """The members', in order."""
    ballot: Ballot
    evidence: Sequence[Sequence[Submission]]
    """The members' masks of images that have labels, each with its levels."""
    by: str
    """What those are, for people."""
    labels: Labels
    chooser: Chooser
    expected: Sequence[str]
    """What to expect of the choice of members or votes, in lines; none without a choice."""


def write_vote_report(path: Path, vote: JudgedVote, source: Mapping[str, Any]) -> None:
    """Write the page.

    Args:
        path: the file.
        vote: and its judgement.
        source: what the JSON beside the vote's CSV says.

    Raises:
        OSError: it can't be written.

    """
    voted = vote.ballot.vote(vote.evidence)
    judged = Judged.of(f"The vote, by {vote.by}", [voted], vote.labels)
    facts = {key: value for key, value in source.items() if key != "members"}
    parts = [
        _numbers(vote, judged),
        _members(vote, judged),
        _votes(vote),
        sections.of_classes(judged),
        sections.of_slices(judged, {}),
        sections.of_worst(judged),
        sections.of_reliability(judged),
        sections.of_making(facts, {}),
    ]
    title = f"Vote of {len(vote.names)} members"
    write_text(path, render(title, vote.ballot.told(vote.names), parts))


def _numbers(vote: JudgedVote, judged: Judged) -> Section:
    facts = {
        **sections.told("Dice of the vote", judged.mean()),
        "members": str(len(vote.names)),
        "that vote": str(sum(weight > 0 for weight in vote.ballot.weights)),
        "images": str(len(judged.images)),
        "people": str(len({image.person for image in judged.images})),
        "classes": str(len(judged.result.class_names)),
    }
    judged_by = f"Judged by {vote.by}."
    return sections.in_numbers(facts, judged_by, *vote.expected)


def _members(vote: JudgedVote, judged: Judged) -> Section:
    """What each member is worth alone."""
    chooser, means = vote.chooser, {"the vote": judged.mean()}
    half = share_of(0.5) if chooser.judge.table.levels > 1 else 1.0
    classes, count = len(chooser.class_names), len(vote.names)
    for number, name in enumerate(figures.numbered(vote.names)):
        alone = tuple(float(number == other) for other in range(count))
        dice_N = chooser.judge.dice_NC(Choice(alone, (half,) * classes, 0.0)).mean(axis=1)
        low, high = bootstrap_interval(dice_N, chooser.person_N)
        means[name] = Mean(float(dice_N.mean()), low, high, len(dice_N))
    rows: list[list[Any]] = [
        [number, name, weight, *(round(v, 4) for v in (mean.dice, mean.low, mean.high))]
        for number, (name, weight, mean) in enumerate(
            zip(vote.names, vote.ballot.weights, list(means.values())[1:], strict=True), start=1
        )
    ]
    head = ["", "member", "weight", "Dice alone", "95 % from", "to"]
    picture = plot(figures.dice_of_slices(means), "Dice of each member")
    return Section("Members", [Figure(picture), Table(head, rows, shown=20)], count)


def _votes(vote: JudgedVote) -> Section:
    """Dice by how much a pixel needs."""
    judge, weights = vote.chooser.judge, vote.ballot.weights
    shares, dice_TC = judge.shares(weights), judge.dice_CT(weights).T
    what, values = "a pixel needs so many votes", [share * sum(weights) for share in shares]
    if judge.table.levels > 1:
        what, values = "mean probability above", [probability_of(share) for share in shares]
    picture = plot(
        figures.dice_by(what, values, np.asarray(dice_TC), vote.chooser.class_names), what
    )
    caption = "With the weights of the vote, the same number for all classes."
    return Section("Votes", [Figure(picture, caption)])
