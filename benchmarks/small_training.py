"""Short trainings on a CPU, side by side in processes of their own, for the benchmarks here.

The loop, the losses, the feed and the scores are handray's own; only Ray is left out. A fifth of
the people is held out. Each process computes with one thread, which leaves the cores to as many
trainings.
"""

import itertools
import json
import multiprocessing
import os
import platform
import resource
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from handray.cli import Parser
from handray.cluster.fold import Decoded, FoldTask, FoldTraining
from handray.config import Config, replaced
from handray.data.decode import Sample, decode
from handray.data.folds import assign_folds
from handray.data.phantom_folder import draw_folder
from handray.data.radiographs import read_folder
from handray.inference.provenance import processor
from handray.models.zoo import parameter_count
from handray.reporting.console import Counting
from handray.training.batch import Batch
from handray.training.loop import Surroundings, TrainingFailureError, fit
from handray.training.ranks import Ranks
from handray.whole_files import write_text

T = TypeVar("T")
RESULTS = Path(__file__).parent / "results"
PHANTOMS = Path("benchmark_hands")


@dataclass(frozen=True)
class Rows:
    """Decoded images in memory."""

    decoded: Sequence[Sample]

    def samples(self, rows: Sequence[int]) -> Iterator[Sample]:
        """The named rows in the named order."""
        return (self.decoded[row] for row in rows)


def phantoms() -> str:
    """Draw 24 people at 512 px, unless they are there; the folder's name."""
    return _drawn(PHANTOMS, 24, 512)


def films(people: int) -> str:
    """Draw people at the competition's 2048 px, unless they are there; the folder's name."""
    return _drawn(Path(f"{PHANTOMS}_2048_{people}"), people, 2048)


def _drawn(folder: Path, people: int, side: int) -> str:
    draw_folder(folder, people, 0, side, 0, Counting(f"drawing made-up hands of {side} px"))
    return str(folder)


def train(config: Config, data: str, every: int) -> dict[str, Any]:
    """Train one network, config.train.epochs * every steps; a record in plain types.

    Args:
        config: what is trained; an epoch is ``every`` steps.
        data: folder in the competition's layout.
        every: steps between two validations.

    """
    clock: list[float] = []
    failure = ""
    training = _ready(folder_task(config, data), every)
    try:
        _fit(training, every, clock)
    except TrainingFailureError as error:
        failure = str(error)
    return _record(training, clock, failure)


def train_task(task: FoldTask, every: int) -> FoldTraining:
    """Train a task as ``train`` does; raises TrainingFailureError where the loss explodes."""
    training = _ready(task, every)
    _fit(training, every, [])
    return training


