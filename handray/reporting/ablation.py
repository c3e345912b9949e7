"""What an ablation's numbers mean: paired differences from a baseline, their interval, the noise.

A policy is compared with the baseline on the same fold, by the same seed, at the same share of the
same schedule. People are what is drawn at random, so all images of a person stay together.

Axes: N images, C classes.
"""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import t

from handray.bones import groups_of
from handray.data.pose import is_bent
from handray.data.radiographs import DataFolder, Radiograph
from handray.reporting.trials import TrialRecord

BASELINE = "none"
OTHER_SEED = "none, another seed"
"""The row that compares the baseline with itself."""
DRAWS = 4000
COLUMNS = (
    "policy", "folds", "seeds", "dice", "difference", "low", "high", "inside_noise", "epochs_run",
    "stopped_early", "noise_floor",
)  # fmt: skip

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Noise:
    """How far the Dice of one policy moves from seed to seed."""

    deviation: float
    """Standard deviation of a trial's Dice over seeds, policy and fold alike; nan if unknown."""
    freedom: int
    """Degrees of freedom that it was estimated with."""

    def floor(self, pairs: int) -> float:
        """Largest mean of so many paired differences that 95 % of equal policies stay within."""
        if not self.freedom:
            return float("nan")
        return float(t.ppf(0.975, self.freedom) * self.deviation * np.sqrt(2 / pairs))


@dataclass(frozen=True)
class Pairs:
    """Paired differences of a policy, a row an image and pair of trials."""

    rows: NDArray[np.int64]
    dice_NC: Floats
    difference_NC: Floats
    trials: int


def noise(policies: Mapping[str, Sequence[TrialRecord]], percent: int = 100) -> Noise:
    """The seed's part of a trial's Dice, from policies that came so far by several seeds."""
    squares, freedom = 0.0, 0
    for records in policies.values():
        by_fold: dict[int, list[float]] = defaultdict(list)
        for record in records:
            if record.percent >= percent:
                by_fold[record.trial.fold].append(float(record.dice_NC(percent).mean()))
        for dice in by_fold.values():
            squares += float(np.sum(np.square(np.array(dice) - np.mean(dice))))
            freedom += len(dice) - 1
    return Noise(float(np.sqrt(squares / freedom)) if freedom else float("nan"), freedom)


def paired(records: Sequence[TrialRecord], twins: Sequence[TrialRecord]) -> Pairs | None:
    """Each trial against the baseline's of the same fold and seed, as far as the trial went.

    Args:
        records: of one policy.
        twins: of the baseline.

    Returns:
        None where no trial has a twin.

    """
    known = {(twin.trial.fold, _seed(twin)): twin for twin in twins}
    return _pairs([(r, known.get((r.trial.fold, _seed(r)))) for r in records])


def reseeded(twins: Sequence[TrialRecord]) -> Pairs | None:
    """The baseline against itself: the second seed against the first, and so on in pairs."""
    by_fold: dict[int, list[TrialRecord]] = defaultdict(list)
    for twin in sorted(twins, key=_seed):
        by_fold[twin.trial.fold].append(twin)
    # Disjoint pairs: in a chain of them the middle seeds would cancel out.
    couples = [
        (b, a) for same in by_fold.values() for a, b in zip(same[::2], same[1::2], strict=False)
    ]
    return _pairs(couples)


def _pairs(couples: Sequence[tuple[TrialRecord, TrialRecord | None]]) -> Pairs | None:
    rows, dice, differences = [], [], []
    for record, twin in couples:
        if twin is None:
            continue
        mine = record.dice_NC(record.percent).astype(float)
        rows.append(record.rows_N)
        dice.append(mine)
        differences.append(mine - twin.dice_NC(record.percent))
    if not rows:
        return None
    return Pairs(np.concatenate(rows), np.concatenate(dice), np.concatenate(differences), len(rows))


def bootstrap_interval(
    values_N: Floats, groups_N: Sequence[object] | NDArray[Any], seed: int = 0
) -> tuple[float, float]:
    """95 % percentile interval of a mean, where whole groups are drawn with replacement.

    Args:
        values_N: what the mean is of.
        groups_N: whose each value is: names or numbers.
        seed: of the draws.

    Returns:
        Its ends; nan for values of a single group, which say nothing about others.

    """
    names, group_N = np.unique(np.asarray(groups_N), return_inverse=True)
    if len(names) < 2:
        return math.nan, math.nan
    sums, counts = np.bincount(group_N, values_N), np.bincount(group_N)
    drawn = np.random.default_rng(seed).integers(0, len(sums), (DRAWS, len(sums)))
    means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    low, high = np.percentile(means, (2.5, 97.5))
    return float(low), float(high)


