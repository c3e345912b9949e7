"""Where the work runs: the cluster that RAY_ADDRESS names, or a Ray of our own on this machine."""

import logging
import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass

import ray

from handray.config import ClusterConfig

WORKER_ENV = {
    "NO_ALBUMENTATIONS_UPDATE": "1",
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    # glibc gives large blocks back at once, and fetching them anew is a fifth of a step on a CPU.
    # Arenas of threads do so whatever the thresholds, and Ray Train trains in a thread.
    "MALLOC_MMAP_THRESHOLD_": str(1 << 30),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 31),
    "MALLOC_ARENA_MAX": "1",
}
DRIVER_ENV = {
    # Tune's newer output prints tables whatever its verbosity.
    "RAY_AIR_NEW_OUTPUT": "0",
    # Our records, curves and MLflow say it all; its own loggers also choke on a Dice of nan.
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    # Ctrl-C ends the driver at once; what survives is on disk, and Tune's own state isn't needed.
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    # Folds start a dozen small processes each, together: faster so, and not worth a warning.
    "RAY_worker_maximum_startup_concurrency": "16",
}
ALONE_ENV = {
    # Nobody gives notice to a Ray of our own that its machine is going away.
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
}
TRIAL_CPUS = 0.001
"""What a waiting trial holds of a CPU: Tune refuses trials that hold nothing."""
FEED_CPUS = 4
"""Most threads that augment a rank's images."""
ON_HEAD = {"node:__internal_head__": 0.001}
"""Keeps what all folds depend on off the nodes that may be lost."""
QUIET = ("ray", "ray.data", "ray.train", "ray.tune")


@dataclass(frozen=True)
class Plan:
    """How folds share the machines."""

    at_once: int
    """Folds that train side by side."""
    ranks: int
    """Ranks of each fold."""
    cpus: float
    """Ray's CPUs that a rank holds; a share of one where there are too few to hold."""
    threads: int
    """Threads that a rank computes with."""
    use_gpu: bool

    @property
    def device(self) -> str:
        """What each rank computes on, for people."""
        return "one GPU" if self.use_gpu else f"{self.threads} CPU thread(s)"


def start_ray(verbose: bool) -> str:
    """Join RAY_ADDRESS or start Ray here; returns the line that says which, with its resources.

    Raises:
        ValueError: the cluster doesn't answer, or Ray doesn't start.

    """
    # RAY_ADDRESS alone decides: a cluster left behind on this machine must not be joined by chance.
    address = os.environ.get("RAY_ADDRESS")
    os.environ.update(WORKER_ENV | DRIVER_ENV | ({} if address else ALONE_ENV))
    _check_address(address)
    try:
        ray.init(
            address=address or "local",
            log_to_driver=verbose,
            logging_level=logging.INFO if verbose else logging.ERROR,
            # Workers here inherit this process's environment; set by Ray, they would start twice.
            runtime_env={"env_vars": WORKER_ENV} if address else None,
        )
    except Exception as error:  # Ray raises what its start-up meets, bare Exceptions among them
        reason = str(error).strip().split("\n")[0]
        where = f"join the cluster at RAY_ADDRESS {address}" if address else "start Ray here"
        raise ValueError(f"could not {where} ({reason}); try again, or see why with -v") from error
    from ray.data import DataContext  # half a second, in this process alone

    if not verbose:  # after that import, which sets levels of its own
        for name in QUIET:
            logging.getLogger(name).setLevel(logging.ERROR)
    DataContext.get_current().enable_progress_bars = verbose
    cpus, gpus = (sum(counts) for counts in zip(*nodes(), strict=True))
    where = f"the cluster at {address}" if address else "this machine"
    count = len(nodes())
    return f"Ray on {where}: {count} node{'s'[: count != 1]}, {cpus} CPUs, {gpus} GPUs"


def plan(
    config: ClusterConfig, folds: int, streamed: bool, nodes: Sequence[tuple[int, int]]
) -> Plan:
    """Share the machines out: one rank a GPU, or all CPUs to the folds that run at once.

    Args:
        config: ranks a fold, and folds at once where the user said so.
        folds: folds that are still to be trained.
        streamed: images are decoded while training, which takes at least one CPU.
        nodes: CPUs and GPUs of each node.

    Raises:
        ValueError: more ranks than GPUs.

    """
    ranks = config.workers_per_fold
    cpus, gpus = (sum(counts) for counts in zip(*nodes, strict=True))
    if gpus and ranks > gpus:
        raise ValueError(f"--workers-per-fold {ranks}: the cluster has only {gpus} GPUs")
    fitting = gpus // ranks if gpus else 1
    at_once = min(folds, config.folds_at_once or fitting)
    if gpus:
        at_once = min(at_once, fitting)
        # A CPU of each GPU's share is left to decoding, and to a stream all that no rank can use.
        share = min(node_cpus // node_gpus for node_cpus, node_gpus in nodes if node_gpus)
        used = min(FEED_CPUS, share - 1) if streamed else share - 1
        return Plan(at_once, ranks, max(0.5, used), max(1, min(8, used)), True)
    share = (cpus - 1 if streamed and cpus > 1 else cpus) / (at_once * ranks) - TRIAL_CPUS
    threads = max(1, cpus // (at_once * ranks))
    # Whole CPUs where there are enough, so that ranks spread over the nodes.
    held = max(1, int(share)) if share >= 1 else int(100 * share) / 100
    return Plan(at_once, ranks, held / 2 if streamed and cpus == 1 else held, threads, False)


def nodes() -> list[tuple[int, int]]:
    """CPUs and GPUs of each node of the cluster."""
    alive = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return [(int(node.get("CPU", 0)), int(node.get("GPU", 0))) for node in alive]


def _check_address(address: str | None) -> None:
    """Raise ValueError where nothing answers at host:port; Ray itself would try for minutes."""
    host, _, port = (address or "").removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
    except (OSError, OverflowError) as error:
        raise ValueError(
            f"no Ray answers at RAY_ADDRESS {address} ({error}); start the cluster, or unset it to "
            "run here"
        ) from error
