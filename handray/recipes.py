"""Recipes: a network's name, or a preset's, picks a whole config."""

from collections.abc import Callable
from functools import partial

from handray.config import (
    Config,
    DataConfig,
    ModelConfig,
    OptimConfig,
    TrainConfig,
    replaced,
)
from handray.models.zoo import network


def hrnet() -> Config:
    """Return the report's best single network, HRNetV2-W48 at 1024 px: Dice 0.9707 there.

    Elastic and mirror, BCE + Dice and AdamP are the report's; batch and epochs are ours.
    """
    return Config()


def hrnet_small() -> Config:
    """Return the smallest HRNet from random weights: a fair result on a CPU in minutes."""
    return Config(
        model=ModelConfig(model="hrnet_small"),
        data=DataConfig(size=256),
        optim=OptimConfig(optimizer="adamw", lr=1.5e-3, weight_decay=0.01, ema=0.99),
        train=TrainConfig(accumulate=1, epochs=60),
    )


def reports_own(
    model: str, size: int = 512, augment: str = "none", epochs: int = 40, lr: float = 1e-4
) -> Config:
    """Return what the report gave a network unless it says otherwise: Adam at 1e-4, BCE + Dice."""
    return Config(
        model=ModelConfig(model=model),
        data=DataConfig(size=size, augment=augment),
        optim=OptimConfig(optimizer="adam", lr=lr),
        # Two images a pass at least, for the batch norms of pooled pixels.
        train=TrainConfig(batch=8, accumulate=1 if size == 512 else 4, epochs=epochs),
    )


def manet_resnet101() -> Config:
    """Return MANet on ResNet-101: Dice 0.9510 in the report.

    It converged slowly: five times the usual learning rate, 80 epochs, random weights.
    """
    config = reports_own("manet_resnet101", epochs=80, lr=5e-4)
    return replaced(config, {"model.weights": "none"})


def fpn() -> Config:
    """Return FPN at 512 px without augmentation, 40 epochs: fair in the report, without a Dice."""
    return reports_own("fpn")


def pan_resnet101() -> Config:
    """Return PAN on ResNet-101, 40 epochs: Dice 0.9296 on one fold in the report.

    The folds' vote after 20 epochs each had 0.9351. It names neither size nor policy.
    """
    return reports_own("pan_resnet101")


def pan_hrnet() -> Config:
    """Return PAN on HRNet-W48: above 0.96 in the report, better than on ResNet-101."""
    return reports_own("pan_hrnet", size=1024, augment="elastic+flip")


def unetplusplus_hrnet() -> Config:
    """Return U-Net++ on HRNet-W48: in the report's ensembles, without a Dice of its own."""
    return reports_own("unetplusplus_hrnet", size=1024, augment="elastic+flip")


def deeplabv3plus_hrnet() -> Config:
    """Return DeepLabV3+'s head on HRNetV2-W48: Dice 0.9699 in the report, the second best."""
    return reports_own("deeplabv3plus_hrnet", size=1024, augment="elastic+flip")


def fcn_resnet50() -> Config:
    """Return FCN on ResNet-50, 512 px, no augmentation, 50 epochs: fair in the report."""
    return reports_own("fcn_resnet50", epochs=50)


def fcn_resnet101() -> Config:
    """Return FCN on ResNet-101, 1024 px, 40 epochs: Dice 0.9653 (0.9605 on the leaderboard)."""
    return reports_own("fcn_resnet101", size=1024, augment="jitter+sharpen+rbc")


def deeplabv3_resnet50() -> Config:
    """Return DeepLabV3: the report found it far better than FCN where wrist bones overlap."""
    return reports_own("deeplabv3_resnet50")


def deeplabv3_resnet101() -> Config:
    """Return DeepLabV3 on ResNet-101, with the settings of the report's FCN-ResNet101."""
    return replaced(fcn_resnet101(), {"model.model": "deeplabv3_resnet101"})


