"""Losses of logits against bits, and weighted sums of them.

Classes overlap, so each channel is a binary problem of its own: sigmoid, never softmax.

Axes: B batch, C classes, H W pixels of the model frame.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Loss = Callable[[Tensor, Tensor], Tensor]

SMOOTH = 1.0
"""Pixels added above and below in the soft Dice: an absent class then learns to stay empty."""


class _BinaryCrossEntropy(torch.autograd.Function):
    """Mean binary cross-entropy of logits; a third of the CPU time of torch's own.

    On a CPU torch's log-sigmoid isn't vectorised, while sigmoid and log are. A pixel's loss is
    -log(sigmoid(x)) for a target of 1 and -log(sigmoid(-x)) for 0, at most 88, where float32 ends;
    the gradient, sigmoid(x) - target, is exact everywhere.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, target: Tensor) -> Tensor:
        ctx.save_for_backward(logits, target)
        towards_target = logits * (2 * target - 1)
        return -towards_target.sigmoid_().log_().clamp_(min=-88).mean()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        logits, target = ctx.saved_tensors
        return logits.sigmoid().sub_(target).mul_(gradients[0] / target.numel()), None


def bce(logits_BCHW: Tensor, target_BCHW: Tensor) -> Tensor:
    """Binary cross-entropy, the mean over all pixels and classes; targets are 0 or 1."""
    loss: Tensor = _BinaryCrossEntropy.apply(logits_BCHW, target_BCHW)
    return loss


def dice(logits_BCHW: Tensor, target_BCHW: Tensor) -> Tensor:
    """1 - soft Dice of each image and class, the mean over both (Milletari et al., 2016)."""
    probability = logits_BCHW.sigmoid()
    overlap_BC = (probability * target_BCHW).sum((-2, -1))
    total_BC = probability.sum((-2, -1)) + target_BCHW.sum((-2, -1))
    return (1 - (2 * overlap_BC + SMOOTH) / (total_BC + SMOOTH)).mean()


LOSSES: dict[str, Loss] = {"bce": bce, "dice": dice}


def weighted_sum(text: str) -> Loss:
    """Build the loss that a text such as ``7*bce+3*dice`` names; a name alone has weight 1.

    The loss takes logits (B, C, H, W) of any float type and targets of 0 and 1 of the same shape;
    it computes in float32, since a Dice sum over a million pixels overflows float16.

    Raises:
        ValueError: an unknown loss, or a weight that isn't a positive number.

    """
    terms = [_term(term) for term in text.split("+")]

    def total(logits_BCHW: Tensor, target_BCHW: Tensor) -> Tensor:
        with torch.autocast(logits_BCHW.device.type, enabled=False):
            logits = logits_BCHW.float()
            return torch.stack([w * loss(logits, target_BCHW) for w, loss in terms]).sum()

    return total


def _term(text: str) -> tuple[float, Loss]:
    weight, star, name = text.strip().rpartition("*")
    name = name.strip()
    if name not in LOSSES:
        raise ValueError(f"--loss {name or text} is not known; choose of: {', '.join(LOSSES)}")
    try:
        number = float(weight) if star else 1.0
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise ValueError(f"--loss {text}: the weight must be a number above 0, e.g. 0.5*{name}")
    return number, LOSSES[name]
