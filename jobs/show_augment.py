"""Draw an augmentation policy: an image with its outlines, and eight draws of the policy.

Leaves a PNG (--out). Without --image a made-up hand is drawn.

  python jobs/show_augment.py --augment elastic+flip+rbc
  python jobs/show_augment.py --augment jitter_sharpen_rbc --image DIR/train/DCM/ID001/x_R.png
"""

import argparse
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from handray.bones import BONES
from handray.cli import Parser, run_job
from handray.config import DataConfig
from handray.data.augment import Augment
from handray.data.decode import decode
from handray.data.phantom import draw_hand
from handray.data.radiographs import read_radiograph
from handray.masks.planes import draw_planes
from handray.masks.rle import RunRows, encode
from handray.policies import MIXUP, names
from handray.reporting.colours import class_colours
from handray.reporting.console import Counting
from handray.reporting.overlay import draw_overlay, save_sheet

DRAWS = 8
COLUMNS = 3
CELL = 420
"""Pixels of a picture's side on the sheet."""

Image = NDArray[np.uint8]


def main() -> None:
    """Exit code: 0 drawn, 2 bad input."""
    options = _options()
    config = DataConfig(
        size=options.size, augment=options.augment, augment_strength=options.augment_strength
    )
    augment = Augment.of(config)
    image_HW, planes_HWP, class_names = _read(options)
    pictures = [_picture(image_HW, planes_HWP, class_names, "as it is")]
    telling = Counting("drawing")
    for draw in range(DRAWS):
        drawn = augment(image_HW, planes_HWP, (options.seed, draw))
        pictures.append(_picture(*drawn, class_names, f"draw {draw + 1}"))
        telling(draw + 1, DRAWS)
    rows = [pictures[start : start + COLUMNS] for start in range(0, len(pictures), COLUMNS)]
    save_sheet(options.out, rows, CELL)
    if MIXUP in names(options.augment):
        print("mixup is left out: it mixes two images of a batch, on the device")
    print(f"{options.out}: {options.augment}, {DRAWS} draws")


def _read(options: argparse.Namespace) -> tuple[Image, Image, tuple[str, ...]]:
    """Image and planes in the model frame, and the names of the classes."""
    if options.image is None:
        hand = draw_hand(options.seed, 0, "right", 2 * options.size, bent=False)
        polygons = {BONES.index(bone): polygon for bone, polygon in hand.polygons.items()}
        frame = options.size, options.size
        image_HW = cv2.resize(hand.image_HW, frame, interpolation=cv2.INTER_AREA)
        planes = draw_planes(polygons, hand.image_HW.shape, options.size, len(BONES))
        return image_HW.astype(np.uint8), planes, BONES
    radiograph, class_names = read_radiograph(options.image)
    return *decode(radiograph, options.size, len(class_names)), class_names


def _picture(image_HW: Image, planes_HWP: Image, class_names: tuple[str, ...], title: str) -> Image:
    masks = [encode(planes_HWP[..., c // 8] >> (c % 8) & 1) for c in range(len(class_names))]
    picture = draw_overlay(image_HW, RunRows.join(masks), class_colours(class_names), fill=0)
    picture = cv2.resize(picture, (CELL, CELL), interpolation=cv2.INTER_AREA)
    cv2.putText(picture, title, (10, 25), cv2.FONT_HERSHEY_SIMPLEX, 0.7, (255, 255, 255), 2)
    return picture.astype(np.uint8)


def _options() -> argparse.Namespace:
    parser = Parser(__doc__)
    add = parser.add_argument
    add("--augment", required=True, metavar="NAME", help="policy, as in jobs/train_kfold.py")
    add("--augment-strength", type=float, default=1.0, metavar="X", help="factor on its ranges")
    add("--image", type=Path, metavar="PATH", help="an image in DIR/train/DCM/<person>/")
    add("--size", type=int, default=512, help="side of the model frame, pixels (default: 512)")
    add("--seed", type=int, default=0, help="another seed, other draws (default: 0)")
    add("--out", type=Path, default=Path("augment.png"), help="PNG (default: augment.png)")
    return parser.parse_args()


if __name__ == "__main__":
    run_job(main)
