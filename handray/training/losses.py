"""Losses of logits against bits, and weighted sums of them.

Classes overlap, so each channel is a binary problem of its own: sigmoid, never softmax. A loss
takes logits and targets of 0 and 1, both (B, C, H, W), and gives the loss of each class, (C,);
``weighted_sum`` makes one number of those.

Axes: B batch, C classes, H W pixels of the model frame.
"""

import difflib
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

Loss = Callable[[Tensor, Tensor], Tensor]

LEAST = 1e-6
"""Of a weight; and its inverse is the most: far within what float32 can add up."""
SMOOTH = 1.0
"""Pixels added above and below in soft Dice and IoU: an absent class then learns to stay empty."""


def bce(logits_BCHW: Tensor, target_BCHW: Tensor) -> Tensor:
    """Binary cross-entropy of each class, (C,): the mean over all pixels of all images."""
    loss = F.binary_cross_entropy_with_logits(logits_BCHW, target_BCHW, reduction="none")
    return loss.mean((0, 2, 3))


def focal(logits_BCHW: Tensor, target_BCHW: Tensor) -> Tensor:
    """Focal loss of each class, (C,), the mean over all pixels (Lin et al. 2017).

    A pixel's loss is (1 - p)^2 * -log(p), where p is the probability of what it truly is: gamma
    is 2, and there is no alpha. Written with logits, which unlike 1 - p don't round to 0.
    """
    against_target = logits_BCHW * (1 - 2 * target_BCHW)
    return (against_target.sigmoid().square() * F.softplus(against_target)).mean((0, 2, 3))


def dice(logits_BCHW: Tensor, target_BCHW: Tensor) -> Tensor:
    """1 - soft Dice of each class, (C,): of each image, then their mean (Milletari et al. 2016)."""
    overlap_BC, total_BC = _overlap_and_total(logits_BCHW, target_BCHW)
    return (1 - (2 * overlap_BC + SMOOTH) / (total_BC + SMOOTH)).mean(0)


def iou(logits_BCHW: Tensor, target_BCHW: Tensor) -> Tensor:
    """1 - soft IoU (Jaccard) of each class, (C,): of each image, then their mean.

    The source report's IoU sums over the whole batch before it divides, and so do ``JaccardLoss``
    and ``DiceLoss`` of segmentation_models_pytorch: an image with large bones then outweighs one
    with small bones. For a batch of one image they are equal to ours.
    """
    overlap_BC, total_BC = _overlap_and_total(logits_BCHW, target_BCHW)
    return (1 - (overlap_BC + SMOOTH) / (total_BC - overlap_BC + SMOOTH)).mean(0)


def _overlap_and_total(logits_BCHW: Tensor, target_BCHW: Tensor) -> tuple[Tensor, Tensor]:
    """Soft pixels of an image and class that are in both, and of the two together: each (B, C)."""
    probability = logits_BCHW.sigmoid()
    overlap_BC = (probability * target_BCHW).sum((-2, -1))
    return overlap_BC, probability.sum((-2, -1)) + target_BCHW.sum((-2, -1))


LOSSES: dict[str, Loss] = {"bce": bce, "dice": dice, "iou": iou, "focal": focal}


def weighted_sum(text: str, weights_C: Tensor | None = None) -> Loss:
    """Build the loss that a text such as ``7*bce+3*dice`` names; a name alone has weight 1.

    The loss takes logits (B, C, H, W) of any float type and memory format, and targets of 0 and 1
    of the same shape; it is one number, the mean over classes. It computes in float32, since a sum
    over a million pixels overflows float16.

    Args:
        text: names with weights, joined by +.
        weights_C: (C,) above 0 for a weighted mean over classes, on the logits' device.

    Raises:
        ValueError: an unknown loss, or a weight that isn't a positive number.

    """
    terms = [_term(term) for term in text.split("+")]

    def total(logits_BCHW: Tensor, target_BCHW: Tensor) -> Tensor:
        last = torch.channels_last
        if logits_BCHW.requires_grad and logits_BCHW.is_contiguous(memory_format=last):
            # Upsampling's backward pass is seven times as fast on a CPU with a gradient of the
            # logits' own format.
            logits_BCHW.register_hook(lambda gradient: gradient.contiguous(memory_format=last))
        # Sums over pixels are slow on the channels_last logits that some networks give.
        logits = logits_BCHW.float().contiguous()
        loss_C = torch.stack([w * loss(logits, target_BCHW) for w, loss in terms]).sum(0)
        if weights_C is None:
            return loss_C.mean()
        return (weights_C * loss_C).sum() / weights_C.sum()

    return total


def _term(text: str) -> tuple[float, Loss]:
    weight, star, name = text.strip().rpartition("*")
    name = name.strip()
    if name not in LOSSES:
        raise ValueError(
            f"--loss {name or repr(text)} is not known; join some of {', '.join(LOSSES)} by +, "
            "e.g. 7*bce+3*dice"
        )
    if not star:
        return 1.0, LOSSES[name]
    remedy = f"--loss {text}: the weight must be a number, e.g. 0.5*{name}"
    return _positive(weight, remedy), LOSSES[name]


def class_weights(text: str, class_names: Sequence[str]) -> Tensor | None:
    """Weights of classes in the loss, (C,) float32, as a text such as ``Pisiform=2`` names them.

    Classes that it doesn't name weigh 1; None for an empty text, where all weigh the same.

    Raises:
        ValueError: an unknown class, one that is named twice, a weight that isn't a finite number
            above 0, or an entry that isn't CLASS=WEIGHT.

    """
    if not text.strip():
        return None
    weights: dict[str, float] = {}
    for entry in text.split(","):
        name, equals, number = (part.strip() for part in entry.rpartition("="))
        flag = f"--class-weights {entry.strip()}"
        if not equals:
            raise ValueError(f"{flag}: write CLASS=WEIGHT, joined by commas, e.g. Pisiform=2")
        if name not in class_names:
            known = difflib.get_close_matches(name, class_names) or class_names
            raise ValueError(f"{flag}: no class has this name; choose of: {', '.join(known)}")
        if name in weights:
            raise ValueError(f"{flag}: {name} has a weight already; give each class one")
        weights[name] = _positive(number, f"{flag}: the weight must be a number, e.g. 2")
    return torch.tensor([weights.get(name, 1.0) for name in class_names])


def _positive(text: str, remedy: str) -> float:
    """Return the number that a text is, or raise ValueError with the remedy."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not LEAST <= number <= 1 / LEAST:
        raise ValueError(f"{remedy}, between {LEAST:g} and {1 / LEAST:g}")
    return number
