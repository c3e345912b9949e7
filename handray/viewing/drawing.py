"""Masks over radiographs as the viewer shows them. Pictures are BGR, (h, w, 3) uint8.

Axes: h w pixels of the panel, C classes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from handray.masks.rle import RunRows, Runs
from handray.reporting.colours import BOTH, EXTRA, MISSED, SWAPPED, bgr
from handray.reporting.overlay import paint
from handray.viewing.window import Image, Window

Box = tuple[slice, slice]
JPEG_QUALITY = 92
LINE = 2
"""Width of outlines, panel pixels."""
MOST_LOSS = 3.0
"""Loss of a pixel that is drawn brightest, nats: a probability of 5 % for what is true."""


@dataclass(frozen=True)
class Look:
    """How masks are drawn."""

    outline: bool
    fill: bool
    strength: float
    """0 shows the radiograph alone, 1 fills masks with solid colour."""


@dataclass(frozen=True, eq=False)
class Panel:
    """What all pictures of a radiograph share."""

    photo: Image
    """(h, w, 3)."""
    window: Window
    source_width: int
    look: Look

    def overlay(self, rows_C: RunRows, colours_C: Sequence[str], chosen: Sequence[int]) -> Image:
        """The chosen classes in their colours."""
        filled, lined = self.photo.copy(), np.zeros(self.photo.shape[:2], np.uint8)
        lines = np.zeros_like(self.photo)
        for c in chosen:
            part = self.window.mask(rows_C[c], self.source_width)
            if part is None:
                continue
            mask, top, left = part
            colour = bgr(colours_C[c])
            if self.look.fill:
                region = filled[top:, left:][: mask.shape[0], : mask.shape[1]]
                region[mask.astype(bool)] = colour
            if self.look.outline:
                found, _ = cv2.findContours(mask, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
                for layer, value in ((lines, colour), (lined, 255)):
                    cv2.drawContours(layer, found, -1, value, LINE, offset=(left, top))
        strength = self.look.strength
        picture = cv2.addWeighted(filled, strength, self.photo, 1 - strength, 0).astype(np.uint8)
        edge = lined.astype(bool)
        strong = min(1.0, 2 * strength)
        picture[edge] = (strong * lines[edge] + (1 - strong) * picture[edge]).astype(np.uint8)
        return picture

    def difference(self, ours: RunRows, truth: RunRows, chosen: Sequence[int]) -> Image:
        """Where a prediction and the label differ, over the chosen classes."""
        both, missed, extra = (np.zeros(self.photo.shape[:2], bool) for _ in range(3))
        for c in chosen:
            for box, (ours_hw, true_hw) in self._together([ours[c], truth[c]]):
                both[box] |= ours_hw & true_hw
                missed[box] |= true_hw & ~ours_hw
                extra[box] |= ours_hw & ~true_hw
        swapped = missed & extra
        both &= ~(missed | extra)
        faint, strong = self.look.strength / 2, min(1.0, 2 * self.look.strength)
        return self._painted(
            [
                (both, BOTH, faint),
                (missed & ~swapped, MISSED, strong),
                (extra & ~swapped, EXTRA, strong),
                (swapped, SWAPPED, strong),
            ]
        )

    def votes(self, members: Sequence[RunRows], chosen: Sequence[int]) -> Image:
        """Where members disagree: how many of them have a pixel, the fewest of any class."""
        count = len(members)
        fewest = np.full(self.photo.shape[:2], count + 1, np.uint8)
        for c in chosen:
            for box, masks in self._together([rows[c] for rows in members]):
                votes = np.sum(masks, axis=0, dtype=np.uint8)
                fewest[box] = np.where(votes > 0, np.minimum(fewest[box], votes), fewest[box])
        strong = min(1.0, 2 * self.look.strength)
        contested = [
            (fewest == number, colour, strong)
            for number, colour in enumerate(vote_colours(count), 1)
        ]
        return self._painted([(fewest == count, BOTH, self.look.strength / 2), *contested])

    def heat(self, values_hw: NDArray[np.float32], most: float = MOST_LOSS) -> Image:
        """Values from 0 (the radiograph) to ``most`` (the brightest), by matplotlib's inferno."""
        share = np.clip(values_hw / most, 0, 1)
        glow = cv2.applyColorMap((255 * share).astype(np.uint8), cv2.COLORMAP_INFERNO)
        # Small losses let the radiograph through; from an eighth of the most on they cover it.
        alpha = min(1.0, 2 * self.look.strength) * np.clip(8 * share, 0, 1)[..., None]
        return (alpha * glow + (1 - alpha) * self.photo).astype(np.uint8)

    def _together(self, masks: Sequence[Runs]) -> Iterator[tuple[Box, list[NDArray[np.bool_]]]]:
        """Masks of one class in the box that holds them all, and where it lies; none if empty."""
        parts = [self.window.mask(runs, self.source_width) for runs in masks]
        known = [part for part in parts if part is not None]
        if not known:
            return
        top, left = (min(part[axis] for part in known) for axis in (1, 2))
        bottom = max(y + mask.shape[0] for mask, y, _ in known)
        right = max(x + mask.shape[1] for mask, _, x in known)
        boxed = [np.zeros((bottom - top, right - left), bool) for _ in parts]
        for whole, part in zip(boxed, parts, strict=True):
            if part is not None:
                mask, y, x = part
                whole[y - top :, x - left :][: mask.shape[0], : mask.shape[1]] = mask
        yield np.s_[top:bottom, left:right], boxed

    def _painted(self, layers: Sequence[tuple[NDArray[np.bool_], str, float]]) -> Image:
        """Pixels of each layer in its colour, of this strength; layers don't overlap."""
        picture = self.photo.copy()
        for where, colour, strength in layers:
            paint(picture, where, colour, strength)
        return picture


def vote_colours(members: int) -> list[str]:
    """Colours of pixels that 1, 2 ... all but one of the members have, dark to bright (plasma)."""
    levels = np.linspace(90, 245, max(1, members - 1)).astype(np.uint8)
    colours = cv2.applyColorMap(levels[:, None], cv2.COLORMAP_PLASMA)[:, 0]
    return ["#" + bytes(colour[::-1].tolist()).hex() for colour in colours][: members - 1]


def as_jpeg(picture: Image) -> bytes:
    """The picture as a file, its colours at full resolution."""
    full = cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444
    settings = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, full]
    done, encoded = cv2.imencode(".jpg", picture, settings)
    if not done:
        raise OSError("the picture could not be encoded")
    return encoded.tobytes()
