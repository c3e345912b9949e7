"""Rows of the table of speeds: training through Ray beside the same loop without it."""

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import ray
from small_training import folder_task, phantoms
from timing import Row, row_of

from handray.cluster.board import start_board
from handray.cluster.decoding import open_source
from handray.cluster.fold import FoldTask, FoldTraining
from handray.cluster.kfold import Listener, run_folds
from handray.cluster.runtime import WORKER_ENV, start_ray
from handray.cluster.shares import Plan
from handray.config import Config, replaced
from handray.data.radiographs import read_folder
from handray.recipes import recipe
from handray.training.ranks import Ranks

TURNS = 3
EPOCHS = 4
"""The first of a training doesn't count: memory and caches are new then."""

Epochs = list[dict[str, Any]]


def config() -> Config:
    """The smallest HRNet at 256 px."""
    changes: dict[str, Any] = {
        "model.weights": "none",
        "data.size": 256,
        "data.passes": 1,
        "train.batch": 4,
        "train.accumulate": 1,
        "train.epochs": EPOCHS,
        "train.minutes": 0.0,
    }
    return replaced(recipe("hrnet_small"), changes)


def plain(threads: int) -> Epochs:
    """Epochs of the loop without Ray, in a process of its own."""
    environment = {**os.environ, **WORKER_ENV, "OMP_NUM_THREADS": str(threads)}
    command = [sys.executable, __file__, str(threads)]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True)
    epochs: Epochs = json.loads(done.stdout.splitlines()[-1])
    return epochs


def _plain_here(threads: int) -> Epochs:
    task = folder_task(config(), phantoms())
    training = FoldTraining(replace(task, threads=threads), Ranks(), None)
    training.fit(lambda *_: None, lambda *_: None)
    return training.state.history


def through_ray(ranks_and_threads: list[tuple[int, int]]) -> list[Epochs]:
    """Epochs of one fold trained by Ray Train in a Ray of its own, for each way to share cores."""
    task = folder_task(config(), phantoms())
    start_ray(verbose=False)
    try:
        board = start_board()
        size, data = task.config.data.size, read_folder(phantoms())
        task = replace(task, decoded=open_source(size, data, False, "", board), board=board)
        return [_through_train(task, *shares) for shares in ranks_and_threads]
    finally:
        ray.shutdown()


def _through_train(task: FoldTask, ranks: int, threads: int) -> Epochs:
    config = replaced(task.config, {"cluster.workers_per_fold": ranks})
    plan = Plan(1, ranks, 0.9 * threads, threads, use_gpu=False)
    epochs: Epochs = []
    hears = Listener(lambda _, record: epochs.append(record), lambda *_: None)
    with tempfile.TemporaryDirectory() as storage:
        shared = replace(task, config=config, threads=threads)
        errors = run_folds([shared], plan, storage, hears, verbose=False)
    assert not errors, errors
    return epochs


@cache
def _turns() -> dict[str, list[float]]:
    """Images a second, and the share of waiting, of each way and turn."""
    ways: dict[str, list[float]] = {}
    for _ in range(TURNS):
        one_rank, two_threads, two_ranks = through_ray([(1, 1), (1, 2), (2, 1)])
        without = plain(1)
        for name, epochs in {
            "plain": without,
            "1 x 1": one_rank,
            "1 x 2": two_threads,
            "2 x 1": two_ranks,
        }.items():
            assert len(epochs) == EPOCHS, epochs
            later = epochs[1:]
            ways.setdefault(name, []).append(_median(later, "images_per_s"))
            ways.setdefault(f"{name} waits", []).append(_median(later, "wait_share"))
    return ways


def _median(epochs: Epochs, key: str) -> float:
    return float(np.median([epoch[key] for epoch in epochs]))


SAME = "the same loop, network, images and order"


def through_train() -> Row:
    """The training loop in Ray Train beside a plain process; one thread each."""
    ways = _turns()
    return row_of(
        "training through Ray Train, 1 rank of 1 thread",
        0.97,
        "images/s",
        SAME,
        ways["plain"],
        ways["1 x 1"],
        "hrnet_small at 256 px; the other core is left to Ray's own processes",
        more_is_better=True,
    )


def two_ranks() -> Row:
    """Two ranks of one thread beside one rank of two."""
    ways = _turns()
    return row_of(
        "2 ranks of 1 thread beside 1 rank of 2",
        0.85,
        "images/s",
        "the same images a step",
        ways["1 x 2"],
        ways["2 x 1"],
        "gloo DDP, hrnet_small at 256 px",
        more_is_better=True,
    )


def waiting() -> Row:
    """The share of an epoch that the loop waits for batches."""
    shares = _turns()["1 x 2 waits"]
    return row_of(
        "share of an epoch waiting for data",
        1,
        "share",
        "0.02 may be waited",
        [0.02] * len(shares),
        shares,
        "hrnet_small at 256 px, 1 rank of 2 threads",
    )


if __name__ == "__main__":
    print(json.dumps(_plain_here(int(sys.argv[1]))))
