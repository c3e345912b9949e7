"""Alarms: short messages to a webhook as Slack's, sent beside the work, never in its way.

The address is a secret, since whoever has it can write to the channel. It lives in a ``Webhook``,
which doesn't print it, and no message, warning or error here holds it.
"""

import argparse
import http.client
import json
import platform
import queue
import threading
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from handray.cli import masked
from handray.reporting.console import warn

ANSWER_SECONDS = 5.0
"""For which a server may think, at each try."""
PAUSES = (0.0, 2.0, 8.0)
"""Seconds before each try."""
FAREWELL_SECONDS = 15.0
"""For which a job that ends may wait for its last messages to be sent."""
MOST_CHARACTERS = 2000
VARIABLE = "HANDRAY_NOTIFY"


@dataclass(frozen=True)
class Webhook:
    """An address that takes messages as Slack does: a POST of ``{"text": ...}``."""

    url: str = field(repr=False)

    def __post_init__(self) -> None:
        """Raise ArgumentTypeError, without the address, for one that no message can be sent to."""
        if not _is_address(self.url):
            raise argparse.ArgumentTypeError(
                "neither http:// nor https:// and a server's name, as in the address that Slack "
                "gives a webhook; what was given is a secret and not shown "
                f"({VARIABLE} counts as well)"
            )

    def post(self, text: str) -> None:
        """Send one message.

        Raises:
            SendingError: it was not taken.

        """
        # Slack reads <...> as a link.
        for sign, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
            text = text.replace(sign, entity)
        body = json.dumps({"text": text}).encode()
        request = urllib.request.Request(self.url, body, {"Content-Type": "application/json"})
        try:
            urllib.request.urlopen(request, timeout=ANSWER_SECONDS).close()
        except urllib.error.HTTPError as error:
            is_final = 400 <= error.code < 500 and error.code != http.client.TOO_MANY_REQUESTS
            raise SendingError(f"the server answers {error.code}", is_final) from None
        except Exception as error:  # an error's own text may hold the address
            raise SendingError(_reason(error), False) from None


class SendingError(Exception):
    """A message that was not taken."""

    def __init__(self, reason: str, is_final: bool) -> None:
        super().__init__(reason)
        self.is_final = is_final
        """Another try would meet the same answer."""


class Alarms:
    """Tells a webhook how a job goes, from a thread of its own; without a webhook, nobody.

    Used as a context manager around the job, it tells of an error that ends it.
    """

    def __init__(self, webhook: Webhook | None, about: str) -> None:
        """Be ready to tell; ``about`` opens each message, such as ``train_kfold demo``."""
        self.webhook, self.about = webhook, f"{about} on {platform.node()}"
        self._texts: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._warned = False
        self._thread = threading.Thread(
            target=self._run, args=(webhook,), daemon=True, name="alarms"
        )

    def __enter__(self) -> Self:
        if self.webhook:
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        _: TracebackType | None,
    ) -> None:
        if isinstance(error, Exception):
            self.tell(f"failed: {str(error) or type(error).__name__}")
        elif error is not None:  # Ctrl-C, or the end of the machine
            self.tell("stopped; the same command goes on")
        if self.webhook:
            self._texts.put(None)
            self._thread.join(FAREWELL_SECONDS)
            if self._thread.is_alive():
                self._warn("the server is too slow")

    def tell(self, text: str) -> None:
        """Send a message some time soon, in the order of the calls; returns at once."""
        if self.webhook:
            self._texts.put(masked(f"{self.about}: {text}")[:MOST_CHARACTERS])

    def _run(self, webhook: Webhook) -> None:
        while (text := self._texts.get()) is not None:
            self._send(webhook, text)

    def _send(self, webhook: Webhook, text: str) -> None:
        reason = ""
        for pause in PAUSES:
            time.sleep(pause)
            try:
                webhook.post(text)
                return
            except SendingError as error:
                reason = str(error)
                if error.is_final:
                    break
        self._warn(reason)

    def _warn(self, reason: str) -> None:
        """Say once that messages are lost."""
        if not self._warned:
            self._warned = True
            warn(f"--notify: a message could not be sent ({reason}); the job goes on without it")


def ended(trials: int, failures: dict[str, str]) -> str:
    """The last message of a job of so many trials, with a sentence for each that failed."""
    if not failures:
        return f"finished {trials} trials"
    told = "; ".join(f"{name}: {sentence}" for name, sentence in failures.items())
    return f"{len(failures)} of {trials} trials failed: {told}"


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return False
    printable = url.isascii() and url.isprintable() and " " not in url
    known = parts.scheme in ("http", "https") and bool(parts.hostname)
    return known and printable and "@" not in parts.netloc


def _reason(error: Exception) -> str:
    """What went wrong, in words that can't hold the address."""
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(cause, TimeoutError):
        return f"no answer in {ANSWER_SECONDS:g} s"
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror
    return type(cause).__name__
