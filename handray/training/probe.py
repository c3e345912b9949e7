"""Which arithmetic and memory format a network trains fastest in on this CPU, by trying.

No rule holds: bfloat16 makes a U-Net twice as fast where a MobileNet loses a third, and
channels_last, mostly faster, doubles a U-Net's time on processors without bfloat16. torch.compile
isn't tried: it takes minutes, and made the smallest HRNet slower (benchmarks/README.md).
"""

import itertools
import time
from collections.abc import Sequence
from dataclasses import replace

import torch

from handray.models.zoo import Design, build_network, nearest_size
from handray.training.precision import Precision, choose_precision

SIDE, IMAGES, STEPS = 160, 2, 3
"""Of what is tried: ratios are nearly those of larger inputs."""
GAIN = 0.9
"""Share of the usual choice's time that another must stay below to be taken."""


def fastest(design: Design, classes: int, threads: int) -> Precision:
    """Time forward and backward passes on random images; the usual choice, unless it is slow.

    Args:
        design: the network.
        classes: of its output.
        threads: to compute with.

    """
    usual = choose_precision("auto", torch.device("cpu"))
    ways = [
        replace(usual, name=name, channels_last=last)
        for last, name in itertools.product((True, False), dict.fromkeys((usual.name, "fp32")))
    ]
    torch.set_num_threads(threads)
    model = build_network(design, classes).train()
    side = nearest_size(design, SIDE)
    image = torch.randn(IMAGES, 1, side, side)
    seconds = [float("inf")] * len(ways)
    # In turn, and the least of several: other work on the machine meets all alike.
    for number, way in list(enumerate(ways)) * STEPS:
        model.to(memory_format=way.memory_format)
        started = time.perf_counter()
        with way.autocast():
            logits = model(image.contiguous(memory_format=way.memory_format))
        logits.float().square().mean().backward()
        model.zero_grad()
        seconds[number] = min(seconds[number], time.perf_counter() - started)
    best = chosen(seconds)
    ratio = max(seconds) / seconds[best]
    reason = f"tried here: {ratio:.1f} times as fast as the slowest of {len(ways)} ways"
    return replace(ways[best], reason=reason)


def chosen(seconds: Sequence[float]) -> int:
    """The fastest, where it gains enough on the first, the usual one."""
    best = min(range(len(seconds)), key=seconds.__getitem__)
    return best if seconds[best] < GAIN * seconds[0] else 0
