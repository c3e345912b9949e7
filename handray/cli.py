"""How every job meets its user: one sentence for a mistake, exit code 2, no half-told story."""

import argparse
import os
import sys
from collections.abc import Callable
from typing import NoReturn


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
    code 2; Ctrl-C becomes code 130. Anything else is ours and keeps its traceback, as do all errors
    where the environment has HANDRAY_TRACEBACK=1.
    """
    try:
        code = main() or 0
        sys.stdout.flush()
    except KeyboardInterrupt:
        print("interrupted; the same command goes on", file=sys.stderr)
        code = 130
    except (ValueError, OSError) as error:
        if os.environ.get("HANDRAY_TRACEBACK"):
            raise
        print(f"error: {sentence(error)}", file=sys.stderr)
        code = 2
    sys.exit(code)


def sentence(error: ValueError | OSError) -> str:
    """What an error says to its user: of an OSError the file and the reason."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error) or type(error).__name__
