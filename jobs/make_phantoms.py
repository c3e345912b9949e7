"""Draw made-up hand radiographs with their labels, in the competition's layout.

    python jobs/make_phantoms.py --out phantoms
    python jobs/make_phantoms.py --people 60 --test-people 10 --size 512 --out small_phantoms

Every person gets two films (right hand, left hand) and a polygon for each of 29 bones. OUT/train
and OUT/test look like the competition's folders; what the test films show is kept in OUT/truth. The
same arguments draw the same films again; a drawing that was stopped goes on when started again.
"""

import argparse
import sys
import time
from pathlib import Path

from handray.data.phantom_folder import draw_folder


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="make_phantoms",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--people", type=int, default=24, help="people in OUT/train (24)")
    parser.add_argument("--test-people", type=int, default=6, help="people in OUT/test (6)")
    parser.add_argument("--size", type=int, default=2048, help="side of a film in px (2048)")
    parser.add_argument("--seed", type=int, default=0, help="another seed, other people (0)")
    parser.add_argument("--out", type=Path, default=Path("phantoms"), help="folder (phantoms)")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Exit code: 0 drawn or already there, 2 bad input, 130 stopped by Ctrl-C."""
    options = parse_arguments(arguments)
    start = time.monotonic()

    def show(done: int, films: int) -> None:
        seconds = time.monotonic() - start
        print(f"\r{done}/{films} films, {seconds:.0f} s", end="", file=sys.stderr, flush=True)

    out: Path = options.out
    try:
        drawn = draw_folder(
            out, options.people, options.test_people, options.size, options.seed, show
        )
    except (ValueError, OSError, RuntimeError) as error:
        print(f"make_phantoms: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"\nmake_phantoms: stopped; the same command goes on with {out}", file=sys.stderr)
        return 130
    if not drawn:
        print(f"{out} is already drawn with these arguments; nothing to do")
        return 0
    print(file=sys.stderr)
    people = f"{options.people} people to train on, {options.test_people} to test on"
    print(f"{out}: {people}, two films of {options.size} px each")
    return 0


if __name__ == "__main__":
    sys.exit(main())
