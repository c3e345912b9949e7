"""torchvision's segmentation networks, for gray images.

Axes: B batch, C classes, H W pixels of the model frame.
"""

from torch import Tensor, nn
from torchvision.models import get_model

from handray.models.head import resized, start_at_prior


class TorchvisionNetwork(nn.Module):
    """FCN, DeepLabV3 or LR-ASPP; gray images in, one logit a class and pixel out.

    Args:
        name: torchvision's, e.g. ``fcn_resnet101``.
        classes: number of output channels.
        pretrained: load the backbone's ImageNet weights; the first convolution's are summed over
            colours.

    """

    def __init__(self, name: str, classes: int, pretrained: bool = False) -> None:
        super().__init__()
        weights = "IMAGENET1K_V1" if pretrained else None
        whole = get_model(name, weights=None, weights_backbone=weights, num_classes=classes)
        self.backbone, self.classifier = whole.backbone, whole.classifier
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                # MobileNet's 0.01 is for long trainings: a short one validates with old statistics.
                module.momentum = 0.1
        self.takes_all_maps = name.startswith("lraspp")
        _make_gray(next(m for m in self.backbone.modules() if isinstance(m, nn.Conv2d)))
        if self.takes_all_maps:  # its logits are the sum of two layers'
            nn.init.zeros_(self.classifier.high_classifier.bias)
            start_at_prior(self.classifier.low_classifier)
        else:
            start_at_prior(self.classifier[-1])

    def forward(self, image_B1HW: Tensor) -> Tensor:
        """Logits (B, C, H, W) of normalised images (B, 1, H, W)."""
        maps = self.backbone(image_B1HW)
        logits = self.classifier(maps if self.takes_all_maps else maps["out"])
        return resized(logits, image_B1HW)


def _make_gray(first: nn.Conv2d) -> None:
    """Sum the first convolution's weights over colours: gray gives what three equal ones gave."""
    first.weight = nn.Parameter(first.weight.detach().sum(dim=1, keepdim=True))
    first.in_channels = 1
