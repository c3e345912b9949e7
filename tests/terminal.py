"""A command as it looks in a terminal: what it writes to a pseudo-terminal, and what stays."""

import os
import pty
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path


def in_terminal(command: Sequence[object], folder: Path, columns: int = 100) -> tuple[int, str]:
    """Exit code of a Python command and all that it wrote, standard output and errors together."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "COLUMNS": str(columns), "TERM": "xterm"}
    process = subprocess.Popen(
        [sys.executable, *map(str, command)],
        cwd=folder,
        env=environment,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    written = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # what Linux says at the end of a terminal
            break
        if not part:
            break
        written += part
    os.close(ours)
    return process.wait(60), written.decode().replace("\r\n", "\n")


def stays(written: str) -> list[str]:
    """The lines that a terminal shows in the end, as far as our control characters go."""
    lines = [""]
    for token in re.findall(r"\x1b\[\d*[A-Z]|\r|\n|[^\x1b\r\n]+", written):
        if token == "\n":
            lines.append("")
        elif token in ("\r", "\x1b[K"):
            lines[-1] = ""
        elif token.endswith("F"):
            lines = lines[: -int(token[2:-1])]
        elif token == "\x1b[J":
            lines[-1] = ""
        else:
            lines[-1] += token
    return [line for line in lines if line]
