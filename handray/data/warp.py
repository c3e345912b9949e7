"""Affine, elastic and mirror as one movement, composed on a coarse grid and resampled once.

Resampled one after the other, an image is blurred and a label frayed each time, and the elastic
field of every pixel takes longer than all else that augmentation does.

Axes: H W pixels of the model frame, P bytes of a pixel, N control points a side.
"""

import os
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

# Read when albumentations is imported: without it every worker asks the network for news.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

import albumentations as A

Field = NDArray[np.float32]
"""(N, N, 2) or (H, W, 2): x and y, pixels."""

CELLS = 128
"""Of the grid, a side."""


@dataclass(frozen=True)
class Grid:
    """Control points over a square image, a cell apart, one beyond each edge."""

    size: int
    """Side of the image, pixels."""

    @property
    def cell(self) -> int:
        """Pixels."""
        return max(1, self.size // CELLS)

    @property
    def count(self) -> int:
        """Points a side."""
        return -(-self.size // self.cell) + 2

    def points(self) -> Field:
        """Where the points lie."""
        x = (np.arange(self.count) - 0.5) * self.cell - 0.5
        return np.dstack(np.meshgrid(x, x)).astype(np.float32)

    def at(self, values_NN2: Field, positions: Field) -> Field:
        """Values between the points, bilinear; beyond the outermost, theirs."""
        where = ((positions + 0.5) / self.cell + 0.5).astype(np.float32)
        return _resampled(values_NN2, where, cv2.INTER_LINEAR, cv2.BORDER_REPLICATE)

    def every_pixel(self, values_NN2: Field) -> Field:
        """Values at every pixel, (H, W, 2), bilinear: OpenCV's bicubic bends straight ramps."""
        side = self.count * self.cell
        fine = cv2.resize(values_NN2, (side, side), interpolation=cv2.INTER_LINEAR)
        inside = slice(self.cell, self.cell + self.size)
        return fine[inside, inside].astype(np.float32, copy=False)


class Elastic(A.DualTransform):
    """Smooth random displacements, for `Warp` to resample.

    ``alpha`` is their standard deviation and ``sigma`` the scale on which they change, both in
    pixels, at any size. albumentations' own ``approximate=True`` blurs by 17 pixels whatever sigma
    is, which folds large images over, and its exact way takes a blur of that scale.
    """

    def __init__(self, alpha: float, sigma: float, p: float = 0.5) -> None:
        super().__init__(p=p)
        self.alpha, self.sigma = alpha, sigma

    def field(self, grid: Grid) -> Field:
        """Draw displacements at the grid's points."""
        sigma = self.sigma / grid.cell
        noise = self.random_generator.standard_normal((grid.count, grid.count, 2), np.float32)
        # A Gaussian leaves white noise of deviation 1 with one of 1 / (2 sqrt(pi) sigma).
        smooth: Field = cv2.GaussianBlur(noise, (0, 0), sigma)
        return smooth * np.float32(2 * np.sqrt(np.pi) * sigma * self.alpha)


MOVES = A.Affine, Elastic, A.HorizontalFlip
"""What a warp can hold."""


class Warp(A.Sequential):
    """Transforms of MOVES, each drawn by itself, resampled together.

    The image is resampled bilinearly, the label by nearest neighbour; what lies outside is 0.
    Positions are within 0.05 px of those of the exact maps at 1024 px (a test).
    """

    def __call__(self, *_: Any, force_apply: bool = False, **data: Any) -> dict[str, Any]:
        """Move ``image`` (H, W) and ``mask`` (H, W, P), H = W, where anything is drawn."""
        positions = self.positions(len(data["image"]), force_apply)
        if positions is None:
            return data
        image = _resampled(data["image"], positions, cv2.INTER_LINEAR)
        return {**data, "image": image, "mask": _resampled(data["mask"], positions)}

    def positions(self, size: int, force_apply: bool = False) -> Field | None:
        """Draw where the pixels of an image of this side come from, (H, W, 2); None: they stay."""
        grid = Grid(size)
        chosen = [one for one in self.transforms if one.should_apply(force_apply)]
        drawn = [(one, _draw(one, grid)) for one in chosen]
        if not drawn:
            return None
        positions = grid.points()
        for transform, what in reversed(drawn):
            if isinstance(transform, Elastic):
                positions = positions + grid.at(what, positions)
            else:
                positions = cv2.transform(positions, np.linalg.inv(what)[:2]).astype(np.float32)
        return grid.every_pixel(positions)


def _draw(transform: A.BasicTransform, grid: Grid) -> NDArray[Any]:
    """An elastic field, or the (3, 3) matrix of where pixels go."""
    if isinstance(transform, Elastic):
        return transform.field(grid)
    if isinstance(transform, A.HorizontalFlip):
        return np.array([[-1, 0, grid.size - 1], [0, 1, 0], [0, 0, 1]], np.float64)
    shape = {"shape": (grid.size, grid.size)}
    matrix: NDArray[Any] = transform.get_params_dependent_on_data(shape, {})["matrix"]
    return matrix


def _resampled(
    values: NDArray[Any],
    positions: Field,
    way: int = cv2.INTER_NEAREST,
    border: int = cv2.BORDER_CONSTANT,
) -> NDArray[Any]:
    found = cv2.remap(values, positions, None, way, borderMode=border)  # type: ignore[call-overload]
    return found.reshape(values.shape)  # OpenCV drops a last axis of one
