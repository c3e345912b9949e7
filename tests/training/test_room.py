"""What fits into a memory, here one that a network pretends to have."""

import pytest
import torch
from test_loop import CONFIG, Run, plain_network

from handray.config import replaced
from handray.training.room import images_that_fit


@pytest.mark.parametrize(("room", "fits"), [(5, 3), (3, 3), (2, 2), (1, 1), (0, 0)])
def test_the_largest_share_that_runs_is_found_by_trying(room, fits):
    """Of a batch of 6 in one part: 3, 2 or 1 images come out even."""
    model = plain_network()

    def check(_, inputs):
        if len(inputs[0]) > room:
            raise torch.OutOfMemoryError

    model.register_forward_pre_hook(check)
    changes = {"train.batch": 6, "train.accumulate": 1, "data.size": 64}
    run = Run(config=replaced(CONFIG, changes), model=model)
    assert images_that_fit(run.learner, run.state) == fits
