"""What a hyper-parameter search draws from, by the config's own keys."""

from dataclasses import dataclass

from handray.config import Config, Value, flatten
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
    return {
        "optim.lr": Range(1e-4, 1e-2, log=True),
        "optim.weight_decay": Range(1e-6, 1e-1, log=True),
        "optim.optimizer": Choice(("adam", "adamw", "adamp")),
        "train.loss": Choice(RATIOS),
        "data.size": Choice(sizes_of(config)),
        "data.augment_strength": Range(0.25, 1.5),
    }


def sizes_of(config: Config) -> tuple[int, ...]:
    """Half, three quarters and all of a config's size, as far as its network takes them."""
    design, size = config.model.design, config.data.size
    shares = (0.5, 0.75, 1)
    return tuple(sorted({nearest_size(design, round(size * share)) for share in shares}))


def check_inside(config: Config, space: Space) -> None:
    """Raise ValueError where the config, which is the first trial, lies outside the space."""
    own = flatten(config)
    for key, domain in space.items():
        value = own[key]
        if isinstance(domain, Choice):
            known = ", ".join(map(str, domain.values))
            inside = value in domain.values
        else:
            known = f"{domain.low:g} to {domain.high:g}"
            inside = domain.low <= float(value) <= domain.high
        if not inside:
            flag = key.split(".")[1].replace("_", "-")
            raise ValueError(f"--{flag} {value} is outside what is searched: {known}")
