"""Checkpoints as one predictor: a gray source image in, a mask a class out.

Axes: C classes, H W pixels of the source frame, h w of the model frame.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from handray.inference.checkpoint import load_for_inference
from handray.inference.predict import runs_from_logits
from handray.inference.rule import Rule
from handray.inference.tta import mean_logits
from handray.inference.upsample import aligned_plane
from handray.masks.algebra import vote_rows
from handray.masks.rle import RunRows
from handray.models.zoo import network
from handray.training.batch import Normalisation
from handray.training.precision import choose_precision

Image = NDArray[np.uint8]
Logits = NDArray[np.float32]
SURE = 1e-7
"""Mean probabilities are kept this far from 0 and 1, so that they have logits."""


class TrainedNetwork:
    """One checkpoint on a device."""

    def __init__(self, path: Path, device: torch.device) -> None:
        """Load it; raises ValueError for no checkpoint of handray's."""
        model, about = load_for_inference(path)
        self.model = model.to(device).to(memory_format=torch.channels_last)
        self.device, self.size = device, int(about["size"])
        self.class_names = tuple(about["class_names"])
        self.normalise = Normalisation(about["mean"], about["std"])
        wanted = about["config"].get("train", {}).get("precision", "auto")
        self.precision = choose_precision(wanted, device)
        self.multiple = network(about["config"]["model"]["model"]).multiple

    def logits(self, image_HW: Image, tta: str = "none", size: int | None = None) -> Logits:
        """Logits of the whole image in the model frame, float32 (C, size, size).

        ``size`` is the one that the network was trained at, where no other is asked for.
        """
        side = (size or self.size, size or self.size)
        resized = cv2.resize(image_HW, side, interpolation=cv2.INTER_LINEAR)
        return self._mean(torch.from_numpy(resized), tta).cpu().numpy()

    def window_logits(self, image_HW: Image, rule: Rule) -> Logits:
        """Logits from windows over the image at source size, float32 (C, H, W).

        Windows overlap and are blended with the weights of a Gaussian around each one's centre.
        """
        height, width = image_HW.shape
        side = rule.window
        padded = np.pad(image_HW, [(0, max(0, side - length)) for length in (height, width)])
        image = torch.from_numpy(padded)
        weight = _gaussian(side).to(self.device)
        shape = len(self.class_names), *padded.shape
        total = torch.zeros(shape, device=self.device)
        weights = torch.zeros(padded.shape, device=self.device)
        for y, x in _corners(padded.shape, side, rule.stride):
            part = np.s_[y : y + side, x : x + side]
            total[:, part[0], part[1]] += weight * self._mean(image[part], rule.tta)
            weights[part] += weight
        return (total / weights)[:, :height, :width].cpu().numpy()

    def _mean(self, image_HW: Tensor, tta: str) -> Tensor:
        """Logits of an image whose size the network takes, (C, h, w), on the device."""

        def forward(image_BHW: Tensor) -> Tensor:
            with self.precision.autocast():
                logits: Tensor = self.model(self.normalise(image_BHW.to(self.device)))
            return logits

        with torch.inference_mode():
            return mean_logits(tta, forward, image_HW[None], self.multiple)[0]


def predict_masks(networks: Sequence[TrainedNetwork], image_HW: Image, rule: Rule) -> RunRows:
    """Masks of every class of one image, in the source frame.

    Args:
        networks: checkpoints of the same classes, of any sizes.
        image_HW: gray uint8, source frame.
        rule: how they decide.

    """
    source_hw = image_HW.shape[0], image_HW.shape[1]

    def logits() -> Iterator[Logits]:
        for one in networks:
            yield (
                one.window_logits(image_HW, rule) if rule.window else one.logits(image_HW, rule.tta)
            )

    if rule.soft:
        return _masks(mean_of(list(logits())), source_hw, rule)
    members = [_masks(each, source_hw, rule) for each in logits()]
    return members[0] if len(members) == 1 else vote_rows(members, rule.votes)


def mean_of(members: Sequence[Logits]) -> Logits:
    """Logits of the members' mean probability, in the frame of the largest member.

    Smaller ones are upsampled as masks are, so that all have their labels in the same place.
    """
    if len(members) == 1:
        return members[0]
    frame = max(member.shape[1:] for member in members)
    total = np.zeros((len(members[0]), *frame), np.float32)
    for member in members:
        for number, plane in enumerate(member):
            whole = plane if plane.shape == frame else aligned_plane(plane, frame)
            total[number] += torch.from_numpy(whole).sigmoid().numpy()
    mean = torch.from_numpy(total / len(members))
    return mean.clamp(SURE, 1 - SURE).logit().numpy()


def _masks(logits_CHW: Logits, source_hw: tuple[int, int], rule: Rule) -> RunRows:
    runs = [
        runs_from_logits(logits_CHW[c : c + 1], source_hw, threshold)[0]
        for c, threshold in enumerate(rule.thresholds_C)
    ]
    return RunRows.join(runs)


def _corners(shape_hw: Sequence[int], side: int, stride: int) -> Iterator[tuple[int, int]]:
    """Top left corners of windows that cover an image, the last ones flush with its edges."""
    starts = [sorted({*range(0, length - side, stride), length - side}) for length in shape_hw]
    return ((y, x) for y in starts[0] for x in starts[1])


def _gaussian(side: int) -> Tensor:
    """Weights of a window's pixels, (side, side): a Gaussian of an eighth of its side."""
    distance = (torch.arange(side) - (side - 1) / 2) / (side / 8)
    bell = torch.exp(-0.5 * distance.square())
    return torch.outer(bell, bell).clamp(min=1e-4)
