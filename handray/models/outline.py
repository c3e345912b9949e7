"""A network's names and shapes alone: checked in a second, before any worker starts."""

import torch
from torch import nn

from handray.models.zoo import Design, build_network


def outline(design: Design, classes: int) -> nn.Module:
    """Build a network on torch's meta device: no numbers, whatever its size.

    Raises:
        ValueError: options that don't fit each other.

    """
    try:
        with torch.device("meta"):
            return build_network(design, classes)
    except RuntimeError:  # some compute while they are built
        return build_network(design, classes).to("meta")


def check_pass(model: nn.Module, design: Design, images: int, size: int) -> None:
    """Send one training pass of ``images`` images of ``size`` pixels through an outline.

    Raises:
        ValueError: the encoder can't take them.

    """
    try:
        logits = model.train()(torch.zeros(images, 1, size, size, device="meta"))
        if logits.shape[-2:] != (size, size):
            raise ValueError(f"its logits are {logits.shape[-2]} x {logits.shape[-1]}")
    except Exception as error:  # timm's encoders raise whatever they meet
        reason = str(error).split("\n")[0]
        raise ValueError(
            f"--encoder {design.encoder} with --model {design.name} can't train on {images} "
            f"image(s) of {size} px a pass ({reason}); try another --size, a larger --batch or a "
            "smaller --accumulate"
        ) from error
