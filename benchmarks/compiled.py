"""What torch.compile costs and gains on this CPU: why the probe of a training doesn't try it.

python benchmarks/compiled.py
"""

import statistics
import time
from collections.abc import Callable

import torch

from handray.cli import Parser, run_job
from handray.models.zoo import Design, build_network
from handray.training.probe import IMAGES, SIDE, fastest

TURNS = 9


def main() -> int:
    """Print a row a network."""
    parser = Parser(__doc__)
    parser.add_argument("--networks", nargs="+", default=["hrnet_small"], metavar="NAME")
    chosen = parser.parse_args().networks
    print("| network | arithmetic | s to compile | ms a step | compiled | times as fast |")
    print("|---|---|---|---|---|---|")
    for name in chosen:
        print(row(name), flush=True)
    return 0


def row(name: str) -> str:
    """Steps of a network as it is and compiled, in turn."""
    way = fastest(Design(name), 29, torch.get_num_threads())
    model = build_network(Design(name), 29).train().to(memory_format=way.memory_format)
    image = torch.randn(IMAGES, 1, SIDE, SIDE).contiguous(memory_format=way.memory_format)

    def step(network: Callable[[torch.Tensor], torch.Tensor]) -> float:
        started = time.perf_counter()
        with way.autocast():
            logits = network(image)
        logits.float().square().mean().backward()
        model.zero_grad()
        return time.perf_counter() - started

    compiled = torch.compile(model)
    compiling = step(compiled)
    pairs = [(step(model), step(compiled)) for _ in range(TURNS + 1)][1:]
    plain, fused = (1000 * statistics.median(way) for way in zip(*pairs, strict=True))
    numbers = f"{compiling:.0f} | {plain:.0f} | {fused:.0f} | {plain / fused:.2f}"
    return f"| {name} | {way.name} | {numbers} |"


if __name__ == "__main__":
    run_job(main)