def leaderboard(policies: Mapping[str, Sequence[TrialRecord]], data: DataFolder) -> pd.DataFrame:
    """One row a policy (see COLUMNS), the best difference first; without a twin there is none.

    Args:
        policies: records by policy, BASELINE among them.
        data: whose training images the records' rows are.

    """
    twins = policies[BASELINE]
    compared = {name: (records, paired(records, twins)) for name, records in policies.items()}
    compared[OTHER_SEED] = (twins, reseeded(twins))
    table = [
        _row(name, records, pairs, _floor(policies, records, pairs), data)
        for name, (records, pairs) in compared.items()
        if pairs is not None
    ]
    board = pd.DataFrame(table, columns=list(COLUMNS))
    return board.sort_values("difference", ascending=False, ignore_index=True, kind="stable")


def _row(
    name: str, records: Sequence[TrialRecord], pairs: Pairs, floor: float, data: DataFolder
) -> dict[str, object]:
    difference_N = pairs.difference_NC.mean(axis=1)
    difference = float(difference_N.mean())
    low, high = bootstrap_interval(difference_N, [data.train[row].person for row in pairs.rows])
    return {
        "policy": name,
        "folds": " ".join(map(str, sorted({record.trial.fold for record in records}))),
        "seeds": " ".join(map(str, sorted({_seed(record) for record in records}))),
        "dice": float(pairs.dice_NC.mean()),
        "difference": difference,
        "low": low,
        "high": high,
        # Without repeats the noise is unknown, and nothing can be said to stand out of it.
        "inside_noise": not (low > 0 or high < 0) or not abs(difference) > floor,
        "epochs_run": min(len(record.history) for record in records),
        "stopped_early": any(record.stopped_early for record in records),
        "noise_floor": floor,
    }


def _floor(
    policies: Mapping[str, Sequence[TrialRecord]], records: Sequence[TrialRecord], pairs: Pairs
) -> float:
    """The noise that a policy stands out of: early in the training there is more of it."""
    level = noise(policies, min(record.percent for record in records))
    return level.floor(pairs.trials)


def by_slice(policies: Mapping[str, Sequence[TrialRecord]], data: DataFolder) -> pd.DataFrame:
    """Dice and its difference from the baseline for each policy and slice: policy, slice, ...

    Slices are bent and straight wrists, right and left hands, and the groups of bones, as far as
    the data set has them; ``values`` counts the Dice of images and classes that a mean is of.
    """
    images, classes = slices(data.train, data.class_names)
    table = []
    for name, records in policies.items():
        pairs = paired(records, policies[BASELINE])
        if pairs is None:
            continue
        for kind in (*images, *classes):
            rows = images.get(kind, np.ones(len(data.train), bool))[pairs.rows]
            channels = classes.get(kind, np.ones(len(data.class_names), bool))
            cells = np.ix_(rows, channels)
            if not pairs.dice_NC[cells].size:
                continue
            table.append(
                {
                    "policy": name,
                    "slice": kind,
                    "values": pairs.dice_NC[cells].size,
                    "dice": float(pairs.dice_NC[cells].mean()),
                    "difference": float(pairs.difference_NC[cells].mean()),
                }
            )
    return pd.DataFrame(table, columns=["policy", "slice", "values", "dice", "difference"])


def slices(
    radiographs: Sequence[Radiograph], class_names: Sequence[str]
) -> tuple[dict[str, NDArray[np.bool_]], dict[str, NDArray[np.bool_]]]:
    """Which images are of a kind and which classes of a group, as far as there are any."""
    known = np.array([not np.isnan(image.bend) for image in radiographs], bool)
    bent = np.array([is_bent(image.bend) for image in radiographs], bool)
    side = np.array([image.side for image in radiographs])
    images = {
        "bent wrist": bent,
        "straight wrist": known & ~bent,
        "right hand": side == "R",
        "left hand": side == "L",
    }
    return (
        {kind: chosen for kind, chosen in images.items() if chosen.any()},
        {group: np.isin(class_names, bones) for group, bones in groups_of(class_names).items()},
    )


def _seed(record: TrialRecord) -> int:
    return int(record.trial.changes["train.seed"])
