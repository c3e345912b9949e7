"""From a file to the model frame: gray levels and bits, as every fold and rank shares them.

Axes: H W pixels of the model frame, P planes of eight classes.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from handray.data.radiographs import Radiograph, read_image
from handray.masks.planes import draw_planes


@dataclass(frozen=True)
class Sample:
    """One decoded row: image (H, W) and planes (H, W, P), uint8, read-only from Ray."""

    row: int
    image_HW: NDArray[np.uint8]
    planes_HWP: NDArray[np.uint8]


def decode(
    radiograph: Radiograph, size: int, classes: int
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Image (size, size) and planes (size, size, P), uint8, as the competition's baseline has them.

    The image is resized bilinearly; the label is drawn in the source frame, then resized by
    nearest neighbour. Whoever changes what comes out counts ``disk_cache.VERSION`` up.

    Raises:
        ValueError: the image can't be read, or has changed since its folder was read.

    """
    image = read_image(radiograph.image_path, radiograph.digest)
    image_HW = cv2.resize(image, (size, size), interpolation=cv2.INTER_LINEAR)
    return image_HW.astype(np.uint8), draw_planes(radiograph.polygons, image.shape, size, classes)
