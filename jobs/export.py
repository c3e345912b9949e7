"""Write a trained network as ONNX: one file that any ONNX runtime predicts with, without handray.

The network is a fold's, by its MLflow run or as the best.pt in its folder. The result has a batch
of any size and is compared with torch on random images before it appears.

  python jobs/export.py --run 3f1c9a
  python jobs/export.py --checkpoint runs/demo/fold0/best.pt --out hands.onnx

Input "image": float32 (batch, 1, size, size), gray levels 0 to 255 resized bilinearly, minus mean,
divided by std. Output "logits": float32 (batch, classes, size, size), each class's own sigmoid
makes its probabilities. The file's metadata holds class_names, mean, std, size and model as JSON.
"""

import argparse
import importlib.util
import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from handray.cli import Parser, run_job
from handray.models.zoo import parameter_count
from handray.reporting.console import Stages

if TYPE_CHECKING:
    from torch import nn

PACKAGES = ("onnx", "onnxruntime", "onnxscript")


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line; raises ValueError for a wrong one."""
    parser = Parser(__doc__)
    network = parser.add_mutually_exclusive_group(required=True)
    network.add_argument("--run", metavar="ID", help="the network: MLflow run id of a fold")
    network.add_argument("--checkpoint", type=Path, metavar="PATH", help="the network: a best.pt")
    parser.add_argument(
        "--out", type=Path, metavar="ONNX", help="the result (default: MODEL.onnx, e.g. hrnet.onnx)"
    )
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Load the network, export and check it; 0 when done, 1 where ONNX disagrees with torch."""
    options = parse_arguments(arguments)
    if any(importlib.util.find_spec(package) is None for package in PACKAGES):
        raise ValueError(
            "export needs onnx, onnxruntime and onnxscript: pip install 'handray[export]'"
        )
    if options.out is not None:
        _check_out(options.out, options.checkpoint)
    network, about = _load(options.run, options.checkpoint)
    name, size = about["config"]["model"]["model"], about["size"]
    out = options.out or Path(f"{name}.onnx")
    _check_out(out, options.checkpoint)
    facts = {key: about[key] for key in ("class_names", "mean", "std", "size")} | {"model": name}
    # Slow to import, so not before the command line is known to be right.
    from handray.inference.onnx_export import MOST_DIFFERENCE, STAGES, ExportError, export_onnx

    print(f"exporting {name} at {size} px", flush=True)
    try:
        with Stages(STAGES) as stage:
            exported = export_onnx(network, size, facts, out, stage)
    except ExportError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(
        "against torch, random images in batches of 1 and 3: logits differ by at most "
        f"{exported.logits_difference:.1e}, probabilities by {exported.probability_difference:.1e} "
        f"({MOST_DIFFERENCE:g} is allowed)"
    )
    print(
        f"{out}: {exported.size_bytes / 2**20:.1f} MiB, opset {exported.opset}, "
        f"{parameter_count(network):,} parameters; Netron (https://netron.app) opens it"
    )
    return 0


def _check_out(out: Path, checkpoint: Path | None) -> None:
    if out.is_dir() or out.suffix != ".onnx":
        raise ValueError(f"can't write ONNX to {out}; name a file that ends in .onnx")
    if checkpoint and os.path.realpath(out) == os.path.realpath(checkpoint):
        raise ValueError(f"--out {out} is the checkpoint; give the result another name")


def _load(run_id: str | None, checkpoint: Path | None) -> "tuple[nn.Module, dict[str, Any]]":
    from handray.inference.checkpoint import load_for_inference

    if checkpoint is not None:
        return load_for_inference(checkpoint)
    assert run_id is not None
    from handray.reporting.tracking.fetch import download_checkpoint  # imports MLflow: seconds

    with tempfile.TemporaryDirectory(prefix="handray-") as folder:
        return load_for_inference(download_checkpoint(run_id, Path(folder)))


if __name__ == "__main__":
    run_job(main)
