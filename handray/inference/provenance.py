"""Where a result comes from, for the JSON beside it."""

import hashlib
import platform
import subprocess
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any


def sha256(path: Path) -> str:
    """Hash of a file's bytes, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def processor() -> str:
    """The processor's name, as far as the system tells it; empty where it doesn't."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor()


def made_by() -> dict[str, Any]:
    """The code that runs, and the time: ``version``, ``commit`` in a git checkout, ``time``."""
    facts: dict[str, Any] = {"time": datetime.now(UTC).isoformat(timespec="seconds")}
    try:
        facts["version"] = version("handray")
    except PackageNotFoundError:  # a copy of the files, not installed
        facts["version"] = "unknown"
    checkout = Path(__file__).parents[2]
    if (checkout / ".git").exists():  # installed elsewhere, git would tell of another project
        git = ["git", "-C", str(checkout), "describe", "--always", "--dirty"]
        with suppress(OSError, subprocess.SubprocessError):
            done = subprocess.run(git, capture_output=True, text=True, check=True, timeout=10)
            facts["commit"] = done.stdout.strip()
    return facts


def explained(source: dict[str, Any]) -> str:
    """The JSON's source as lines for people: a fact a line, members and nested facts indented."""
    return "\n".join(_lines(source, ""))


def _lines(facts: dict[str, Any], indent: str) -> list[str]:
    width = max((len(str(key)) for key, value in facts.items() if not _nested(value)), default=0)
    lines = []
    for key, value in facts.items():
        if isinstance(value, list) and _nested(value):
            value = {f"{n}. {one.get('name', '')}": one for n, one in enumerate(value, 1)}
        if isinstance(value, dict) and value:
            lines += [f"{indent}{key}:", *_lines(value, indent + "  ")]
        else:
            lines.append(f"{indent}{key:<{width}}  {value}")
    return lines


def _nested(value: object) -> bool:
    return (isinstance(value, dict) and bool(value)) or (
        isinstance(value, list) and bool(value) and all(isinstance(one, dict) for one in value)
    )
