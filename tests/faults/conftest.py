"""One training without a fault, which those with one are held against, and the table of faults."""

import csv
import json
import os
import signal
from contextlib import suppress
from datetime import date
from pathlib import Path

import pytest
from faulty import Faulty


def pytest_collection_modifyitems(items) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.faults)


@pytest.fixture(scope="module")
def faulty(phantoms, tmp_path_factory):
    """Makes a training with faults; whatever is left of it is ended with the module."""
    made = []

    def make(*faults: str, **other) -> Faulty:
        made.append(Faulty(tmp_path_factory.mktemp("faulty"), phantoms, faults, **other))
        return made[-1]

    yield make
    for training in made:
        for process in training.processes():
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)


@pytest.fixture(scope="session")
def undisturbed(phantoms, tmp_path_factory) -> dict[str, object]:
    """What a training without a fault leaves: history, masks of held-out images."""
    training = Faulty(tmp_path_factory.mktemp("undisturbed"), phantoms)
    code, output = training.run()
    assert code == 0, output
    return result(training.home)


def result(home: Path) -> dict[str, object]:
    """What must not depend on faults."""
    history = json.loads((home / "fold0/history.json").read_text())
    curve = [(record["steps"], record["loss"], record["dice"]) for record in history]
    return {"curve": curve, "masks": (home / "fold0/oof.csv").read_text()}


@pytest.fixture(scope="session")
def table():
    """Rows for the table of faults; they replace those of the same fault in HANDRAY_FAULTS."""
    rows: dict[str, dict[str, str]] = {}

    def add(fault: str, outcome: str, seconds: float | None = None) -> None:
        lost = "" if seconds is None else f"{seconds:.0f}"
        rows[fault] = {"fault": fault, "what happened": outcome, "seconds lost": lost}
        rows[fault] |= {"date": date.today().isoformat(), "machine": machine()}

    yield add
    if "HANDRAY_FAULTS" in os.environ and rows:
        path = Path(os.environ["HANDRAY_FAULTS"])
        known = csv.DictReader(path.read_text().splitlines()) if path.exists() else []
        merged = {row["fault"]: row for row in known} | rows
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, [*next(iter(rows.values()))], lineterminator="\n")
            writer.writeheader()
            writer.writerows(merged.values())


def machine() -> str:
    about = Path("/proc/cpuinfo").read_text().splitlines()
    name = next((line.split(":")[1].strip() for line in about if "model name" in line), "CPU")
    return f"{os.cpu_count()} cores, {name}"
