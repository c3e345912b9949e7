"""Draw made-up hand radiographs with their labels, in the competition's layout.

Every person gets two films (right hand, left hand) and a polygon for each bone. OUT/train and
OUT/test look like the competition's folders; what the test films show is kept in OUT/truth. The
same arguments draw the same films on any machine; a drawing that was stopped goes on when started
again.

  python jobs/make_phantoms.py --people 24
  python jobs/make_phantoms.py --people 60 --test-people 10 --size 512 --out small_phantoms
"""

import argparse
from pathlib import Path

from handray.cli import Parser, run_job
from handray.data.phantom_folder import draw_folder
from handray.reporting.console import Counting


def main() -> int:
    """Exit code: 0 drawn or already there, 2 bad input, 130 stopped by Ctrl-C."""
    options = _options()
    out: Path = options.out
    drawing = options.people, options.test_people, options.size, options.seed
    if draw_folder(out, *drawing, Counting("films drawn")):
        people = f"{options.people} people to train on, {options.test_people} to test on"
        print(f"{out}: {people}, two films of {options.size} px each")
    else:
        print(f"{out} is already drawn with these arguments; nothing to do")
    return 0


def _options() -> argparse.Namespace:
    parser = Parser(__doc__)
    add = parser.add_argument
    add("--people", type=int, default=24, help="people in OUT/train (default: 24)")
    add("--test-people", type=int, default=6, help="people in OUT/test (default: 6)")
    add("--size", type=int, default=2048, help="side of a film in pixels (default: 2048)")
    add("--seed", type=int, default=0, help="another seed, other people (default: 0)")
    add(
        "--out",
        type=Path,
        default=Path("phantoms"),
        help="folder (default: phantoms)",
    )
    return parser.parse_args()


if __name__ == "__main__":
    run_job(main)
