"""Streams 1 GB of decoded rows through a Ray of this process's own; prints what it took as JSON.

  python stream_a_gigabyte.py FOLDER [BYTES]

FOLDER holds small radiographs; BYTES is the size of the object store, Ray's own without it.
"""

import json
import os
import re
import sys
import time
from pathlib import Path

import numpy as np
import ray
from processes import workers
from ray._private.internal_api import memory_summary

from handray.cluster.runtime import start_ray
from handray.data.augment import Augment
from handray.data.feed import EpochFeed
from handray.data.order import epoch_order
from handray.data.radiographs import read_folder
from handray.data.stream import Frame, StreamedRows

FRAME = Frame(size=1024, classes=29)
BATCH = 4


def own_mb(process: int) -> float:
    """Memory of a process without the pages that it shares, the object store's among them."""
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except OSError:  # it has just ended
        return 0
    return int((status.partition("RssAnon:")[2] or "0").split()[0]) / 1000


def main(folder: str, store: str = "") -> None:
    data = read_folder(folder)
    passes = 10**9 // (FRAME.row_bytes * len(data.train)) + 1
    rows = np.arange(len(data.train))
    if store:
        ray.init(address="local", num_cpus=2, object_store_memory=int(store), log_to_driver=False)
    else:
        print(start_ray(verbose=False), file=sys.stderr)
    source = StreamedRows(data.train, FRAME)
    augment = Augment("none", FRAME.size)
    feed = EpochFeed(source, rows, augment, 1, BATCH, np.arange(BATCH), passes, threads=1)
    seen, own, decoding = [], [], []
    for step in feed.batches(epoch=0):
        seen += [sample.row for sample in step]
        own.append(own_mb(os.getpid()))
        tasks = workers("_decode_task", int(os.environ["HANDRAY_TEST_SESSION"]))
        decoding.append(max(map(own_mb, tasks), default=0))
        time.sleep(0.15)  # slower than the decoding: whatever isn't held back would pile up
    summary = memory_summary(ray.get_runtime_context().gcs_address, stats_only=True)
    spilled = re.search(r"Spilled (\d+) MiB", summary)
    report = {
        "bytes": len(seen) * FRAME.row_bytes,
        "in_order": seen == epoch_order(1, 0, len(rows), BATCH, passes).ravel().tolist(),
        "spilled_mib": int(spilled[1]) if spilled else 0,
        "reader_mb": own,
        "decoder_mb": decoding,
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main(*sys.argv[1:])
