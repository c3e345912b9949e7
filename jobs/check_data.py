"""Look at a data folder before anything is trained on it, and leave a page of what stands out.

Reads every file, on Ray here or on the cluster that RAY_ADDRESS names, and says what can't be used:
damaged images, labels without an image, points outside, unknown classes. Measures gray levels (the
mean and std that training normalises with), areas, overlaps, sides and bends, and shows what is
far from the rest: dark and bright films, saturated objects, strips along the top, bent wrists,
areas and places; of hands also mirrored labels, swapped names, rings inside a mask, outlines
beside the bones. Where the classes are others (classes.txt) what is about hands is left out.

  python jobs/check_data.py --data DIR --out page.html
  python jobs/check_data.py --data DIR --out page.html --run NAME

Leaves page.html, one file that opens from disk; page_images.csv, a row an image with person, side,
bend and findings; and with --run, whose masks are of networks that haven't seen the image,
suspects.csv for train_kfold.py --exclude.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from handray.cli import Parser, run_job
from handray.data.radiographs import DataFolder, read_folder
from handray.inference.members import OUT_OF_FOLD
from handray.inference.submission import read_submission
from handray.reporting.console import Counting, warn
from handray.reporting.cutout import Cutout
from handray.reporting.page import Picture
from handray.reporting.run_folder import RUNS
from handray.reporting.suspects import Suspects
from handray.whole_files import check_writable, write_files

SUSPECTS = "suspects.csv"


def main() -> int:
    """Exit code: 0 audited, 1 audited but some files can't be used, 2 bad input."""
    options = _options()
    out: Path = options.out
    _check(out)
    data = read_folder(options.data, Counting(f"reading {options.data}"))
    _tell_faults(data)
    if not data.train:
        raise ValueError(f"{data.root}: no training image is without fault, as listed above")
    suspects = _suspects(options.run, data) if options.run else None
    # Ray takes seconds to import: most mistakes are told before.
    from handray.cluster.image_work import over_images
    from handray.cluster.runtime import start_ray
    from handray.data.audit.measure import measure
    from handray.inference.suspicion import suspects_csv
    from handray.reporting.audit import Audit
    from handray.reporting.audit_page import audit_page

    print(start_ray(options.verbose))
    images = [*data.train, *data.test]
    work = partial(measure, class_names=data.class_names)
    measures, unread = over_images(work, images, Counting("images measured"))
    if not any(row < len(data.train) for row in measures):
        raise ValueError(f"no training image can be read: {next(iter(unread.values()))}")
    rows = sorted(measures)
    audit = Audit(
        data, [images[row] for row in rows], [measures[row] for row in rows], list(unread.values())
    )
    files = {
        out.with_name(f"{out.stem}_images.csv"): audit.table().to_csv(index=False),
        out: audit_page(audit, suspects, _paint),
    }
    if suspects:
        files = {out.with_name(SUSPECTS): suspects_csv(suspects.ranking)} | files
    write_files({path: text.encode() for path, text in files.items()})
    for sentence in audit.unread:
        print(f"error: {sentence}", file=sys.stderr)
    print(audit.summary())
    if suspects:
        print(f"Labels that run {suspects.source} doubts: {suspects.count} images in {SUSPECTS}")
    print("written: " + ", ".join(str(path) for path in reversed(files)))
    return 1 if data.faults or audit.unread else 0


def _paint(cutouts: Sequence[Cutout]) -> list[Picture | None]:
    """The pictures of the page, drawn on all nodes."""
    from handray.cluster.image_work import over_images
    from handray.reporting.cutout import draw_cutout

    pictures, _ = over_images(draw_cutout, cutouts, Counting("pictures drawn"))
    return [pictures.get(number) for number in range(len(cutouts))]


def _suspects(run: str, data: DataFolder) -> Suspects:
    """Labels against the out-of-fold masks of a run, by its folder's name or MLflow's id."""
    from handray.inference.labels import labels_of
    from handray.inference.sizes import sizes_in
    from handray.inference.suspicion import suspicions
    from handray.reporting.tracking.fetch import download_submission

    labels = labels_of(data)
    with tempfile.TemporaryDirectory(prefix="handray-") as folder:
        path = Path(RUNS) / run / OUT_OF_FOLD
        if not path.exists():
            output = download_submission(run, Path(folder), out_of_fold=True, option="--run")
            path = output.with_name(OUT_OF_FOLD)
        if not path.exists():
            raise ValueError(f"--run {run} has no {OUT_OF_FOLD}: was it trained on all images?")
        predicted = read_submission(path, sizes_in(data.root), f"run {run} out of fold")
    ranking = suspicions(predicted, labels.rows(predicted))
    return Suspects(run, ranking, predicted, data.class_names)


def _tell_faults(data: DataFolder) -> None:
    for fault in data.faults:
        print(f"error: {fault.path}: {fault.what}", file=sys.stderr)
    for warning in data.warnings:
        warn(warning)


def _check(out: Path) -> None:
    if out.suffix != ".html" or out.is_dir() or not out.absolute().parent.is_dir():
        raise ValueError(f"--out {out}: name a file that ends in .html, in a folder that is there")
    check_writable(out.absolute().parent, out)


def _options() -> argparse.Namespace:
    parser = Parser(__doc__)
    add = parser.add_argument
    add("--data", default="data", metavar="DIR", help="data folder (default: data)")
    add("--out", type=Path, default=Path("page.html"), help="the page (default: page.html)")
    add(
        "--run",
        metavar="ID",
        help="a finished k-fold run, by its name in runs/ or MLflow's id: which labels it doubts",
    )
    add("-v", "--verbose", action="store_true", help="show the log of Ray and of the workers")
    return parser.parse_args()


if __name__ == "__main__":
    run_job(main)
