"""The networks by name: what each is, the sizes that it takes, and how to build it.

Builders import torch and timm when they are called, so that ``--help`` stays quick.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn


ACTIVATIONS = ("selu", "relu", "silu")
"""Of the networks from scratch; the first is theirs unless ``--activation`` says otherwise."""
UNDILATED = ("hrnet", "densenet", "vgg", "xception", "inception")
"""Encoders whose stride can't be halved by dilation."""


@dataclass(frozen=True)
class Design:
    """Which network, in plain types."""

    name: str
    encoder: str = ""
    """smp's or timm's name; "" is the network's own."""
    activation: str = ""
    """Of the networks from scratch; "" is SELU."""


Build = Callable[[Design, int, bool], "nn.Module"]


@dataclass(frozen=True)
class Network:
    """A network of the zoo: ``build(design, classes, pretrained)`` gives the module."""

    about: str
    millions: float
    """Parameters / 10**6, for the 29 bones and the network's own encoder."""
    build: Build
    encoder: str = ""
    """The encoder that ``--encoder`` replaces; "" where it can't."""
    multiple: int = 32
    """Image sides must be multiples of this many pixels."""
    least: int = 64
    """Smallest image side, pixels."""
    least_images: int = 1
    """Images of a forward pass in training: a batch norm of one value has no variance."""
    from_scratch: bool = False
    """There are no weights to load, and ``--activation`` is free."""


def _hrnet(backbone: str) -> Build:
    def build(_: Design, classes: int, pretrained: bool) -> "nn.Module":
        from handray.models.hrnet import HRNetV2

        return HRNetV2(backbone, classes, pretrained)

    return build


def _hrnet_deeplab(_: Design, classes: int, pretrained: bool) -> "nn.Module":
    from handray.models.hrnet import HRNetDeepLab

    return HRNetDeepLab("hrnet_w48", classes, pretrained)


def _smp(decoder: str, encoder: str, **options: int) -> Build:
    def build(design: Design, classes: int, pretrained: bool) -> "nn.Module":
        from handray.models.smp_nets import smp_network

        return smp_network(decoder, design.encoder or encoder, classes, pretrained, **options)

    return build


def _torchvision(name: str) -> Build:
    def build(_: Design, classes: int, pretrained: bool) -> "nn.Module":
        from handray.models.torchvision_nets import TorchvisionNetwork

        return TorchvisionNetwork(name, classes, pretrained)

    return build


def _scratch(kind: str) -> Build:
    def build(design: Design, classes: int, _: bool) -> "nn.Module":
        from handray.models import scratch

        kinds = {"unet": scratch.UNet, "hrnet": scratch.HRNet}
        return kinds[kind](classes, design.activation or ACTIVATIONS[0])

    return build


def _pan(encoder: str) -> Build:
    def build(design: Design, classes: int, pretrained: bool) -> "nn.Module":
        chosen = design.encoder or encoder
        stride = 32 if chosen.startswith(UNDILATED) else 16
        return _smp("PAN", chosen, encoder_output_stride=stride)(Design("pan"), classes, pretrained)

    return build


R34, R101, W48 = "resnet34", "resnet101", "hrnet_w48"

