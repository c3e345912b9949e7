"""Measure a result against labels or against another result, in the source frame.

Dice, surface Dice at 2 and 4 px, HD95 in pixels, precision and recall; by class, by group of bones
(fingers, carpals, forearm) and by slice (side, bent wrist); mean, spread, a 95 % interval over
people, and the five worst images. Prints a table and leaves the same as JSON (--out).

  python jobs/evaluate.py --csv runs/NAME/oof.csv --data DIR
  python jobs/evaluate.py --csv output.csv --against other.csv

A border pixel belongs to the mask and has a neighbour outside it; surface Dice counts border
pixels. Precision is left out of its mean where nothing is predicted, recall where nothing is true,
HD95 where only one of the masks is empty.
"""

import argparse
from dataclasses import replace
from pathlib import Path

from handray.cli import Parser, run_job
from handray.inference.submission import read_submission


def main() -> int:
    """Exit code: 0 when measured, 2 for bad input."""
    options = _options()
    if not (options.data or options.against):
        raise ValueError("name what is true, with --data DIR (its labels) or --against CSV")
    if options.out.suffix != ".json" or options.out.is_dir():
        raise ValueError(f"--out {options.out}: name a file that ends in .json")
    from handray.inference.ensemble import aligned, first_in_order
    from handray.inference.evaluation import evaluate
    from handray.inference.provenance import made_by, sha256
    from handray.inference.score import truth_rows
    from handray.inference.sizes import sizes_in
    from handray.masks.rle import RunRows
    from handray.reporting.choosing import labelled
    from handray.reporting.console import Counting
    from handray.reporting.evaluation import report, report_text
    from handray.reporting.run_folder import write_json

    size_of = sizes_in(options.data) if options.data else None
    submission = read_submission(options.csv, size_of)
    known = labelled(options.data) if options.data else {}
    if options.against:
        pair = [submission, read_submission(options.against, size_of)]
        ours, truth = aligned(pair)
        submission = replace(first_in_order(pair), rows=ours)
    else:
        if missing := [name for name in submission.image_names if name not in known]:
            raise ValueError(f"{options.csv}: image {missing[0]!r} has no label in {options.data}")
        classes = len(submission.class_names)
        images = [known[name] for name in submission.image_names]
        truth = RunRows.stack(
            [truth_rows(one.polygons, classes, (one.height, one.width)) for one in images]
        )
    if submission.sizes_hw is None:
        raise ValueError(f"{options.csv} has no JSON beside it with sizes; give --data too")
    found = evaluate(submission, truth, Counting("measuring"))
    everyone = [known[name] for name in submission.image_names if name in known]
    # Without people every image stands for itself.
    facts = report(found, everyone if len(everyone) == len(submission.image_names) else None)
    print(report_text(facts))
    truth_file = options.against or options.data
    source = {"csv": str(options.csv), "sha256": sha256(options.csv), "truth": str(truth_file)}
    write_json(options.out, {**facts, "source": {**source, **made_by()}})
    print(f"\n{options.out}: the same as JSON")
    return 0


def _options() -> argparse.Namespace:
    parser = Parser(__doc__)
    add = parser.add_argument
    add("--csv", type=Path, required=True, metavar="CSV", help="the result")
    add("--data", metavar="DIR", help="data folder whose labels are true")
    add("--against", type=Path, metavar="CSV", help="a result that is taken to be true instead")
    add(
        "--out",
        type=Path,
        default=Path("evaluation.json"),
        metavar="JSON",
        help="where the numbers go (default: evaluation.json)",
    )
    return parser.parse_args()


if __name__ == "__main__":
    run_job(main)
