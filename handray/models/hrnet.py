"""HRNetV2 on timm's backbone: with the head of the paper, and with that of DeepLabV3+.

Wang et al., Deep High-Resolution Representation Learning for Visual Recognition, 2019
(arXiv:1908.07919), section 3.3: the four resolutions are brought to stride 4, concatenated (720
channels for W48), mixed by a 1x1 convolution and classified by another.

Axes: B batch, C classes, H W pixels of the model frame.
"""

from typing import Any

import timm
import torch
from segmentation_models_pytorch.decoders.deeplabv3.decoder import DeepLabV3PlusDecoder
from torch import Tensor, nn

from handray.models.head import resized, start_at_prior


def hrnet_backbone(name: str, pretrained: bool) -> Any:
    """Build timm's HRNet for gray images; it gives the paper's maps at strides 4, 8, 16 and 32."""
    # feature_location="" gives the paper's maps; the default widens them for classification.
    return timm.create_model(
        name,
        pretrained=pretrained,
        features_only=True,
        feature_location="",
        out_indices=(1, 2, 3, 4),
        in_chans=1,
    )


class HRNetV2(nn.Module):
    """HRNetV2 with the 1x1 segmentation head; gray images in, one logit a class and pixel out.

    Args:
        backbone: a timm name, e.g. ``hrnet_w48``.
        classes: number of output channels.
        pretrained: load timm's ImageNet weights; the first convolution's are summed over colours.

    """

    def __init__(self, backbone: str, classes: int, pretrained: bool = False) -> None:
        super().__init__()
        self.backbone: Any = hrnet_backbone(backbone, pretrained)
        channels = sum(self.backbone.feature_info.channels())
        self.mix = nn.Sequential(
            nn.Conv2d(channels, channels, kernel_size=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
        )
        self.classify = nn.Conv2d(channels, classes, kernel_size=1, bias=True)
        start_at_prior(self.classify)

    def forward(self, image_B1HW: Tensor) -> Tensor:
        """Logits (B, C, H, W) of normalised images (B, 1, H, W); H and W are multiples of 32."""
        finest, *coarser = self.backbone(image_B1HW)
        maps = [finest, *(resized(m, finest) for m in coarser)]
        # The logits are upsampled, not the 720 maps: the same result for a tenth of the memory.
        return resized(self.classify(self.mix(torch.cat(maps, dim=1))), image_B1HW)


class HRNetDeepLab(nn.Module):
    """HRNetV2 with the head of DeepLabV3+ (Chen et al., 2018, arXiv:1802.02611).

    smp dilates an encoder to keep its resolution, which HRNet can't and needn't: its four maps are
    brought to stride 8 for the atrous pyramid, and the finest, at stride 4, refines the edges.

    Args: as those of ``HRNetV2``.

    """

    def __init__(self, backbone: str, classes: int, pretrained: bool = False) -> None:
        super().__init__()
        self.backbone: Any = hrnet_backbone(backbone, pretrained)
        channels = self.backbone.feature_info.channels()
        self.decoder = DeepLabV3PlusDecoder(
            encoder_channels=(0, 0, channels[0], sum(channels)),
            encoder_depth=3,
            out_channels=256,
            atrous_rates=(12, 24, 36),
            output_stride=8,
            aspp_separable=True,
            aspp_dropout=0.5,
        )
        self.classify = nn.Conv2d(256, classes, kernel_size=1)
        start_at_prior(self.classify)

    def forward(self, image_B1HW: Tensor) -> Tensor:
        """Logits (B, C, H, W) of normalised images (B, 1, H, W); H and W are multiples of 32."""
        finest, second, *coarser = self.backbone(image_B1HW)
        maps = [resized(m, second) for m in (finest, second, *coarser)]
        # The decoder takes its stride 4 map from place 2, as smp's encoders give it.
        decoded = self.decoder([None, None, finest, torch.cat(maps, dim=1)])
        return resized(self.classify(decoded), image_B1HW)
