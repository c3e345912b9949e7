"""Which arithmetic a forward pass runs in, and why."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch

WEAKEST_FIRST = ("fp16", "fp32", "bf16")
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Precision:
    """A choice of arithmetic: ``bf16``, ``fp16`` or ``fp32``, with the reason for people."""

    name: str
    reason: str
    device_type: str
    channels_last: bool = True
    """Whether a pixel's channels lie side by side in memory."""

    @property
    def memory_format(self) -> torch.memory_format:
        """Of weights and images."""
        return torch.channels_last if self.channels_last else torch.contiguous_format

    def autocast(self, cache: bool = True) -> AbstractContextManager[object]:
        """Context for a forward pass; weights stay float32, their casts are kept with ``cache``."""
        if self.name not in DTYPES:
            return nullcontext()
        dtype = DTYPES[self.name]
        return torch.autocast(self.device_type, dtype=dtype, cache_enabled=cache)

    def scaler(self) -> torch.amp.GradScaler:
        """Build a gradient scaler that does something only for fp16."""
        return torch.amp.GradScaler(self.device_type, enabled=self.name == "fp16")


def weakest(choices: Sequence[Precision]) -> Precision:
    """Return what all ranks can do: they must scale their losses alike."""
    return min(choices, key=lambda choice: WEAKEST_FIRST.index(choice.name))


def choose_precision(wanted: str, device: torch.device) -> Precision:
    """Turn ``auto`` into what the device is good at; other choices are taken as they are.

    A V100 has no bfloat16 and torch emulates it slowly, so emulation does not count.
    """
    if wanted != "auto":
        return Precision(wanted, "as asked", device.type)
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return Precision("bf16", f"{name} has it", device.type)
        return Precision("fp16", f"{name} has no bfloat16", device.type)
    if torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported():
        return Precision("bf16", "this CPU has it", device.type)
    return Precision("fp32", "this CPU has no bfloat16", device.type)
