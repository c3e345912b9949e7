"""Examine a cluster, or this machine, before an hour of training is lost on it.

Ray runs here, or on the cluster that RAY_ADDRESS names. Each node is asked for its versions,
OpenCV, GPUs, driver, cuDNN, the GPUs that torch is built for, /dev/shm, disk and clock; it computes
a convolution, adds tensors up with the other nodes (NCCL, or gloo without GPUs; GB/s are the bus
bandwidth), and reaches for the data, the storage and the MLflow server of MLFLOW_TRACKING_URI.

  python jobs/doctor.py
  python jobs/doctor.py --data DIR --size 1024 --storage s3://bucket/handray

A line a check, once for all nodes alike: ok; note, which stops nothing; or wrong, with the command
that mends it. Training makes the quick ones of these checks by itself. Leaves nothing behind.
"""

import argparse
from pathlib import Path

from handray.cli import Parser, masked, run_job
from handray.config import DataConfig
from handray.preparation import data_root
from handray.reporting.console import Stages


def main() -> int:
    """Exit code: 0 all is well, 1 something is wrong, 2 bad input."""
    options = _options()
    # Ray, torch and MLflow take seconds to import: mistakes of the command line are told before.
    from handray.cluster.doctor.examine import DataSize, examine, stages_of
    from handray.cluster.doctor.findings import lines
    from handray.cluster.nodes import alive
    from handray.cluster.runtime import start_ray

    root, storage = data_root(options), options.storage
    data = DataSize.of(root) if root else None
    if storage and "://" not in storage:
        storage = str(Path(storage).absolute())
    print(start_ray(options.verbose), flush=True)
    nodes, wrong = len(alive()), 0
    with Stages(stages_of(data)) as stages:
        for found in examine(data, options.size, storage, stages):
            told = lines(found, nodes)
            wrong += sum(line.startswith("wrong") for line in told)
            stages.say(masked("\n".join(told)))
    if data is None:
        print("note   data: neither --data nor data/train/DCM: what depends on it was left out")
    print(f"{wrong} thing{'s'[: wrong != 1]} wrong" if wrong else "Nothing is wrong")
    return 1 if wrong else 0


def _options() -> argparse.Namespace:
    parser = Parser(__doc__)
    add = parser.add_argument
    add("--data", metavar="DIR", help="data set that is to be trained on (default: data/)")
    add(
        "--size",
        type=int,
        default=DataConfig().size,
        metavar="PIXELS",
        help="side of the network's input, for the room that images take (default: %(default)s)",
    )
    add("--storage", metavar="URL", help="path or s3:// that all nodes reach, for checkpoints")
    add("-v", "--verbose", action="store_true", help="show the log of Ray and of the workers")
    options = parser.parse_args()
    if options.size < 1:
        raise ValueError(f"--size {options.size}: pixels, so at least 1; 1024 is usual")
    return options


if __name__ == "__main__":
    run_job(main)
