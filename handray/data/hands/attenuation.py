"""What a bone adds to a film: a hollow rod of cortex, filled with a mesh of trabeculae.

A bone is drawn inside its own window of the working frame (512 or 1024 px).
Axes: H W pixels of the window or of the working frame, N points of an outline.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from handray.data.hands.hand import Bone
from handray.data.hands.outlines import kind

Image = NDArray[np.float32]
AnyFloats = NDArray[np.floating]
TILE = 512  # side of the texture tile, px
FULL = 1024  # the working size at which a texel of the tile is a pixel


@dataclass(frozen=True)
class Build:
    """How a bone is built: cortex as a share of its radius, densities relative to cortex."""

    cortex_shaft: float
    cortex_end: float
    marrow_shaft: float
    marrow_end: float
    gray: float  # relative to Exposure.bone_gray
    roundness: float = 0.5  # 0.5 a rod, 1 a lens
    rim: float = 0.10  # the thin white line along the edge


BUILDS = {
    "tip": Build(0.36, 0.22, 0.24, 0.42, 0.55, 0.6),
    "middle": Build(0.38, 0.11, 0.14, 0.45, 0.84),
    "proximal": Build(0.36, 0.10, 0.12, 0.46, 1.05),
    "metacarpal": Build(0.34, 0.09, 0.13, 0.46, 1.15),
    "carpal": Build(0.12, 0.12, 0.55, 0.55, 1.12, 0.8, 0.17),
    "forearm": Build(0.26, 0.07, 0.30, 0.56, 1.45, 0.55),
}
THINNER = {"Pisiform": 0.62, "Trapezoid": 0.75, "Triquetrum": 0.85, "Ulna": 0.85}


@dataclass(frozen=True)
class Window:
    """Where a bone lies in the working frame: columns and rows low..high, px."""

    work: int
    low_2: NDArray[np.int_]
    high_2: NDArray[np.int_]

    @property
    def slices(self) -> tuple[slice, slice]:
        """Rows and columns of the window."""
        return slice(self.low_2[1], self.high_2[1]), slice(self.low_2[0], self.high_2[0])

    @property
    def width_height(self) -> tuple[int, int]:
        """As OpenCV wants it."""
        return int(self.high_2[0] - self.low_2[0]), int(self.high_2[1] - self.low_2[1])


def trabeculae(rng: np.random.Generator) -> Image:
    """A tile of the fine mesh inside bones, of mean 0 and deviation about 1; it wraps around."""
    white_HW = rng.standard_normal((TILE, TILE), dtype=np.float32)
    padded_HW = cv2.copyMakeBorder(white_HW, 16, 16, 16, 16, cv2.BORDER_WRAP)
    fine_HW = cv2.GaussianBlur(padded_HW, (0, 0), sigmaX=0.8, sigmaY=1.3)
    mesh_HW = (fine_HW - cv2.GaussianBlur(padded_HW, (0, 0), 2.8))[16:-16, 16:-16]
    blotch_HW = cv2.GaussianBlur(padded_HW, (0, 0), 4.5)[16:-16, 16:-16]
    return mesh_HW / mesh_HW.std() + 0.6 * blotch_HW / blotch_HW.std()


def add_bone(film_HW: Image, bone: Bone, name: str, mesh_HW: Image, bone_gray: float) -> None:
    """Add a bone's attenuation to the film, in place."""
    window = _window(bone, film_HW.shape[0])
    if min(window.width_height) < 3:
        return
    build = BUILDS[kind(name)]
    depth_HW, mask_HW = _depth_inside(bone, window)
    along_HW = _place_along(bone, window)
    if kind(name) == "forearm":  # most of its shaft lies beyond the film
        along_HW = np.clip((along_HW - 0.30) * 2.5, 0, 0.5)
    density_HW = _density(depth_HW, along_HW, build)
    density_HW += build.rim * _rim(depth_HW, along_HW, window.work)
    density_HW *= 1 + 0.15 * _spongy(name, along_HW) * _mesh(mesh_HW, bone, window)
    gray = bone_gray * build.gray * THINNER.get(name, 1.0)
    film_HW[window.slices] += gray * density_HW * mask_HW


def _spongy(name: str, along_HW: Image) -> Image:
    """How much of the mesh shows, 0..1: ends and carpals are full of it."""
    if kind(name) == "carpal":
        return np.full_like(along_HW, 0.9)
    return np.clip(np.abs(along_HW) * 2.2 - 0.3, 0.3, 1)


def _window(bone: Bone, work: int) -> Window:
    outline_N2 = bone.outline * work
    low_2 = np.maximum(np.floor(outline_N2.min(axis=0)).astype(int) - 2, 0)
    high_2 = np.minimum(np.ceil(outline_N2.max(axis=0)).astype(int) + 3, work)
    return Window(work, low_2, np.maximum(high_2, low_2))


