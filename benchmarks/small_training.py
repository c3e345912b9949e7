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
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from handray.cluster.predictor import Predictor
from handray.config import Config
from handray.data.augment import Augment
from handray.data.decode import decode
from handray.data.feed import EpochFeed, Sample
from handray.data.folds import assign_folds
from handray.data.phantom_folder import draw_folder
from handray.data.radiographs import read_folder
from handray.models.zoo import build_network, parameter_count
from handray.reporting.console import Counting
from handray.reporting.run_folder import write_text
from handray.training.batch import Batch, Normalisation
from handray.training.loop import Learner, Surroundings, TrainingFailureError, fit
from handray.training.metrics import Overlap
from handray.training.optim import AveragedModel, build_optimizer
from handray.training.precision import choose_precision
from handray.training.ranks import Ranks
from handray.training.state import TrainState

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
    draw_folder(PHANTOMS, 24, 0, 512, 0, Counting("drawing made-up hands"))
    return str(PHANTOMS)


def train(config: Config, data: str, every: int) -> dict[str, Any]:
    """Train one network, config.train.epochs * every steps; a record in plain types.

    Args:
        config: what is trained; an epoch is ``every`` steps.
        data: folder in the competition's layout.
        every: steps between two validations.

    """
    torch.set_num_threads(1)
    folder = read_folder(data)
    classes = len(folder.class_names)
    decoded = [
        Sample(row, *decode(image, config.data.size, classes))
        for row, image in enumerate(folder.train)
    ]
    source = Rows(decoded)
    fold_of = np.array(assign_folds(folder.train, 5, 0))
    seen, held_out = np.flatnonzero(fold_of), np.flatnonzero(fold_of == 0)
    gray = np.stack([decoded[row].image_HW for row in seen])
    normalise = Normalisation(float(gray.mean()), float(gray.std()))
    feed = EpochFeed(
        source=source,
        rows=seen,
        augment=Augment.of(config.data),
        seed=config.train.seed,
        batch=config.train.batch,
        passes=-(-config.train.epochs * every * config.train.batch // len(seen)),
        rank=0,
        ranks=1,
        threads=1,
    )
    visits = feed.batches(0)  # one long epoch, cut into pieces between validations
    clock: list[float] = []  # of the process, so that what else the machine does doesn't count

    def batches(_epoch: int, _start: int) -> Iterator[Batch]:
        for _ in range(every):
            clock.append(time.process_time())
            samples = next(visits)
            image = torch.from_numpy(np.stack([s.image_HW for s in samples]))
            planes = torch.from_numpy(np.stack([s.planes_HWP for s in samples]))
            yield Batch(tuple(folder.train[s.row].name for s in samples), image, planes)

    torch.manual_seed(config.train.seed)
    model = build_network(config.model.design, classes).to(memory_format=torch.channels_last)
    ranks = Ranks()
    precision = choose_precision(config.train.precision, ranks.device)
    predictor = Predictor(source, folder.train, classes, normalise, precision, ranks)

    def validate(network: nn.Module, rows: np.ndarray = held_out) -> Overlap:
        return predictor.overlap(predictor.predict(network, rows), rows)

    average = AveragedModel(model, config.optim.ema)
    optimizer = build_optimizer(model, config.optim)
    state = TrainState(model, average, optimizer, precision.scaler())
    learner = Learner(config, folder.class_names, normalise, precision, ranks, model)
    world = Surroundings(batches, every, validate, lambda *_: None, lambda *_: None)
    failure = ""
    try:
        fit(state, learner, world)
    except TrainingFailureError as error:
        failure = str(error)
    curve = [epoch["dice"] for epoch in state.history]
    steps = [after - before for before, after in itertools.pairwise(clock)]
    return {
        "parameters": parameter_count(model),
        "ms_per_step": round(1000 * float(np.median(steps))),
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "dice": round(curve[-1], 4) if curve else 0.0,
        "seen_dice": round(validate(average.model, seen[: len(held_out)]).dice(), 4),
        "curve": [round(dice, 4) for dice in curve],
        "failure": failure,
        "date": date.today().isoformat(),
        "machine": _machine(),
    }


def _machine() -> str:
    """The processor's name, as far as the system tells it."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.machine()}, one thread a training"


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
    if not todo:
        return
    context = multiprocessing.get_context("spawn")
    cores = len(os.sched_getaffinity(0))
    with ProcessPoolExecutor(cores, mp_context=context, max_tasks_per_child=1) as pool:
        waiting = {pool.submit(train, config, data, every): key for key, config in todo}
        try:
            for done, future in enumerate(as_completed(waiting), start=1):
                row = finish({**waiting[future], **future.result()})
                results.add(row)
                name = " ".join(str(value) for value in waiting[future].values())
                print(
                    f"{done} of {len(todo)}: {name}: Dice {row['dice']:.3f}, "
                    f"{row['ms_per_step']} ms a step",
                    flush=True,
                )
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
