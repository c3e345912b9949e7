"""Networks that people bring, a checkpoint or an ONNX export, and what they say of a radiograph."""

from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from handray.masks.rle import RunRows
from handray.viewing.uploads import Picture

if TYPE_CHECKING:  # torch and ONNX Runtime take seconds to import
    from handray.inference.onnx_network import OnnxNetwork
    from handray.inference.trained import TrainedNetwork

KINDS = ("pt", "pth", "onnx")
LEAST_SIZE, MOST_SIZE = 32, 4096


@dataclass(frozen=True, eq=False)
class Said:
    """What a network says of a radiograph."""

    class_names: tuple[str, ...]
    rows_C: RunRows
    """Masks in the source frame: pixels with a probability above one half."""
    logits_CHW: NDArray[np.float32]
    """Model frame."""


def open_network(content: bytes, name: str) -> "TrainedNetwork | OnnxNetwork":
    """The network in a file's bytes; no code in it is run.

    Raises:
        ValueError: neither a checkpoint of handray's nor an ONNX export; says so with its name.

    """
    kind = PurePosixPath(name).suffix.lower()
    if kind.removeprefix(".") not in KINDS:
        raise ValueError(f"{name}: a network's file ends in {', '.join(KINDS)}")
    if kind == ".onnx":
        try:
            from handray.inference.onnx_network import OnnxNetwork
        except ImportError:
            remedy = "pip install 'handray[viewer]'"
            raise ValueError(f"{name}: ONNX files need onnxruntime: {remedy}") from None
        return OnnxNetwork(content, name)
    import torch

    from handray.inference.trained import TrainedNetwork

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with TemporaryDirectory(prefix="handray-") as folder:
        path = Path(folder) / f"network{kind}"
        path.write_bytes(content)
        try:
            return TrainedNetwork(path, device)
        except ValueError as error:
            raise ValueError(str(error).replace(str(path), name)) from error


def ask(
    network: "TrainedNetwork | OnnxNetwork", picture: Picture, size: int | None, colour: bool
) -> Said:
    """Have a network predict.

    Args:
        network: what ``open_network`` gave.
        picture: of any size.
        size: side of the model frame, pixels; None for the network's own.
        colour: give a network of three channels RGB instead of gray; others take gray alone.

    Raises:
        ValueError: the network can't take that size.

    """
    from handray.inference.predict import runs_from_logits

    image = picture.image_HW
    if network_channels(network) == 3:
        image = picture.colour_HW3()[..., ::-1] if colour else np.dstack([image] * 3)
    if size is not None:
        _check_size(network, size)
    logits_CHW = network.logits(image, size=size)
    if logits_CHW.ndim != 3 or len(logits_CHW) != len(network.class_names):
        raise ValueError(
            f"the network gives {logits_CHW.shape} for {len(network.class_names)} classes"
        )
    rows = RunRows.join(runs_from_logits(logits_CHW, picture.hw))
    return Said(network.class_names, rows, logits_CHW)


def network_channels(network: "TrainedNetwork | OnnxNetwork") -> int:
    """How many channels its images have: ours see gray."""
    return getattr(network, "channels", 1)


def _check_size(network: "TrainedNetwork | OnnxNetwork", size: int) -> None:
    """Raise ValueError for a size that a checkpoint's network can't take; ONNX says so itself."""
    if not LEAST_SIZE <= size <= MOST_SIZE:
        raise ValueError(f"a size is {LEAST_SIZE} to {MOST_SIZE} px, got {size}")
    multiple = getattr(network, "multiple", 1)
    if size % multiple:
        raise ValueError(f"this network takes multiples of {multiple} px, got {size}")
