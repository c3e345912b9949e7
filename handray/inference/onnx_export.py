"""A network as one ONNX file that needs nothing else, checked against torch.

Axes: B batch, C classes, H W pixels of the model frame.
"""

import contextlib
import json
import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnxruntime
import torch
from torch import Tensor, nn

MOST_DIFFERENCE = 1e-3
"""Probabilities of torch and ONNX Runtime may differ by this much: rounding, no more."""
STAGES = 2
"""Of an export."""
CHECKED_BATCHES = (1, 3)
"""Neither is the batch that the network is traced with."""
HOW_TO = (
    "image: gray levels 0 to 255, resized bilinearly to size x size, minus mean, divided by std; "
    "logits: one channel a class of class_names, a sigmoid makes probabilities. "
    "size, mean, std, class_names and model are JSON in the metadata."
)


class ExportError(RuntimeError):
    """The ONNX file doesn't compute what the network does."""


@dataclass(frozen=True)
class Exported:
    """What was written, and how far it is from torch on random images."""

    logits_difference: float
    """Largest absolute difference of a logit."""
    probability_difference: float
    """Largest absolute difference of a probability."""
    opset: int
    size_bytes: int
    """Of the file, with the .data beside it if there is one."""


def export_onnx(
    model: nn.Module,
    size: int,
    facts: dict[str, Any],
    path: Path,
    stage: Callable[[str], None] = lambda _: None,
) -> Exported:
    """Write a network as ONNX; the file appears once ONNX Runtime has agreed with torch.

    The input is ``image``, float32 (B, 1, size, size), normalised; the output is ``logits``,
    float32 (B, C, size, size); B is any. Weights lie inside the file; a network of about 2 GiB,
    which is all that protobuf can hold, has them in ``<path>.data`` beside it.

    Args:
        model: the network on the CPU, in eval mode.
        size: side of its images in pixels.
        facts: kept in the file's metadata, each value as JSON.
        path: the file; its folder is made.
        stage: told what is under way, STAGES times.

    Raises:
        ExportError: a probability differs by more than MOST_DIFFERENCE; no file is left.
        OSError: the file can't be written.

    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # A folder of its own, since a .data file is found by the name it was written under.
        with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
            draft = Path(folder) / path.name
            stage("tracing the network and writing it")
            opset = _write(model, size, facts, draft)
            stage("comparing it with torch")
            logits, probability = _differences(model, size, draft)
            if not probability <= MOST_DIFFERENCE:  # NaN is no agreement either
                raise ExportError(
                    f"the ONNX file disagrees with torch: a probability is {probability:.2g} off, "
                    f"more than {MOST_DIFFERENCE:g}, so {path} was not written; please report it"
                )
            files = sorted(Path(folder).iterdir(), reverse=True)  # .data first: no half a network
            size_bytes = sum(file.stat().st_size for file in files)
            for file in files:
                file.replace(path.parent / file.name)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    return Exported(logits, probability, opset, size_bytes)


def _write(model: nn.Module, size: int, facts: dict[str, Any], path: Path) -> int:
    """Trace the network and save it; returns the opset."""
    # A batch of 1 or 0 would be taken for a constant.
    image_B1HW = torch.zeros(2, 1, size, size)
    with _quiet():
        program = torch.onnx.export(
            model,
            (image_B1HW,),
            input_names=["image"],
            output_names=["logits"],
            dynamic_shapes=({0: torch.export.Dim("batch", min=1)},),
            dynamo=True,
            verbose=False,
        )
    assert program is not None  # only the exporter of old returns nothing
    written = program.model
    for node in written.graph:
        # The exporter's notes for its debuggers, with paths of this machine; the namespace stays,
        # by which viewers group the nodes.
        for key in [key for key in node.metadata_props if key.startswith("pkg.")]:
            del node.metadata_props[key]
    written.metadata_props.update({name: json.dumps(value) for name, value in facts.items()})
    written.doc_string = HOW_TO
    program.save(path)
    return int(written.opset_imports[""])


@torch.inference_mode()
def _differences(model: nn.Module, size: int, path: Path) -> tuple[float, float]:
    """Largest absolute differences of logits and of probabilities on random images."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    # The exporter gives an axis up without a word where the network's code fixes it.
    if isinstance(batch := session.get_inputs()[0].shape[0], int):
        raise ExportError(f"the traced network takes batches of {batch} only; please report it")
    generator = torch.Generator().manual_seed(0)
    logits, probability = [], []
    for batch in CHECKED_BATCHES:
        image_B1HW = torch.randn(batch, 1, size, size, generator=generator)
        expected_BCHW: Tensor = model(image_B1HW)
        found_BCHW = torch.from_numpy(session.run(["logits"], {"image": image_B1HW.numpy()})[0])
        if found_BCHW.shape != expected_BCHW.shape:
            raise ExportError(
                f"the ONNX file disagrees with torch: logits of shape {tuple(found_BCHW.shape)}, "
                f"not {tuple(expected_BCHW.shape)}; please report it"
            )
        logits.append(found_BCHW - expected_BCHW)
        probability.append(found_BCHW.sigmoid() - expected_BCHW.sigmoid())
    # Tensor.max, unlike Python's, lets a NaN through.
    return _largest(logits), _largest(probability)


def _largest(differences: list[Tensor]) -> float:
    return float(torch.stack([difference.abs().max() for difference in differences]).max())


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's advice to its developers off the terminal; errors still raise."""
    disabled = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
