"""A checkpoint as a network that is ready to predict."""

from json import JSONDecodeError
from pathlib import Path
from typing import Any

from torch import nn

from handray.config import PRECISIONS
from handray.models.zoo import Design, build_network, check_size
from handray.training.state import load_network

WRONG = (KeyError, TypeError, AttributeError, IndexError, RecursionError)
"""What a file of something else makes its readers raise."""
REMEDY = "give the best.pt of a fold, from runs/NAME/foldN"


def load_for_inference(path: Path) -> tuple[nn.Module, dict[str, Any]]:
    """Build the network of a checkpoint that ``save_network`` wrote.

    Args:
        path: the file, e.g. ``best.pt`` of a fold.

    Returns:
        The network on the CPU, float32, in eval mode; and what the checkpoint says about it.

    Raises:
        ValueError: no such file, or no checkpoint of handray's.

    """
    if not path.is_file():
        raise ValueError(f"{path}: no such file; {REMEDY}")
    try:
        weights, about = load_network(path)
    except (*WRONG, JSONDecodeError) as error:
        raise _no_facts(path) from error
    except ValueError as error:
        raise ValueError(f"{error}; {REMEDY}") from error
    try:
        config = about["config"]["model"]
        # Checkpoints of old name neither encoder nor activation.
        design = Design(config["model"], config.get("encoder", ""), config.get("activation", ""))
        classes = len(about["class_names"])
        _check_facts(about)
    except WRONG as error:
        raise _no_facts(path) from error
    try:
        network = build_network(design, classes)
        check_size(design, about["size"])
        network.load_state_dict(weights)
    except ValueError as error:
        raise ValueError(f"{path} is of a network that can't be built here: {error}") from error
    except (RuntimeError, TypeError, AttributeError) as error:
        raise ValueError(
            f"the weights in {path} are not those of {design.name} with {classes} classes; {REMEDY}"
        ) from error
    return network.eval(), about


def _check_facts(about: dict[str, Any]) -> None:
    """Raise KeyError or TypeError for facts that prediction can't work with."""
    names = about["class_names"]
    numbers = [about["mean"], about["std"], about["size"]]
    if not all(isinstance(number, int | float) for number in numbers) or not about["std"] > 0:
        raise TypeError("mean, std and size are numbers")
    if not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
        raise TypeError("class names are different texts")
    if about["config"].get("train", {}).get("precision", "auto") not in PRECISIONS:
        raise KeyError("precision")


def _no_facts(path: Path) -> ValueError:
    return ValueError(
        f"{path} holds no facts about its network, so it is no handray checkpoint; {REMEDY}"
    )
