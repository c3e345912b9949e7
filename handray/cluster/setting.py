"""What trainings of one command have in common, folds and trials alike."""

import time
from argparse import Namespace
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import ray
from numpy.typing import NDArray

from handray.cluster.decoding import is_streamed, open_source
from handray.cluster.doctor.examine import check_machines
from handray.cluster.fold import Decoded, FoldTask
from handray.cluster.runtime import start_ray
from handray.cluster.shares import Plan
from handray.cluster.storage import beneath, check_reach
from handray.config import Config
from handray.data.disk_cache import DiskCache, check_room
from handray.data.folds import assign_folds
from handray.data.radiographs import DataFolder
from handray.preparation import starting_weights
from handray.reporting.run_folder import RunFolder
from handray.training.precision import Precision
from handray.training.probe import fastest


@dataclass(frozen=True)
class Setting:
    """What is trained, from what, on what, and where it is kept."""

    config: Config
    data: DataFolder
    fold_of: NDArray[Any]
    """Fold of each training radiograph."""
    home: RunFolder
    storage: str
    """Absolute path or URL where checkpoints are kept while they train; all nodes reach it."""
    weights: dict[str, Any] | None
    """State dict that every training starts from; None for a random start."""
    origin: str
    """Where it comes from."""
    shares: Plan
    streamed: bool
    """Images are decoded anew each epoch."""
    verbose: bool
    """Show Ray's own log."""
    precision: Any = None
    """Reference to the Precision that trains fastest; None where it is given, or by rule: GPUs."""

    @classmethod
    def open(
        cls,
        options: Namespace,
        config: Config,
        sizes: Sequence[int],
        data: DataFolder,
        home: RunFolder,
        share: Callable[[bool], Plan],
    ) -> Self:
        """Start Ray and find out how trainings share the machines.

        Args:
            options: of ``add_job_flags``.
            config: of every training, or of a trial that changes nothing.
            sizes: sides of the model frame that trainings ask for, pixels.
            data: what is decoded.
            home: the run's folder.
            share: the plan, told whether images are streamed; asked once Ray runs.

        Raises:
            ValueError: folds, weights, a cluster, its machines, a storage, a cache or data that
                can't be used.

        """
        cache = config.cluster.cache
        if cache:
            caches = [DiskCache.of(cache, data, size) for size in sizes]
            check_room(caches, [*data.train, *data.test])
        fold_of = assign_folds(data.train, config.data.folds, config.train.seed)
        weights, origin = starting_weights(config, len(data.class_names), home)
        print(start_ray(options.verbose))
        check_machines()
        streamed = not cache and is_streamed(config.cluster.feed, sizes, data)
        shares = share(streamed)
        # Absolute, since workers change directory.
        storage = str(home.path / "ray")
        if options.storage is not None:
            storage = beneath(options.storage, home.name)
        check_reach(storage, data.train[0].image_path)
        return cls(
            config=config,
            data=data,
            fold_of=fold_of,
            home=home,
            storage=storage,
            weights=weights,
            origin=origin,
            shares=shares,
            streamed=streamed,
            precision=_precision(config, len(data.class_names), shares, home),
            verbose=options.verbose,
        )

    def decoded(self, sizes: Sequence[int], board: Any) -> dict[int, Decoded]:
        """Rows of each size, decoded or about to be; notes the seconds of all starts of the run.

        Args:
            sizes: sides of the model frame, pixels.
            board: counts the decodes.

        Raises:
            ValueError: an image can't be read, all are of one gray, or not all nodes see the cache.

        """
        started, before = time.monotonic(), self.home.notes().get("decode_seconds", 0.0)
        cache = self.config.cluster.cache
        rows = {size: open_source(size, self.data, self.streamed, cache, board) for size in sizes}
        self.home.note(decode_seconds=before + time.monotonic() - started)
        return rows

    def task(self, decoded: Decoded, board: Any) -> FoldTask:
        """The training that holds out fold 0; others are this one with another fold."""
        precision = None if self.precision is None else ray.get(self.precision)
        if precision is not None:
            self.home.note(precision=asdict(precision))
        return FoldTask(
            fold=0,
            config=self.config,
            class_names=self.data.class_names,
            train=self.data.train,
            test=self.data.test,
            decoded=decoded,
            fold_of=tuple(self.fold_of.tolist()),
            threads=self.shares.threads,
            board=board,
            weights=ray.put(self.weights) if self.weights else None,
            precision=precision,
        )


def _precision(config: Config, classes: int, shares: Plan, home: RunFolder) -> Any:
    """Start to find out which arithmetic is fastest, beside the decoding."""
    if shares.use_gpu or config.train.precision != "auto":
        return None
    # Trainings that start after a restart compute as the first ones did.
    if known := home.notes().get("precision"):
        return ray.put(Precision(**known))
    probe = ray.remote(fastest).options(num_cpus=min(1, shares.cpus))
    return probe.remote(config.model.design, classes, shares.threads)
