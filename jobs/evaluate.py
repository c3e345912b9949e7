"""Measure a result against labels or against another result, in the source frame.

Dice, surface Dice at 2 and 4 px, HD95 in pixels, precision and recall; by class, by group of bones
(fingers, carpals, forearm) and by slice (side, bent wrist); mean, spread, a 95 % interval over
people, and the five worst images. Prints a table and leaves the same as JSON (--out).

  python jobs/evaluate.py --csv runs/NAME/oof.csv --data DIR
  python jobs/evaluate.py --csv output.csv --against other.csv

A border pixel belongs to the mask and has a neighbour outside it; surface Dice counts border
pixels. Precision is left out of its mean where nothing is predicted, recall where nothing is true,
HD95 where only one of the masks is empty. The interval draws people with replacement, as far as
--data knows whose images they are, else images.
"""

import argparse
from dataclasses import replace
from pathlib import Path

from handray.cli import Parser, run_job
from handray.inference.submission import Submission, json_beside, read_submission
from handray.whole_files import check_writable, write_json


def main() -> int:
    """Exit code: 0 when measured, 2 for bad input."""
    options = _options()
    _check(options)
    from handray.inference.ensemble import aligned, first_in_order
    from handray.inference.evaluation import evaluate
    from handray.inference.labels import read_labels
    from handray.inference.provenance import made_by, sha256
    from handray.inference.sizes import sizes_in
    from handray.reporting.console import Counting
    from handray.reporting.evaluation import report, report_text

    size_of = sizes_in(options.data) if options.data else None
    labels = (
        read_labels(options.data, Counting(f"reading {options.data}")) if options.data else None
    )
    submission = read_submission(options.csv, size_of)
    if options.against:
        other = read_submission(options.against, size_of)
        submission = _sized(submission, other, options.csv)
        pair = [submission, _sized(other, submission, options.against)]
        ours, truth = aligned(pair)
        reference = first_in_order(pair)
        submission = replace(reference, rows=ours, name=submission.name)
    elif labels:
        truth = labels.rows(submission)
    if submission.sizes_hw is None:
        raise ValueError(f"{options.csv} has no JSON beside it with sizes; give --data too")
    found = evaluate(submission, truth, Counting("measuring"))
    facts = report(found, labels)
    print(report_text(facts))
    truth_file = options.against or options.data
    source = {"csv": str(options.csv), "sha256": sha256(options.csv), "truth": str(truth_file)}
    write_json(options.out, {**facts, "source": {**source, **made_by()}})
    print(f"\n{options.out}: the same as JSON")
    return 0


def _sized(result: Submission, other: Submission, path: Path) -> Submission:
    """A result with its sizes, where only the other one knows them; runs are checked by them."""
    if result.sizes_hw is not None or other.sizes_hw is None:
        return result
    known = dict(zip(other.image_names, other.sizes_hw.tolist(), strict=True))
    if missing := [name for name in result.image_names if name not in known]:
        raise ValueError(f"image {missing[0]!r} is in {result.name} but not in {other.name}")
    return read_submission(path, lambda name: tuple(known[name]))


def _check(options: argparse.Namespace) -> None:
    if not (options.data or options.against):
        raise ValueError("name what is true, with --data DIR (its labels) or --against CSV")
    out = options.out
    if out.suffix != ".json" or out.is_dir() or not out.absolute().parent.is_dir():
        raise ValueError(f"--out {out}: name a file that ends in .json, in a folder that is there")
    check_writable(out.absolute().parent, out)
    taken = [json_beside(csv).resolve() for csv in (options.csv, options.against) if csv]
    if out.resolve() in taken or out.with_suffix(".csv").exists():
        raise ValueError(f"--out {out} belongs to a CSV and would be lost; take another name")


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
