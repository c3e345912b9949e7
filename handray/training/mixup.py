"""Mixup (Zhang et al. 2018) of a rank's batch, on the device, since bits hold no soft labels.

An image is mixed with another one of the batch; its loss is the mix of the losses against both
labels, which for cross-entropy equals the loss against the mixed label.
"""

from dataclasses import dataclass

import numpy as np

from handray.training.batch import Batch


@dataclass(frozen=True)
class Mix:
    """How one batch is mixed."""

    own: float
    """Weight of each image itself, in [0.5, 1]; its partner has the rest."""
    partners: Batch
    """Image i's partner is image i here."""


def draw_mix(batch: Batch, alpha: float, seed: tuple[int, ...]) -> Mix:
    """Draw partners and weight for a batch of at least two images, a pure function of the seed.

    Args:
        batch: this rank's.
        alpha: of the weight's distribution Beta(alpha, alpha); small ones mix little.
        seed: of the step and rank.

    """
    generator = np.random.default_rng(seed)
    weight = float(generator.beta(alpha, alpha))
    # A rotation of a random order leaves nobody with itself.
    order = generator.permutation(len(batch.names))
    partner = np.empty_like(order)
    partner[order] = np.roll(order, 1)
    return Mix(max(weight, 1 - weight), batch.take(partner.tolist()))
