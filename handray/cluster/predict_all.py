"""Predict images on all nodes: decoded on CPUs, masks made by actors that hold the GPUs."""

import pickle
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import ray
import torch

from handray.cluster.image_work import BLOCKS_A_CPU, collected
from handray.cluster.shares import machines, working
from handray.data.radiographs import Radiograph, read_image
from handray.inference.rule import Rule
from handray.inference.trained import TrainedNetwork, predict_masks
from handray.masks.rle import RunRows


def predict_all(
    radiographs: Sequence[Radiograph],
    checkpoints: Sequence[bytes],
    rule: Rule,
    progress: Callable[[int, int], None],
) -> tuple[dict[int, RunRows], dict[int, str]]:
    """Masks of every image that can be read, in the source frame.

    Images stream through the cluster, so that memory doesn't grow with their number; Ray does
    again what a lost worker had.

    Args:
        radiographs: what to predict.
        checkpoints: contents of ``best.pt`` files of the same classes.
        rule: how the networks decide.
        progress: called with (images done, images in all).

    Returns:
        Masks by index of the image, and faults by index of those that can't be read.

    Raises:
        ValueError: no machine works.
        RuntimeError: an image is missing or came twice.

    """
    items = [{"row": n, "radiograph": pickle.dumps(one)} for n, one in enumerate(radiographs)]
    found = working(machines())
    cpus, gpus = sum(one.cpus for one in found), sum(one.gpus for one in found)
    # Where there are no GPUs, actors as large as the smallest node allows share the CPUs; one CPU
    # of each is left to decoding, of a single one a half.
    fewest = min(one.cpus for one in found)
    threads = 0 if gpus else max(1, fewest - 1)
    held = {"num_gpus": 1, "num_cpus": 1} if gpus else {"num_cpus": 0.5 if fewest < 2 else threads}
    blocks = min(len(items), BLOCKS_A_CPU * cpus)
    dataset = (
        ray.data.from_items(items, override_num_blocks=blocks)
        .map(_read, num_cpus=0.5 if fewest < 2 else 1)
        .map_batches(
            _Predicting,
            batch_size=1,
            concurrency=gpus or sum(max(1, one.cpus // (threads + 1)) for one in found),
            fn_constructor_args=([ray.put(content) for content in checkpoints], rule, threads),
            **held,
        )
    )
    return collected(dataset.iter_rows(), len(items), progress)


def _read(item: dict[str, Any]) -> dict[str, Any]:
    """Decode an image at source size; a fault travels as text, since Ray would wrap an error."""
    fault, image = "", np.zeros((1, 1), np.uint8)
    try:
        image = read_image(pickle.loads(item["radiograph"]).image_path)
    except ValueError as error:
        fault = str(error)
    return {"row": item["row"], "fault": fault, "image": image}


class _Predicting:
    """An actor with all networks on its device."""

    def __init__(
        self, checkpoints: Sequence["ray.ObjectRef[bytes]"], rule: Rule, threads: int
    ) -> None:
        if threads:
            torch.set_num_threads(threads)
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.rule = rule
        self.networks = []
        with tempfile.TemporaryDirectory(prefix="handray-") as folder:
            for content in checkpoints:
                path = Path(folder) / "best.pt"
                path.write_bytes(ray.get(content))
                self.networks.append(TrainedNetwork(path, device))

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        masks = [
            b"" if fault else pickle.dumps(predict_masks(self.networks, image, self.rule))
            for image, fault in zip(batch["image"], batch["fault"], strict=True)
        ]
        return {"row": batch["row"], "fault": batch["fault"], "result": masks}
