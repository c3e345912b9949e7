"""What the last layers of several networks have in common.

Axes: B batch, C classes, H W pixels of the model frame, h w of a feature map.
"""

import math

import torch.nn.functional as F
from torch import Tensor, nn

CLASS_PRIOR = 0.005
"""Share of an image's pixels that a bone covers: the last bias starts at its logit."""


def start_at_prior(classifier: nn.Conv2d) -> None:
    """Set the last layer's bias so that training starts from the share that a class covers."""
    assert classifier.bias is not None
    nn.init.constant_(classifier.bias, math.log(CLASS_PRIOR / (1 - CLASS_PRIOR)))


def resized(map_BChw: Tensor, like: Tensor) -> Tensor:
    """Bilinear resize of a map to the height and width of another, corners not aligned."""
    return F.interpolate(map_BChw, like.shape[-2:], mode="bilinear")