NETWORKS = {
    "hrnet": Network("HRNetV2-W48, head of the paper", 65.9, _hrnet(W48)),
    "hrnet_w18": Network("HRNetV2-W18", 9.6, _hrnet("hrnet_w18")),
    "hrnet_w32": Network("HRNetV2-W32", 29.5, _hrnet("hrnet_w32")),
    "hrnet_w64": Network("HRNetV2-W64", 116.6, _hrnet("hrnet_w64")),
    "hrnet_small": Network("HRNetV2-W18 small: for a CPU", 1.5, _hrnet("hrnet_w18_small")),
    "unet": Network("U-Net", 24.4, _smp("Unet", R34), R34),
    "unetplusplus": Network("U-Net++", 26.1, _smp("UnetPlusPlus", R34), R34),
    "manet": Network("MANet", 31.8, _smp("MAnet", R34), R34),
    "fpn": Network("FPN", 23.2, _smp("FPN", R34), R34),
    "pspnet": Network("PSPNet", 1.6, _smp("PSPNet", R34), R34, multiple=8),
    "pan": Network("PAN", 21.5, _pan(R34), R34, least=128, least_images=2),
    "linknet": Network("Linknet", 21.8, _smp("Linknet", R34), R34),
    "deeplabv3plus": Network("DeepLabV3+", 22.4, _smp("DeepLabV3Plus", R34), R34, least_images=2),
    "upernet": Network("UPerNet", 29.6, _smp("UPerNet", R34), R34, least_images=2),
    "segformer": Network("SegFormer", 24.7, _smp("Segformer", "mit_b2"), "mit_b2"),
    "manet_resnet101": Network("MANet on ResNet-101", 166.4, _smp("MAnet", R101)),
    "pan_resnet101": Network("PAN on ResNet-101", 43.3, _pan(R101), least=128, least_images=2),
    "pan_hrnet": Network("PAN on HRNet-W48", 67.5, _pan(W48), least=256, least_images=2),
    "unetplusplus_hrnet": Network("U-Net++ on HRNet-W48", 77.0, _smp("UnetPlusPlus", W48)),
    "deeplabv3plus_hrnet": Network(
        "DeepLabV3+'s head on HRNetV2-W48's maps", 66.8, _hrnet_deeplab, least_images=2
    ),
    "fcn_resnet50": Network("FCN, torchvision", 33.0, _torchvision("fcn_resnet50"), multiple=8),
    "fcn_resnet101": Network("FCN, torchvision", 51.9, _torchvision("fcn_resnet101"), multiple=8),
    "deeplabv3_resnet50": Network(
        "DeepLabV3, torchvision", 39.6, _torchvision("deeplabv3_resnet50"), "", 8, 64, 2
    ),
    "deeplabv3_resnet101": Network(
        "DeepLabV3, torchvision", 58.6, _torchvision("deeplabv3_resnet101"), "", 8, 64, 2
    ),
    "lraspp_mobilenet": Network(
        "LR-ASPP on MobileNetV3, torchvision",
        3.2,
        _torchvision("lraspp_mobilenet_v3_large"),
        multiple=16,
    ),
    "unet_scratch": Network(
        "U-Net, LeCun's SELU", 7.8, _scratch("unet"), "", 16, from_scratch=True
    ),
    "hrnet_scratch": Network(
        "small HRNetV2, pooled down-fusion, LeCun's SELU", 2.8, _scratch("hrnet"), from_scratch=True
    ),
}


def network(name: str) -> Network:
    """Look a network up.

    Raises:
        ValueError: there is none of that name; the sentence lists the known ones.

    """
    if name not in NETWORKS:
        raise ValueError(f"--model {name} is not known; choose one of: {', '.join(NETWORKS)}")
    return NETWORKS[name]


def check_size(design: Design, size: int) -> None:
    """Raise ValueError where the network can't take images of ``size`` pixels a side."""
    nearest = nearest_size(design, size)
    if size != nearest:
        raise ValueError(
            f"--size must be a multiple of {network(design.name).multiple} and at least "
            f"{_least(design)} for {design.name}, got {size}; try {nearest}"
        )


def nearest_size(design: Design, size: int) -> int:
    """The side nearest to ``size`` that the network takes, pixels."""
    multiple = network(design.name).multiple
    return max(_least(design), round(size / multiple) * multiple)


def _least(design: Design) -> int:
    least = network(design.name).least
    # PAN's three poolings begin at the encoder's last stride.
    return 2 * least if design.name == "pan" and design.encoder.startswith(UNDILATED) else least


def check_design(design: Design) -> None:
    """Raise ValueError for options that the network doesn't have; what torch must tell: builds."""
    its = network(design.name)
    if design.encoder and not its.encoder:
        free = ", ".join(name for name, other in NETWORKS.items() if other.encoder)
        raise ValueError(
            f"--encoder {design.encoder}: {design.name} has its own; those with a choice are {free}"
        )
    if design.activation and not its.from_scratch:
        free = ", ".join(name for name, other in NETWORKS.items() if other.from_scratch)
        raise ValueError(
            f"--activation {design.activation}: {design.name} has its own; it is for {free}"
        )
    if design.activation and design.activation not in ACTIVATIONS:
        raise ValueError(
            f"--activation {design.activation} is not known; "
            f"choose one of: {', '.join(ACTIVATIONS)}"
        )


def build_network(design: Design, classes: int, pretrained: bool = False) -> "nn.Module":
    """Build a network: float32, images (B, 1, H, W) in, logits (B, classes, H, W) out.

    Raises:
        ValueError: options that don't fit each other.
        OSError, RuntimeError: ImageNet weights that can't be loaded.

    """
    check_design(design)
    return network(design.name).build(design, classes, pretrained)


def table() -> str:
    """Every network with its parameters and the sizes that it takes, a line each, for --help."""
    lines = ["networks (millions of parameters with their own encoder; sizes of --size):"]
    for name, its in NETWORKS.items():
        encoder = f" on --encoder {its.encoder}" if its.encoder else ""
        sizes = f"multiples of {its.multiple} from {its.least}"
        lines.append(f"  {name:<20} {its.millions:6.1f}  {sizes:<24} {its.about}{encoder}")
    return "\n".join(lines)


def parameter_count(model: "nn.Module") -> int:
    """Count the parameters that are trained."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)
