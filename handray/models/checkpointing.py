"""Activation checkpointing: memory for time.

Chen et al., Training Deep Nets with Sublinear Memory Cost, 2016 (arXiv:1604.06174): a block keeps
its input alone, and the backward pass computes once more what lies inside. That costs one more
forward pass a step.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


def checkpoint_activations(model: nn.Module) -> int:
    """Make a model recompute the activations inside its blocks; return how many blocks it has.

    A block is an element of a container that is no container itself and holds two layers with
    weights or more: a residual block, a decoder's block, one of HRNet's modules. The outermost are
    taken. Names of parameters, gradients and running statistics stay what they were, and a deep
    copy of the model is independent. A second call changes nothing.
    """
    blocks = list(_blocks(model))
    for block in blocks:
        # Not a forward bound to the instance: a deep copy's would still run the original.
        block.__class__ = _recomputed(type(block))
    return len(blocks)


def _blocks(module: nn.Module) -> Iterator[nn.Module]:
    for child in module.children():
        if isinstance(module, CONTAINERS) and _is_block(child):
            yield child
        else:
            yield from _blocks(child)


def _is_block(module: nn.Module) -> bool:
    weights = sum(parameter.ndim > 1 for parameter in module.parameters())
    return weights > 1 and not isinstance(module, CONTAINERS)


class _Recomputed(nn.Module):
    """What a block's class inherits from first: forward keeps the inputs and nothing else."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        forward = super().forward
        if not (self.training and torch.is_grad_enabled()):
            return forward(*args, **kwargs)

        def run(*kept: Any, **named: Any) -> Any:
            return forward(*_own_lists(kept), **named)

        # Lists are copied twice: timm's HRNet writes into the list that it gets, and DenseNet's
        # blocks append to the list that they gave.
        return checkpoint(
            run,
            *_own_lists(args),
            use_reentrant=False,
            context_fn=partial(_contexts, self),
            **kwargs,
        )


_classes: dict[type[nn.Module], type[nn.Module]] = {}


def _recomputed(block: type[nn.Module]) -> type[nn.Module]:
    """Return the block's class with the other forward, the same at every call."""
    if issubclass(block, _Recomputed):
        return block
    if block not in _classes:
        _classes[block] = type(f"Recomputed{block.__name__}", (_Recomputed, block), {})
    return _classes[block]


def _own_lists(args: tuple[Any, ...]) -> list[Any]:
    return [list(arg) if isinstance(arg, list) else arg for arg in args]


def _contexts(
    block: nn.Module,
) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    return nullcontext(), _running_statistics_kept(block)


@contextmanager
def _running_statistics_kept(block: nn.Module) -> Iterator[None]:
    """Let batch norms leave their running statistics alone: they have counted this batch."""
    norms = [module for module in block.modules() if isinstance(module, _BatchNorm)]
    before = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        # Not track_running_stats = False: autograd would then save fewer tensors than before. The
        # counter is a copy and not None, which SyncBatchNorm refuses.
        norm.momentum = 0.0
        if norm.num_batches_tracked is not None:
            norm.num_batches_tracked = norm.num_batches_tracked.clone()
    try:
        yield
    finally:
        for norm, (momentum, batches) in zip(norms, before, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, batches
