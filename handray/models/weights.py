"""The weights that training starts from: ImageNet's, a checkpoint's, or random ones."""

import logging
import socket
import sys
import urllib.parse
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

from handray.models.zoo import Design, build_network, network

if TYPE_CHECKING:
    from torch import Tensor

WEIGHTS = ("auto", "imagenet", "none")
"""What ``--weights`` takes beside the path of a checkpoint."""


def initial_weights(
    design: Design, classes: int, weights: str
) -> "tuple[dict[str, Tensor] | None, str]":
    """Find the weights that training starts from, once, before any worker runs.

    Args:
        design: the network.
        classes: number of output channels.
        weights: ``auto``, ``imagenet``, ``none`` or the path of a checkpoint.

    Returns:
        The state dict, None for a random start, and where it came from: ``imagenet``, ``none``,
        ``none (the hub is out of reach)`` or the path.

    Raises:
        ValueError: ``imagenet`` can't be loaded, or the checkpoint doesn't fit the network.

    """
    name = design.name
    if weights == "none" or (weights == "auto" and network(name).from_scratch):
        return None, "none"
    if weights not in WEIGHTS:
        return _checkpoint_weights(design, classes, Path(weights)), weights
    if network(name).from_scratch:
        raise ValueError(f"--weights imagenet: {name} is trained from scratch; use --weights none")
    reason = _go_offline_if_unreachable()
    try:
        return build_network(design, classes, pretrained=True).state_dict(), "imagenet"
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


def _checkpoint_weights(design: Design, classes: int, path: Path) -> "dict[str, Tensor]":
    """Weights of a handray checkpoint or a plain state dict; the last layer may be another's."""
    import torch

    from handray.models.torch_file import read_torch_file

    flag = f"--weights {path}"
    if not path.is_file():
        raise ValueError(f"{flag}: no such file; give a checkpoint or one of {', '.join(WEIGHTS)}")
    try:
        loaded = read_torch_file(path)
    except ValueError as error:
        raise ValueError(f"--weights {error}; give the best.pt of a fold") from error
    state = loaded.get("weights", loaded) if isinstance(loaded, dict) else {}
    fresh = build_network(design, classes).state_dict()
    if not isinstance(state, dict) or not all(isinstance(v, torch.Tensor) for v in state.values()):
        raise ValueError(f"{flag}: holds no network; give the best.pt of a fold")
    if missing := [key for key in fresh if key not in state]:
        raise ValueError(f"{flag}: no weights for {missing[0]} of {design.name}")
    # torchvision's own checkpoints have a second classifier, for training alone.
    if surplus := [k for k in state if k not in fresh and not k.startswith("aux_classifier.")]:
        raise ValueError(
            f"{flag}: is of another network than {design.name}, which has no {surplus[0]}; give "
            "the same --model, --encoder and --activation that it was trained with"
        )
    if broken := [k for k in fresh if not torch.isfinite(state[k]).all()]:
        raise ValueError(f"{flag}: {broken[0]} holds numbers that aren't finite")
    other = [key for key in fresh if state[key].shape != fresh[key].shape]
    if unfit := [key for key in other if state[key].shape[1:] != fresh[key].shape[1:]]:
        raise ValueError(f"{flag}: {unfit[0]} has another shape than {design.name} needs")
    if other:
        print(f"warning: {path} has other classes: {', '.join(other)} start anew", file=sys.stderr)
    return {key: fresh[key] if key in other else state[key] for key in fresh}
