"""A rank that is killed, asked to end, or can't go on."""

import os
import signal
import time

import pytest
from conftest import result
from faulty import PATIENCE, check_rows
from processes import wait_for

POINTS = {
    "in a step": "pause handray.training.loop:_loss 3",
    "in a validation": "pause handray.cluster.predictor:Predictor.overlap 2",
    "in the middle of a checkpoint": (
        "cut ray.train.v2._internal.execution.storage:_pyarrow_fs_copy_files 2"
    ),
}


@pytest.fixture(scope="module")
def killed(faulty):
    """A training whose rank is killed at each point, one after the other; when that was."""
    training = faulty(*POINTS.values())
    process = training.start()
    times = {}
    for number, point in enumerate(POINTS):
        os.kill(training.paused(process, number), signal.SIGKILL)
        times[point] = time.time()
    output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, output
    return training, times


@pytest.mark.parametrize(
    ("point", "begun", "resumed"),
    [
        ("in a step", 2, 0),
        # Of the second epoch: the first one's checkpoint is there.
        ("in a validation", 11, 6),
        # The second of this process, after the third epoch: it is there in part.
        ("in the middle of a checkpoint", 17, 12),
    ],
)
def test_a_rank_that_is_killed_goes_on_from_the_last_whole_checkpoint(
    killed, table, point, begun, resumed
):
    training, times = killed
    assert training.went_on(times[point])[:2] == (begun, resumed)
    seconds = training.went_on(times[point])[2]
    table(f"rank SIGKILLed {point}", "goes on from its last checkpoint, same result", seconds)


def test_deaths_of_ranks_change_nothing_that_is_learnt_or_predicted(killed, undisturbed):
    training, _ = killed
    assert result(training.home) == undisturbed
    check_rows(training.home / "fold0/output.csv", images=2)
    assert not list(training.home.glob("*.partial"))


def test_a_rank_that_gets_sigterm_keeps_its_step_and_nothing_is_done_twice(faulty, table):
    # All ranks meet after each step, to see whether a machine is going.
    training = faulty("value handray.training.pace:LOOK_SECONDS 0", step_seconds=0.3)
    process = training.start("--workers-per-fold", 2)
    training.reach(process, 8)
    os.kill(training.ranks()[-1], signal.SIGTERM)
    told = time.time()
    output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, output
    assert [step.number for step in training.steps()] == [*range(18)]
    assert [number for number, *_ in result(training.home)["curve"]] == [6, 12, 18]
    _, resumed, seconds = training.went_on(told)
    assert resumed > 8, "in the middle of the second epoch"
    table("SIGTERM to a rank (of two)", "keeps its step first; no step is done twice", seconds)


def test_a_rank_without_memory_tells_what_fits_and_the_others_do_not_wait(faulty, table):
    training = faulty("memory handray.cluster.fold:build_network 1")
    code, output = training.run("--workers-per-fold", 2)
    assert code == 1, output
    assert (
        "error: fold 0: out of GPU memory at --size 64 with 2 images a pass; try "
        "--activation-checkpointing or --accumulate 2: the same batch, 1 a pass, which was tried"
    ) in output
    assert "Traceback" not in output
    assert "  fold 0  failed\n  fold 1  not trained yet" in output
    table("one rank of two out of memory", "exit code 1, the pass that fits is named")


def test_a_fold_that_fails_for_good_leaves_the_others_and_the_table_says_which(faulty, table):
    training = faulty(step_seconds=0.1, folds=())
    process = training.start("--epochs", 1)
    dead: set[int] = set()

    def is_back() -> bool:
        return bool(training.steps()) and training.steps()[-1].process not in dead

    while len(dead) < 4:
        wait_for(is_back, process, PATIENCE)
        dead.add(training.steps()[-1].process)
        os.kill(training.steps()[-1].process, signal.SIGKILL)
    output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1, output
    assert "  fold 0  failed\n  fold 1  finished: Dice 0." in output
    assert "error: fold 0: its workers died 4 times" in output
    assert (training.home / "fold1/best.pt").exists()
    assert not (training.home / "fold0").exists()
    assert not (training.home / "output.csv").exists()
    table("a fold fails for good (4 deaths)", "the others finish; exit code 1, the table says so")


def test_a_result_that_is_damaged_fails_its_fold_alone_and_is_made_anew(faulty, table):
    training = faulty("pause handray.cluster.experiment:fetch_folder 1", folds=())
    process = training.start("--epochs", 1)
    training.paused(process)
    for file in training.home.glob("ray/fold0/checkpoint_*/best.pt"):
        file.write_bytes(file.read_bytes()[:1000])
    training.sign().unlink()
    output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1, output
    assert "error: fold 0: the result of fold 0 in " in output and "best.pt is cut short" in output
    assert "  fold 0  failed\n  fold 1  finished: Dice 0." in output
    assert "Traceback" not in output
    code, output = training.run("--epochs", 1, plain=True)
    assert code == 0, output
    check_rows(training.home / "output.csv", images=2)
    table("a fold's result damaged on disk", "the others finish; exit code 1; made anew")
