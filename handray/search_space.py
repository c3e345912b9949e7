"""What a hyper-parameter search draws from, by the config's own keys."""

from dataclasses import dataclass

from handray.config import Config, Value
from handray.models.zoo import nearest_size


@dataclass(frozen=True)
class Range:
    """Numbers from low to high."""

    low: float
    high: float
    log: bool = False
    """Drawn evenly on a logarithmic scale."""


@dataclass(frozen=True)
class Choice:
    """One of several values."""

    values: tuple[Value, ...]


Space = dict[str, Range | Choice]

RATIOS = ("1*bce", "7*bce+3*dice", "1*bce+1*dice", "3*bce+7*dice", "1*bce+1*dice+1*iou")
"""The source report's."""


def space_of(config: Config) -> Space:
    """The space around a config: half, three quarters and all of its size, the rest for all.

    The threshold is no part of it: it is chosen afterwards, on the out-of-fold masks.
    """
    design, size = config.model.design, config.data.size
    sizes = sorted({nearest_size(design, round(size * share)) for share in (0.5, 0.75, 1)})
    return {
        "optim.lr": Range(1e-4, 1e-2, log=True),
        "optim.weight_decay": Range(1e-6, 1e-1, log=True),
        "optim.optimizer": Choice(("adam", "adamw", "adamp")),
        "train.loss": Choice(RATIOS),
        "data.size": Choice(tuple(sizes)),
        "data.augment_strength": Range(0.25, 1.5),
    }
