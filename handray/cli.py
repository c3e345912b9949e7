"""How every job meets its user: one sentence for a mistake, exit code 2, no half-told story."""

import argparse
import os
import re
import signal
import sys
import traceback
from collections.abc import Callable
from typing import Any, NoReturn

SECRETS = (
    (re.compile(r"(?<=://)[^/\s@]+@"), "***@"),
    (re.compile(r"(?<=[?&])(\w*(?:key|password|secret|token)\w*=)[^&\s'\"]+", re.I), r"\1***"),
)


class Parser(argparse.ArgumentParser):
    """An ArgumentParser that shows a job's docstring and raises ValueError for run_job to tell."""

    def __init__(self, about: str | None = None) -> None:
        formatter = argparse.RawDescriptionHelpFormatter
        super().__init__(description=about, formatter_class=formatter)

    def error(self, message: str) -> NoReturn:
        """Raise ValueError instead of printing the usage."""
        raise ValueError(f"{message}; see --help")


def run_job(main: Callable[[], int | None]) -> NoReturn:
    """Run a job and leave with its exit code.

    ValueError and OSError, the user's and the machine's mistakes, become "error: ..." on stderr and
    code 2; Ctrl-C becomes code 130 and SIGTERM 143. Anything else is ours and keeps its traceback,
    as do all errors where the environment has HANDRAY_TRACEBACK=1. Passwords in URLs are masked.
    """
    sys.excepthook = _show_masked
    terminated = False

    def terminate(*_: object) -> NoReturn:
        nonlocal terminated
        terminated = True
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once is enough
        raise KeyboardInterrupt  # of this very type: Ray lets no other through

    signal.signal(signal.SIGTERM, terminate)
    try:
        code = main() or 0
        sys.stdout.flush()
    except KeyboardInterrupt:
        how = "ended by SIGTERM" if terminated else "interrupted"
        print(f"{how}; the same command goes on", file=sys.stderr)
        code = 143 if terminated else 130
    except (ValueError, OSError) as error:
        if os.environ.get("HANDRAY_TRACEBACK"):
            raise
        print(f"error: {masked(sentence(error))}", file=sys.stderr)
        code = 2
    sys.exit(code)


def masked(text: str) -> str:
    """Text without the passwords and tokens of the URLs in it, for whatever is shown or kept."""
    for pattern, instead in SECRETS:
        text = pattern.sub(instead, text)
    return text


def _show_masked(kind: type[BaseException], error: BaseException, trace: Any) -> None:
    text = "".join(traceback.format_exception(kind, error, trace))
    print(masked(text), end="", file=sys.stderr)


def sentence(error: ValueError | OSError) -> str:
    """What an error says to its user: of an OSError the file and the reason."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error) or type(error).__name__
