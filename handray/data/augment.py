"""Augmentation policies: albumentations on uint8 images and bit planes, replayable by sample.

Bit planes are warped as four-byte colours by nearest neighbour, which moves every class alike.
The source report's Resize is decode.py, its Normalize is done on the device (training/batch.py).

Axes: H W pixels of the model frame, P planes of eight classes.
"""

import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby

import albumentations as A
import numpy as np
from numpy.typing import NDArray

from handray.config import DataConfig
from handray.data.warp import MOVES, Elastic, Warp
from handray.policies import MIXUP, POLICIES, names

Image = NDArray[np.uint8]
Transform = Callable[[int, float], A.BasicTransform | A.BaseCompose]


def _around(centre: float, reach: float) -> tuple[float, float]:
    return centre - reach, centre + reach


def _affine(_: int, strength: float) -> A.BasicTransform:
    return A.Affine(
        rotate=_around(0, 12 * strength),
        scale=_around(1, 0.1 * strength),
        shear=_around(0, 5 * strength),
        translate_percent=_around(0, 0.05 * strength),
        p=0.5,
    )


def _crop(size: int, _: float) -> A.BaseCompose:
    """Three quarters of the side with some bone in them, at the frame's size again."""
    part = size * 3 // 4
    crop = A.CropNonEmptyMaskIfExists(part, part)
    return A.Sequential([crop, A.Resize(size, size)], p=0.5)


def _elastic(size: int, strength: float) -> A.BasicTransform:
    """Smooth displacements of 0.5 % of the image's side that change on a scale of a twentieth.

    The report's own arguments (alpha 1, sigma 50) move nothing by more than 0.01 px; what it saw
    came from the affine part that albumentations 2 dropped, which is ``affine`` here.
    """
    return Elastic(alpha=0.005 * strength * size, sigma=size / 20, p=0.5)


def _griddropout(_: int, strength: float) -> A.BasicTransform:
    ratio = min(0.25 * strength, 0.9)
    return A.GridDropout(ratio=ratio, random_offset=True, holes_number_xy=(4, 4), p=0.5)


def _jitter(_: int, strength: float) -> A.BasicTransform:
    # Hue and saturation are the report's; a gray image has none, so they change nothing.
    around_1 = _around(1, 0.2 * strength)
    around_0 = _around(0, min(0.2 * strength, 0.5))
    return A.ColorJitter(
        brightness=around_1, contrast=around_1, saturation=around_1, hue=around_0, p=0.5
    )


def _rbc(_: int, strength: float) -> A.BasicTransform:
    limit = _around(0, 0.2 * strength)
    return A.RandomBrightnessContrast(brightness_limit=limit, contrast_limit=limit, p=0.5)


def _alpha(strength: float) -> tuple[float, float]:
    """How much of the filtered image is blended in: 0.2 to 0.5 by default, never more than all."""
    return min(0.2 * strength, 1), min(0.5 * strength, 1)


TRANSFORMS: dict[str, Transform] = {
    "affine": _affine,
    "clahe": lambda _, strength: A.CLAHE(clip_limit=(1, 1 + 3 * strength), p=0.5),
    "crop": _crop,
    "elastic": _elastic,
    "emboss": lambda _, strength: A.Emboss(alpha=_alpha(strength), p=0.5),
    "flip": lambda *_: A.HorizontalFlip(p=0.5),
    "gamma": lambda _, strength: A.RandomGamma(gamma_limit=_around(100, 20 * strength), p=0.5),
    "griddistortion": lambda _, strength: A.GridDistortion(
        distort_limit=_around(0, min(0.3 * strength, 0.9)), p=0.5
    ),
    "griddropout": _griddropout,
    "invert": lambda *_: A.InvertImg(p=0.5),
    "jitter": _jitter,
    # albumentations 1 drew a variance of 10 to 50 gray levels.
    "noise": lambda _, strength: A.GaussNoise(
        std_range=(0.0124 * strength, 0.0277 * strength), p=0.5
    ),
    "rbc": _rbc,
    "sharpen": lambda _, strength: A.Sharpen(alpha=_alpha(strength), p=0.5),
    "unsharp": lambda _, strength: A.UnsharpMask(alpha=_alpha(strength), p=0.5),
}
"""Transforms by name, each for a side of the model frame in pixels and a strength.

At a strength of 1 they have the report's parameters, or albumentations' defaults where it names
none; those of ``affine``, ``clahe`` and ``gamma`` are ours. Crop, flip and invert have no strength.
"""


