"""The processes that train one fold together: the few things that they must agree on."""

from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

T = TypeVar("T")
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Ranks:
    """This process among those of its group; one process needs no group."""

    rank: int = 0
    count: int = 1
    device: torch.device = CPU

    def mean(self, tensor: Tensor) -> Tensor:
        """Mean of a tensor over all ranks; one rank gets its own back."""
        if self.count == 1:
            return tensor
        total = tensor.clone()
        dist.all_reduce(total)
        return total / self.count

    def agreed(self, value: float) -> float:
        """Rank 0's value, on every rank: for clocks, which differ."""
        if self.count == 1:
            return value
        tensor = torch.tensor([value], dtype=torch.float64, device=self.device)
        dist.broadcast(tensor, src=0)
        return float(tensor.item())

    def share(self, model: nn.Module) -> None:
        """Give every rank rank 0's parameters and buffers of a model."""
        if self.count > 1:
            for tensor in (*model.parameters(), *model.buffers()):
                dist.broadcast(tensor, src=0)

    def gathered(self, value: T) -> list[T]:
        """Every rank's value, in rank order, on every rank."""
        if self.count == 1:
            return [value]
        values: list[T] = [value] * self.count
        dist.all_gather_object(values, value)
        return values
