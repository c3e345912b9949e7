"""Messages to a server that may be away for a while: sent in order by a thread, kept until then."""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

from handray.reporting.console import tell, warn


class Outbox:
    """Sends one message after the other; one that fails is tried again until it is given up."""

    def __init__(self, server: str, is_final: Callable[[Exception], bool], pause: float) -> None:
        """Start the thread.

        Args:
            server: its name, for people.
            is_final: whether an error would come again, so that its message is given up.
            pause: seconds between two tries.

        """
        self.server, self.is_final, self.pause = server, is_final, pause
        self.lost: list[str] = []
        """What messages that were given up were about."""
        self._waiting: deque[tuple[str, Callable[[], object]]] = deque()
        self._changed = threading.Condition()
        self._trouble: float | None = None
        """Since when the server doesn't answer, by the monotonic clock."""
        threading.Thread(target=self._run, daemon=True).start()

    def put(self, about: str, send: Callable[[], object]) -> None:
        """Have a message sent after those that wait; ``send`` may be called more than once."""
        with self._changed:
            self._waiting.append((about, send))
            self._changed.notify_all()

    def settle(self, patience: float) -> Sequence[str]:
        """Wait until all is sent, or the server has been silent for ``patience`` seconds from now.

        Returns:
            What was given up so far or waits in vain, each once.

        """
        called = time.monotonic()

        def is_over() -> bool:
            silent = self._trouble is not None and time.monotonic() > called + patience
            return silent or not self._waiting

        with self._changed:
            while not is_over():
                self._changed.wait(0.2)
            return tuple(dict.fromkeys([*self.lost, *(about for about, _ in self._waiting)]))

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting)
                about, send = self._waiting[0]
            try:
                send()
            except Exception as error:  # whatever the server's client raises
                if not self.is_final(error):
                    self._begin_trouble(error)
                    time.sleep(self.pause)
                    continue
                self.lost.append(about)
            self._end_trouble()
            with self._changed:
                self._waiting.popleft()
                self._changed.notify_all()

    def _begin_trouble(self, error: Exception) -> None:
        if self._trouble is None:
            reason = str(_root(error)).strip().split("\n")[0][:200]
            warn(
                f"{self.server} takes nothing ({reason}); the work goes on, and what it should "
                "have is kept until it does"
            )
            self._trouble = time.monotonic()

    def _end_trouble(self) -> None:
        if self._trouble is not None:
            away = time.monotonic() - self._trouble
            tell(f"{self.server} is back after {away:.0f} s")
            self._trouble = None


def _root(error: BaseException) -> BaseException:
    """The error that led to it: a full disk, a refused connection."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error
