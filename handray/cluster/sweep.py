"""Many trainings on one decode of the data, each a Tune trial in a process of its own.

Tune's own state is not needed to go on after a crash: a trial's record is kept in the run's folder
as it ends, so the same command asks only for those that have none, and a trial that was under way
has its last checkpoint in the storage.
"""

import time
from argparse import Namespace
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import ray
import ray.tune

from handray.cli import masked
from handray.cluster.board import start_board
from handray.cluster.setting import Setting
from handray.cluster.shares import Machine, Plan, machines, plan
from handray.cluster.storage import drop_file, drop_folder
from handray.cluster.trial import Shared, asked_for, checkpoint_name, run_trial
from handray.config import ClusterConfig, Config, replaced
from handray.data.radiographs import DataFolder
from handray.reporting.console import LiveLines, duration, progress_line, time_left
from handray.reporting.run_folder import RunFolder
from handray.reporting.trials import TRIALS, TrialRecord

RETRIES = 2
"""Times that a trial comes back after its process or node died."""


class Sweep(Setting):
    """Trials in their setting, whose config is that of a trial which changes nothing."""

    @classmethod
    def of_trials(
        cls,
        options: Namespace,
        config: Config,
        sizes: Sequence[int],
        data: DataFolder,
        home: RunFolder,
        trials: int,
    ) -> "Sweep":
        """Open the setting of so many trials, which need no test images; see ``Setting.open``."""
        return cls.open(
            options,
            config,
            sizes,
            replace(data, test=()),
            home,
            lambda streamed: share_out(config.cluster, trials, streamed, machines()),
        )

    def run(
        self,
        sizes: Sequence[int],
        space: dict[str, Any],
        tune_config: ray.tune.TuneConfig,
        total: int,
        ended: Callable[[TrialRecord], None],
    ) -> dict[str, str]:
        """Run trials as far as the machines go, and keep the record of each as it ends.

        Args:
            sizes: sides of the model frame that trials may ask for, pixels.
            space: Tune's; see ``asked_for``.
            tune_config: with the scheduler, and the search where there is one.
            total: trials that are to be run, for the progress line.
            ended: hears of each trial that ran to its end or was stopped by the scheduler.

        Returns:
            One sentence for each trial that failed, by name.

        """
        board = start_board()
        decoded = self.decoded(sizes, board)  # once for each size that trials ask for
        shared = Shared(self.task(decoded[sizes[0]], board), decoded, self.storage)
        at_once = self.shares.at_once
        print(f"Running {total} trials, {at_once} at a time, {self.shares.device} each")
        watch = _Watch(board, self, ended, -(-total // at_once))
        trainable = ray.tune.with_parameters(run_trial, shared=shared)
        tuner = ray.tune.Tuner(
            ray.tune.with_resources(trainable, self.shares.resources()),
            param_space=space,
            tune_config=replace(tune_config, max_concurrent_trials=at_once),
            run_config=ray.tune.RunConfig(
                name=f"tune-{int(time.time())}",
                storage_path=self.storage,
                failure_config=ray.tune.FailureConfig(max_failures=RETRIES),
                callbacks=[watch],
                verbose=2 if self.verbose else 0,
            ),
        )

        with LiveLines(lambda: watch.lines(total)) as live:
            watch.say = live.say
            tuner.fit()
        failures, decodes = watch.failures, ray.get(board.read.remote()).decodes
        if not self.streamed:
            trials = len(watch.done)
            print(f"{decodes} images were decoded for {trials} trial{'s' * (trials > 1)}")
        # What the time ran out for goes on from its checkpoint.
        if not failures and len(watch.done) >= total:
            drop_folder(self.storage)
        return failures


def share_out(
    config: ClusterConfig, trials: int, streamed: bool, machines: Sequence[Machine]
) -> Plan:
    """Share the machines out among trials: one GPU each, or one CPU where there is none."""
    cpus, gpus = sum(one.cpus for one in machines), sum(one.gpus for one in machines)
    at_once = config.folds_at_once or gpus or max(1, cpus - streamed)
    return plan(replace(config, folds_at_once=at_once), trials, streamed, machines)


class _Watch(ray.tune.Callback):
    """Keeps the record of each trial as it ends, in the driver's process."""

    def __init__(
        self, board: Any, sweep: Sweep, ended: Callable[[TrialRecord], None], rounds: int
    ) -> None:
        self.board, self.ended, self.rounds = board, ended, rounds
        self.home, self.storage, self.config = sweep.home, sweep.storage, sweep.config
        self.say: Callable[[str], None] = print
        self.told, self.started = False, time.monotonic()
        self.done: set[str] = set()
        self.stopped = 0
        self.failures: dict[str, str] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Stay behind: Tune pickles its callbacks for a restore that isn't used here."""
        return {}

    def lines(self, total: int) -> list[str]:
        """A line a trial under way, and the count."""
        words = ray.get(self.board.read.remote(), timeout=10).words
        running = {name: words[name] for name in sorted(words) if name not in self.done}
        timed = [word["seconds_left"] for word in running.values() if word["step"] > 1]
        if timed and not self.told:
            self.told = True
            whole = duration(self.rounds * timed[0])
            self.say(f"A trial takes about {duration(timed[0])}, all of them at most {whole}.")
        left = time_left(self.started, len(self.done), total)
        count = f"{len(self.done)} of {total} trials ended, {self.stopped} stopped early{left}"
        return [*(progress_line(name, word) for name, word in running.items()), count]

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        name = asked_for(trial.config).name
        self.done.add(name)
        record: TrialRecord | None = ray.get(self.board.outcome.remote(name))
        if record is None:
            self.failures[name] = "ended without a result; see why with -v"
            return
        # What Tune meets here makes it train the trial again.
        try:
            record.save(self.home.path / TRIALS)
        except OSError as error:
            self.failures[name] = f"its record can't be kept: {error}"
            self.say(f"{name}  failed: {self.failures[name]}")
            return
        config = replaced(self.config, record.trial.changes)
        with suppress(OSError):  # left over, it takes room
            drop_file(self.storage, checkpoint_name(record.trial.fold, config))
        self.stopped += record.stopped_early
        how = f"stopped at {record.percent} %" if record.stopped_early else "finished"
        self.say(f"{name}  {how}: Dice {record.history[-1]['dice']:.4f}")
        try:
            self.ended(record)
        except Exception as error:
            self.say(f"warning: {name} isn't tracked yet: {error}; the next start tries again")

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        name = asked_for(trial.config).name
        self.done.add(name)
        lines = str(trial.get_error() or "its process died").strip().splitlines()
        self.failures[name] = ray.get(self.board.failure.remote(name)) or masked(lines[-1])
        self.say(f"{name}  failed: {self.failures[name]}")
