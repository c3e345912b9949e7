"""Augmentation policies: albumentations on uint8 images and bit planes, replayable by sample.

Bit planes are warped as four-byte colours by nearest neighbour, which moves every class alike.

Axes: H W pixels of the model frame, P planes of eight classes.
"""

import os
import threading
import warnings
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

# Read when albumentations is imported: without it every worker asks the network for news.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

import albumentations as A

Image = NDArray[np.uint8]


def _elastic(size: int) -> A.BasicTransform:
    """Smooth displacements of about 0.5 % of the image's side, drawn on a scale of a twentieth.

    The report's own arguments (alpha 1, sigma 50) move nothing by more than 0.01 px; what it saw
    came from the affine part that albumentations 2 dropped, which is ``affine`` here.
    """
    sigma = size / 20
    # Uniform noise blurred by a Gaussian keeps a standard deviation of 0.163 / sigma.
    alpha = 0.005 * size * sigma / 0.163
    return A.ElasticTransform(alpha=alpha, sigma=sigma, approximate=True, p=0.5)


def _affine(_: int) -> A.BasicTransform:
    return A.Affine(
        rotate=(-12, 12), scale=(0.9, 1.1), shear=(-5, 5), translate_percent=(-0.05, 0.05), p=0.5
    )


TRANSFORMS: dict[str, Callable[[int], A.BasicTransform]] = {
    "affine": _affine,
    "elastic": _elastic,
    "griddropout": lambda _: A.GridDropout(
        ratio=0.25, random_offset=True, holes_number_xy=(4, 4), p=0.5
    ),
    # Hue and saturation of a gray image are nothing to change.
    "jitter": lambda _: A.ColorJitter(
        brightness=(0.8, 1.2), contrast=(0.8, 1.2), saturation=(0.8, 1.2), hue=(-0.2, 0.2), p=0.5
    ),
    "sharpen": lambda _: A.Sharpen(p=0.5),
    "flip": lambda _: A.HorizontalFlip(p=0.5),
    "rbc": lambda _: A.RandomBrightnessContrast(
        brightness_limit=(-0.2, 0.2), contrast_limit=(-0.2, 0.2), p=0.5
    ),
}
"""Transforms by name, each for a side of the model frame in pixels."""


def build(policy: str, size: int) -> A.Compose:
    """Build the policy that names joined by + say, e.g. ``elastic+flip``; ``none`` does nothing.

    Raises:
        ValueError: an unknown name, or an argument that albumentations would silently ignore.

    """
    names = [] if policy == "none" else policy.split("+")
    for name in names:
        if name not in TRANSFORMS:
            known = ", ".join(TRANSFORMS)
            raise ValueError(f"--augment {name} is not known; join some of {known} by +, or none")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            return A.Compose([TRANSFORMS[name](size) for name in names])
        except UserWarning as error:
            raise ValueError(f"--augment {policy}: {error}") from error


class Augment:
    """A policy as a pure function of (image, planes, seed): the same on any worker and thread."""

    def __init__(self, policy: str, size: int) -> None:
        self.policy, self.size = policy, size
        build(policy, size)
        self._local = threading.local()

    def __call__(
        self, image_HW: Image, planes_HWP: Image, seed: tuple[int, ...]
    ) -> tuple[Image, Image]:
        """Return a new image (H, W) and planes (H, W, P), both uint8 of the model frame."""
        if self.policy == "none":
            return image_HW, planes_HWP
        # Compose draws from a generator of its own, so every thread has its own Compose.
        if not hasattr(self._local, "compose"):
            self._local.compose = build(self.policy, self.size)
        number = np.random.SeedSequence(seed).generate_state(1, np.uint32)[0]
        self._local.compose.set_random_seed(int(number))
        drawn = self._local.compose(image=image_HW, mask=planes_HWP)
        return drawn["image"], drawn["mask"]
