"""The report's two networks from scratch, a U-Net and an HRNet, so that they train.

The report's had SELU beside BatchNorm, torch's default weights and a tiny batch, and their
validation swung. SELU keeps mean and variance by itself if weights are LeCun's, so there is no norm
beside it here (Klambauer et al., 2017, arXiv:1706.02515); with other activations GroupNorm does
that, whatever the batch (Wu and He, 2018, arXiv:1803.08494). Sums of n maps are divided by sqrt(n),
which keeps their variance too.

Axes: B batch, C classes, H W pixels of the model frame.
"""

import itertools
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from handray.models.head import resized, start_at_prior

MODULES: dict[str, type[nn.Module]] = {"selu": nn.SELU, "relu": nn.ReLU, "silu": nn.SiLU}
NORM_GROUPS = 8


@dataclass(frozen=True)
class Layers:
    """Makes layers around one activation: SELU without a norm, others with GroupNorm."""

    activation: str

    def act(self) -> nn.Module:
        """Make the activation."""
        return MODULES[self.activation]()

    def conv(self, inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
        """Make a convolution and, but for SELU, the norm behind it."""
        normed = self.activation != "selu"
        padding = kernel // 2
        layers: list[nn.Module] = [
            nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=not normed)
        ]
        if normed:
            layers.append(nn.GroupNorm(NORM_GROUPS, outputs))
        return nn.Sequential(*layers)

    def dropout(self) -> nn.Module:
        """Make the dropout before the last layer."""
        return nn.AlphaDropout(0.05) if self.activation == "selu" else nn.Dropout(0.1)

    def initialise(self, network: nn.Module) -> None:
        """Draw LeCun's weights for SELU, He's for the others; biases are 0."""
        gain: Literal["linear", "relu"] = "linear" if self.activation == "selu" else "relu"
        for module in network.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity=gain)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)


class DoubleConv(nn.Module):
    """Two 3x3 convolutions, each with its norm and activation."""

    def __init__(self, layers: Layers, inputs: int, outputs: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            layers.conv(inputs, outputs), layers.act(), layers.conv(outputs, outputs), layers.act()
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return ``outputs`` channels on as many pixels as came in."""
        out: Tensor = self.body(x)
        return out


class UNet(nn.Module):
    """U-Net (Ronneberger et al., 2015, arXiv:1505.04597) with padded convolutions.

    Args:
        classes: number of output channels.
        activation: one of the zoo's ``ACTIVATIONS``.
        width: channels at full resolution; they double at each of four halvings.

    """

    def __init__(self, classes: int, activation: str = "selu", width: int = 32) -> None:
        super().__init__()
        layers = Layers(activation)
        widths = [width * 2**level for level in range(5)]
        self.down = nn.ModuleList(
            DoubleConv(layers, before, after)
            for before, after in zip([1, *widths], widths, strict=False)
        )
        self.up = nn.ModuleList(
            DoubleConv(layers, finer + coarser, finer)
            for finer, coarser in zip(widths[-2::-1], widths[:0:-1], strict=True)
        )
        self.dropout = layers.dropout()
        self.classify = nn.Conv2d(width, classes, kernel_size=1)
        layers.initialise(self)
        start_at_prior(self.classify)

    def forward(self, image_B1HW: Tensor) -> Tensor:
        """Logits (B, C, H, W) of normalised images (B, 1, H, W); H and W are multiples of 16."""
        x = self.down[0](image_B1HW)
        skips = []
        for level in self.down[1:]:
            skips.append(x)
            x = level(F.max_pool2d(x, 2))
        for level in self.up:
            skip = skips.pop()
            x = level(torch.cat([skip, resized(x, skip)], dim=1))
        logits: Tensor = self.classify(self.dropout(x))
        return logits


class Residual(nn.Module):
    """Two 3x3 convolutions around which the input goes too."""

    def __init__(self, layers: Layers, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            layers.conv(channels, channels), layers.act(), layers.conv(channels, channels)
        )
        self.act = layers.act()

    def forward(self, x: Tensor) -> Tensor:
        """Return as many channels and pixels as came in."""
        out: Tensor = self.act((x + self.body(x)) * 2**-0.5)
        return out


class Exchange(nn.Module):
    """Residual blocks at every resolution, then each resolution takes in all others.

    The paper brings a map down by a chain of strided convolutions, one a halving. Here, as in the
    report's simplified down-fusion, one average pooling and one 1x1 convolution do.
    """

    def __init__(self, layers: Layers, widths: list[int], blocks: int = 2) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Sequential(*(Residual(layers, width) for _ in range(blocks))) for width in widths
        )
        self.mixes: Any = nn.ModuleList(
            nn.ModuleList(
                nn.Identity() if theirs == ours else layers.conv(theirs, ours, kernel=1)
                for theirs in widths
            )
            for ours in widths
        )
        self.act = layers.act()

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """Maps from fine to coarse, each half as wide and high as the one before."""
        maps = [branch(x) for branch, x in zip(self.branches, maps, strict=True)]
        return [
            self._fused([_brought_to(own, x, mix) for x, mix in zip(maps, mixes, strict=True)])
            for own, mixes in zip(maps, self.mixes, strict=True)
        ]

    def _fused(self, parts: list[Tensor]) -> Tensor:
        fused: Tensor = self.act(torch.stack(parts).sum(0) * len(parts) ** -0.5)
        return fused


def _brought_to(own: Tensor, other: Tensor, mix: nn.Module) -> Tensor:
    """Another resolution's share of a map; 1x1 convolutions run where there are fewer pixels."""
    if other.shape[-1] > own.shape[-1]:
        height, width = own.shape[-2:]
        pooled: Tensor = mix(F.adaptive_avg_pool2d(other, (height, width)))
        return pooled
    return resized(mix(other), own)


class HRNet(nn.Module):
    """A small HRNetV2 of our own: four resolutions side by side, and the head of the paper.

    Args:
        classes: number of output channels.
        activation: one of the zoo's ``ACTIVATIONS``.
        width: channels at stride 4; twice as many at each coarser stride.

    """

    def __init__(self, classes: int, activation: str = "selu", width: int = 24) -> None:
        super().__init__()
        layers = Layers(activation)
        widths = [width * 2**level for level in range(4)]
        self.stem = nn.Sequential(
            *(layers.conv(1, width, stride=2), layers.act()),
            *(layers.conv(width, width, stride=2), layers.act()),
            *(Residual(layers, width) for _ in range(2)),
        )
        self.halve = nn.ModuleList(
            nn.Sequential(layers.conv(finer, coarser, stride=2), layers.act())
            for finer, coarser in itertools.pairwise(widths)
        )
        self.stages = nn.ModuleList(Exchange(layers, widths[:count]) for count in (2, 3, 4))
        self.mix = nn.Sequential(layers.conv(sum(widths), sum(widths), kernel=1), layers.act())
        self.dropout = layers.dropout()
        self.classify = nn.Conv2d(sum(widths), classes, kernel_size=1)
        layers.initialise(self)
        start_at_prior(self.classify)

    def forward(self, image_B1HW: Tensor) -> Tensor:
        """Logits (B, C, H, W) of normalised images (B, 1, H, W); H and W are multiples of 32."""
        maps = [self.stem(image_B1HW)]
        for halve, stage in zip(self.halve, self.stages, strict=True):
            maps = stage([*maps, halve(maps[-1])])
        finest, *coarser = maps
        mixed = self.mix(torch.cat([finest, *(resized(m, finest) for m in coarser)], dim=1))
        return resized(self.classify(self.dropout(mixed)), image_B1HW)
