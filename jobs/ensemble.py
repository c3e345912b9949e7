"""Vote many results into one CSV: a pixel is a class's where enough members say so.

Members are CSVs (image_name,class,rle), MLflow runs of this project, or both; a parent run is one
member, the voted CSV of its folds. Votes are counted on the run lengths, so that 5 members of 300
images take two seconds and CSVs need no torch, Ray or MLflow. The default is the source team's
rule: at least 0.7 of the members, rounded down.

  python jobs/ensemble.py --csv a/output.csv b/output.csv c/output.csv --out voted.csv
  python jobs/ensemble.py --csv a.csv b.csv c.csv d.csv --votes 2 --data /data/hands
  python jobs/ensemble.py --runs 3f1c9a,77ab02 --csv friend.csv --vote-fraction 0.5

All members must have the same images and classes, in any order. The size of an image, against which
runs are checked, comes from the JSON beside a CSV, else from --data, else from --image-size.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from handray.cli import Parser, run_job
from handray.inference.ensemble import vote_submissions, votes_needed
from handray.inference.submission import SizeOf, Submission, read_submission, write_submission
from handray.masks.rle import MOST_PIXELS

QUIET_SECONDS = 10.0
"""Shorter runs print no progress."""


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line; raises ValueError for a wrong one."""
    parser = Parser(__doc__)
    add = parser.add_argument
    add("--csv", nargs="+", type=Path, default=[], metavar="CSV", help="members: result files")
    add("--runs", nargs="+", default=[], metavar="ID", help="members: MLflow run ids, 'A,B' or A B")
    rule = parser.add_mutually_exclusive_group()
    rule.add_argument("--votes", type=int, metavar="N", help="members that must agree, 1 to all")
    rule.add_argument(
        "--vote-fraction",
        type=float,
        metavar="F",
        help="the same as a share of the members, above 0 to 1, rounded down (default: 0.7)",
    )
    add("--data", metavar="DIR", help="data folder, to know the sizes of images without a JSON")
    add(
        "--image-size",
        type=int,
        default=2048,
        metavar="S",
        help="side of the images where neither says it (default: 2048)",
    )
    add("--out", type=Path, default=Path("output.csv"), help="the result (default: output.csv)")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Read the members, vote, write the result and its JSON; 0 when done."""
    options = parse_arguments(arguments)
    run_ids = [run_id for word in options.runs for run_id in word.split(",") if run_id.strip()]
    names = [str(path) for path in options.csv] + [f"run {run_id}" for run_id in run_ids]
    if not names:
        raise ValueError("no members; name result files with --csv or MLflow runs with --runs")
    needed = votes_needed(len(names), options.votes, options.vote_fraction)
    if os.path.realpath(options.out) in map(os.path.realpath, options.csv):
        raise ValueError(f"--out {options.out} is a member too; give the result another name")
    size_of = _size_lookup(options.data, options.image_size)
    tell = _progress()
    members = [_read_csv(path, size_of, tell) for path in options.csv]
    members += [_read_run(run_id, size_of, tell) for run_id in run_ids]
    tell(f"counting the votes of {len(members)} members")
    voted = vote_submissions(members, needed)
    sources = {name: dict(member.source) for name, member in zip(names, members, strict=True)}
    source = {"job": "ensemble", "votes_needed": needed, "members": sources}
    write_submission(options.out, replace(voted, source=source))
    for member in members:
        if member.reordered:
            print(f"note: the rows of {member.name} were in another order; matched by name")
    print(f"{options.out}: pixels with {needed} or more of {len(names)} votes: {', '.join(names)}")
    return 0


def _size_lookup(data: str | None, image_size: int) -> SizeOf:
    if not 1 <= image_size <= MOST_PIXELS**0.5:
        raise ValueError(f"--image-size must be 1 to 46340, got {image_size}; the bones' is 2048")
    if data is None:
        return lambda _image: (image_size, image_size)
    from handray.inference.sizes import sizes_in  # reads images: slow to import

    return sizes_in(data)


def _read_csv(path: Path, size_of: SizeOf, tell: Callable[[str], None]) -> Submission:
    tell(f"reading {path}")
    return read_submission(path, size_of)


def _read_run(run_id: str, size_of: SizeOf, tell: Callable[[str], None]) -> Submission:
    from handray.reporting.tracking import download_submission  # imports MLflow: seconds

    tell(f"fetching run {run_id}")
    with tempfile.TemporaryDirectory(prefix="handray-") as folder:
        path = download_submission(run_id, Path(folder))
        return read_submission(path, size_of, name=f"run {run_id}")


def _progress() -> Callable[[str], None]:
    """Prints what goes on, on stderr, once the job has taken QUIET_SECONDS."""
    start = time.monotonic()

    def tell(what: str) -> None:
        seconds = time.monotonic() - start
        if seconds > QUIET_SECONDS:
            print(f"{seconds:.0f} s: {what}", file=sys.stderr, flush=True)

    return tell


if __name__ == "__main__":
    run_job(main)
