"""From Enter to the first training step of the demo, part by part.

  python benchmarks/startup.py

Runs the main job in a terminal of its own, as `make demo` does, notes when each of its lines comes,
stops it at the first step, and does so again. The draw is paid before: only the job is timed.
"""

import argparse
import os
import pty
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

TOP = Path(__file__).parents[1]
MARKS = {
    "data read": r"people to train on",
    "Ray runs": r"Ray on this machine",
    "decoding": r"Decoding \d+ images",
    "decoded": r"Gray levels of the training",
    "first epoch's step": r"epoch 1 step \d+",
}
"""A part ends where its line comes."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    repeats = parser.parse_args().repeats
    with tempfile.TemporaryDirectory(prefix="handray-startup-") as folder:
        draw = ("--people", "40", "--test-people", "10", "--size", "1024", "--out", "hands")
        command = [sys.executable, TOP / "jobs" / "make_phantoms.py", *draw]
        subprocess.run(command, cwd=folder, check=True)
        runs = [_one(Path(folder)) for _ in range(repeats)]
    print(f"\nSeconds after Enter, {os.cpu_count()} cores: median (least to most) of {repeats}")
    for mark in MARKS:
        seconds = sorted(run[mark] for run in runs)
        least, most = seconds[0], seconds[-1]
        print(f"  {mark:<20} {statistics.median(seconds):5.1f} ({least:.1f} to {most:.1f})")


def _one(folder: Path) -> dict[str, float]:
    """Seconds after Enter at which each mark's line came."""
    driver, terminal = pty.openpty()
    command = [sys.executable, TOP / "jobs" / "train_kfold.py", "--model", "hrnet"]
    started = time.perf_counter()
    job = subprocess.Popen(
        [*command, "--preset", "demo", "--data", "hands", "--name", "startup"],
        cwd=folder,
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
    )
    os.close(terminal)
    seen, text = {}, ""
    while len(seen) < len(MARKS):
        text += os.read(driver, 4096).decode(errors="replace")
        for mark, pattern in MARKS.items():
            if mark not in seen and re.search(pattern, text):
                seen[mark] = time.perf_counter() - started
                print(f"{seen[mark]:6.1f} s  {mark}", flush=True)
    job.send_signal(signal.SIGINT)
    with suppress(OSError):  # the terminal's end, once the job has left it
        while os.read(driver, 4096):
            pass
    job.wait()
    shutil.rmtree(folder / "runs")
    return seen


if __name__ == "__main__":
    main()
