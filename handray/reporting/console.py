"""Progress that a person likes: one live line a fold, and a table at the end."""

import math
import shutil
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from handray.cli import masked

REDRAW_SECONDS = 1.0
LOG_SECONDS = 20.0
"""Seconds between two lines where the output is a file, so that a log stays readable."""
_drawing = threading.RLock()
_live: list["LiveLines"] = []
"""Those that are shown just now."""


def duration(seconds: float) -> str:
    """Seconds for people: ``45 s``, ``12 min``, ``3.5 h``, ``2.1 days``."""
    for limit, unit, size in ((90, "s", 1), (5400, "min", 60), (172800, "h", 3600)):
        if seconds < limit:
            digits = 1 if unit == "h" else 0
            return f"{seconds / size:.{digits}f} {unit}"
    return f"{seconds / 86400:.1f} days"


def time_left(started: float, done: int, total: int) -> str:
    """``, 3 min left`` by what was done since ``started``, on time.monotonic's clock."""
    if not 0 < done < total:
        return ""
    return f", {duration((time.monotonic() - started) * (total - done) / done)} left"


def progress_line(name: str, word: dict[str, Any] | None) -> str:
    """One training's progress in a line."""
    if word is None:
        return f"{name}  waiting for its workers to start"
    loss = "-" if word["loss"] is None else f"{word['loss']:.4f}"
    doing = f", {word['doing']}" if word.get("doing") else ""
    dice = "-" if word["dice"] is None or math.isnan(word["dice"]) else f"{word['dice']:.4f}"
    return (
        f"{name}  epoch {word['epoch']} step {word['step']}/{word['steps']}  "
        f"loss {loss}  Dice {dice}  {word['images_per_s']:.2f} images/s  "
        f"{word['share']:.0%}, {duration(word['seconds_left'])} left{doing}"
    )


def banner(*lines: str) -> str:
    """Lines that nobody can miss."""
    bar = "*" * 88
    return "\n".join([bar, *(f"** {line}" for line in lines), bar])


def tell(text: str) -> None:
    """Print a line on stderr, from any thread, above the lines that are live just now."""
    with _drawing:
        for live in _live:
            live.erase()
        print(masked(text), file=sys.stderr, flush=True)


def warn(text: str) -> None:
    """Tell a warning."""
    tell(f"warning: {text}")


class LiveLines:
    """Lines that are drawn over each other in a terminal, and now and then into a log file.

    Used as a context manager; ``lines`` is asked for the text once a second, from a thread of its
    own, and may ``say`` what has come up since.
    """

    def __init__(self, lines: Callable[[], Sequence[str]]) -> None:
        self.lines = lines
        self.is_terminal = sys.stderr.isatty()
        self._drawn = 0
        self._last: list[str] = []
        self._next = time.monotonic() + LOG_SECONDS
        """When a log may get its next lines."""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "LiveLines":
        _live.append(self)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._stop.set()
        self._thread.join(timeout=5)
        _live.remove(self)
        if kind is None:
            self._next = 0
            with suppress(Exception):
                self._draw()

    def say(self, text: str) -> None:
        """Print a line that stays, above the live ones."""
        with _drawing:
            self.erase()
            print(masked(text), flush=True)

    def _run(self) -> None:
        while not self._stop.wait(REDRAW_SECONDS):
            # A word that doesn't come, from a cluster in trouble, must not end the display.
            with suppress(Exception):
                self._draw()

    def _draw(self) -> None:
        # A line that wraps would be erased in part only.
        width = shutil.get_terminal_size().columns - 1 if self.is_terminal else None
        lines = [line[:width] for line in self.lines()]
        with _drawing:
            if not self.is_terminal:
                if time.monotonic() >= self._next:
                    self._next = time.monotonic() + LOG_SECONDS
                    for line in lines:
                        if line not in self._last:
                            print(line, file=sys.stderr, flush=True)
                    self._last = lines
                return
            self.erase()
            for line in lines:
                print(line, file=sys.stderr, flush=True)
            self._drawn = len(lines)

    def erase(self) -> None:
        """Make room for another line; the caller holds the lock."""
        if self._drawn:
            print(f"\x1b[{self._drawn}F\x1b[J", end="", file=sys.stderr, flush=True)
            self._drawn = 0


class Counting:
    """A progress line for work that is counted, shown only once it has taken a few seconds."""

    def __init__(self, what: str, quiet_seconds: float = 3.0) -> None:
        self.what, self._started = what, time.monotonic()
        self._next = self._started + quiet_seconds
        self._shown = False

    def __call__(self, done: int, total: int) -> None:
        """Take note of the count; redraw the line at most once a second."""
        finished = done == total
        if time.monotonic() < self._next and not (finished and self._shown):
            return
        is_terminal = sys.stderr.isatty()
        self._next = time.monotonic() + (REDRAW_SECONDS if is_terminal else LOG_SECONDS)
        self._shown = True
        end = "\n" if finished or not is_terminal else ""
        start = "\r\x1b[K" if is_terminal else ""
        line = f"{self.what}: {done} of {total}{time_left(self._started, done, total)}"
        print(f"{start}{line}", end=end, file=sys.stderr, flush=True)


class Stages:
    """Which of a job's stages is under way, and for how long, once it has taken a few seconds.

    Used as a context manager; called at the start of each stage. What is printed meanwhile goes
    through ``say``.
    """

    def __init__(self, total: int, quiet_seconds: float = 3.0) -> None:
        self.total, self._quiet_until = total, time.monotonic() + quiet_seconds
        self._what, self._number, self._since = "", 0, 0.0
        self._live = LiveLines(self._lines)

    def __enter__(self) -> "Stages":
        self._live.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._what = ""
        self._live.__exit__(kind)

    def __call__(self, what: str) -> None:
        """Begin a stage."""
        self._what, self._number, self._since = what, self._number + 1, time.monotonic()

    def say(self, text: str) -> None:
        """Print a line that stays."""
        self._live.say(text)

    def _lines(self) -> list[str]:
        if not self._what or time.monotonic() < self._quiet_until:
            return []
        spent = duration(time.monotonic() - self._since)
        return [f"{self._number} of {self.total}: {self._what}, {spent} so far"]


def dice_table(
    fold_dice: Sequence[float], class_dice: dict[str, float], numbers: dict[str, float]
) -> str:
    """Dice a fold, the numbers that sum up, and the five classes that are worst out of fold."""
    lines = ["", "Dice at source size (mean over images, then over classes)"]
    rows = {f"fold {fold}": dice for fold, dice in enumerate(fold_dice)} | numbers
    if not rows:
        return "\nNo image with a label was held out, so there is no Dice."
    lines += [f"  {name:<20} {value:.4f}" for name, value in rows.items()]
    worst = sorted(class_dice, key=lambda name: class_dice[name])[:5]
    if worst:
        lines += ["Worst classes out of fold"]
    lines += [f"  {name:<20} {class_dice[name]:.4f}" for name in worst]
    return "\n".join(lines)
