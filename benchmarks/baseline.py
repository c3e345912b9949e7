"""The competition's own way of doing things, written plainly, to measure against.

Dense masks at source size, one class after the other; torch and numpy as its notebooks use them.

Axes: C classes, H W pixels of the source frame, h w of the model frame.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import albumentations as A
import cv2
import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

Mask = NDArray[np.uint8]


def mask_of(polygon_N2: NDArray[np.int32], side: int) -> Mask:
    """Fill one class's polygon on a whole image."""
    mask = np.zeros((side, side), np.uint8)
    cv2.fillPoly(mask, [polygon_N2], 1)
    return mask


def encode(mask_HW: Mask) -> str:
    """Write a mask as run lengths."""
    pixels = np.concatenate([[0], mask_HW.flatten(), [0]])
    runs = np.where(pixels[1:] != pixels[:-1])[0] + 1
    runs[1::2] -= runs[::2]
    return " ".join(str(x) for x in runs)


def decode(text: str, side: int) -> Mask:
    """Read a mask from run lengths."""
    words = text.split()
    starts, lengths = (np.asarray(words[at::2], dtype=int) for at in (0, 1))
    starts -= 1
    mask = np.zeros(side * side, np.uint8)
    for start, end in zip(starts, starts + lengths, strict=True):
        mask[start:end] = 1
    return mask.reshape(side, side)


def logits_to_texts(logits_Chw: torch.Tensor, side: int) -> list[str]:
    """Upsample all classes, take their probabilities, compare them with 0.5, write run lengths."""
    whole = F.interpolate(logits_Chw[None], size=(side, side), mode="bilinear")
    masks_CHW = (torch.sigmoid(whole)[0] > 0.5).numpy()
    return [encode(mask.astype(np.uint8)) for mask in masks_CHW]


def read_csvs(csvs: Sequence[Path]) -> list[pd.DataFrame]:
    """Read result files."""
    return [pd.read_csv(csv) for csv in csvs]


def vote(tables: Sequence[pd.DataFrame], needed: int, side: int, images: int, out: Path) -> None:
    """Vote the first images of some results into one CSV, row by row."""
    names = tables[0]["image_name"].unique()[:images]
    rows = int(tables[0]["image_name"].isin(names).sum())
    texts = []
    for row in range(rows):
        total = np.zeros((side, side), np.uint8)
        for table in tables:
            text = table["rle"][row]
            if isinstance(text, str):
                total += decode(text, side)
        texts.append(encode((total >= needed).astype(np.uint8)))
    voted = pd.DataFrame(
        {
            "image_name": tables[0]["image_name"][:rows],
            "class": tables[0]["class"][:rows],
            "rle": texts,
        }
    )
    voted.to_csv(out, index=False)


def dice(ours_CHW: Mask, theirs_CHW: Mask) -> NDArray[np.float64]:
    """Dice of each class of dense masks, as torch computes it in float32."""
    ours, theirs = (torch.from_numpy(masks).float().flatten(1) for masks in (ours_CHW, theirs_CHW))
    overlap = (ours * theirs).sum(-1)
    return ((2.0 * overlap + 1e-4) / (ours.sum(-1) + theirs.sum(-1) + 1e-4)).double().numpy()


def label_of(path: Path, classes: Sequence[str], side: int) -> Mask:
    """Draw the label of one image, (H, W, C): every class on a whole image."""
    label = np.zeros((side, side, len(classes)), np.uint8)
    for annotation in json.loads(path.read_text())["annotations"]:
        points = np.array(annotation["points"])
        label[..., classes.index(annotation["label"])] = mask_of(points, side)
    return label


class Images(torch.utils.data.Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """The competition's data set: everything is read, drawn and resized for each sample."""

    def __init__(
        self,
        images: Sequence[Path],
        classes: Sequence[str],
        transform: A.BasicTransform | A.Compose,
    ) -> None:
        self.images, self.classes, self.transform = images, classes, transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, number: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Image (3, h, w) and label (C, h, w), float32."""
        path = self.images[number]
        image = cv2.imread(str(path)) / 255.0
        label_path = Path(str(path.with_suffix(".json")).replace("/DCM/", "/outputs_json/"))
        label = label_of(label_path, self.classes, image.shape[0])
        drawn = self.transform(image=image.astype(np.float32), mask=label)
        image_t = torch.from_numpy(drawn["image"].transpose(2, 0, 1)).float()
        return image_t, torch.from_numpy(drawn["mask"].transpose(2, 0, 1)).float()
