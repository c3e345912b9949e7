"""The table of faults: rows of a test run, which replace those of the same faults."""

import csv
import os
import platform
from datetime import date
from pathlib import Path

from handray.inference.provenance import processor

COLUMNS = ["fault", "what happened", "seconds lost", "date", "machine"]


def row(fault: str, outcome: str, seconds: float | None = None) -> dict[str, str]:
    """A row; seconds from the fault until all was as before it, None where it can't be said."""
    lost = "" if seconds is None else f"{seconds:.0f}"
    return dict(zip(COLUMNS, [fault, outcome, lost, str(date.today()), machine()], strict=True))


def keep(rows: list[dict[str, str]]) -> None:
    """Write rows to the file that HANDRAY_FAULTS names; without one they are printed."""
    for one in rows:
        print(one)
    path = Path(os.environ.get("HANDRAY_FAULTS", os.devnull))
    known = list(csv.DictReader(path.open())) if path.is_file() else []
    merged = {one["fault"]: one for one in [*known, *rows]}
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(merged.values())


def machine() -> str:
    return f"{os.cpu_count()} cores, {processor() or platform.machine()}"
