"""A part of a radiograph on a panel of the screen: whose pixel is where.

Axes: H W pixels of the source frame, h w pixels of the panel.
"""

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

from handray.inference.tidy import box_of
from handray.masks.rle import RunRows, Runs

PANEL = 900
"""Longer side of a panel, pixels."""
MARGIN = 0.2
"""Room around what a window is about, of its longer side."""
LEAST = 24
"""Side of the smallest window, source pixels."""

Image = NDArray[np.uint8]


@dataclass(frozen=True)
class Window:
    """Rows top .. bottom - 1 and columns left .. right - 1 of the source image."""

    top: int
    left: int
    bottom: int
    right: int

    @classmethod
    def whole(cls, source_hw: tuple[int, int]) -> "Window":
        """All of an image."""
        return cls(0, 0, *source_hw)

    @classmethod
    def around(cls, rows: RunRows, source_hw: tuple[int, int]) -> "Window":
        """What holds all of these masks with some room around them; the whole image for none."""
        boxes = [box_of(runs, source_hw[1]) for runs in map(rows.__getitem__, range(len(rows)))
                 if len(runs)]  # fmt: skip
        if not boxes:
            return cls.whole(source_hw)
        top, left = (min(box[axis] for box in boxes) for axis in (1, 2))
        bottom = max(y0 + mask.shape[0] for mask, y0, _ in boxes)
        right = max(x0 + mask.shape[1] for mask, _, x0 in boxes)
        side = (1 + 2 * MARGIN) * max(bottom - top, right - left)
        return cls._centred((top + bottom) / 2, (left + right) / 2, (side, side), source_hw)

    def closer(self, times: float, down: float, across: float) -> "Window":
        """A part of this window, so many times larger on the screen.

        Args:
            times: 1 or more.
            down: where its centre is, 0 at the top to 1 at the bottom.
            across: the same from left to right.

        """
        height, width = self.bottom - self.top, self.right - self.left
        inside = self._centred(
            down * height, across * width, (height / times, width / times), (height, width)
        )
        return Window(
            self.top + inside.top,
            self.left + inside.left,
            self.top + inside.bottom,
            self.left + inside.right,
        )

    @classmethod
    def _centred(
        cls, y: float, x: float, sides: tuple[float, float], source_hw: tuple[int, int]
    ) -> "Window":
        """A window with these sides around a point, moved into the image."""
        starts, ends = [], []
        for centre, side, length in zip((y, x), sides, source_hw, strict=True):
            extent = min(length, max(LEAST, round(side)))
            start = min(max(0, round(centre - extent / 2)), length - extent)
            starts.append(start)
            ends.append(start + extent)
        return cls(*starts, *ends)

    @cached_property
    def panel_hw(self) -> tuple[int, int]:
        """Size of the panel."""
        height, width = self.bottom - self.top, self.right - self.left
        scale = PANEL / max(height, width)
        return max(1, round(height * scale)), max(1, round(width * scale))

    @cached_property
    def rows_h(self) -> NDArray[np.intp]:
        """The source row that each of the panel's shows, ascending."""
        return _positions(self.top, self.bottom, self.panel_hw[0])

    @cached_property
    def columns_w(self) -> NDArray[np.intp]:
        """The source column that each of the panel's shows, ascending."""
        return _positions(self.left, self.right, self.panel_hw[1])

    def photo(self, image: Image) -> Image:
        """The window of a gray (H, W) or BGR (H, W, 3) image, as BGR (h, w, 3)."""
        part = image[self.top : self.bottom, self.left : self.right]
        shrinks = self.panel_hw[0] < part.shape[0]
        how = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
        panel = cv2.resize(part, self.panel_hw[::-1], interpolation=how)
        return np.asarray(panel if panel.ndim == 3 else cv2.cvtColor(panel, cv2.COLOR_GRAY2BGR))

    def mask(self, runs: Runs, source_width: int) -> tuple[Image, int, int] | None:
        """The part of a mask that the window shows: (0 and 1, its top row, its left column).

        None where it shows nothing of it. In panel pixels.
        """
        if not len(runs):
            return None
        mask, y0, x0 = box_of(runs, source_width)
        top, bottom = np.searchsorted(self.rows_h, (y0, y0 + mask.shape[0])).tolist()
        left, right = np.searchsorted(self.columns_w, (x0, x0 + mask.shape[1])).tolist()
        if top == bottom or left == right:
            return None
        shown = mask[self.rows_h[top:bottom] - y0].take(self.columns_w[left:right] - x0, axis=1)
        return shown, top, left

    def of_model_frame(
        self, values: NDArray[np.float32], source_hw: tuple[int, int]
    ) -> NDArray[np.float32]:
        """Values of the model frame, (s, s), where the panel shows their places, (h, w)."""
        rows, columns = (
            positions * side // length
            for positions, side, length in zip(
                (self.rows_h, self.columns_w), values.shape, source_hw, strict=True
            )
        )
        return values[rows][:, columns]


def _positions(start: int, end: int, pixels: int) -> NDArray[np.intp]:
    """The source position under the centre of each of a panel's pixels."""
    return np.asarray(start + (np.arange(pixels) + 0.5) * (end - start) / pixels, np.intp)
