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
from ray.train.v2._internal.exceptions import WorkerGroupStartupTimeoutError
from ray.tune.integration.ray_train import TuneReportCallback

from handray.cli import masked
from handray.cluster.checkpoints import Checkpoints
from handray.cluster.notice import SigtermWatch
from handray.cluster.runtime import ON_HEAD
from handray.cluster.shares import Plan, machines
from handray.whole_files import GOES_ON

if TYPE_CHECKING:  # trials, which only wait, start without the networks' libraries
    from handray.cluster.fold import FoldTask

RESTARTS = 3
"""Times that a fold comes back after a worker or its node died."""

SENTENCES = {
    "No space left on device": f"no room for a checkpoint; {GOES_ON}",
    "actor is dead": f"its workers died {RESTARTS + 1} times; see why with -v",
}
"""What errors of Ray Train mean, by a part of their text."""


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
        board=tasks[0].board,
        plan=plan,
        storage=storage,
    )
    tuner = ray.tune.Tuner(
        # The trial only waits for its worker group, which holds the CPUs and GPUs itself; on the
        # head, so that it outlives every other node.
        ray.tune.with_resources(trainable, {"CPU": 0, **ON_HEAD}),
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
            errors[result.config["fold"]] = masked(_sentence(str(result.error).strip()))
    return errors


def _sentence(error: str) -> str:
    """An error of Ray Train, which is a traceback of several processes, for people."""
    for sign, sentence in SENTENCES.items():
        if sign in error:
            return sentence
    return error.split("\n")[-1]


def _fold_trial(
    settings: dict[str, Any], tasks: dict[int, Any], board: Any, plan: Plan, storage: str
) -> None:
    """Body of a Tune trial, in a process of its own."""
    fold = settings["fold"]
    Checkpoints(storage, fold).mend_index()
    kind = ray.get(board.take.remote(fold, plan.kinds)) if plan.kinds else ""
    try:
        result = _fit(fold, tasks[fold], plan, kind, storage)
        # A fold that failed for good has a checkpoint too, but not of its end.
        if result.checkpoint is not None and (result.metrics or {}).get("finished"):
            ray.tune.report({"fold": fold, "folder": result.checkpoint.path})
    except _LostMachinesError as error:
        ray.get(board.fail.remote(fold, str(error)))
    finally:
        ray.get(board.give_back.remote(fold))


def _fit(fold: int, task: Any, plan: Plan, kind: str, storage: str) -> ray.train.Result:
    """Train a fold, once its machines are free; raises _LostMachinesError where they are gone."""
    trainer = TorchTrainer(
        _rank,
        train_loop_config={"task": task, "storage": storage},
        scaling_config=ray.train.ScalingConfig(
            num_workers=(plan.elastic, plan.ranks) if plan.elastic else plan.ranks,
            use_gpu=plan.use_gpu,
            resources_per_worker=plan.resources(kind),
        ),
        run_config=ray.train.RunConfig(
            name=f"fold{fold}",
            storage_path=storage,
            failure_config=ray.train.FailureConfig(
                max_failures=RESTARTS, controller_failure_limit=RESTARTS
            ),
            # One to go back to, should the last be damaged.
            checkpoint_config=ray.train.CheckpointConfig(num_to_keep=2),
            callbacks=[TuneReportCallback(), SigtermWatch()],
        ),
    )
    while True:
        try:
            return trainer.fit()
        except ray.train.ControllerError as error:
            if not isinstance(error.controller_failure, WorkerGroupStartupTimeoutError):
                raise
            # Others may hold the machines for days; that is no failure, as long as they are there.
            if not plan.fits(machines(), kind):
                raise _LostMachinesError(
                    f"the cluster no longer has {plan.ranks} x {plan.resources(kind)} for its "
                    "ranks; the same command goes on once the lost machines are back, or with "
                    "what there is then"
                ) from error


class _LostMachinesError(RuntimeError):
    """The cluster has shrunk below what a fold needs."""


def _rank(settings: dict[str, Any]) -> None:
    """Body of each rank."""
    from handray.cluster.worker import train_fold

    train_fold(ray.get(settings["task"]), settings["storage"])


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
