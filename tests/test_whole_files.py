"""Scratch folders, and what is left of them."""

import subprocess
import sys
import tempfile

from handray.whole_files import scratch_folder

DIES = """
import os, signal
from handray.whole_files import scratch_folder
with scratch_folder("handray-test-") as folder:
    (folder / "last.pt").write_bytes(b"x")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_process_left_is_removed_and_what_another_uses_is_not(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    with scratch_folder("handray-test-") as mine:
        (mine / "last.pt").write_bytes(b"mine")
        assert subprocess.run([sys.executable, "-c", DIES]).returncode < 0
        left = {path.parent for path in tmp_path.glob("*/*/last.pt")} - {mine}
        assert len(left) == 1
        with scratch_folder("handray-test-") as other:
            assert not any(other.iterdir())
            assert list(tmp_path.glob("*/*/last.pt")) == [mine / "last.pt"]
    assert list(tmp_path.iterdir()) == []
