"""Choosing members, their weights and the votes that are needed, on out-of-fold results.

Greedy forward selection with replacement (Caruana et al., 2004, "Ensemble selection from libraries
of models"): the member that helps most is added, again and again. What is chosen on images looks
better on them than elsewhere, so the Dice that is reported comes from people whose images had no
part in the choice.

Axes: N images, F folds, C classes, M members, T shares of the votes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from handray.inference.membership import MOST_VOTES, Membership

Floats = NDArray[np.float64]
PROBABILITIES = tuple(round(0.2 + 0.05 * step, 2) for step in range(13))
"""Mean probabilities that are tried as thresholds of levels, from the first to the last level."""
PATIENCE = 4
"""Members that a selection adds in vain before it ends."""


@dataclass(frozen=True)
class Choice:
    """A vote: how often each member counts, and the share of all votes that a pixel needs."""

    weights_M: tuple[float, ...]
    share_C: tuple[float, ...]
    dice: float
    """On the images that it was chosen on."""

    def needed_C(self, levels: int) -> Floats:
        """Votes that each class needs, of ``levels`` votes a member and weight."""
        return np.array([needed(share, self.weights_M, levels) for share in self.share_C])


def share_of(probability: float) -> float:
    """Share of all levels that stands for a mean probability, for levels 0.2, 0.3 ... 0.8.

    A pixel of probability p is held by the levels below p: by (p - 0.15) / 0.1 of the seven, to
    within a half. Raises ValueError outside of the levels.
    """
    if not PROBABILITIES[0] <= probability <= PROBABILITIES[-1]:
        raise ValueError(f"levels tell probabilities from 0.2 to 0.8, got {probability}")
    return (probability - 0.15) / 0.7


def probability_of(share: float) -> float:
    """The mean probability that a share of all levels stands for."""
    return 0.15 + 0.7 * share


def needed(share: float, weights: Sequence[float], levels: int = 1) -> float:
    """Votes that a share of all of them is, less a hair: sums of weights like 0.1 are rounded."""
    return share * sum(weights) * levels * (1 - 1e-9)


class Judge:
    """Judges votes by the Dice of the images of some folds; remembers what it has been asked."""

    def __init__(self, table: Membership, classes: int, fold_N: NDArray[np.int64]) -> None:
        """Keep the counts.

        Args:
            table: counts of all images and classes.
            classes: number of classes.
            fold_N: fold of each image, by person.

        """
        self.table, self.classes, self.fold_N = table, classes, fold_N
        self.folds = np.unique(fold_N)
        self._known: dict[tuple[float, ...], Floats] = {}

    def dice_CT(self, weights: Sequence[float], without: int | None = None) -> Floats:
        """Dice of each class and share of the votes, the mean over all images but a fold's."""
        sums_FCT = self._sums(tuple(weights))
        kept = self.folds != without
        counts = np.bincount(np.searchsorted(self.folds, self.fold_N))
        mean: Floats = sums_FCT[kept].sum(axis=0) / counts[kept].sum()
        return mean

    def dice_NC(self, choice: Choice) -> Floats:
        """Dice of each image and class by a vote."""
        needed_C = choice.needed_C(self.table.levels)
        needed_T = sorted(set(needed_C.tolist()))
        dice_NCT = self._dice(choice.weights_M, needed_T)
        at_C = np.searchsorted(needed_T, needed_C)
        dice: Floats = np.take_along_axis(dice_NCT, at_C[None, :, None], axis=2)[:, :, 0]
        return dice

    def honest_dice_NC(self, choose: Callable[[int | None], Choice]) -> Floats:
        """Dice of each image and class by what ``choose`` picks without the image's fold."""
        result = np.full((len(self.fold_N), self.classes), np.nan)
        for fold in self.folds.tolist():
            held_out = self.fold_N == fold
            result[held_out] = self.dice_NC(choose(fold))[held_out]
        return result

    def _sums(self, weights: tuple[float, ...]) -> Floats:
        """Sums of the Dice over the images of each fold (F, C, T)."""
        if weights not in self._known:
            votes = [needed(share, weights, self.table.levels) for share in self.shares(weights)]
            dice_NCT = self._dice(weights, votes)
            sums = [dice_NCT[self.fold_N == fold].sum(axis=0) for fold in self.folds]
            self._known[weights] = np.stack(sums)
        return self._known[weights]

    def _dice(self, weights: Sequence[float], votes: Sequence[float]) -> Floats:
        return self.table.dice_RT(weights, votes).reshape(-1, self.classes, len(votes))

    def shares(self, weights: Sequence[float]) -> tuple[float, ...]:
        """Shares of the votes that make a difference: of whole votes, or of PROBABILITIES."""
        if self.table.levels > 1:
            return tuple(map(share_of, PROBABILITIES))
        total = sum(weights)
        if all(float(weight).is_integer() for weight in weights) and total <= MOST_VOTES:
            total = int(total)
            return tuple(vote / total for vote in range(1, total + 1))
        return tuple(step / 20 for step in range(1, 21))


def best_share(
    judge: Judge, weights: Sequence[float], per_class: bool = False, without: int | None = None
) -> Choice:
    """The share of the votes with the best Dice, one for all classes or one for each."""
    share_T, dice_CT = np.array(judge.shares(weights)), judge.dice_CT(weights, without)
    # Where several are equally good, the one nearest to half is the least of a fluke.
    order_T = np.argsort(abs(share_T - 0.5), kind="stable")
    judged = dice_CT if per_class else dice_CT.mean(0, keepdims=True).repeat(len(dice_CT), axis=0)
    best_C = order_T[judged[:, order_T].argmax(axis=1)]
    dice = float(dice_CT[np.arange(len(dice_CT)), best_C].mean())
    return Choice(tuple(weights), tuple(share_T[best_C].tolist()), dice)


def select(judge: Judge, per_class: bool = False, without: int | None = None) -> Choice:
    """Greedy selection with replacement; the best vote on its way.

    Args:
        judge: of out-of-fold results.
        per_class: let each class need its own share of the votes.
        without: a fold whose images have no part in it.

    """
    members = len(judge.table.held_MK)
    counts = (0,) * members
    best: Choice | None = None
    vain = 0
    while vain < PATIENCE:
        tried = [
            best_share(judge, [c + (m == added) for m, c in enumerate(counts)], per_class, without)
            for added in range(members)
        ]
        chosen = max(tried, key=lambda choice: choice.dice)
        counts = tuple(int(weight) for weight in chosen.weights_M)
        # A larger ensemble must earn its place.
        if best is None or chosen.dice > best.dice + 1e-9:
            best, vain = chosen, 0
        else:
            vain += 1
    assert best is not None, "a table has a member"
    return best
