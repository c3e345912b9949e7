"""Test-time augmentation: a network's mean logits over several views of an image.

Logits are averaged rather than probabilities: they don't saturate, and what upsamples and
thresholds them stays the same. Labels don't depend on the side of the hand, so a mirror swaps no
class; for teeth it would.

Axes: B batch, C classes, H W pixels of the model frame.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

Forward = Callable[[Tensor], Tensor]
"""Gray levels 0 .. 255 (B, H, W) to logits (B, C, H, W), of any size that the network takes."""
SCALES = (0.75, 1.0, 1.25)
GAINS = (0.9, 1.0, 1.1)


class View(NamedTuple):
    """One way to look at an image, and the way back for its logits."""

    look: Callable[[Tensor], Tensor]
    back: Callable[[Tensor], Tensor]


def _same(tensor: Tensor) -> Tensor:
    return tensor


def _mirror(tensor: Tensor) -> Tensor:
    return tensor.flip(-1)


def _brighten(gain: float, image_BHW: Tensor) -> Tensor:
    return (image_BHW.float() * gain).clamp(max=255)


def _resize(size_hw: tuple[int, int], maps_BCHW: Tensor) -> Tensor:
    # As images are resized when they are decoded: bilinear, without antialiasing.
    return F.interpolate(maps_BCHW.float(), size_hw, mode="bilinear")


def _resize_image(size_hw: tuple[int, int], image_BHW: Tensor) -> Tensor:
    return _resize(size_hw, image_BHW.unsqueeze(1)).squeeze(1)


def _none(_size_hw: tuple[int, int], _multiple: int) -> list[View]:
    return [View(_same, _same)]


def _flip(_size_hw: tuple[int, int], _multiple: int) -> list[View]:
    return [View(_same, _same), View(_mirror, _mirror)]


def _flip_and_multiply(size_hw: tuple[int, int], multiple: int) -> list[View]:
    mirrors = _flip(size_hw, multiple)
    brightened = [View(partial(_brighten, gain), _same) for gain in GAINS]
    return [View(partial(_both, b.look, m.look), m.back) for m in mirrors for b in brightened]


def _both(first: Forward, second: Forward, image_BHW: Tensor) -> Tensor:
    return second(first(image_BHW))


def _multiscale(size_hw: tuple[int, int], multiple: int) -> list[View]:
    height, width = size_hw
    sizes = dict.fromkeys(
        (_scaled(height, scale, multiple), _scaled(width, scale, multiple)) for scale in SCALES
    )
    return [View(partial(_resize_image, size), partial(_resize, size_hw)) for size in sizes]


def _scaled(side: int, scale: float, multiple: int) -> int:
    return max(multiple, round(side * scale / multiple) * multiple)


TTAS: dict[str, Callable[[tuple[int, int], int], list[View]]] = {
    "none": _none,
    "flip": _flip,
    "flip+multiply": _flip_and_multiply,
    "multiscale": _multiscale,
}
"""Views by name, for an image's height and width and the multiple that the network's sizes are."""


def check_tta(name: str) -> None:
    """Raise ValueError for a test-time augmentation that isn't known."""
    if name not in TTAS:
        raise ValueError(f"--tta {name} is not known; choose one of: {', '.join(TTAS)}")


def mean_logits(name: str, forward: Forward, image_BHW: Tensor, multiple: int) -> Tensor:
    """Mean float32 logits (B, C, H, W) over the views of a test-time augmentation.

    Args:
        name: one of TTAS.
        forward: the network with its normalisation.
        image_BHW: gray levels 0 .. 255, any type.
        multiple: the network takes images whose sides are multiples of this, in pixels.

    Raises:
        ValueError: the name isn't known.

    """
    check_tta(name)
    height, width = image_BHW.shape[-2:]
    views = TTAS[name]((height, width), multiple)
    total = torch.zeros(())
    for view in views:
        logits = view.back(forward(view.look(image_BHW)).float())
        total = total.to(logits.device) + logits
    return total / len(views)
