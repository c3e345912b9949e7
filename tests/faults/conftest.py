"""One training without a fault, which those with one are held against, and the table of faults."""

import json
import os
import signal
from contextlib import suppress
from pathlib import Path

import pytest
from fault_table import keep, row
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
    """Adds a row to the table of faults; see fault_table."""
    rows = []
    yield lambda *about: rows.append(row(*about))
    keep(rows)
