"""Many trainings on one decode of the data, each a Tune trial in a process of its own.

Tune's own state is not needed to go on after a crash: a trial's record is kept in the run's folder
as it ends, so the same command asks only for those that have none, and a trial that was under way
has its last checkpoint in the storage.
"""

import shutil
import time
from argparse import Namespace
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import ray
import ray.tune
from numpy.typing import NDArray

from handray.cluster.board import start_board
from handray.cluster.decoding import is_streamed, open_source
from handray.cluster.fold import FoldTask
from handray.cluster.runtime import Plan, nodes, plan, start_ray
from handray.cluster.storage import check_reach, drop_file
from handray.cluster.trial import Decoded, Shared, asked_for, checkpoint_name, run_trial
from handray.config import ClusterConfig, Config, replaced
from handray.data.folds import assign_folds
from handray.data.radiographs import DataFolder
from handray.preparation import starting_weights, storage_of
from handray.reporting.console import LiveLines, duration, progress_line
from handray.reporting.run_folder import RunFolder
from handray.reporting.trials import TRIALS, TrialRecord

RETRIES = 2
"""Times that a trial comes back after its process or node died."""


@dataclass(frozen=True)
class Sweep:
    """What all trials have in common."""

    config: Config
    """That of a trial which changes nothing."""
    sizes: tuple[int, ...]
    """Sides of the model frame that trials may ask for, pixels."""
    data: DataFolder
    """Without test images."""
    fold_of: NDArray[Any]
    """Fold of each training radiograph."""
    home: RunFolder
    storage: str
    """Absolute path or URL where checkpoints are kept while trials train; all nodes reach it."""
    weights: dict[str, Any] | None
    """State dict that every trial starts from; None for a random start."""
    shares: Plan
    streamed: bool
    """Images are decoded anew each epoch."""

    def run(
        self,
        space: dict[str, Any],
        tune_config: ray.tune.TuneConfig,
        total: int,
        ended: Callable[[TrialRecord], None],
        verbose: bool = False,
    ) -> dict[str, str]:
        """Run trials as far as the machines go, and keep the record of each as it ends.

        Args:
            space: Tune's; see ``asked_for``.
            tune_config: with the scheduler, and the search where there is one.
            total: trials that are to be run, for the progress line.
            ended: hears of each trial that ran to its end or was stopped by the scheduler.
            verbose: show what Tune has to say.

        Returns:
            One sentence for each trial that failed, by name.

        """
        board = start_board()
        shared = Shared(self._task(board), self._decoded(board), self.storage)
        print(
            f"Running {total} trials, {self.shares.at_once} at a time, {_device(self.shares)} each"
        )
        watch = _Watch(board, self, ended, -(-total // self.shares.at_once))
        held = {"CPU": self.shares.cpus, **({"GPU": 1} if self.shares.use_gpu else {})}
        trainable = ray.tune.with_parameters(run_trial, shared=shared)
        tuner = ray.tune.Tuner(
            ray.tune.with_resources(trainable, held),
            param_space=space,
            tune_config=replace(tune_config, max_concurrent_trials=self.shares.at_once),
            run_config=ray.tune.RunConfig(
                name=f"tune-{int(time.time())}",
                storage_path=self.storage,
                failure_config=ray.tune.FailureConfig(max_failures=RETRIES),
                callbacks=[watch],
                verbose=2 if verbose else 0,
            ),
        )

        with LiveLines(lambda: watch.lines(total)) as live:
            watch.say = live.say
            tuner.fit()
        failures, decodes = watch.failures, ray.get(board.read.remote())[2]
        if not self.streamed:
            print(f"{decodes} images were decoded for {len(watch.done)} trials")
        if not failures and "://" not in self.storage:
            shutil.rmtree(self.storage, ignore_errors=True)
        return failures

    def _task(self, board: Any) -> FoldTask:
        return FoldTask(
            fold=0,
            config=self.config,
            class_names=self.data.class_names,
            train=self.data.train,
            test=(),
            source=None,  # type: ignore[arg-type]  # each trial has that of its size
            fold_of=tuple(self.fold_of.tolist()),
            mean=0.0,
            std=1.0,
            threads=self.shares.threads,
            board=board,
            weights=ray.put(self.weights) if self.weights else None,
        )

    def _decoded(self, board: Any) -> dict[int, Decoded]:
        """Decode the training images once for each size."""
        return {
            size: Decoded(*open_source(size, self.data, self.streamed, board))
            for size in self.sizes
        }


def open_sweep(
    options: Namespace,
    config: Config,
    sizes: Sequence[int],
    data: DataFolder,
    home: RunFolder,
    trials: int,
) -> tuple[Sweep, str]:
    """Start Ray and find out how trials share the machines.

    Args:
        options: of ``add_job_flags``.
        config: of a trial that changes nothing.
        sizes: sides of the model frame that trials may ask for, pixels.
        data: what is trained on.
        home: the run's folder.
        trials: how many are to be run.

    Returns:
        The sweep, and where the weights come from that its trials start with.

    Raises:
        ValueError: weights, a cluster, a storage or data that can't be used.

    """
    weights, origin = starting_weights(config, len(data.class_names), home)
    print(start_ray(options.verbose))
    configs = [replaced(config, {"data.size": size}) for size in sizes]
    trained_on = replace(data, test=())
    streamed = is_streamed(configs, trained_on)
    shares = share_out(config.cluster, trials, streamed, nodes())
    storage = storage_of(options, home)
    check_reach(storage, data.train[0].image_path)
    fold_of = assign_folds(data.train, config.data.folds, config.train.seed)
    sweep = Sweep(
        config, tuple(sizes), trained_on, fold_of, home, storage, weights, shares, streamed
    )
    return sweep, origin


def share_out(
    config: ClusterConfig, trials: int, streamed: bool, nodes: Sequence[tuple[int, int]]
) -> Plan:
    """Share the machines out among trials: one GPU each, or one CPU where there is none."""
    cpus, gpus = (sum(counts) for counts in zip(*nodes, strict=True))
    at_once = config.folds_at_once or (gpus or max(1, cpus - streamed))
    return plan(replace(config, folds_at_once=at_once), trials, streamed, nodes)


def _device(shares: Plan) -> str:
    return "one GPU" if shares.use_gpu else f"{shares.threads} CPU thread(s)"


class _Watch(ray.tune.Callback):
    """Keeps the record of each trial as it ends, in the driver's process."""

    def __init__(
        self, board: Any, sweep: Sweep, ended: Callable[[TrialRecord], None], rounds: int
    ) -> None:
        self.board, self.ended, self.rounds = board, ended, rounds
        self.home, self.storage = sweep.home, sweep.storage
        self.say: Callable[[str], None] = print
        self.told = False
        self.done: set[str] = set()
        self.stopped = 0
        self.failures: dict[str, str] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Stay behind: Tune pickles its callbacks for a restore that isn't used here."""
        return {}

    def lines(self, total: int) -> list[str]:
        """A line a trial under way, and the count."""
        words = ray.get(self.board.read.remote(), timeout=10)[0]
        running = {name: words[name] for name in sorted(words) if name not in self.done}
        timed = [word["seconds_left"] for word in running.values() if word["step"] > 1]
        if timed and not self.told:
            self.told = True
            whole = duration(self.rounds * timed[0])
            self.say(f"A trial takes about {duration(timed[0])}, all of them at most {whole}.")
        count = f"{len(self.done)} of {total} trials ended, {self.stopped} stopped early"
        return [*(progress_line(name, word) for name, word in running.items()), count]

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        name = asked_for(trial.config).name
        self.done.add(name)
        record: TrialRecord | None = ray.get(self.board.outcome.remote(name))
        if record is None:
            self.failures[name] = "ended without a result; see why with -v"
            return
        record.save(self.home.path / TRIALS)
        drop_file(self.storage, checkpoint_name(record.trial))
        self.stopped += record.stopped_early
        how = f"stopped at {record.percent} %" if record.stopped_early else "finished"
        self.say(f"{name}  {how}: Dice {record.history[-1]['dice']:.4f}")
        try:
            self.ended(record)
        except Exception as error:  # what Tune meets here makes it train the trial again
            self.say(f"warning: {name} isn't tracked yet: {error}; the next start tries again")

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        name = asked_for(trial.config).name
        self.done.add(name)
        lines = str(trial.get_error() or "its process died").strip().splitlines()
        self.failures[name] = ray.get(self.board.failure.remote(name)) or lines[-1]
        self.say(f"{name}  failed: {self.failures[name]}")
