"""Planes: a label as bits. Class c of a pixel is bit c % 8 of byte c // 8, planes_HWP uint8.

Axes: B batch, C classes, H W pixels of the model frame, P = ceil(C / 8) bytes of a pixel. Bits
above the last class are 0. `pack` and `unpack` are inverse.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from handray.masks.polygon import draw_box

if TYPE_CHECKING:  # workers that only draw planes start without torch
    import torch


def plane_count(classes: int) -> int:
    """Bytes of a pixel."""
    return -(-classes // 8)


def draw_planes(
    polygons: Mapping[int, NDArray[np.int32]],
    source_hw: tuple[int, int],
    size: int,
    classes: int,
) -> NDArray[np.uint8]:
    """The label of one image, (size, size, P); `polygons` holds one a class, (N, 2) xy int32.

    Points are source pixels. Bit-exact with the competition's baseline: each class drawn on the
    whole source image by cv2.fillPoly, then cv2.resize(INTER_NEAREST). Raises ValueError for a
    class outside 0 .. classes - 1 or an unfit polygon.
    """
    rows_y, columns_x = nearest_positions(source_hw[0], size), nearest_positions(source_hw[1], size)
    planes_HWP = np.zeros((size, size, plane_count(classes)), np.uint8)
    step_y, step_x = source_hw[0] // size, source_hw[1] // size
    is_whole = source_hw == (step_y * size, step_x * size)
    for number, points_N2 in polygons.items():
        if not 0 <= number < classes:
            raise ValueError(f"class {number} is not among the {classes} classes 0..{classes - 1}")
        drawn = draw_box(points_N2, source_hw, 1 << number % 8)
        if drawn is None:
            continue
        height, width = drawn.mask_hw.shape
        if is_whole:  # the positions are multiples of the steps: seen without a copy
            top, bottom = -(-drawn.y0 // step_y), -(-(drawn.y0 + height) // step_y)
            left, right = -(-drawn.x0 // step_x), -(-(drawn.x0 + width) // step_x)
            sampled = drawn.mask_hw[-drawn.y0 % step_y :: step_y, -drawn.x0 % step_x :: step_x]
        else:
            top, bottom = np.searchsorted(rows_y, (drawn.y0, drawn.y0 + height)).tolist()
            left, right = np.searchsorted(columns_x, (drawn.x0, drawn.x0 + width)).tolist()
            sampled = drawn.mask_hw[rows_y[top:bottom] - drawn.y0]
            sampled = sampled.take(columns_x[left:right] - drawn.x0, axis=1)
        planes_HWP[top:bottom, left:right, number // 8] |= sampled
    return planes_HWP


@lru_cache(maxsize=64)
def nearest_positions(source: int, size: int) -> NDArray[np.intp]:
    """The source positions that cv2's nearest resize takes for `size` positions, ascending."""
    ramp = np.arange(source, dtype=np.float32)[None]  # exact up to 2**24
    positions = cv2.resize(ramp, (size, 1), interpolation=cv2.INTER_NEAREST)[0].astype(np.intp)
    positions.setflags(write=False)
    return positions


def pack(masks_CHW: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """The planes (H, W, P) of one boolean mask a class."""
    bits_PHW = np.packbits(masks_CHW, axis=0, bitorder="little")
    return np.ascontiguousarray(bits_PHW.transpose(1, 2, 0))


def unpack(planes_BHWP: "torch.Tensor", classes: int) -> "torch.Tensor":
    """Masks (B, C, H, W) float32 of 0 and 1, on the planes' own device; planes are uint8.

    Raises ValueError where the last axis is not the ceil(classes / 8) bytes that the classes take.
    """
    import torch

    if planes_BHWP.dtype != torch.uint8 or planes_BHWP.shape[-1] != plane_count(classes):
        raise ValueError(
            f"{classes} classes take uint8 planes of {plane_count(classes)} bytes, "
            f"got {planes_BHWP.dtype} of {planes_BHWP.shape[-1]}"
        )
    bit_8 = 1 << torch.arange(8, dtype=torch.uint8, device=planes_BHWP.device)
    bits_BP8HW = planes_BHWP.permute(0, 3, 1, 2).unsqueeze(2) & bit_8.view(8, 1, 1)
    return (
        bits_BP8HW.flatten(1, 2)[:, :classes]
        .ne(0)
        .to(torch.float32, memory_format=torch.contiguous_format)
    )
