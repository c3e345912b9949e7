"""What scaling.py measures on a CPU: whole trainings, and what the model of them takes in.

Times are core seconds, the CPU time of a process, its threads and the Ray that it started: what
else the machine does isn't in them, and neither is that ranks wait for the slower one; images/s by
the wall's clock stand beside. Each rank is a process that computes with one thread.
"""

import itertools
import logging
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import ray
import torch
import torch.distributed as dist
from scaling_model import CoreCost, all_reduce
from small_training import Results, films, folder_task, machine, side_by_side

from handray.bones import BONES
from handray.cluster.fold import FoldTraining
from handray.cluster.runtime import QUIET, WORKER_ENV
from handray.config import DataConfig, replaced
from handray.data.augment import Augment
from handray.data.decode import decode
from handray.data.radiographs import read_folder
from handray.data.stream import Frame, StreamedRows
from handray.models.zoo import parameter_count
from handray.recipes import recipe
from handray.training.batch import Batch
from handray.training.loop import Surroundings, fit
from handray.training.ranks import Ranks

PEOPLE = 10
TRAINED = 16
"""Of their 20 images; a fifth of the people is held out."""
BATCH = 4
"""Images of a rank and step."""
EPOCHS = 3
"""The first warms up; the mean of the others counts."""
BUCKET = 25 << 20
"""Bytes that DDP sums at a time."""
FEW, MANY = 10, 50
"""Images of the two streams whose difference tells what an image takes."""


@dataclass(frozen=True)
class Training:
    """A training that is measured."""

    network: str
    size: int
    passes: int
    """Over the images in an epoch, a rank."""
    folds: int = 1
    """Trainings side by side, which exchange nothing."""
    ranks: int = 1
    """Of each fold, with DDP."""
    feed: str = "cached"

    @property
    def processes(self) -> int:
        """As many cores are busy."""
        return self.folds * self.ranks

    @property
    def images(self) -> int:
        """Of an epoch and rank."""
        return TRAINED * self.passes


