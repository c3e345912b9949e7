"""Folds that share a real Ray with another job, and GPUs of two kinds that Ray believes in."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.cluster

SCRIPT = Path(__file__).parents[1] / "share_a_cluster.py"


@pytest.fixture(scope="module")
def report() -> dict:
    known = {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"}
    done = subprocess.run(
        [sys.executable, str(SCRIPT)], env=known, capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_a_group_has_one_kind_of_gpu_and_the_next_of_its_kind_follows_it(report):
    kinds = report["kinds"]
    assert kinds["ready"], "a fold of each kind trains"
    assert sorted(kinds["placed"]) == [["accelerator_type:T4"], ["accelerator_type:V100"]]
    assert kinds["waited"] and kinds["followed"]


def test_folds_wait_for_another_job_and_then_train_as_many_at_once_as_planned(report):
    folds = report["folds"]
    assert folds["asked"]["before"] == [0, []], "no rank was there while the other job was"
    assert folds["errors"] == {}
    assert folds["ended"] == [0, 0, 1, 1, 2, 2], "each fold had both of its ranks"
    assert folds["most"] == 4, "ranks of two folds at once, and never of the third"


def test_the_autoscaler_is_asked_for_the_ranks_of_the_waiting_folds_and_nothing_else(report):
    asked, ranks = report["folds"]["asked"], [{"CPU": report["held"]}, 2]
    assert asked["groups"] == [[ranks], [ranks]]
    assert asked["others"] == 0
    # What the cluster is to have at least, which is not added to what is waited for.
    least = sum(count for bundle, count in asked["least"] if bundle == ranks[0])
    assert least == sum(count for _, count in asked["least"]) <= 4


def test_a_fold_whose_machines_are_gone_is_told_in_a_sentence(report):
    assert report["lost"].startswith("the cluster no longer has 5 x {'CPU': 2} for its ranks; ")
