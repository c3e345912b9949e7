"""Where the work runs: the cluster that RAY_ADDRESS names, or a Ray of our own on this machine."""

import logging
import os
from dataclasses import dataclass

import ray
from ray.data import DataContext

from handray.config import ClusterConfig

WORKER_ENV = {
    "NO_ALBUMENTATIONS_UPDATE": "1",
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    # glibc gives large blocks back at once, and fetching them anew is a fifth of a step on a CPU.
    "MALLOC_MMAP_THRESHOLD_": str(1 << 30),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 31),
}
DRIVER_ENV = {
    # Tune's newer output prints tables whatever its verbosity.
    "RAY_AIR_NEW_OUTPUT": "0",
    # Ctrl-C ends the driver at once; what survives is on disk, and Tune's own state isn't needed.
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    # Folds start a dozen small processes each, together: faster so, and not worth a warning.
    "RAY_worker_maximum_startup_concurrency": "16",
}
TRIAL_CPUS = 0.001
"""What a waiting trial holds of a CPU: Tune refuses trials that hold nothing."""
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


def start_ray(verbose: bool) -> str:
    """Join RAY_ADDRESS or start Ray here; returns the line that says which, with its resources."""
    os.environ.update(WORKER_ENV | DRIVER_ENV)
    # RAY_ADDRESS alone decides: a cluster left behind on this machine must not be joined by chance.
    address = os.environ.get("RAY_ADDRESS")
    ray.init(
        address=address or "local",
        log_to_driver=verbose,
        logging_level=logging.INFO if verbose else logging.ERROR,
        runtime_env={"env_vars": WORKER_ENV},
    )
    if not verbose:
        for name in QUIET:
            logging.getLogger(name).setLevel(logging.ERROR)
    DataContext.get_current().enable_progress_bars = verbose
    cpus, gpus = count("CPU"), count("GPU")
    nodes = sum(node["Alive"] for node in ray.nodes())
    where = f"the cluster at {address}" if address else "this machine"
    return f"Ray on {where}: {nodes} node{'s'[: nodes != 1]}, {cpus} CPUs, {gpus} GPUs"


def plan(config: ClusterConfig, folds: int, streamed: bool, cpus: int, gpus: int) -> Plan:
    """Share the machines out: one rank a GPU, or all CPUs to the folds that run at once.

    Args:
        config: ranks a fold, and folds at once where the user said so.
        folds: folds that are still to be trained.
        streamed: images are decoded while training, which takes at least one CPU.
        cpus: CPUs of all nodes.
        gpus: GPUs of all nodes.

    Raises:
        ValueError: more ranks than GPUs.

    """
    ranks = config.workers_per_fold
    if gpus and ranks > gpus:
        raise ValueError(f"--workers-per-fold {ranks}: the cluster has only {gpus} GPUs")
    fitting = gpus // ranks if gpus else 1
    at_once = min(folds, config.folds_at_once or fitting)
    if gpus:
        at_once = min(at_once, fitting)
        # The rest of the CPUs decode and augment.
        threads = max(1, min(8, cpus // gpus - 1))
        return Plan(at_once, ranks, threads, threads, True)
    workers = at_once * ranks
    share = (cpus - 1 if streamed and cpus > 1 else cpus) / workers - TRIAL_CPUS
    held = 1.0 if share >= 1 else int(100 * share) / 100
    if streamed and cpus == 1:
        held /= 2
    return Plan(at_once, ranks, held, max(1, cpus // workers), False)


def smallest_store() -> int:
    """Bytes of the smallest object store of the cluster's nodes."""
    stores = [n["Resources"].get("object_store_memory", 0) for n in ray.nodes() if n["Alive"]]
    return int(min(stores))


def count(resource: str) -> int:
    """CPUs or GPUs of the whole cluster."""
    return int(ray.cluster_resources().get(resource, 0))
