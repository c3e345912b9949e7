"""Progress as people and logs see it: through a pseudo-terminal, and through a pipe."""

import re
import subprocess
import sys

from processes import JOBS
from terminal import in_terminal, stays

COUNT = """
import time
from handray.reporting.console import Counting
counting = Counting("reading", quiet_seconds=0)
for done in range(1, 6):
    counting._next = 0.0
    time.sleep(0.02)
    counting(done, 5)
print("done")
"""
STAGES = """
import sys, time
from handray.reporting import console
from handray.reporting.console import Stages, warn
console.REDRAW_SECONDS = console.LOG_SECONDS = 0.05
with Stages(2, quiet_seconds=0) as stage:
    stage("reading")
    time.sleep(0.4)
    warn("a file is odd")
    time.sleep(0.2)
    stage.say("read")
    stage("writing")
    time.sleep(0.4)
print("done")
"""

FILMS = """
import runpy, sys
from handray.reporting import console
console.REDRAW_SECONDS = 0.0
console.Counting.__init__.__defaults__ = (0.0,)
sys.argv = "job --people 1 --test-people 1 --size 64 --out hands".split()
runpy.run_path("{job}", run_name="__main__")
"""


def piped(script: str, folder) -> tuple[str, str]:
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=folder, capture_output=True, text=True, check=True
    )
    return done.stdout, done.stderr


def test_a_count_is_one_line_in_a_terminal_with_the_time_that_is_left(tmp_path):
    code, written = in_terminal(["-c", COUNT], tmp_path)
    assert code == 0
    assert stays(written) == ["reading: 5 of 5", "done"]
    assert re.search(r"reading: 2 of 5, \d s left", written)


def test_a_count_is_plain_lines_in_a_pipe(tmp_path):
    out, err = piped(COUNT, tmp_path)
    lines = err.splitlines()
    assert [line.split(",")[0] for line in lines] == [f"reading: {n} of 5" for n in range(1, 6)]
    assert "\x1b" not in err and "\r" not in err and out == "done\n"


def test_stages_are_one_line_that_goes_away_and_what_is_said_stays(tmp_path):
    code, written = in_terminal(["-c", STAGES], tmp_path)
    assert code == 0
    assert stays(written) == ["warning: a file is odd", "read", "done"]
    assert re.search(r"1 of 2: reading, \d s so far", written)
    assert re.search(r"2 of 2: writing, \d s so far", written)


def test_stages_are_plain_lines_in_a_pipe(tmp_path):
    out, err = piped(STAGES, tmp_path)
    assert "\x1b" not in err and "\r" not in err
    lines = list(dict.fromkeys(line.split(",")[0] for line in err.splitlines()))
    assert lines == ["1 of 2: reading", "warning: a file is odd", "2 of 2: writing"]
    assert out == "read\ndone\n"


def test_a_job_counts_in_a_terminal_and_says_how_long_it_will_take(tmp_path):
    code, written = in_terminal(["-c", FILMS.format(job=JOBS / "make_phantoms.py")], tmp_path)
    assert code == 0
    assert re.search(r"films drawn: 1 of 4, \d+ s left", written)
    assert stays(written)[0] == "films drawn: 4 of 4"
    assert stays(written)[1].startswith("hands: 1 people to train on")