def unet_scratch() -> Config:
    """Return the U-Net from scratch with SELU: never trained in the report, Dice swung.

    Size, policy and epochs are the report's. The learning rate is ours, for weights that start
    from nothing; scratch.py says what made it swing.
    """
    config = reports_own("unet_scratch", 1024, "jitter+sharpen+rbc+griddropout+flip", lr=1e-3)
    return replaced(config, {"optim.optimizer": "adamw", "optim.weight_decay": 0.01})


def hrnet_scratch() -> Config:
    """Return the HRNet from scratch with SELU: as ``unet_scratch`` in the report, not mirrored."""
    changes = {"model.model": "hrnet_scratch", "data.augment": "jitter+sharpen+rbc+griddropout"}
    return replaced(unet_scratch(), changes)


def tried(model: str) -> Callable[[], Config]:
    """Return a recipe for what the report tried, but gave neither settings nor a Dice."""
    return partial(reports_own, model)


def wished_for(model: str) -> Callable[[], Config]:
    """Return a recipe for what the report didn't have: the settings of its best network."""
    return lambda: replaced(hrnet(), {"model.model": model})


RECIPES: dict[str, Callable[[], Config]] = {
    "hrnet": hrnet,
    "hrnet_w18": wished_for("hrnet_w18"),
    "hrnet_w32": wished_for("hrnet_w32"),
    "hrnet_w64": wished_for("hrnet_w64"),
    "hrnet_small": hrnet_small,
    "unet": tried("unet"),  # the report's didn't train
    "unetplusplus": wished_for("unetplusplus"),
    "manet": wished_for("manet"),
    "fpn": fpn,
    "pspnet": tried("pspnet"),
    "pan": wished_for("pan"),
    "linknet": tried("linknet"),  # the report's didn't train
    "deeplabv3plus": wished_for("deeplabv3plus"),
    "upernet": wished_for("upernet"),
    "segformer": wished_for("segformer"),
    "manet_resnet101": manet_resnet101,
    "pan_resnet101": pan_resnet101,
    "pan_hrnet": pan_hrnet,
    "unetplusplus_hrnet": unetplusplus_hrnet,
    "deeplabv3plus_hrnet": deeplabv3plus_hrnet,
    "fcn_resnet50": fcn_resnet50,
    "fcn_resnet101": fcn_resnet101,
    "deeplabv3_resnet50": deeplabv3_resnet50,
    "deeplabv3_resnet101": deeplabv3_resnet101,
    "lraspp_mobilenet": tried("lraspp_mobilenet"),
    "unet_scratch": unet_scratch,
    "hrnet_scratch": hrnet_scratch,
}
"""Whole settings of every network, after ``--model``."""


def recipe(model: str) -> Config:
    """Return the config that ``--model`` picks.

    Raises:
        ValueError: no network of that name.

    """
    network(model)
    return RECIPES[model]()


def demo() -> Config:
    """Return a small HRNet on small images for a few minutes."""
    return replaced(
        hrnet_small(),
        {
            "model.weights": "none",
            "data.size": 192,
            "data.augment": "affine+elastic+flip+rbc",
            "data.folds": 3,
            "data.passes": 6,
            "train.minutes": 6.0,
            "cluster.folds_at_once": 3,
        },
    )


def small_data() -> Config:
    """Return what learns most from a few dozen images in ten minutes of two CPU cores.

    No mirroring: it would swap classes that have a side. benchmarks/small_data.py chose it.
    """
    return replaced(
        hrnet_small(),
        {
            "model.weights": "none",
            "data.augment": "affine+elastic+rbc+mixup",
            "data.augment_strength": 1.5,
            "data.folds": 3,
            "data.passes": 10,
            "optim.lr": 2e-3,
            "optim.warmup": 0.1,
            "optim.weight_decay": 0.2,
            "train.batch": 2,
            "train.minutes": 10.0,
        },
    )


def small_ablation() -> Config:
    """Return a training of half a minute on one core, for an ablation of many policies."""
    return replaced(
        hrnet_small(),
        {"model.weights": "none", "data.size": 128, "data.passes": 4, "train.epochs": 4},
    )


PRESETS: dict[str, Callable[[], Config]] = {"demo": demo, "small_data": small_data}
"""Whole settings by purpose, after ``--preset``, whatever the network of ``--model``."""
