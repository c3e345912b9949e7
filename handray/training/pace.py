"""How far a training is and what time it is, the same on every rank."""

import time

from handray.config import TrainConfig
from handray.training.ranks import Ranks
from handray.training.state import TrainState

LOOK_SECONDS = 5.0
"""Wall time between two looks at rank 0's clock: a look stalls a GPU, so not every step has one."""


class Pace:
    """Progress of one fold, from the number of steps or from rank 0's clock.

    Between two looks at the clock time is reckoned from the steps done, so that all ranks agree.
    """

    def __init__(
        self, config: TrainConfig, steps_an_epoch: int, state: TrainState, ranks: Ranks
    ) -> None:
        self.ranks, self.state = ranks, state
        self.budget = 60 * config.minutes
        self.epochs, self.total_steps = config.epochs, config.epochs * steps_an_epoch
        self.started = time.monotonic() - state.seconds
        self.step_seconds = 0.0
        self.look(state.steps)

    def now(self) -> float:
        """Wall seconds of this fold by this rank's own clock."""
        return time.monotonic() - self.started

    def look(self, steps: int) -> None:
        """Look at rank 0's clock; every rank calls this after the same number of steps."""
        self.seconds = self.ranks.agreed(self.now())
        self.looked_at = steps
        reach = LOOK_SECONDS / self.step_seconds if self.step_seconds else 1
        self.next_look = steps + max(1, int(reach))

    def stepped(self, steps: int) -> bool:
        """Take note of a step done; True where the clock was looked at."""
        if steps < self.next_look:
            return False
        before, since = self.seconds, steps - self.looked_at
        self.look(steps)
        self.step_seconds = max((self.seconds - before) / since, 1e-6)
        return True

    def progress(self, steps: int) -> float:
        """Share of the training that is done, in [0, 1]."""
        if not self.budget:
            return steps / self.total_steps
        # The budget leaves room for the last validation.
        reckoned = self.seconds + (steps - self.looked_at) * self.step_seconds
        return min(1.0, reckoned / max(self.budget - self.state.validation_seconds, 1e-6))

    def seconds_left(self, steps: int) -> float:
        """Wall seconds until the end, as far as steps and validations are known by now."""
        if self.budget:
            return max(0.0, self.budget - self.now())
        validations = (self.epochs - self.state.epoch) * self.state.validation_seconds
        return (self.total_steps - steps) * self.step_seconds + validations
