"""One config tree: the command line, Ray, MLflow and checkpoints all speak its dotted keys.

Every option's default and help stand here and nowhere else; an option's flag is its last name, so
those are unique (``optim.weight_decay`` is ``--weight-decay``). Recipes: see recipes.py.
"""

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from handray.models.zoo import ACTIVATIONS, Design, check_design, check_size, network
from handray.policies import MIXUP, names

Value = str | int | float
T = TypeVar("T")

FEEDS = ("auto", "cached", "streamed")
PRECISIONS = ("auto", "bf16", "fp16", "fp32")
SCHEDULES = ("constant", "cosine", "plateau")


def _option(default: T, about: str) -> T:
    value: T = field(default=default, metadata={"help": about})
    return value


def _check_choice(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ValueError(
            f"--{name.replace('_', '-')} {value} is not known; choose one of: {', '.join(known)}"
        )


def _check_at_least(name: str, value: int, least: int) -> None:
    if value < least:
        raise ValueError(f"--{name.replace('_', '-')} must be at least {least}, got {value}")


@dataclass(frozen=True)
class ModelConfig:
    """Which network, and where its weights come from."""

    model: str = _option("hrnet", "network, one of those below")
    weights: str = _option(
        "auto",
        "auto (ImageNet where the hub can be reached, else random), imagenet, none, "
        "or the path of a checkpoint",
    )

    encoder: str = _option("", "encoder of an smp network, any of smp's or timm's, e.g. resnet50")
    activation: str = _option("", "of the networks from scratch: " + ", ".join(ACTIVATIONS))

    def __post_init__(self) -> None:
        """Raise ValueError for a network that isn't known, or options that it doesn't have."""
        check_design(self.design)

    @property
    def design(self) -> Design:
        """What the zoo builds."""
        return Design(self.model, self.encoder, self.activation)


@dataclass(frozen=True)
class DataConfig:
    """How images become batches."""

    size: int = _option(1024, "side of the network's input, pixels")
    augment: str = _option("elastic+flip", "augmentation policy, names joined by +, or none")
    augment_strength: float = _option(1.0, "factor on the ranges of the policy's transforms")
    folds: int = _option(
        5, "folds of the cross-validation, by person; 1: one network on all images"
    )
    passes: int = _option(1, "passes over the training images that make one epoch")

    def __post_init__(self) -> None:
        """Raise ValueError for numbers out of range."""
        if self.folds < 1:
            raise ValueError(
                f"--folds must be at least 1, got {self.folds}; 5 is usual, 1 holds nothing out"
            )
        _check_at_least("passes", self.passes, 1)
        if not 0 < self.augment_strength <= 2:
            raise ValueError(
                f"--augment-strength must be above 0 and at most 2, got {self.augment_strength}"
            )

    @property
    def mixup(self) -> float:
        """Mixup's alpha, 0 where the policy doesn't mix."""
        return 0.2 * self.augment_strength if MIXUP in names(self.augment) else 0.0


@dataclass(frozen=True)
class OptimConfig:
    """Optimiser, schedule and averaging."""

    optimizer: str = _option("adamp", "optimiser: adam, adamp, adamw or sgd")
    lr: float = _option(1e-4, "peak learning rate")
    encoder_lr_factor: float = _option(
        1.0, "learning rate of the encoder as a share of the head's, for pretrained ones"
    )
    weight_decay: float = _option(1e-6, "weight decay; norms and biases have none")
    schedule: str = _option("cosine", "learning rate after the warm-up: " + ", ".join(SCHEDULES))
    warmup: float = _option(0.03, "share of the training in which the learning rate rises")
    clip: float = _option(1.0, "largest norm of the gradient")
    ema: float = _option(0.999, "decay of the averaged weights, a step; 0 averages nothing")

    def __post_init__(self) -> None:
        """Raise ValueError for unknown names and numbers out of range."""
        _check_choice("schedule", self.schedule, SCHEDULES)
        if not self.lr > 0 or not self.clip > 0:
            raise ValueError(f"--lr and --clip must be above 0, got {self.lr} and {self.clip}")
        if not 0 < self.encoder_lr_factor <= 1:
            raise ValueError(
                f"--encoder-lr-factor must be above 0 and at most 1, got {self.encoder_lr_factor}; "
                "0.1 is usual for pretrained encoders"
            )
        if self.weight_decay < 0:
            raise ValueError(f"--weight-decay must not be negative, got {self.weight_decay}")
        if not (0 <= self.warmup < 1 and 0 <= self.ema < 1):
            raise ValueError(
                f"--warmup and --ema must be in [0, 1), got {self.warmup} and {self.ema}"
            )


@dataclass(frozen=True)
class TrainConfig:
    """How long, on what batches, towards what."""

    loss: str = _option(
        "1*bce+1*dice", "weighted sum of the losses bce, dice, iou and focal, e.g. 7*bce+3*dice"
    )
    class_weights: str = _option(
        "", "weights of classes in the loss, e.g. Pisiform=2,Trapezoid=1.5; others weigh 1"
    )
    batch: int = _option(4, "images of one optimiser step, over all workers of a fold")
    accumulate: int = _option(2, "parts that a batch is worked through in, to save memory")
    epochs: int = _option(50, "epochs a fold")
    minutes: float = _option(0.0, "wall minutes a fold instead of --epochs; 0: epochs count")
    precision: str = _option("auto", "arithmetic, one of: " + ", ".join(PRECISIONS))
    seed: int = _option(0, "seed of folds, order, augmentation and random weights")

    def __post_init__(self) -> None:
        """Raise ValueError for unknown names and numbers out of range."""
        _check_choice("precision", self.precision, PRECISIONS)
        for name in ("batch", "accumulate", "epochs"):
            _check_at_least(name, getattr(self, name), 1)
        _check_at_least("seed", self.seed, 0)
        if self.minutes < 0:
            raise ValueError(f"--minutes must not be negative, got {self.minutes}")


@dataclass(frozen=True)
class ClusterConfig:
    """Where the work is done; no run's name holds it, so that a run can go on elsewhere.

    Nothing here changes what a network sees; of what it learns, ``workers_per_fold`` changes the
    batch norms' groups and the dropout, no more than another order of the images would.
    """

    workers_per_fold: int = _option(1, "ranks that train one fold together (DDP)")
    elastic: int = _option(
        0,
        "when a machine is lost, go on with as few ranks a fold as this, with the same --batch in "
        "the same parts, and with all of them again once it is back; 0: wait for it",
    )
    folds_at_once: int = _option(0, "folds side by side; 0: as many as GPUs allow, 1 without")
    feed: str = _option("auto", "decoded images: cached in memory, streamed each epoch, or auto")
    cache: str = _option(
        "",
        "folder that keeps decoded images, so that later jobs on the same data decode nothing; "
        "on a cluster, one that all nodes share",
    )
    activation_checkpointing: bool = _option(
        False, "compute activations anew in the backward pass: less memory, a third more time"
    )
    cuda_graphs: bool = _option(
        False,
        "replay a GPU's step as CUDA graphs, for networks of many small kernels such as HRNet at "
        "small batches; untested on hardware",
    )
    checkpoint_minutes: float = _option(10.0, "minutes between checkpoints within an epoch")

    def __post_init__(self) -> None:
        """Raise ValueError for unknown names and numbers out of range."""
        _check_choice("feed", self.feed, FEEDS)
        if self.cache and self.feed == "streamed":
            raise ValueError(
                f"--cache {self.cache} keeps decoded images and --feed streamed keeps none; "
                "leave one of them out"
            )
        if "://" in self.cache:
            raise ValueError(
                f"--cache {self.cache} is a URL, and the cache is mapped into memory; "
                "give the path of a folder"
            )
        _check_at_least("workers_per_fold", self.workers_per_fold, 1)
        if not 0 <= self.elastic <= self.workers_per_fold:
            raise ValueError(
                f"--elastic {self.elastic}: the fewest ranks to go on with are 1 to "
                f"--workers-per-fold {self.workers_per_fold}, or 0 to wait for all"
            )
        _check_at_least("folds_at_once", self.folds_at_once, 0)
        if self.cuda_graphs and (self.activation_checkpointing or self.workers_per_fold > 1):
            raise ValueError(
                "--cuda-graphs records one rank's whole step; leave --activation-checkpointing and "
                "--workers-per-fold out"
            )
        if not self.checkpoint_minutes > 0:
            raise ValueError(f"--checkpoint-minutes must be above 0, got {self.checkpoint_minutes}")


@dataclass(frozen=True)
class Config:
    """All that a training run can be told."""

    model: ModelConfig = ModelConfig()
    data: DataConfig = DataConfig()
    optim: OptimConfig = OptimConfig()
    train: TrainConfig = TrainConfig()
    cluster: ClusterConfig = ClusterConfig()

    def __post_init__(self) -> None:
        """Raise ValueError where parts that are right by themselves don't fit together."""
        for key, value in flatten(self).items():
            if isinstance(value, float) and not math.isfinite(value):
                flag = key.split(".")[1].replace("_", "-")
                raise ValueError(f"--{flag} must be a finite number, got {value}")
        if self.cluster.cuda_graphs and self.train.accumulate > 1:
            # A graph writes each pass's gradients over those of the one before
            # (github.com/pytorch/pytorch/issues/181723).
            raise ValueError(
                f"--cuda-graphs takes a batch in one pass; add --accumulate 1, got "
                f"{self.train.accumulate}"
            )
        check_size(self.model.design, self.data.size)
        if self.optim.schedule == "plateau" and self.data.folds == 1:
            raise ValueError(
                "--schedule plateau waits for a validation Dice, and --folds 1 holds nothing out; "
                "take --schedule cosine"
            )
        parts = self.parts
        if self.train.batch % parts:
            raise ValueError(
                f"--batch {self.train.batch} can't be split into {parts} equal parts "
                f"(--workers-per-fold {self.cluster.workers_per_fold} x --accumulate "
                f"{self.train.accumulate}); try --batch {-(-self.train.batch // parts) * parts}"
            )
        least = network(self.model.model).least_images
        if self.rank_batch < least:
            raise ValueError(
                f"--model {self.model.model} needs at least {least} images a pass for its batch "
                f"norms, got --batch {self.train.batch} in {parts} parts; "
                f"try --batch {least * parts}, or a smaller --accumulate"
            )
        ranks = self.cluster.workers_per_fold
        if self.data.mixup and self.train.batch < 2 * ranks:
            raise ValueError(
                f"--augment {self.data.augment}: mixup needs at least two images on each rank, got "
                f"--batch {self.train.batch} on {ranks} ranks; try --batch {2 * ranks}"
            )

    @property
    def parts(self) -> int:
        """Parts that a batch is worked through in, by all ranks of a fold."""
        return self.cluster.workers_per_fold * self.train.accumulate

    @property
    def rank_batch(self) -> int:
        """Images that one rank sees in one forward pass."""
        return self.train.batch // self.parts


def flatten(config: Config) -> dict[str, Value]:
    """Every leaf by its dotted key, e.g. ``optim.lr``."""
    return {
        f"{part}.{key}": value
        for part, leaves in dataclasses.asdict(config).items()
        for key, value in leaves.items()
    }


def replaced(config: Config, changes: Mapping[str, Value]) -> Config:
    """Return the config with some dotted keys changed, checked anew.

    Raises:
        ValueError: an unknown key, or a value that can't be.

    """
    parts: dict[str, dict[str, Value]] = {}
    for dotted, value in changes.items():
        part, _, key = dotted.partition(".")
        if dotted not in flatten(config):
            raise ValueError(f"no config key {dotted}; known: {', '.join(flatten(config))}")
        parts.setdefault(part, {})[key] = value
    nested: dict[str, Any] = {
        part: dataclasses.replace(getattr(config, part), **keys) for part, keys in parts.items()
    }
    return dataclasses.replace(config, **nested)


def identity(config: Config) -> dict[str, Value]:
    """Return the keys that decide what is learnt: all but ``cluster``."""
    return {key: v for key, v in flatten(config).items() if not key.startswith("cluster.")}


def short_hash(*facts: object) -> str:
    """Eight hexadecimal digits that tell one set of plain facts from another."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:8]
