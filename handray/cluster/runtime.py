"""Where the work runs: the cluster that RAY_ADDRESS names, or a Ray of our own on this machine."""

import logging
import os
import signal
import socket

import ray

from handray.cluster.shares import machines

WORKER_ENV = {
    "NO_ALBUMENTATIONS_UPDATE": "1",
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    # Four times so many seconds go by before a fold asks whether the cluster still has what it
    # waits for: a server reboots in that time, or another one is rented.
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "300",
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
ON_HEAD = {"node:__internal_head__": 0.001}
"""Keeps what all folds depend on off the nodes that may be lost."""
QUIET = ("ray", "ray.data", "ray.train", "ray.tune")


def start_ray(verbose: bool) -> str:
    """Join RAY_ADDRESS or start Ray here; returns the line that says which, with its resources.

    Raises:
        ValueError: the cluster doesn't answer, or Ray doesn't start.

    """
    # RAY_ADDRESS alone decides: a cluster left behind on this machine must not be joined by chance.
    address = os.environ.get("RAY_ADDRESS")
    for name, value in (WORKER_ENV | DRIVER_ENV | ({} if address else ALONE_ENV)).items():
        os.environ.setdefault(name, value)  # who has set one knows why
    worker_env = {name: os.environ[name] for name in WORKER_ENV}
    _check_address(address)
    at_sigterm = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(
            address=address or "local",
            log_to_driver=verbose,
            logging_level=logging.INFO if verbose else logging.ERROR,
            # Workers here inherit this process's environment; set by Ray, they would start twice.
            runtime_env={"env_vars": worker_env} if address else None,
        )
    except Exception as error:  # Ray raises what its start-up meets, bare Exceptions among them
        reason = str(error).strip().split("\n")[0]
        where = f"join the cluster at RAY_ADDRESS {address}" if address else "start Ray here"
        raise ValueError(f"could not {where} ({reason}); try again, or see why with -v") from error
    signal.signal(signal.SIGTERM, at_sigterm)  # Ray's own would end the job without a word
    from ray.data import DataContext  # half a second, in this process alone

    if not verbose:  # after that import, which sets levels of its own
        for name in QUIET:
            logging.getLogger(name).setLevel(logging.ERROR)
    DataContext.get_current().enable_progress_bars = verbose
    found = machines()
    cpus, gpus = sum(one.cpus for one in found), sum(one.gpus for one in found)
    where = f"the cluster at {address}" if address else "this machine"
    count = len(found)
    return f"Ray on {where}: {count} node{'s'[: count != 1]}, {cpus} CPUs, {gpus} GPUs"


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
