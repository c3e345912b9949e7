"""How networks and thresholds make masks; without torch, so that jobs start quickly."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Rule:
    """How networks and thresholds make masks."""

    thresholds_C: tuple[float, ...]
    """Probability that a pixel of each class must exceed."""
    votes: int = 1
    """Networks that must agree; without meaning where probabilities are averaged."""
    soft: bool = False
    """Average the networks' probabilities before the threshold instead of voting after it."""
    tta: str = "none"
    window: int = 0
    """Side of windows that slide over the image at source size, pixels; 0: resize it instead."""
    stride: int = 0
    """Pixels between two windows."""