def _ready(task: FoldTask, every: int) -> FoldTraining:
    """The training of a task, whose one epoch is as long as all of the config's together."""
    train = task.config.train
    seen = np.count_nonzero(np.array(task.fold_of) != task.fold)
    passes = -(-train.epochs * every * train.batch // seen)
    config = replaced(task.config, {"data.passes": max(1, passes)})
    return FoldTraining(replace(task, config=config), Ranks(), None)


def _fit(training: FoldTraining, every: int, clock: list[float]) -> None:
    """Train, and note the process's clock at every step: what else the machine does isn't in it."""
    visits = training.batches(0, 0)  # one long epoch, cut into pieces between validations

    def batches(_epoch: int, _start: int) -> Iterator[Batch]:
        for batch in itertools.islice(visits, every):
            clock.append(time.process_time())
            yield batch

    world = Surroundings(batches, every, training.validate, lambda *_: None, lambda *_: None)
    fit(training.state, training.learner, world)


def folder_task(config: Config, data: str, folds: int = 5) -> FoldTask:
    """The task of training on a folder's people but those of the first fold."""
    folder = read_folder(data)
    classes = len(folder.class_names)
    decoded = [
        Sample(row, *decode(image, config.data.size, classes))
        for row, image in enumerate(folder.train)
    ]
    fold_of = assign_folds(folder.train, folds, 0)
    seen = np.flatnonzero(fold_of)
    gray = np.stack([decoded[row].image_HW for row in seen])
    return FoldTask(
        fold=0,
        config=config,
        class_names=folder.class_names,
        train=folder.train,
        test=(),
        decoded=Decoded(Rows(decoded), float(gray.mean()), float(gray.std())),
        fold_of=tuple(fold_of.tolist()),
        threads=1,
        board=None,
        weights=None,
    )


def _record(training: FoldTraining, clock: list[float], failure: str) -> dict[str, Any]:
    state = training.state
    curve = [epoch["dice"] for epoch in state.history]
    steps = [after - before for before, after in itertools.pairwise(clock)]
    seen = training.feed.rows[: len(training.held_out)]
    masks = training.predictor.predict(state.average.model, seen)
    return {
        "parameters": parameter_count(state.model),
        "ms_per_step": round(1000 * float(np.median(steps))) if steps else 0,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "dice": round(curve[-1], 4) if curve else 0.0,
        "seen_dice": round(training.predictor.overlap(masks, seen).dice(), 4),
        "curve": [round(dice, 4) for dice in curve],
        "failure": failure,
        "date": date.today().isoformat(),
        "machine": machine(),
    }


def machine() -> str:
    """The processor's name, and how trainings share it."""
    return f"{processor() or platform.machine()}, one thread a training"


class Results:
    """A list of rows in a JSON file, saved as each is added; what is there isn't done again."""

    def __init__(self, name: str) -> None:
        self.path = RESULTS / name
        self.rows: list[dict[str, Any]] = (
            json.loads(self.path.read_text()) if self.path.exists() else []
        )

    def row(self, key: dict[str, Any]) -> dict[str, Any] | None:
        """The row that has all of these values, if there is one."""
        same = [row for row in self.rows if all(row.get(k) == v for k, v in key.items())]
        return same[0] if same else None

    def add(self, row: dict[str, Any]) -> None:
        """Keep a row."""
        self.rows.append(row)
        self.save()

    def save(self) -> None:
        """Write the rows; the file appears as a whole."""
        if not self.rows:
            return
        lines = ",\n".join(json.dumps(one) for one in self.rows)
        write_text(self.path, f"[\n{lines}\n]\n")


def train_all(
    jobs: Sequence[tuple[dict[str, Any], Config]],
    data: str,
    every: int,
    results: Results,
    finish: Callable[[dict[str, Any]], dict[str, Any]],
) -> None:
    """Train what isn't in the results yet, on all cores; a row is its key and what came out.

    Args:
        jobs: key of a row (plain types) and its config.
        data: folder in the competition's layout.
        every: steps between two validations.
        results: where rows are kept as each ends.
        finish: adds what follows from a row to it.

    """
    todo = [(key, config) for key, config in jobs if results.row(key) is None]
    calls = [(config, data, every) for _, config in todo]
    for done, (number, record) in enumerate(side_by_side(train, calls), start=1):
        key = todo[number][0]
        row = finish({**key, **record})
        results.add(row)
        name = " ".join(str(value) for value in key.values())
        print(
            f"{done} of {len(todo)}: {name}: Dice {row['dice']:.3f}, "
            f"{row['ms_per_step']} ms a step",
            flush=True,
        )


def side_by_side(
    function: Callable[..., T], calls: Sequence[tuple[Any, ...]]
) -> Iterator[tuple[int, T]]:
    """Call a function on all cores, each time in a process of its own: (number, what it gave)."""
    context = multiprocessing.get_context("spawn")
    cores = len(os.sched_getaffinity(0))
    with ProcessPoolExecutor(cores, mp_context=context, max_tasks_per_child=1) as pool:
        waiting = {pool.submit(function, *call): number for number, call in enumerate(calls)}
        try:
            for future in as_completed(waiting):
                yield waiting[future], future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def seeds_option(about: str | None) -> int:
    """How many trainings of each the command line asks for; raises ValueError for none."""
    parser = Parser(about)
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each (default: 3)")
    seeds: int = parser.parse_args().seeds
    if seeds < 1:
        raise ValueError(f"--seeds must be at least 1, got {seeds}")
    return seeds
