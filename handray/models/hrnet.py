"""HRNetV2 for segmentation: timm's backbone with the head of the paper.

Wang et al., Deep High-Resolution Representation Learning for Visual Recognition, 2019
(arXiv:1908.07919), section 3.3: the four resolutions are brought to stride 4, concatenated (720
channels for W48), mixed by a 1x1 convolution and classified by another.

Axes: B batch, C classes, H W pixels of the model frame.
"""

import math

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

CLASS_PRIOR = 0.005
"""Share of an image's pixels that a bone covers: the last bias starts at its logit."""


class HRNetV2(nn.Module):
    """HRNetV2 with the 1x1 segmentation head; gray images in, one logit a class and pixel out.

    Args:
        backbone: a timm name, e.g. ``hrnet_w48``.
        classes: number of output channels.
        pretrained: load timm's ImageNet weights; the first convolution's are summed over colours.

    """

    def __init__(self, backbone: str, classes: int, pretrained: bool = False) -> None:
        super().__init__()
        # feature_location="" gives the paper's maps; the default widens them for classification.
        self.backbone = timm.create_model(
            backbone,
            pretrained=pretrained,
            features_only=True,
            feature_location="",
            out_indices=(1, 2, 3, 4),
            in_chans=1,
        )
        channels = sum(self.backbone.feature_info.channels())
        self.mix = nn.Sequential(
            nn.Conv2d(channels, channels, kernel_size=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
        )
        self.classify = nn.Conv2d(channels, classes, kernel_size=1, bias=True)
        nn.init.constant_(self.classify.bias, math.log(CLASS_PRIOR / (1 - CLASS_PRIOR)))  # type: ignore[arg-type]

    def forward(self, image_B1HW: Tensor) -> Tensor:
        """Logits (B, C, H, W) of normalised images (B, 1, H, W); H and W are multiples of 32."""
        finest, *coarser = self.backbone(image_B1HW)
        size = finest.shape[-2:]
        maps = [finest, *(F.interpolate(m, size, mode="bilinear") for m in coarser)]
        # The logits are upsampled, not the 720 maps: the same result for a tenth of the memory.
        # Contiguous, since a loss sums over the pixels of each class.
        logits = self.classify(self.mix(torch.cat(maps, dim=1))).contiguous()
        return F.interpolate(logits, image_B1HW.shape[-2:], mode="bilinear")