def build(policy: str, size: int, strength: float = 1.0) -> A.Compose:
    """Build what a policy does to one image; each transform is drawn with a probability of 0.5.

    Args:
        policy: names joined by +, a name of POLICIES, or ``none``. ``mixup`` is left out, since it
            takes two images: the training loop does it.
        size: side of the model frame, pixels.
        strength: factor on the ranges of all transforms.

    Raises:
        ValueError: an unknown name, or an argument that albumentations would silently ignore.

    """
    chosen = names(policy)
    for name in chosen:
        if name not in TRANSFORMS and name != MIXUP:
            known = ", ".join([*TRANSFORMS, MIXUP])
            raise ValueError(
                f"--augment {name} is not known; join some of {known} by +, "
                f"or take none or one of {', '.join(POLICIES)}"
            )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            return A.Compose(list(_transforms(chosen, size, strength)))
        except UserWarning as error:
            raise ValueError(f"--augment {policy}: {error}") from error


def _transforms(
    chosen: Sequence[str], size: int, strength: float
) -> Iterator[A.BasicTransform | A.BaseCompose]:
    """The transforms by name; those that only move pixels, one after the other, become one."""
    built = [TRANSFORMS[name](size, strength) for name in chosen if name != MIXUP]
    for moves, group in groupby(built, lambda one: isinstance(one, MOVES)):
        together = list(group)
        # A lone one of albumentations' own is resampled once as it is.
        alone = len(together) == 1 and not isinstance(together[0], Elastic)
        yield from [Warp(together, p=1)] if moves and not alone else together


def arguments(policy: str, size: int, strength: float = 1.0) -> list[dict[str, object]]:
    """The transforms of a policy with every argument resolved, in plain types, for the record."""
    return [_plain(transform) for transform in build(policy, size, strength).transforms]


def _plain(transform: A.BasicTransform | A.BaseCompose) -> dict[str, object]:
    if isinstance(transform, A.BaseCompose):
        parts = [_plain(part) for part in transform.transforms]
        return {"transform": type(transform).__name__, "p": transform.p, "parts": parts}
    return {
        "transform": type(transform).__name__,
        **transform.get_base_init_args(),
        **transform.get_transform_init_args(),
    }


class Augment:
    """A policy as a pure function of (image, planes, seed): the same on any worker and thread."""

    def __init__(self, policy: str, size: int, strength: float = 1.0) -> None:
        self._what = policy, size, strength
        self._nothing = not build(*self._what).transforms
        self._local = threading.local()

    @classmethod
    def of(cls, config: DataConfig) -> "Augment":
        """The policy of a config."""
        return cls(config.augment, config.size, config.augment_strength)

    def __call__(
        self, image_HW: Image, planes_HWP: Image, seed: tuple[int, ...]
    ) -> tuple[Image, Image]:
        """Return a new image (H, W) and planes (H, W, P), both uint8 of the model frame."""
        if self._nothing:
            return image_HW, planes_HWP
        # Compose draws from a generator of its own, so every thread has its own Compose.
        if not hasattr(self._local, "compose"):
            self._local.compose = build(*self._what)
        number = np.random.SeedSequence(seed).generate_state(1, np.uint32)[0]
        self._local.compose.set_random_seed(int(number))
        drawn = self._local.compose(image=image_HW, mask=planes_HWP)
        return drawn["image"], drawn["mask"]
