"""How the members of an ensemble vote: what each counts for, and how much a pixel needs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from handray.inference.choice import Choice, needed, probability_of, share_of
from handray.inference.ensemble import (
    DEFAULT_FRACTION,
    first_in_order,
    vote_submissions,
    votes_needed,
)
from handray.inference.levels import LEVELS
from handray.inference.submission import Submission


@dataclass(frozen=True)
class Ballot:
    """A rule; where levels vote, each member has as many votes as there are levels."""

    weights: tuple[float, ...]
    needed: float | dict[str, float]
    """Votes that a pixel needs, of all classes or by class."""
    soft: bool = False

    @classmethod
    def given(
        cls,
        members: int,
        weights: Sequence[float],
        votes: int | None,
        fraction: float | None,
        soft: bool,
    ) -> "Ballot":
        """The rule of the command line.

        Args:
            members: how many there are.
            weights: what each counts for; empty for 1 each.
            votes: sum of weights that a pixel needs.
            fraction: the same as a share, 0.7 by default, rounded down where weights are whole;
                of levels the mean probability that it must exceed, 0.5 by default.
            soft: levels vote.

        Raises:
            ValueError: numbers out of range.

        """
        each = tuple(weights or [1.0] * members)
        if len(each) != members:
            raise ValueError(f"--weights has {len(each)} numbers for {members} members")
        if not (min(each) >= 0 and 0 < sum(each) < float("inf")):
            raise ValueError(f"--weights must be 0 or more, and not all 0, got {list(each)}")
        if soft:
            if votes is not None:
                raise ValueError("--soft compares the mean probability; give --vote-fraction")
            share = share_of(0.5 if fraction is None else fraction)
            return cls(each, needed(share, each, len(LEVELS)), soft=True)
        if weights and votes is not None and not 1 <= votes <= sum(each):
            raise ValueError(f"--votes must be 1 to {sum(each):g}, the weights' sum; got {votes}")
        if all(weight.is_integer() for weight in each):
            return cls(each, votes_needed(int(sum(each)), votes, fraction))
        if votes is None:
            votes_needed(members, None, fraction)  # checks the range
        total = sum(each) * (DEFAULT_FRACTION if fraction is None else fraction)
        return cls(each, votes if votes is not None else needed(total / sum(each), each))

    @classmethod
    def chosen(cls, choice: Choice, class_names: Sequence[str], soft: bool) -> "Ballot":
        """The rule that was chosen for classes in this order."""
        votes = choice.needed_C(len(LEVELS) if soft else 1).tolist()
        if len(set(votes)) == 1:
            return cls(choice.weights_M, votes[0], soft)
        return cls(choice.weights_M, dict(zip(class_names, votes, strict=True)), soft)

    def vote(self, results: Sequence[Sequence[Submission]]) -> Submission:
        """The members' vote; raises ValueError where they differ in images, classes or sizes."""
        flat = [level for levels in results for level in levels]
        votes: Any = self.needed
        if isinstance(votes, dict):
            ordered = first_in_order(flat).class_names
            votes = np.array([votes[name] for name in ordered])
        if len(set(self.weights)) == 1:  # counting is quicker than adding weights up
            return vote_submissions(flat, votes / self.weights[0])
        return vote_submissions(flat, votes, [w for w in self.weights for _ in results[0]])

    def facts(self) -> dict[str, Any]:
        """Plain types for the JSON."""
        votes: Any = self.needed
        if isinstance(votes, dict):
            votes = {name: float(f"{one:.8g}") for name, one in votes.items()}
        elif not isinstance(votes, int):
            votes = float(f"{votes:.8g}")
        return {"weights": list(self.weights), "votes_needed": votes, "soft": self.soft}

    def told(self, names: Sequence[str]) -> str:
        """The rule and the members in one line."""
        voters = [
            name if weight == 1 else f"{weight:g} x {name}"
            for name, weight in zip(names, self.weights, strict=True)
            if weight
        ]
        total = sum(self.weights)
        if isinstance(self.needed, dict):
            rule = "votes as each class needs"
        elif self.soft:
            share = self.needed / total / len(LEVELS)
            rule = f"a mean probability above {probability_of(share):.2f}"
        else:
            rule = f"{self.needed:.6g} or more of {total:g} votes"
        return f"pixels with {rule}: {', '.join(voters)}"