class Measurements:
    """What was measured on this machine, or is measured when it is asked for."""

    def __init__(self, name: str) -> None:
        threads = {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
        os.environ.update(WORKER_ENV | threads)  # read by the processes to come
        films(PEOPLE)
        self.results = Results(name)

    def training(self, one: Training) -> dict[str, float]:
        """``core_seconds`` of an image; ``images_per_s`` of all folds, by the wall's clock."""
        values = self._row("training", asdict(one), partial(_mean, trained, one.processes, one))
        return {**values, "images_per_s": one.folds * values["images_per_s"]}

    def step(self, one: Training) -> dict[str, float]:
        """``core_seconds`` of an image of a batch in memory, with ``gradient_bytes`` beside.

        As many processes compute as the training has: they share caches and memory.
        """
        key = {"network": one.network, "size": one.size, "processes": one.processes}
        return self._row("step", key, partial(_mean, step_cost, one.processes, one))

    def all_reduce(self) -> dict[str, float]:
        """``bytes_per_core_second`` that gloo sums between two processes on the loopback."""
        return self._row("all_reduce", {}, partial(_mean, sum_speed, 2, None))

    def core_cost(self, size: int) -> CoreCost:
        """What a core needs at a size."""
        core = self._row("core", {"size": size}, partial(_mean, core_cost, 1, size))
        stream = self._row("stream", {"size": size}, partial(_mean, stream_cost, 1, size))
        return CoreCost(core["augment"], core["decode"], stream["image"], stream["start"])

    def _row(
        self, what: str, about: dict[str, Any], measure: Callable[[], dict[str, float]]
    ) -> dict[str, float]:
        key = {"what": what, **about, "machine": machine()}
        row = self.results.row(key)
        if row is None:
            values = {name: float(f"{value:.4g}") for name, value in measure().items()}
            self.results.add({**key, **values, "date": date.today().isoformat()})
            print("measured:", what, *about.values(), values, flush=True)
            return values
        return row


Job = Callable[[int, Any], dict[str, float]]


def _run(job: Job, count: int, what: Any) -> list[dict[str, float]]:
    """Run a job in as many processes at once: what each of them gives."""
    with tempfile.TemporaryDirectory() as folder:
        calls = [(job, rank, count, what, f"{folder}/meeting") for rank in range(count)]
        return [values for _, values in side_by_side(_meet, calls)]


def _meet(job: Job, rank: int, count: int, what: Any, meeting: str) -> dict[str, float]:
    """Do one process's part of a job."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{meeting}", rank=rank, world_size=count)
    try:
        return job(rank, what)
    finally:
        dist.destroy_process_group()


def _mean(job: Job, count: int, what: Any) -> dict[str, float]:
    every = _run(job, count, what)
    return {name: float(np.mean([values[name] for values in every])) for name in every[0]}


def trained(rank: int, one: Training) -> dict[str, float]:
    """Core seconds of an image in a fold's training, all feeding included."""
    training = _training(one, Ranks(rank, one.ranks) if one.ranks > 1 else Ranks())
    values = _fit(training, training.batches)
    ray.shutdown()
    return values


def step_cost(_: int, one: Training) -> dict[str, float]:
    """Core seconds of an image of one batch in memory, again and again; bytes of gradients."""
    training = _training(replace(one, ranks=1, feed="cached"), Ranks())
    batch = next(training.batches(0, 0))
    spent = _fit(training, lambda *_: itertools.repeat(batch, training.feed.steps))
    size = 4 * parameter_count(training.state.model)
    return {"core_seconds": spent["core_seconds"], "gradient_bytes": size}


def sum_speed(_: int, __: None) -> dict[str, float]:
    """Bytes that a rank sends in a core second while buckets of DDP's size are summed."""
    bucket, times = torch.zeros(BUCKET // 4), 40
    dist.all_reduce(bucket)
    started = core_seconds()
    for _ in range(times):
        dist.all_reduce(bucket)
    each = (core_seconds() - started) / times
    return {"bytes_per_core_second": all_reduce(dist.get_world_size(), BUCKET, 1) / each}


def core_cost(_: int, size: int) -> dict[str, float]:
    """Core seconds of an image: decoded from its 2048 px, and augmented as by default."""
    radiographs = read_folder(films(PEOPLE)).train
    augment = Augment.of(replace(DataConfig(), size=size))
    started = core_seconds()
    for radiograph in radiographs:
        image, planes = decode(radiograph, size, len(BONES))
    decoded = core_seconds()
    # Parts of the policy are drawn with a probability of one half: many draws, and their mean.
    for number in range(MANY):
        augment(image, planes, (number,))
    return {
        "decode": (decoded - started) / len(radiographs),
        "augment": (core_seconds() - decoded) / MANY,
    }


def stream_cost(_: int, size: int) -> dict[str, float]:
    """Core seconds of an image through Ray Data, all that Ray does included, and of a start."""
    _start_ray()
    rows = StreamedRows(read_folder(films(PEOPLE)).train, Frame(size, len(BONES)))

    def read(count: int) -> float:
        started = core_seconds()
        for _ in rows.samples([number % TRAINED for number in range(count)]):
            pass
        return core_seconds() - started

    read(FEW)
    few, many = read(FEW), read(MANY)
    ray.shutdown()
    image = (many - few) / (MANY - FEW)
    return {"image": image, "start": max(0.0, few - FEW * image)}


def _training(one: Training, ranks: Ranks) -> FoldTraining:
    """A fold of the drawn hands, ready to be trained on this process's core."""
    changes = {
        "data.size": one.size,
        "data.passes": one.passes * one.ranks,
        "model.weights": "none",
        "train.batch": BATCH * one.ranks,
        "train.accumulate": 1,
        "train.epochs": EPOCHS,
        "train.precision": "fp32",
        "cluster.workers_per_fold": one.ranks,
    }
    task = folder_task(replaced(recipe(one.network), changes), films(PEOPLE))
    if one.feed == "streamed":
        _start_ray()
        source = StreamedRows(task.train, Frame(one.size, len(task.class_names)))
        task = replace(task, decoded=replace(task.decoded, source=source))
    return FoldTraining(task, ranks, None)


def _start_ray() -> None:
    """Start a Ray of one CPU."""
    ray.init(address="local", num_cpus=1, log_to_driver=False, logging_level=logging.ERROR)
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.ERROR)
    ray.data.DataContext.get_current().enable_progress_bars = False


def _fit(
    training: FoldTraining, batches: Callable[[int, int], Iterator[Batch]]
) -> dict[str, float]:
    """Train on these batches: core seconds of an image of this rank, and the fold's images/s."""
    spent: list[float] = []

    def timed(epoch: int, start: int) -> Iterator[Batch]:
        started = core_seconds()
        yield from batches(epoch, start)
        spent.append((core_seconds() - started) / (training.feed.steps * BATCH))

    steps = training.feed.steps
    world = Surroundings(timed, steps, training.validate, lambda *_: None, lambda *_: None)
    dist.barrier()
    fit(training.state, training.learner, world)
    rates = [epoch["images_per_s"] for epoch in training.state.history]
    return {"core_seconds": float(np.mean(spent[1:])), "images_per_s": float(np.mean(rates[1:]))}


def core_seconds() -> float:
    """CPU time of this process and of all that it started: Ray's, too."""
    parent, ticks = {}, {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has just ended
            fields = path.read_text().rpartition(")")[2].split()
            parent[int(path.parent.name)] = int(fields[1])
            # Its own, and those of its children that have ended.
            ticks[int(path.parent.name)] = sum(map(int, fields[11:15]))

    def is_ours(process: int) -> bool:
        while process and process != os.getpid():
            process = parent.get(process, 0)
        return bool(process)

    return sum(ticks[process] for process in ticks if is_ours(process)) / os.sysconf("SC_CLK_TCK")
