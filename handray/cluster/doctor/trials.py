"""What no fact tells: arithmetic that is really done on a node, and between nodes."""

import socket
import time
from contextlib import closing
from datetime import timedelta

import torch
import torch.distributed as dist
from torch.nn.functional import conv2d

from handray.data.files import Files
from handray.data.layout import IMAGES, no_images_error
from handray.training.precision import DTYPES, choose_precision

REDUCED_BYTES = 64 << 20
REDUCTIONS = 3
PATIENCE = timedelta(seconds=30)
"""That ranks wait for each other."""


def try_arithmetic(gpus: int) -> str:
    """Run a kernel and a convolution on every device, and compare them with float32 on the CPU.

    Args:
        gpus: that this process holds; it computes on the CPU if 0.

    Returns:
        The devices and what they computed in.

    Raises:
        RuntimeError: torch sees fewer GPUs, a kernel fails, or numbers are wrong.

    """
    if gpus > torch.cuda.device_count():
        build = torch.version.cuda or "none"
        raise RuntimeError(
            f"Ray gives {gpus} GPUs and torch, built with CUDA {build}, "
            f"sees {torch.cuda.device_count()}"
        )
    if not gpus:
        return _convolutions(torch.device("cpu"))
    found = [_convolutions(torch.device("cuda", index)) for index in range(gpus)]
    return ", ".join(dict.fromkeys(found))


def _convolutions(device: torch.device) -> str:
    total = torch.arange(1000, device=device).sum().item()
    if total != 499500:
        raise RuntimeError(f"{device} adds 0 to 999 up to {total}, not to 499500")
    # A GPU without bfloat16 of its own emulates it, which choose_precision doesn't take for it.
    trains_in = choose_precision("auto", device).name
    names = dict.fromkeys(("fp16", trains_in) if device.type == "cuda" else (trains_in,))
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(2, 64, 64, 64, generator=generator)
    weight = torch.randn(64, 64, 3, 3, generator=generator)
    expected = conv2d(image, weight, padding=1)
    for name in names:
        dtype = DTYPES.get(name, torch.float32)
        result = conv2d(image.to(device, dtype), weight.to(device, dtype), padding=1)
        error = (result.float().cpu() - expected).abs().max() / expected.abs().max()
        # Half a per cent leaves room for TF32, with which a GPU may multiply float32.
        if not error <= max(0.005, 4 * torch.finfo(dtype).eps):
            raise RuntimeError(f"a {name} convolution on {device} is off by {error:.1%}")
    what = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    return f"{' and '.join(names)} convolution on {what}, trains in {trains_in}"


def see_data(root: str) -> None:
    """Raise ValueError where a data folder can't be opened from here, or has no images."""
    files = Files.at(root)
    if not files.exists(f"train/{IMAGES}"):
        raise no_images_error(files)


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with closing(socket.socket()) as listener:
        listener.bind(("", 0))
        port: int = listener.getsockname()[1]
        return port


def all_reduce(rank: int, ranks: int, address: str, port: int, gpus: int) -> float:
    """Add tensors up over ranks, and measure how fast.

    Args:
        rank: of this process.
        ranks: how many there are.
        address: of rank 0's node.
        port: free on that node.
        gpus: that this process holds: NCCL on the first of them; gloo on CPUs if 0.

    Returns:
        Bus bandwidth in bytes/s, as nccl-tests define it: 2 (n - 1) / n of the tensor's bytes over
        the seconds of one all-reduce, which is comparable between numbers of ranks.

    Raises:
        RuntimeError: ranks don't find each other, or the sum is wrong.

    """
    device = torch.device("cuda", 0) if gpus else torch.device("cpu")
    dist.init_process_group(
        "nccl" if gpus else "gloo",
        init_method=f"tcp://{address}:{port}",
        rank=rank,
        world_size=ranks,
        timeout=PATIENCE,
    )
    try:
        tensor = torch.empty(REDUCED_BYTES // 4, device=device)
        seconds = float("inf")
        for _ in range(1 + REDUCTIONS):  # the first one connects
            tensor.fill_(rank + 1)
            dist.barrier()
            started = time.perf_counter()
            dist.all_reduce(tensor)
            if gpus:
                torch.cuda.synchronize()
            seconds = min(seconds, time.perf_counter() - started)
            if not torch.all(tensor == ranks * (ranks + 1) / 2):
                raise RuntimeError(f"an all-reduce over {ranks} ranks gave a wrong sum")
        return 2 * (ranks - 1) / ranks * REDUCED_BYTES / seconds
    finally:
        dist.destroy_process_group()
