"""The driver killed, ended and interrupted one after the other, and what is found each time."""

import json
import signal
import time
from dataclasses import dataclass
from itertools import pairwise

import pytest
import torch
from conftest import result
from faulty import PATIENCE, Faulty, stop
from processes import mlflow_runs, wait_for

EPOCH = 6
"""Steps between two checkpoints."""


@dataclass
class Ended:
    """How a driver ended."""

    code: int
    output: str
    left: list[int]
    """Processes that are still there a while later."""
    statuses: set[str]
    """Of its MLflow runs."""
    again: float
    """When the same command was given again, by the wall's clock."""


@dataclass
class Story:
    """A training and its four drivers: three are sent a signal, one comes to the end."""

    training: Faulty
    ends: dict[signal.Signals | None, Ended]
    second: tuple[int, str] = (0, "")
    """How another job of the run ended, while the first driver worked."""
    kept: tuple[int, ...] = ()
    """Steps of the checkpoints after the second driver's end."""
    damaged: str = ""
    """The last of them, which then was cut short."""


@pytest.fixture(scope="module")
def story(faulty) -> Story:
    training = faulty(step_seconds=0.3)
    told = Story(training, {})
    for how, number in ((signal.SIGKILL, 8), (signal.SIGTERM, 13), (signal.SIGINT, 14)):
        # What is decoded anew each epoch is the same.
        process = training.start(*(["--feed", "streamed"] if how == signal.SIGINT else []))
        began = time.time()
        if how == signal.SIGKILL:
            wait_for((training.home / "config.json").exists, process, PATIENCE)
            told.second = training.run()
        training.reach(process, number, began)
        output = stop(process, how)
        told.ends[how] = ended(training, process.returncode, output)
        if how == signal.SIGTERM:
            checkpoints = sorted(training.home.glob("ray/fold0/checkpoint_2*/last.pt"))
            told.kept = tuple(torch.load(file, weights_only=True)["steps"] for file in checkpoints)
            told.damaged = checkpoints[-1].parent.name
            with checkpoints[-1].open("r+b") as file:
                file.truncate(checkpoints[-1].stat().st_size // 2)
    told.ends[None] = ended(training, *training.run())
    return told


def ended(training: Faulty, code: int, output: str) -> Ended:
    limit = time.monotonic() + 60
    while training.processes() and time.monotonic() < limit:
        time.sleep(0.2)
    for file in training.home.glob("*.json"):
        json.loads(file.read_text())
    statuses = {run.info.status for run in mlflow_runs(training.folder)[1]}
    return Ended(code, output, training.processes(), statuses, time.time())


@pytest.mark.parametrize(
    ("how", "code", "sentence", "status"),
    [
        (signal.SIGKILL, -9, "", "RUNNING"),
        (signal.SIGTERM, 143, "ended by SIGTERM; the same command goes on", "KILLED"),
        (signal.SIGINT, 130, "interrupted; the same command goes on", "KILLED"),
    ],
)
def test_a_driver_that_is_ended_says_so_and_leaves_no_process(story, how, code, sentence, status):
    ends = story.ends
    assert ends[how].code == code, ends[how].output
    assert sentence in ends[how].output and "Traceback" not in ends[how].output
    assert ends[how].left == []
    assert ends[how].statuses == {status}


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_the_same_command_goes_on_from_the_last_whole_checkpoint(story, table, how):
    reached, resumed, seconds = story.training.went_on(story.ends[how].again)
    if how == signal.SIGTERM:
        assert resumed == story.kept[0]
        outcome = "ends; told, the same command goes on from the one before"
        table("driver SIGTERMed, last checkpoint then cut short on disk", outcome, seconds)
    else:
        # Ranks outlive a killed driver by a second or two, and may have begun no step since.
        assert resumed in {reached // EPOCH * EPOCH, (reached + 1) // EPOCH * EPOCH}
        table(f"driver {how.name}", "ends, the same command goes on, same result", seconds)


def test_drivers_that_end_change_nothing_that_is_learnt(story, undisturbed):
    training, ends = story.training, story.ends
    assert ends[None].code == 0, ends[None].output
    assert result(training.home) == undisturbed
    assert ends[None].statuses == {"FINISHED"}
    processes = [step.process for step in training.steps()]
    assert sum(one != other for one, other in pairwise(processes)) == 3, "one rank a driver"


def test_a_checkpoint_that_the_disk_cut_short_is_told(story):
    assert story.kept == (6, 12), "the last and the one before"
    sentence = f"fold 0: {story.damaged} is damaged (last.pt is cut short or changed); going on"
    assert f"{sentence} from step 6" in story.ends[signal.SIGINT].output


def test_a_second_job_of_a_run_is_refused_before_anything_starts(story, table):
    code, output = story.second
    assert code == 2, output
    assert (
        f"run small is being trained already, by another process on {story.training.home}" in output
    )
    assert "Ray on" not in output
    table("two jobs under one name", "the second is refused, exit code 2")
