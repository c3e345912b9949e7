"""Folds as trials: each is one Tune trial that runs one Ray Train worker group.

Tune's own state is not needed to go on after a crash: a fold's Ray Train run has the fold's name,
so the same command finds its last checkpoint, and finished folds are not asked for again.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import ray
import ray.train
import ray.tune
from ray.train.torch import TorchTrainer
from ray.tune.integration.ray_train import TuneReportCallback

from handray.cluster.runtime import ON_HEAD, TRIAL_CPUS, Plan

if TYPE_CHECKING:  # trials, which only wait, start without the networks' libraries
    from handray.cluster.fold import FoldTask

RESTARTS = 3
"""Times that a fold comes back after a worker or its node died."""


@dataclass(frozen=True)
class Listener:
    """What the caller wants to hear, in the driver's process."""

    epoch_ended: Callable[[int, dict[str, Any]], None]
    """A fold's number and the record of its last epoch."""
    fold_ended: Callable[[int, str], None]
    """A fold's number and the path of its folder in the storage."""


def run_folds(
    tasks: Sequence["FoldTask"], plan: Plan, storage: str, listener: Listener, verbose: bool
) -> dict[int, str]:
    """Train every task, as many side by side as the plan says.

    Args:
        tasks: folds to train.
        plan: how they share the machines.
        storage: path or URL, the same on all nodes, where checkpoints are kept.
        listener: hears of epochs and folds that end.
        verbose: show what Tune has to say.

    Returns:
        Fold to the first line of its error, for trials that crashed more often than is retried.

    """
    trainable = ray.tune.with_parameters(
        _fold_trial,
        tasks={task.fold: ray.put(task) for task in tasks},
        plan=plan,
        storage=storage,
    )
    tuner = ray.tune.Tuner(
        # The trial only waits for its worker group, which holds the CPUs and GPUs itself; on the
        # head, so that it outlives every other node.
        ray.tune.with_resources(trainable, {"CPU": TRIAL_CPUS, **ON_HEAD}),
        param_space={"fold": ray.tune.grid_search([task.fold for task in tasks])},
        tune_config=ray.tune.TuneConfig(
            max_concurrent_trials=plan.at_once,
            reuse_actors=True,  # a later fold finds its trial awake
        ),
        run_config=ray.tune.RunConfig(
            name="tune",
            storage_path=storage,
            callbacks=[_Hearing(listener)],
            verbose=2 if verbose else 0,
        ),
    )
    results = tuner.fit()
    errors: dict[int, str] = {}
    for result in results:
        if result.error and result.config:
            errors[result.config["fold"]] = str(result.error).strip().split("\n")[-1]
    return errors


def _fold_trial(settings: dict[str, Any], tasks: dict[int, Any], plan: Plan, storage: str) -> None:
    """Body of a Tune trial, in a process of its own."""
    fold = settings["fold"]
    resources = {"CPU": plan.cpus, **({"GPU": 1} if plan.use_gpu else {})}
    trainer = TorchTrainer(
        _rank,
        train_loop_config={"task": tasks[fold]},
        scaling_config=ray.train.ScalingConfig(
            num_workers=plan.ranks, use_gpu=plan.use_gpu, resources_per_worker=resources
        ),
        run_config=ray.train.RunConfig(
            name=f"fold{fold}",
            storage_path=storage,
            failure_config=ray.train.FailureConfig(
                max_failures=RESTARTS, controller_failure_limit=RESTARTS
            ),
            checkpoint_config=ray.train.CheckpointConfig(num_to_keep=1),
            callbacks=[TuneReportCallback()],
        ),
    )
    result = trainer.fit()
    # A fold that failed for good has a checkpoint too, but not of its end.
    if result.checkpoint is not None and (result.metrics or {}).get("finished"):
        ray.tune.report({"fold": fold, "folder": result.checkpoint.path})


def _rank(settings: dict[str, Any]) -> None:
    """Body of each rank."""
    from handray.cluster.worker import train_fold

    train_fold(ray.get(settings["task"]))


class _Hearing(ray.tune.Callback):
    """Passes Tune's reports on to the listener."""

    def __init__(self, listener: Listener) -> None:
        self.listener = listener

    def __getstate__(self) -> dict[str, Any]:
        """Stay behind: Tune pickles its callbacks for a restore that isn't used here."""
        return {}

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        fold = trial.config["fold"]
        if "folder" in result:
            self.listener.fold_ended(fold, result["folder"])
        elif result.get("record"):
            self.listener.epoch_ended(fold, result["record"])
