"""Peak memory of training a network, with and without activation checkpointing.

  python benchmarks/activation_memory.py
  python benchmarks/activation_memory.py --model hrnet --sizes 1024 2048 --batch 1

Computed on a CPU from the shapes alone, not measured on a GPU. One pass of a step as the training
loop does it is run on tensors without data, and every storage is counted from its birth to its
death: the image, the forward pass in 16 bits (bfloat16, which takes the bytes of float16), targets,
BCE + Dice of 29 classes in float32 at full size, the backward pass with all that checkpointing
recomputes. Beside them are the weights, the gradients of an earlier pass, AdamP's two moments and
the moving average, all float32. What cuDNN works in, the CUDA context, fragmentation and the
buckets of DDP (one more copy of the gradients) come on top.
"""

import argparse
import json
import os
import weakref
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from handray.bones import BONES
from handray.cli import Parser, run_job
from handray.masks.planes import plane_count
from handray.models.checkpointing import checkpoint_activations
from handray.models.zoo import Design, build_network
from handray.training.batch import Batch, Normalisation, targets
from handray.training.losses import weighted_sum

RESULT = Path(__file__).parent / "results" / "activation_memory.json"
CLASSES = len(BONES)
GIB = 2**30
USABLE_GIB = 15.0
"""Of the 16 GB of a V100: the CUDA context and cuDNN take the rest."""


def main() -> None:
    """Print the table and keep its rows."""
    options = _options()
    rows = []
    print(
        f"{'size':>5} {'checkpointed':>12} {'states':>7} {'activations':>11} {'peak':>6}  in  fits"
    )
    for size in options.sizes:
        for checkpointed in (False, True):
            rows.append(row(options.model, size, options.batch, checkpointed))
            print(_line(rows[-1]), flush=True)
    partial = RESULT.with_name(f".{RESULT.name}.{os.getpid()}")
    partial.write_text(json.dumps(rows, indent=1) + "\n")
    partial.replace(RESULT)
    print(
        "\nGiB; states: weights, gradients, optimiser and moving average; fits: a 16 GB V100 with "
        f"{USABLE_GIB} GiB usable\nRows: {RESULT}"
    )


def build(name: str) -> nn.Module:
    """Build a network of the zoo by name."""
    return build_network(Design(name), CLASSES)


def row(name: str, size: int, batch: int, checkpointed: bool) -> dict[str, Any]:
    """Bytes of one pass: ``states`` that are there throughout, and the ``peak`` with them."""
    with FakeTensorMode():
        model = build(name).train()
        blocks = checkpoint_activations(model) if checkpointed else 0
        states = [*model.parameters(), *model.buffers(), *_states(model)]
        with LiveBytes() as live:
            live.count(states)
            constant = live.now
            stages = _one_pass(model, size, batch, live)
    peak = max(stages.values())
    return {
        "model": name,
        "size": size,
        "batch": batch,
        "blocks": blocks,
        "states": constant,
        "activations": peak - constant,
        "peak": peak,
        "peak_in": max(stages, key=lambda stage: stages[stage]),
        "peaks": stages,
        "fits": peak <= USABLE_GIB * GIB,
    }


class LiveBytes(TorchDispatchMode):
    """Bytes of all storages alive, each from the operation that makes it to its last user."""

    BLOCK = 512
    """What CUDA's allocator rounds up to."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._alive: dict[int, weakref.ref[torch.UntypedStorage]] = {}

    def count(self, tensors: Any) -> None:
        """Count the storages of tensors in any nest of lists."""
        for tensor in tree_leaves(tensors):
            if isinstance(tensor, torch.Tensor):
                storage = tensor.untyped_storage()
                if id(storage) not in self._alive:
                    self._born(storage)

    def _born(self, storage: torch.UntypedStorage) -> None:
        key, size = id(storage), -(-storage.nbytes() // self.BLOCK) * self.BLOCK

        def died(_: object) -> None:
            del self._alive[key]
            self.now -= size

        self._alive[key] = weakref.ref(storage, died)
        self.now += size
        self.peak = max(self.peak, self.now)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self.count(result)
        return result

    def taken_peak(self) -> int:
        """The peak since the last call."""
        peak, self.peak = self.peak, self.now
        return peak


def _states(model: nn.Module) -> list[torch.Tensor]:
    """Give the parameters gradients; beside them the two moments and the moving average."""
    parameters = list(model.parameters())
    for parameter in parameters:
        parameter.grad = torch.zeros_like(parameter)
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    moments = [torch.zeros_like(parameter) for parameter in parameters for _ in range(2)]
    average = [torch.zeros_like(tensor) for tensor in (*parameters, *model.buffers())]
    return [*gradients, *moments, *average]


def _one_pass(model: nn.Module, size: int, batch: int, live: LiveBytes) -> dict[str, int]:
    """Run the loop's forward pass, loss and backward pass; bytes at the peak of each."""
    part = Batch(
        ("",) * batch,
        torch.zeros(batch, size, size, dtype=torch.uint8),
        torch.zeros(batch, size, size, plane_count(CLASSES), dtype=torch.uint8),
    )
    stages = {}
    image = Normalisation(mean=50.0, std=50.0)(part.image_BHW)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = model(image)
    assert logits.dtype == torch.bfloat16, logits.dtype
    stages["forward"] = live.taken_peak()
    target = targets(part, CLASSES, image.device)
    loss = weighted_sum("1*bce+1*dice")(logits, target)
    stages["loss"] = live.taken_peak()
    loss.backward()
    stages["backward"] = live.taken_peak()
    return stages


def _line(row: dict[str, Any]) -> str:
    states, activations, peak = (row[key] / GIB for key in ("states", "activations", "peak"))
    return (
        f"{row['size']:>5} {row['blocks'] or 'no':>12} {states:>7.2f} {activations:>11.2f} "
        f"{peak:>6.2f}  {row['peak_in']}  {'yes' if row['fits'] else 'no'}"
    )


def _options() -> argparse.Namespace:
    parser = Parser(__doc__)
    add = parser.add_argument
    add("--model", default="hrnet", metavar="NAME", help="which network (default: hrnet)")
    add("--sizes", nargs="+", type=int, default=[1024, 2048], metavar="PIXELS", help="image sides")
    add("--batch", type=int, default=1, help="images of a pass (default: 1)")
    options = parser.parse_args()
    if options.batch < 1 or any(size < 32 or size % 32 for size in options.sizes):
        raise ValueError("--batch must be at least 1, and --sizes multiples of 32 (the stride)")
    return options


if __name__ == "__main__":
    run_job(main)
