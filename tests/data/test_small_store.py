"""Streaming more data than the object store holds, and with hardly any shared memory."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "stream_a_gigabyte.py"
IN_64_MB = ["unshare", "--mount", "sh", "-c"]
MOUNT = "mount -t tmpfs -o size=64m tmpfs /dev/shm"


def stream(command: list[str]) -> dict:
    known = {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"}
    done = subprocess.run(
        command,
        env=known | {"HANDRAY_TEST_SESSION": "11"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr  # -7 would be a bus error
    return json.loads(done.stdout.splitlines()[-1])


def check(report: dict) -> None:
    assert report["bytes"] > 1e9
    assert report["in_order"], "every row of the epoch once, in the order asked for"
    assert report["spilled_mib"] == 0
    for process in ("reader_mb", "decoder_mb"):
        memory = report[process]
        first, second = memory[: len(memory) // 2], memory[len(memory) // 2 :]
        assert max(first) > 0, f"{process} was measured"
        assert max(second) < max(first) + 50, f"{process} grows: half a gigabyte came meanwhile"


def test_a_gigabyte_streams_through_a_store_of_200_mb_without_spilling(phantoms):
    check(stream([sys.executable, str(SCRIPT), str(phantoms), "200000000"]))


def test_a_gigabyte_streams_with_64_mb_of_shared_memory(phantoms):
    if subprocess.run([*IN_64_MB, MOUNT], capture_output=True).returncode:
        pytest.skip("another /dev/shm takes root and unshare")
    check(
        stream(
            [*IN_64_MB, f'{MOUNT} && exec "$@"', "sh", sys.executable, str(SCRIPT), str(phantoms)]
        )
    )
