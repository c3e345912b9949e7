"""Members of an ensemble compared and chosen, for people: tables and intervals."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from handray.data.folds import assign_folds
from handray.inference.choice import Choice, Judge, best_share, probability_of, select
from handray.inference.ensemble import aligned, first_in_order
from handray.inference.labels import Labels
from handray.inference.membership import membership
from handray.inference.submission import Submission
from handray.masks.algebra import dice_rows
from handray.reporting.ablation import bootstrap_interval

FOLDS = 5
"""Folds of people that a choice is tried on."""
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Chooser:
    """Members judged by labels, and whose images those are."""

    names: Sequence[str]
    class_names: Sequence[str]
    """In the order of the shares of a choice."""
    judge: Judge
    person_N: NDArray[np.int64]

    @classmethod
    def of(
        cls, names: Sequence[str], members: Sequence[Sequence[Submission]], labels: Labels
    ) -> "Chooser":
        """Count the members' pixels against the labels.

        Args:
            names: the members'.
            members: of each its levels, of images that all have labels.
            labels: of those images.

        Raises:
            ValueError: an image has no label, members or labels differ, or there is one person.

        """
        reference = first_in_order([member[0] for member in members])
        truth = labels.rows(reference)
        flat = aligned([level for member in members for level in member])
        levels = len(members[0])
        tables = [flat[at : at + levels] for at in range(0, len(flat), levels)]
        shown = [labels.images[name] for name in reference.image_names]
        person_N = np.unique([one.person for one in shown], return_inverse=True)[1]
        people = len(set(person_N.tolist()))
        if people < 2:
            raise ValueError("the labels are of one person; a choice is tried on others, add some")
        fold_N = assign_folds(shown, min(FOLDS, people), 0)
        judge = Judge(membership(tables, truth), len(reference.class_names), fold_N)
        return cls(names, reference.class_names, judge, person_N.astype(np.int64))

    def sweep(self, weights: Sequence[float]) -> str:
        """Dice for each number of votes, as the source report's table."""
        shares, soft = self.judge.shares(weights), self.judge.table.levels > 1
        dice_T = self.judge.dice_CT(weights).mean(axis=0)
        lines = ["mean p   Dice" if soft else "votes    Dice"]
        for share, dice in zip(shares, dice_T.tolist(), strict=True):
            best = "  the best" if dice == dice_T.max() else ""
            threshold = f"> {probability_of(share):.2f}" if soft else f"{share * sum(weights):.6g}"
            lines.append(f"{threshold:<7}  {dice:.4f}{best}")
        return "\n".join(lines)

    def chosen(self, per_class: bool) -> tuple[Choice, list[str]]:
        """What greedy selection picks on all images, and what to expect of it, in lines."""
        choice = select(self.judge, per_class)
        honest_NC = self.judge.honest_dice_NC(lambda fold: select(self.judge, per_class, fold))
        single_NC = self.judge.honest_dice_NC(self._single)
        everyone = [1.0] * len(self.names)
        all_NC = self.judge.honest_dice_NC(
            lambda fold: best_share(self.judge, everyone, per_class, fold)
        )
        return choice, [
            *self._dice(choice, honest_NC),
            self._gain("the best single member", honest_NC, single_NC),
            self._gain("all members alike", honest_NC, all_NC),
        ]

    def by_member(self, choice: Choice) -> str:
        """What each member counts for."""
        lines = ["weight  member"]
        for weight, name in zip(choice.weights_M, self.names, strict=True):
            lines.append(f"{weight:6.0f}  {name}")
        return "\n".join(lines)

    def by_class(self, choice: Choice) -> str:
        """What each class needs."""
        soft = self.judge.table.levels > 1
        lines = [
            "A class needs a mean p above" if soft else "A class needs this share of the votes"
        ]
        for share, name in zip(choice.share_C, self.class_names, strict=True):
            lines.append(f"{probability_of(share) if soft else share:5.2f}  {name}")
        return "\n".join(lines)

    def best_share(self, weights: Sequence[float]) -> tuple[Choice, list[str]]:
        """The votes that each class needs for given weights, and what to expect of them."""
        choice = best_share(self.judge, weights, per_class=True)

        def choose(per_class: bool) -> Callable[[int | None], Choice]:
            return lambda fold: best_share(self.judge, weights, per_class, fold)

        honest_NC, one_NC = (self.judge.honest_dice_NC(choose(each)) for each in (True, False))
        one_rule = self._gain("one rule for all", honest_NC, one_NC)
        return choice, [*self._dice(choice, honest_NC), one_rule]

    def _dice(self, choice: Choice, honest_NC: Floats) -> list[str]:
        return [
            f"Dice on the {len(self.person_N)} images that it was chosen on: {choice.dice:.4f}",
            f"Dice where each fold of people had no part in the choice: {honest_NC.mean():.4f}",
        ]

    def _single(self, fold: int | None) -> Choice:
        members = range(len(self.names))
        alone = [[float(m == one) for m in members] for one in members]
        tried = [best_share(self.judge, weights, False, fold) for weights in alone]
        return max(tried, key=lambda choice: choice.dice)

    def _gain(self, over: str, ours_NC: Floats, theirs_NC: Floats) -> str:
        gain_N = (ours_NC - theirs_NC).mean(axis=1)
        low, high = bootstrap_interval(gain_N, self.person_N)
        noise = ": within noise" if low <= 0 <= high else ""
        return (
            f"Gain over {over}: {gain_N.mean():+.4f}, "
            f"95 % interval over people {low:+.4f} to {high:+.4f}{noise}"
        )


def agreement(members: Sequence[Submission]) -> Floats:
    """Mean Dice of each pair of members, (M, M)."""
    tables = aligned(members)
    matrix_MM = np.eye(len(members))
    for a, b in combinations(range(len(members)), 2):
        matrix_MM[a, b] = matrix_MM[b, a] = dice_rows(tables[a], tables[b]).mean()
    return matrix_MM


def agreement_text(names: Sequence[str], matrix_MM: Floats) -> str:
    """The matrix for people; the member that agrees least with the others adds most, or is bad."""
    width = max(map(len, names))
    lines = [" " * width + "".join(f"  {n:>6}" for n in range(1, len(names) + 1))]
    for number, (name, row) in enumerate(zip(names, matrix_MM.tolist(), strict=True), 1):
        lines.append(
            f"{name:<{width}}" + "".join(f"  {value:6.4f}" for value in row) + f"  {number}"
        )
    return "\n".join(lines)
