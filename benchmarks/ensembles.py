"""The report's tables of ensembles again, on drawn hands: folds, members, votes, sizes.

  python benchmarks/ensembles.py

Small networks from random weights on the hands of zoo.py: a fifth of the people is the test set,
the others are four folds. Every network, fold and seed is a training of its own; what it says of
the test images is kept in benchmark_hands/ensembles, so that the command goes on where it was
stopped. A row of results/ensembles.json is one way to vote: its Dice, the mean over three seeds and
all test images, and its difference from the first row of its table with a 95 % interval over
people.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from small_training import (
    PHANTOMS,
    RESULTS,
    folder_task,
    machine,
    phantoms,
    seeds_option,
    side_by_side,
    train_task,
)
from zoo import EVERY, FIXED

from handray.cli import run_job
from handray.config import replaced, short_hash
from handray.data.folds import assign_folds
from handray.data.radiographs import Radiograph, read_folder
from handray.inference.ensemble import average_levels, vote_submissions, votes_needed
from handray.inference.levels import LEVELS, MIDDLE, write_levels
from handray.inference.predict import runs_at_levels
from handray.inference.score import score
from handray.inference.submission import Submission, levels_beside, write_submission
from handray.inference.tidy import tidied
from handray.inference.trained import mean_of
from handray.masks.rle import RunRows
from handray.recipes import recipe
from handray.reporting.ablation import bootstrap_interval
from handray.whole_files import write_text

Floats = NDArray[np.float64]
KEPT = PHANTOMS / "ensembles"
FOLDS, STEPS, AUGMENT = 4, 120, "affine"
NETWORKS = {"hrnet_small": 192, "pspnet": 192, "hrnet_scratch": 192}
SMALLER = 96
"""Beside 192 px, as 512 is beside 1024."""


def main() -> int:
    """Exit code: 0 all tables are there, 2 bad input."""
    seeds = seeds_option(__doc__)
    data = phantoms()
    jobs = [
        (model, size, fold, seed)
        for seed in range(seeds)
        for model, size in [*NETWORKS.items(), ("hrnet_small", SMALLER)]
        for fold in range(FOLDS)
    ]
    _train_all([job for job in jobs if not _file(*job).exists()], data)
    rows = Tables(data, seeds).rows()
    write_text(RESULTS / "ensembles.json", json.dumps(rows, indent=1) + "\n")
    print(_text(rows))
    return 0


def _file(model: str, size: int, fold: int, seed: int) -> Path:
    settings = short_hash(FIXED, STEPS, FOLDS, AUGMENT)
    return KEPT / f"{model}-{size}-fold{fold}-seed{seed}-{settings}.npy"


def _train_all(todo: Sequence[tuple[str, int, int, int]], data: str) -> None:
    KEPT.mkdir(parents=True, exist_ok=True)
    calls = [(*job, data) for job in todo]
    for done, (number, dice) in enumerate(side_by_side(_train, calls), start=1):
        print(f"{done} of {len(todo)}: {todo[number]} Dice {dice:.3f}", flush=True)


def _train(model: str, size: int, fold: int, seed: int, data: str) -> float:
    """Train one network and keep its logits of the test images, float16 (N, C, size, size)."""
    config = replaced(
        recipe(model),
        {
            **FIXED,
            "data.size": size,
            "data.augment": AUGMENT,
            "train.seed": seed,
            "train.epochs": STEPS // EVERY,
        },
    )
    task = folder_task(config, data)
    is_test = _is_test(task.train)
    # Neither the test people nor the fold's are trained on.
    left_out = is_test | (_folds(task.train) == fold)
    task = replace(task, fold_of=tuple(np.where(left_out, 0, 1).tolist()))
    training = train_task(task, EVERY)
    logits = training.predictor.logits(training.state.average.model, np.flatnonzero(is_test))
    draft = _file(model, size, fold, seed).with_suffix(".tmp.npy")
    np.save(draft, logits.astype(np.float16))
    draft.replace(_file(model, size, fold, seed))
    return float(training.state.history[-1]["dice"])


def _is_test(images: Sequence[Radiograph]) -> NDArray[np.bool_]:
    return assign_folds(images, 5, 0) == 0


def _folds(images: Sequence[Radiograph]) -> NDArray[np.int64]:
    """Fold of each image; -1 for test images."""
    fold_of = np.full(len(images), -1)
    rest = np.flatnonzero(~_is_test(images))
    fold_of[rest] = assign_folds([images[row] for row in rest], FOLDS, 0)
    return fold_of


class Tables:
    """All ways to vote that are compared, on the kept logits."""

    def __init__(self, data: str, seeds: int) -> None:
        folder = read_folder(data)
        self.class_names, self.seeds = folder.class_names, seeds
        self.images = [folder.train[row] for row in np.flatnonzero(_is_test(folder.train))]
        self.people = np.unique([image.person for image in self.images], return_inverse=True)[1]
        self._known: dict[Any, list[Submission]] = {}

    def rows(self) -> list[dict[str, Any]]:
        """Every table's rows."""
        small, three = [("hrnet_small", 192)], list(NETWORKS.items())
        folds = range(FOLDS)
        return [
            *self._table(
                "one fold against all, equal steps",
                "report: one fold 0.9296 after 40 epochs, the folds' vote 0.9351 after 20",
                {
                    "one fold, mean of four": lambda s: self._mean_of_singles(small, folds, s),
                    "vote of four folds": lambda s: self._vote(self._members(small, folds, s)),
                },
            ),
            *self._table(
                "single networks against their ensemble, four folds each",
                "report: 0.9510 to 0.9707 alone, 0.9721 together",
                {
                    name: lambda s, one=one: self._vote(self._members(one, folds, s))
                    for name, one in {
                        **{model: [(model, size)] for model, size in three},
                        "all three": three,
                    }.items()
                },
            ),
            *self._votes("votes of 3 members (a fold of each network)", three, [0]),
            *self._votes("votes of 6 members (two folds of each network)", three, [0, 1]),
            *self._table(
                "hard against soft votes, 12 members",
                "",
                {
                    "hard, half": lambda s: self._vote(self._members(three, folds, s), 0.5),
                    "hard, int(0.7 n)": lambda s: self._vote(self._members(three, folds, s)),
                    "levels, mean above 0.5": lambda s: self._soft(self._members(three, folds, s)),
                    "probabilities, mean above 0.5": lambda s: self._float(three, folds, s),
                },
            ),
            *self._table(
                "one size against two, four folds each, hard votes of half",
                "report: 512 and 1024 px in one ensemble, planned",
                {
                    "192 px": lambda s: self._vote(self._members(small, folds, s), 0.5),
                    "96 px": lambda s: self._vote(
                        self._members([("hrnet_small", SMALLER)], folds, s), 0.5
                    ),
                    "96 and 192 px": lambda s: self._vote(
                        self._members([*small, ("hrnet_small", SMALLER)], folds, s), 0.5
                    ),
                },
            ),
            *self._table(
                "masks tidied up after the vote of four folds",
                "",
                {
                    "as voted": lambda s: self._vote(self._members(small, folds, s)),
                    "largest component": lambda s: self._tidied(small, s, largest=True),
                    "holes filled": lambda s: self._tidied(small, s, largest=False),
                },
            ),
            self._bytes(),
        ]

    def _votes(
        self, table: str, networks: Sequence[tuple[str, int]], folds: Sequence[int]
    ) -> list[dict[str, Any]]:
        members = len(networks) * len(folds)
        usual = votes_needed(members)
        tried = [usual, usual - 1, usual + 1]
        ways: dict[str, Callable[[int], Floats]] = {
            f"{n} of {members}" + (", int(0.7 n)" if n == usual else ""): (
                lambda s, n=n: self._vote(self._members(networks, folds, s), votes=n)
            )
            for n in tried
        }
        said = "3 members: 2 votes 0.9610, 1 vote 0.9510; 6: 4 votes 0.9700, 5 votes 0.9647"
        return self._table(table, f"report, {said}", ways)

    def _table(
        self, table: str, report: str, ways: dict[str, Callable[[int], Floats]]
    ) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        first: Floats | None = None
        for name, way in ways.items():
            dice_N = np.concatenate([way(seed).mean(axis=1) for seed in range(self.seeds)])
            first = dice_N if first is None else first
            people = np.tile(self.people, self.seeds)
            low, high = bootstrap_interval(dice_N - first, people)
            rows.append(
                {
                    "table": table,
                    "row": name,
                    "dice": round(float(dice_N.mean()), 4),
                    "difference": round(float((dice_N - first).mean()), 4),
                    "low": round(low, 4),
                    "high": round(high, 4),
                    "report": report,
                    "machine": machine(),
                }
            )
        return rows

    def _levels(self, model: str, size: int, fold: int, seed: int) -> list[Submission]:
        """A training's levels of the test images."""
        key = model, size, fold, seed
        if key not in self._known:
            logits = np.load(_file(*key)).astype(np.float32)
            self._known[key] = self._submissions(logits)
        return self._known[key]

    def _submissions(self, logits_NChw: NDArray[np.float32]) -> list[Submission]:
        sizes = np.array([(image.height, image.width) for image in self.images])
        nested = [
            runs_at_levels(logits, (int(h), int(w)), LEVELS)
            for logits, (h, w) in zip(logits_NChw, sizes, strict=True)
        ]
        names = tuple(image.name for image in self.images)
        return [
            Submission(
                names, self.class_names, RunRows.join([r for one in nested for r in one[n]]), sizes
            )
            for n in range(len(LEVELS))
        ]

    def _members(
        self, networks: Sequence[tuple[str, int]], folds: Sequence[int], seed: int
    ) -> list[list[Submission]]:
        return [self._levels(model, size, f, seed) for model, size in networks for f in folds]

    def _dice(self, submission: Submission) -> Floats:
        truth = {image.name: image.polygons for image in self.images}
        return score(submission, truth).dice_NC()

    def _vote(
        self,
        members: Sequence[Sequence[Submission]],
        fraction: float | None = None,
        votes: int | None = None,
    ) -> Floats:
        needed = votes_needed(len(members), votes, fraction)
        return self._dice(vote_submissions([levels[MIDDLE] for levels in members], needed))

    def _soft(self, members: Sequence[Sequence[Submission]]) -> Floats:
        return self._dice(average_levels(members)[MIDDLE])

    def _float(
        self, networks: Sequence[tuple[str, int]], folds: Sequence[int], seed: int
    ) -> Floats:
        maps = [
            np.load(_file(model, size, fold, seed)).astype(np.float32)
            for model, size in networks
            for fold in folds
        ]
        mean = np.stack([mean_of([one[n] for one in maps]) for n in range(len(self.images))])
        return self._dice(self._submissions(mean)[MIDDLE])

    def _mean_of_singles(
        self, networks: Sequence[tuple[str, int]], folds: Sequence[int], seed: int
    ) -> Floats:
        members = self._members(networks, folds, seed)
        mean: Floats = np.mean([self._dice(levels[MIDDLE]) for levels in members], axis=0)
        return mean

    def _tidied(self, networks: Sequence[tuple[str, int]], seed: int, largest: bool) -> Floats:
        members = [levels[MIDDLE] for levels in self._members(networks, range(FOLDS), seed)]
        voted = vote_submissions(members, votes_needed(len(members)))
        everything = voted.class_names
        return self._dice(
            tidied(voted, everything if largest else (), () if largest else everything)
        )

    def _bytes(self) -> dict[str, Any]:
        """What the levels of one network take on disk, beside its CSV and its probabilities."""
        levels = self._levels("hrnet_small", 192, 0, 0)
        csv = KEPT / "one.csv"
        write_submission(csv, levels[MIDDLE])
        write_levels(levels_beside(csv), levels)
        sizes = {
            "levels_bytes": levels_beside(csv).stat().st_size // len(self.images),
            "csv_bytes": csv.stat().st_size // len(self.images),
            "float16_map_bytes": 2 * len(self.class_names) * 192 * 192,
        }
        return {"table": "bytes an image of 512 px", "row": "levels, CSV, float16 maps", **sizes}


def _text(rows: Sequence[dict[str, Any]]) -> str:
    lines: list[str] = []
    table = ""
    for row in rows:
        if row["table"] != table:
            table = row["table"]
            said = f" ({row['report']})" if row.get("report") else ""
            lines += ["", f"{table}{said}"]
        if "dice" in row:
            lines.append(
                f"  {row['row']:<28} {row['dice']:.4f}  {row['difference']:+.4f}  "
                f"({row['low']:+.4f} to {row['high']:+.4f})"
            )
        else:
            lines.append(
                f"  {', '.join(f'{k} {v}' for k, v in row.items() if k.endswith('bytes'))}"
            )
    return "\n".join(lines)


if __name__ == "__main__":
    run_job(main)
