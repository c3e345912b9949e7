"""How a rank hears that it is about to be ended."""

import signal
import threading

from ray.train.v2._internal.execution.callback import WorkerCallback


class SigtermWatch(WorkerCallback):
    """Lets ranks go on after SIGTERM, to the end of a step, where they keep their state.

    One of Ray Train's callbacks, since these run in a rank's main thread, as signal handlers must;
    the training runs in another.
    """

    heard = threading.Event()
    """This process was sent SIGTERM."""

    def after_init_train_context(self) -> None:
        """Listen from now on, instead of ending at once."""
        signal.signal(signal.SIGTERM, lambda *_: self.heard.set())
