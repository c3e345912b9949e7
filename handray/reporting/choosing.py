"""Members of an ensemble compared and chosen, for people: tables, intervals, a picture."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from handray.data.folds import assign_folds
from handray.data.radiographs import Radiograph, read_folder, read_truth
from handray.inference.choice import Choice, Judge, best_share, select
from handray.inference.ensemble import aligned, first_in_order
from handray.inference.membership import membership
from handray.inference.score import truth_rows
from handray.inference.submission import Submission
from handray.masks.algebra import dice_rows
from handray.masks.rle import RunRows
from handray.reporting.ablation import bootstrap_interval
from handray.reporting.run_folder import write_bytes

FOLDS = 5
"""Folds of people that a choice is tried on."""
Floats = NDArray[np.float64]


def labelled(data: str) -> dict[str, Radiograph]:
    """Images of a data folder that have labels, by name."""
    folder = read_folder(data)
    truth = read_truth(data, folder) or {}
    known = {image.name: image for image in folder.train}
    for image in folder.test:
        if image.name in truth:
            known[image.name] = replace(image, polygons=truth[image.name])
    return known


@dataclass(frozen=True)
class Chooser:
    """Members judged by labels, and whose images those are."""

    names: Sequence[str]
    class_names: Sequence[str]
    judge: Judge
    person_N: NDArray[np.int64]

    @classmethod
    def of(
        cls,
        names: Sequence[str],
        members: Sequence[Sequence[Submission]],
        images: Mapping[str, Radiograph],
    ) -> "Chooser":
        """Count the members' pixels against the labels.

        Args:
            names: the members'.
            members: of each its levels, of images that all have labels.
            images: those with labels, by name.

        Raises:
            ValueError: an image has no label, or members differ.

        """
        reference = first_in_order([member[0] for member in members])
        classes = len(reference.class_names)
        if missing := [name for name in reference.image_names if name not in images]:
            raise ValueError(f"image {missing[0]!r} of {reference.name} has no label in --data")
        shown = [images[name] for name in reference.image_names]
        flat = aligned([level for member in members for level in member])
        levels = len(members[0])
        tables = [flat[at : at + levels] for at in range(0, len(flat), levels)]
        truth = [truth_rows(one.polygons, classes, (one.height, one.width)) for one in shown]
        people = np.unique([one.person for one in shown], return_inverse=True)[1]
        if len(set(people)) < 2:
            raise ValueError("the labels are of one person; a choice is tried on others, add some")
        fold_N = assign_folds(shown, min(FOLDS, len(set(people))), 0)
        judge = Judge(membership(tables, RunRows.stack(truth)), classes, fold_N)
        return cls(names, reference.class_names, judge, people.astype(np.int64))

    def sweep(self, weights: Sequence[float]) -> str:
        """Dice for each number of votes, as the source report's table."""
        shares, total = self.judge.shares(weights), sum(weights) * self.judge.table.levels
        dice_T = self.judge.dice_CT(weights).mean(axis=0)
        lines = ["votes    share  Dice"]
        for share, dice in zip(shares, dice_T.tolist(), strict=True):
            best = "  the best" if dice == dice_T.max() else ""
            lines.append(f"{share * total:<7.6g}  {share:5.3f}  {dice:.4f}{best}")
        return "\n".join(lines)

    def chosen(self, per_class: bool) -> tuple[Choice, str]:
        """What greedy selection picks on all images, and what is to be expected of it."""
        choice = select(self.judge, per_class)
        honest_NC = self.judge.honest_dice_NC(lambda fold: select(self.judge, per_class, fold))
        single_NC = self.judge.honest_dice_NC(self._single)
        everyone = [1.0] * len(self.names)
        all_NC = self.judge.honest_dice_NC(
            lambda fold: best_share(self.judge, everyone, per_class, fold)
        )
        lines = ["weight  member"]
        for weight, name in zip(choice.weights_M, self.names, strict=True):
            lines.append(f"{weight:6.0f}  {name}")
        lines += [
            "",
            f"Dice on the {len(self.person_N)} images that it was chosen on: {choice.dice:.4f}",
            f"Dice where each fold of people had no part in the choice: {honest_NC.mean():.4f}",
            self._gain("the best single member", honest_NC, single_NC),
            self._gain("all members alike", honest_NC, all_NC),
        ]
        return choice, "\n".join(lines)

    def shares_of(self, choice: Choice) -> str:
        """The share of the votes that each class needs."""
        pairs = zip(self.class_names, choice.share_C, strict=True)
        return "\n".join(f"{share:5.3f}  {name}" for name, share in pairs)

    def best_share(self, weights: Sequence[float], per_class: bool) -> tuple[Choice, str]:
        """The best number of votes for given weights, and what is to be expected of it."""
        choice = best_share(self.judge, weights, per_class)
        honest_NC = self.judge.honest_dice_NC(
            lambda fold: best_share(self.judge, weights, per_class, fold)
        )
        one_NC = self.judge.honest_dice_NC(
            lambda fold: best_share(self.judge, weights, False, fold)
        )
        lines = [
            f"Dice on the {len(self.person_N)} images that it was chosen on: {choice.dice:.4f}",
            f"Dice where each fold of people had no part in the choice: {honest_NC.mean():.4f}",
        ]
        if per_class:
            lines.append(self._gain("one share for all classes", honest_NC, one_NC))
        return choice, "\n".join(lines)

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


def save_agreement(path: Path, names: Sequence[str], matrix_MM: Floats) -> None:
    """Draw the matrix as a PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5 + 0.6 * len(names), 2 + 0.6 * len(names)), layout="constrained")
    axes = figure.subplots()
    off_diagonal = matrix_MM[~np.eye(len(names), dtype=bool)]
    low = float(off_diagonal.min()) if off_diagonal.size else 0.0
    image = axes.imshow(matrix_MM, cmap="viridis", vmin=low, vmax=1)
    for (y, x), value in np.ndenumerate(matrix_MM):
        dark = value < (low + 1) / 2
        axes.text(x, y, f"{value:.3f}", ha="center", va="center", color="w" if dark else "k")
    axes.set_xticks(range(len(names)), [str(n) for n in range(1, len(names) + 1)])
    short = [name if len(name) < 30 else f"...{name[-27:]}" for name in names]
    axes.set_yticks(range(len(names)), [f"{name}  {n}" for n, name in enumerate(short, 1)])
    figure.colorbar(image, ax=axes, label="Dice of two members")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    write_bytes(path, buffer.getvalue())
