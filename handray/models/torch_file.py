"""Files that torch.save wrote, checked before they are believed."""

import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch


def read_torch_file(path: Path) -> Any:
    """Tensors and plain types of a file, on the CPU.

    Raises:
        ValueError: no file that torch can read, or a damaged one: torch itself checks no checksum.

    """
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as file:
                damaged = file.testzip()
            if damaged:
                raise ValueError(f"{path} is damaged: the checksum of {damaged} is wrong")
        return torch.load(path, map_location="cpu", weights_only=True)
    except (
        pickle.UnpicklingError,
        zipfile.BadZipFile,
        RuntimeError,
        EOFError,
        KeyError,
        IndexError,
    ) as error:
        raise ValueError(f"{path} is not a checkpoint that torch can read") from error
