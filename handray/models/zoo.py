"""The networks by name: what each is, the sizes that it takes, and how to build it.

Builders import torch and timm when they are called, so that ``--help`` stays quick.
"""

import logging
import socket
import urllib.parse
import urllib.request
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class Network:
    """A network of the zoo: ``build(classes, pretrained)`` gives the module."""

    about: str
    stride: int
    """Image sides must be multiples of this many pixels."""
    build: Callable[[int, bool], "nn.Module"]


def _hrnet(backbone: str, classes: int, pretrained: bool) -> "nn.Module":
    from handray.models.hrnet import HRNetV2

    return HRNetV2(backbone, classes, pretrained)


NETWORKS = {
    "hrnet": Network("HRNetV2-W48, 66 M parameters", 32, partial(_hrnet, "hrnet_w48")),
    "hrnet_w18": Network("HRNetV2-W18, 10 M parameters", 32, partial(_hrnet, "hrnet_w18")),
    "hrnet_w32": Network("HRNetV2-W32, 30 M parameters", 32, partial(_hrnet, "hrnet_w32")),
    "hrnet_w64": Network("HRNetV2-W64, 118 M parameters", 32, partial(_hrnet, "hrnet_w64")),
    "hrnet_small": Network(
        "HRNetV2-W18 small, 1.5 M parameters: for a CPU", 32, partial(_hrnet, "hrnet_w18_small")
    ),
}

WEIGHTS = ("auto", "imagenet", "none")
"""What ``--weights`` takes beside the path of a checkpoint."""


def network(name: str) -> Network:
    """Look a network up.

    Raises:
        ValueError: there is none of that name; the sentence lists the known ones.

    """
    if name not in NETWORKS:
        raise ValueError(f"--model {name} is not known; choose one of: {', '.join(NETWORKS)}")
    return NETWORKS[name]


def check_size(name: str, size: int) -> None:
    """Raise ValueError where the network can't take images of ``size`` pixels a side."""
    stride = network(name).stride
    if size < 2 * stride or size % stride:
        nearest = max(2, round(size / stride)) * stride
        raise ValueError(
            f"--size must be a multiple of {stride} (the stride of {name}) and at least "
            f"{2 * stride}, got {size}; try {nearest}"
        )


def parameter_count(name: str, classes: int) -> int:
    """Count a network's parameters without making them."""
    import torch

    with torch.device("meta"):
        return sum(p.numel() for p in network(name).build(classes, False).parameters())


def initial_weights(
    name: str, classes: int, weights: str
) -> "tuple[dict[str, Tensor] | None, str]":
    """Find the weights that training starts from, once, before any worker runs.

    Args:
        name: the network.
        classes: number of output channels.
        weights: ``auto``, ``imagenet``, ``none`` or the path of a checkpoint.

    Returns:
        The state dict, None for a random start, and where it came from: ``imagenet``, ``none``,
        ``none (the hub is out of reach)`` or the path.

    Raises:
        ValueError: ``imagenet`` can't be loaded, or the checkpoint doesn't fit the network.

    """
    if weights == "none":
        return None, "none"
    if weights not in WEIGHTS:
        return _checkpoint_weights(name, classes, Path(weights)), weights
    reason = _go_offline_if_unreachable()
    try:
        return network(name).build(classes, True).state_dict(), "imagenet"
    except (OSError, RuntimeError) as error:
        reason = reason or str(error).split("\n")[0]
        if weights == "imagenet":
            raise ValueError(
                f"--weights imagenet: the weights of {name} could not be loaded ({reason}); "
                "use --weights none, or --weights PATH of a checkpoint"
            ) from error
        return None, f"none ({reason})"


def _go_offline_if_unreachable() -> str:
    """Tell the hub's client not to retry for a minute where the hub can't be reached; say why."""
    from huggingface_hub import constants

    if urllib.request.getproxies():
        return ""  # only the client itself can tell what a proxy reaches
    address = urllib.parse.urlsplit(constants.ENDPOINT)
    try:
        with socket.create_connection((address.hostname or "", address.port or 443), timeout=5):
            return ""
    except OSError as error:
        constants.HF_HUB_OFFLINE = True
        logging.getLogger("timm").setLevel(logging.CRITICAL)
        return f"the model hub is out of reach: {error}"


def _checkpoint_weights(name: str, classes: int, path: Path) -> "dict[str, Tensor]":
    """Weights of a handray checkpoint or a plain state dict; the last layer may be another's."""
    import pickle

    import torch

    if not path.is_file():
        raise ValueError(
            f"--weights {path}: no such file; give a checkpoint or one of {', '.join(WEIGHTS)}"
        )
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, KeyError) as error:
        raise ValueError(f"--weights {path}: not a checkpoint that torch can read") from error
    state = loaded.get("weights", loaded) if isinstance(loaded, dict) else {}
    fresh = network(name).build(classes, False).state_dict()
    if not isinstance(state, dict) or not all(isinstance(v, torch.Tensor) for v in state.values()):
        raise ValueError(f"--weights {path}: holds no network; give the best.pt of a fold")
    if missing := [key for key in fresh if key not in state]:
        raise ValueError(f"--weights {path}: no weights for {missing[0]} of {name}")
    other = [key for key in fresh if state[key].shape != fresh[key].shape]
    if any(state[key].shape[1:] != fresh[key].shape[1:] for key in other):
        raise ValueError(f"--weights {path}: {other[0]} has another shape than {name} needs")
    if other:
        warnings.warn(f"{path} has other classes: {', '.join(other)} start anew", stacklevel=2)
    return {key: fresh[key] if key in other else state[key] for key in fresh}