def _depth_inside(bone: Bone, window: Window) -> tuple[Image, Image]:
    """Distance to the bone's edge (px) inside it, and its anti-aliased mask in 0..1."""
    width, height = window.width_height
    mask_HW = np.zeros((height, width), np.uint8)
    points_N2 = np.rint((bone.outline * window.work - 0.5 - window.low_2) * 16).astype(np.int32)
    cv2.fillPoly(mask_HW, [points_N2], 255, lineType=cv2.LINE_AA, shift=4)
    padded_HW = cv2.copyMakeBorder(mask_HW, 1, 1, 1, 1, cv2.BORDER_REPLICATE)
    depth_HW = cv2.distanceTransform((padded_HW > 127).astype(np.uint8), cv2.DIST_L2, 5)
    cover_HW = np.divide(mask_HW, 255, dtype=np.float32)
    return np.asarray(depth_HW[1:-1, 1:-1], np.float32), cover_HW


def _place_along(bone: Bone, window: Window) -> Image:
    """Each pixel's place along the bone's axis: -0.5 at the base, 0.5 at the head."""
    start_2, end_2 = bone.proximal_2 * window.work - 0.5, bone.distal_2 * window.work - 0.5
    along_2 = (end_2 - start_2) / ((end_2 - start_2) @ (end_2 - start_2))
    x_W = (np.arange(window.low_2[0], window.high_2[0]) - start_2[0]) * along_2[0]
    y_H = (np.arange(window.low_2[1], window.high_2[1]) - start_2[1]) * along_2[1]
    return (y_H[:, None] + x_W[None, :] - 0.5).astype(np.float32)


def _density(depth_HW: Image, along_HW: Image, build: Build) -> Image:
    """Path length through a hollow rod, weighted by density: about 1 through a solid shaft."""
    shaft_HW = np.clip(1.3 - 2.9 * np.abs(along_HW), 0, 1)
    shaft_HW = shaft_HW * shaft_HW * (3 - 2 * shaft_HW)  # no visible kink
    radius_HW = _radii(depth_HW, along_HW)
    cortex_HW = build.cortex_end + (build.cortex_shaft - build.cortex_end) * shaft_HW
    inner_HW = radius_HW * (1 - cortex_HW)
    marrow_HW = build.marrow_end + (build.marrow_shaft - build.marrow_end) * shaft_HW
    through_HW = _chord(depth_HW, radius_HW, build.roundness)
    hollow_HW = _chord(depth_HW - radius_HW * cortex_HW, inner_HW, build.roundness)
    hollow_HW *= (1 - cortex_HW) * (1 - marrow_HW)
    thickness_HW = 0.68 + 0.32 * radius_HW / radius_HW.max()
    return thickness_HW * (through_HW - hollow_HW) * 1.35


def _rim(depth_HW: Image, along_HW: Image, work: int) -> Image:
    """The white line just inside the edge, strongest at joints."""
    scale = work / FULL
    line_HW = np.exp(-(((depth_HW - 2.2 * scale) / (1.3 * scale)) ** 2))
    return line_HW * np.clip(0.5 + 1.2 * np.abs(along_HW), 0, 1)


def _radii(depth_HW: Image, along_HW: Image) -> Image:
    """Half the bone's width at each pixel's place along it, px."""
    bins = 24
    slot_HW = np.clip(((along_HW + 0.5) * bins).astype(np.int32), 0, bins - 1)
    widest = np.zeros(bins, np.float32)
    np.maximum.at(widest, slot_HW.ravel(), depth_HW.ravel())
    padded = np.concatenate([widest[1::-1], widest, widest[:-3:-1]])
    smooth = np.convolve(padded, np.ones(5, np.float32) / 5, mode="valid")
    smooth = np.maximum(1.04 * smooth, 0.35 * widest.max() + 1.0)
    place = (np.arange(bins) + 0.5) / bins - 0.5
    return np.interp(along_HW, place, smooth).astype(np.float32)


def _chord(depth_HW: AnyFloats, radius_HW: AnyFloats, roundness: float) -> Image:
    """Share of the diameter that a ray meets `depth` inside a rod's edge, 0..1."""
    reach_HW = np.clip(depth_HW / radius_HW, 0, 1)
    return np.asarray(cv2.pow(reach_HW * (2 - reach_HW), roundness), np.float32)


def _mesh(mesh_HW: Image, bone: Bone, window: Window) -> Image:
    """Trabecular texture of the bone's window, its strands along the bone."""
    x, y = bone.distal_2 - bone.proximal_2
    scale = FULL / window.work / 1.3
    cos, sin = -y / np.hypot(x, y) * scale, x / np.hypot(x, y) * scale
    start_2 = (bone.distal_2 * FULL) % TILE
    to_tile_23 = np.array([[cos, sin, start_2[0]], [-sin, cos, start_2[1]]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    laid_HW = cv2.warpAffine(
        mesh_HW, to_tile_23, window.width_height, flags=flags, borderMode=cv2.BORDER_WRAP
    )
    return np.asarray(laid_HW, np.float32)
