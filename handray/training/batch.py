"""A batch as bytes, and as what the network sees.

Axes: B batch, C classes, H W pixels of the model frame, P planes of eight classes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from handray.masks.planes import unpack


@dataclass(frozen=True)
class Batch:
    """Images and labels of the model frame as they cross to the device: five bytes a pixel."""

    names: tuple[str, ...]
    image_BHW: Tensor
    """uint8 gray levels."""
    planes_BHWP: Tensor
    """uint8 bits: class c is bit c % 8 of plane c // 8."""

    def uploaded(self, stream: torch.cuda.Stream) -> "Batch":
        """The same on the stream's GPU, copied beside the work of the current stream."""
        # Only from pinned memory does a copy run beside anything.
        pinned = [tensor.pin_memory() for tensor in (self.image_BHW, self.planes_BHWP)]
        with torch.cuda.stream(stream):
            there = [tensor.to(stream.device, non_blocking=True) for tensor in pinned]
        current = torch.cuda.current_stream(stream.device)
        current.wait_stream(stream)
        for tensor in there:
            tensor.record_stream(current)  # its memory is not the copying stream's to reuse yet
        return Batch(self.names, *there)

    def take(self, order: Sequence[int]) -> "Batch":
        """Images in another order."""
        where = torch.as_tensor(order)
        names = tuple(self.names[number] for number in order)
        return Batch(names, self.image_BHW[where], self.planes_BHWP[where])

    def parts(self, count: int) -> Iterator["Batch"]:
        """Split into ``count`` batches of equal size, in order."""
        size = len(self.names) // count
        for start in range(0, size * count, size):
            part = slice(start, start + size)
            yield Batch(self.names[part], self.image_BHW[part], self.planes_BHWP[part])


@dataclass(frozen=True)
class Normalisation:
    """Mean and standard deviation of the training images' gray levels, 0 .. 255."""

    mean: float
    std: float
    memory_format: torch.memory_format = torch.channels_last

    def __call__(self, image_BHW: Tensor) -> Tensor:
        """Normalise uint8 images to float32 (B, 1, H, W), once, with no division by 255 before."""
        image = (image_BHW.unsqueeze(1).float() - self.mean) / self.std
        return image.contiguous(memory_format=self.memory_format)


def targets(batch: Batch, classes: int, device: torch.device) -> Tensor:
    """Labels as float32 0 or 1, (B, C, H, W), unpacked on the device."""
    return unpack(batch.planes_BHWP.to(device, non_blocking=True), classes)
