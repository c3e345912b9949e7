"""The exposure of a hand: thickness of flesh and bone becomes gray, as on a projection.

Attenuation adds up along the ray, so overlapping bones are brighter than either. Everything is
drawn at a working size of 512 or 1024 px as float32 gray levels; the film's own grain comes last.
Axes: H W pixels of the working frame.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from cv2.typing import MatLike
from numpy.typing import NDArray

from handray.bones import BONES
from handray.data.hands.attenuation import add_bone, trabeculae
from handray.data.hands.extras import add_extras
from handray.data.hands.flesh import flesh_depth
from handray.data.hands.hand import Hand
from handray.data.hands.people import Person, normal

Image = NDArray[np.float32]
SHOULDER = 250  # the gray level that ever more attenuation approaches


@dataclass(frozen=True)
class Exposure:
    """How a film was taken; gray levels of 255."""

    flesh_gray: float  # of a finger's flesh
    bone_gray: float  # added by a bone of average thickness
    gamma: float
    blur: float  # px of a 1024 px film
    crispness: float  # unsharp mask, as scanners apply it
    noise: float  # standard deviation, gray levels
    haze: float  # of the far background


def expose(hand: Hand, person: Person, size: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """The film of a hand, (size, size) uint8."""
    work = 512 if size <= 512 else 1024
    exposure = draw_exposure(rng)
    grain_HW = trabeculae(rng)
    depth_HW = flesh_depth(hand, person.flesh, work)
    film_HW = depth_HW * mottle(work, rng) * exposure.flesh_gray
    bone_gray = exposure.bone_gray * person.bone_density
    for name in BONES:
        add_bone(film_HW, hand.bones[name], name, grain_HW, bone_gray)
    add_extras(film_HW, hand, rng)
    film_HW += backdrop(work, exposure.haze, rng)
    return develop(film_HW, exposure, size, rng)


def draw_exposure(rng: np.random.Generator) -> Exposure:
    """A plausible exposure, its gray levels around those of real films (FIELD_NOTES 11)."""
    gain = normal(rng, 1, 0.13)
    return Exposure(
        flesh_gray=normal(rng, 34, 5) * gain,
        bone_gray=normal(rng, 86, 9) * gain,
        gamma=normal(rng, 1, 0.14),
        blur=float(rng.uniform(0.5, 1.3)),
        crispness=float(max(rng.uniform(-0.4, 0.8), 0)),
        noise=float(rng.uniform(1.0, 4.0)),
        haze=float(rng.uniform(4, 15)),
    )


def mottle(work: int, rng: np.random.Generator) -> Image:
    """Unevenness of flesh, around 1: muscle, fat and folds of the skin."""
    coarse_HW = cv2.GaussianBlur(rng.standard_normal((96, 96), dtype=np.float32), (0, 0), 1.2)
    large_HW = cv2.resize(coarse_HW, (work, work), interpolation=cv2.INTER_LINEAR)
    return 1 + np.float32(0.12) * np.asarray(large_HW, np.float32)


def backdrop(work: int, haze: float, rng: np.random.Generator) -> Image:
    """Scatter behind the hand, uneven from side to side, and often a bright strip along the top."""
    corners = haze * rng.uniform(0.5, 1.6, (3, 3)).astype(np.float32)
    smooth_HW = cv2.resize(corners, (work, work), interpolation=cv2.INTER_CUBIC)
    haze_HW = np.asarray(smooth_HW, np.float32)
    if rng.random() < 0.6:
        rows = int(rng.uniform(0.004, 0.03) * work)
        haze_HW[:rows] += np.float32(rng.uniform(60, 210))
    if rng.random() < 0.3:
        _collimate(haze_HW, rng)
    return haze_HW


def _collimate(haze_HW: Image, rng: np.random.Generator) -> None:
    """Dark or pale borders where the beam was screened off, left, right or both."""
    work = haze_HW.shape[0]
    level = 0.0 if rng.random() < 0.7 else rng.uniform(20, 60)
    for edge in ("left", "right"):
        columns = int(rng.uniform(0, 0.06) * work)
        if columns and rng.random() < 0.7:
            haze_HW[:, slice(0, columns) if edge == "left" else slice(work - columns, work)] = level


def develop(
    film_HW: Image, exposure: Exposure, size: int, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Blur, gamma, the final size, then noise: (size, size) uint8."""
    work = film_HW.shape[0]
    sharp_HW = np.maximum(_focused(film_HW, exposure), 0)
    sharp_HW /= np.sqrt(np.sqrt(1 + (sharp_HW / SHOULDER) ** 4))  # white is never reached
    levels = np.arange(256) / 255
    gamma = np.rint(255 * levels**exposure.gamma * 0.5 ** (1 - exposure.gamma)).clip(0, 255)
    gray_HW = gamma.astype(np.uint8)[np.rint(sharp_HW).astype(np.uint8)]
    method = cv2.INTER_CUBIC if size > work else cv2.INTER_AREA
    return _noisy(cv2.resize(gray_HW, (size, size), interpolation=method), exposure.noise, rng)


def _focused(film_HW: Image, exposure: Exposure) -> Image:
    """The film blurred by its focal spot, then crisped by the scanner."""
    work = film_HW.shape[0]
    blurred_HW = cv2.GaussianBlur(film_HW, (0, 0), exposure.blur * work / 1024)
    broad_HW = cv2.GaussianBlur(blurred_HW[::4, ::4], (0, 0), 2.5 * work / 1024)
    broad_HW = cv2.resize(broad_HW, (work, work))
    share = exposure.crispness
    return np.asarray(cv2.addWeighted(blurred_HW, 1 + share, broad_HW, -share, 0), np.float32)


def _noisy(gray_HW: MatLike, noise: float, rng: np.random.Generator) -> NDArray[np.uint8]:
    """The film with grain of `noise` gray levels: one tile, repeated."""
    tile = 512
    white_HW = rng.standard_normal((tile, tile), dtype=np.float32)
    soft_HW = cv2.GaussianBlur(white_HW, (0, 0), 0.7)
    tile_HW = np.rint(soft_HW * (noise / soft_HW.std())).astype(np.int8)
    count = -(-gray_HW.shape[0] // tile)
    noise_HW = np.tile(tile_HW, (count, count))[: gray_HW.shape[0], : gray_HW.shape[1]]
    return np.asarray(cv2.add(gray_HW, noise_HW, dtype=cv2.CV_8U), np.uint8)
