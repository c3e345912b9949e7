"""Networks of segmentation_models_pytorch with any encoder of smp or timm, for gray images."""

import copy
import difflib
from contextlib import suppress
from typing import Any

import segmentation_models_pytorch as smp
import timm
import torch
from segmentation_models_pytorch.encoders import encoders
from torch import nn

from handray.models.head import start_at_prior


def encoder_name(encoder: str) -> str:
    """Return smp's name of an encoder that smp or timm knows.

    Raises:
        ValueError: neither does; names some that are close.

    """
    if encoder in encoders or encoder in timm.list_models():
        return encoder if encoder in encoders else f"tu-{encoder}"
    close = difflib.get_close_matches(encoder, [*encoders, *timm.list_models()], n=5)
    raise ValueError(
        f"--encoder {encoder}: neither smp nor timm has it; "
        f"try {', '.join(close) or 'resnet50, hrnet_w48, densenet121, convnext_tiny or mit_b2'}"
    )


def smp_network(
    decoder: str, encoder: str, classes: int, pretrained: bool, **options: Any
) -> nn.Module:
    """Build a network of smp; gray images in, one logit a class and pixel out.

    Args:
        decoder: smp's class, e.g. ``Unet``.
        encoder: as in smp or timm.
        classes: number of output channels.
        pretrained: load ImageNet weights; smp and timm sum the first convolution's over colours.
        options: further arguments of smp's class.

    Raises:
        ValueError: the encoder isn't known or doesn't go with the decoder.
        OSError, RuntimeError: its weights can't be loaded.

    """
    name = encoder_name(encoder)
    weights = (True if name.startswith("tu-") else "imagenet") if pretrained else None
    try:
        network = getattr(smp, decoder)(
            encoder_name=name, encoder_weights=weights, in_channels=1, classes=classes, **options
        )
    except KeyError as error:  # smp has no ImageNet weights of this encoder
        raise RuntimeError(str(error.args[0])) from error
    except (AssertionError, ValueError, AttributeError, TypeError, IndexError) as error:
        reason = str(error).split("\n")[0] or "it can't be dilated"
        raise ValueError(
            f"--encoder {encoder} doesn't go with smp's {decoder} ({reason}); "
            "take another, e.g. resnet50, or another --model, e.g. unet"
        ) from error
    start_at_prior(network.segmentation_head[0])
    _freeze_unused(network)
    return network


def _freeze_unused(network: nn.Module) -> None:
    """Ask no gradient of weights that no logit depends on: DDP would wait for them for ever.

    PSPNet goes no deeper than stride 8, and EfficientNets bring the head of their classifier.
    """
    # Without numbers: which weights have a gradient is all that is asked.
    twin = copy.deepcopy(network).to("meta").eval()
    # An encoder that doesn't take this size is left as it is; outline.py tells about its own.
    with suppress(Exception):
        twin(torch.zeros(1, 1, 256, 256, device="meta")).sum().backward()
        for parameter, its_twin in zip(network.parameters(), twin.parameters(), strict=True):
            parameter.requires_grad_(its_twin.grad is not None)
