"""How many images a pass a device has room for, by trying."""

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from handray.models.zoo import network
from handray.training.loop import Learner
from handray.training.state import TrainState


def images_that_fit(learner: Learner, state: TrainState) -> int:
    """Most images of a pass that run where those of the config didn't; 0 where none do.

    Only numbers that divide a rank's share of the batch are tried, so that ``--accumulate`` can ask
    for them. Call it once a step ran out of memory and nothing holds its tensors any more. It
    waits for no other rank, and leaves the state unfit for training.
    """
    config = learner.config
    share = config.rank_batch * config.train.accumulate
    least = network(config.model.model).least_images
    vars(state.model).pop("forward", None)  # of a graph, which takes one number of images
    moments = _moments(state)
    state.optimizer.zero_grad(set_to_none=True)
    for module in state.model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            # Those of DDP would call for the other ranks in the backward pass.
            setattr(module, name, nn.Parameter(parameter.detach()))
    smaller = [n for n in range(config.rank_batch - 1, least - 1, -1) if share % n == 0]
    fitting = next((images for images in smaller if _runs(learner, state, images)), 0)
    del moments
    return fitting


def _moments(state: TrainState) -> list[Tensor]:
    """Stand-ins for what the optimiser holds from its first step on."""
    if state.optimizer.state:
        return []
    return [torch.empty_like(p) for p in state.model.parameters() for _ in ("first", "second")]


def _runs(learner: Learner, state: TrainState, images: int) -> bool:
    state.model.zero_grad(set_to_none=True)
    if learner.ranks.device.type == "cuda":
        torch.cuda.empty_cache()
    size, memory_format = learner.config.data.size, learner.precision.memory_format
    blank_B1HW = torch.zeros((images, 1, size, size), device=learner.ranks.device)
    for module in state.model.train().modules():
        if isinstance(module, _BatchNorm):
            module.eval()  # synchronised ones would wait for other ranks
    try:
        with learner.precision.autocast():
            logits = state.model(blank_B1HW.contiguous(memory_format=memory_format))
        learner.criterion(logits, torch.zeros_like(logits, dtype=torch.float32)).backward()
    except torch.OutOfMemoryError:
        return False
    return True
