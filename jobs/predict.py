"""Predict the images of a data folder with trained networks, into one CSV.

Networks are checkpoints (best.pt of a fold) or MLflow runs; the run of a whole training stands for
all of its folds. Several networks vote on each pixel, or with --soft their probabilities are
averaged; they may have been trained at several sizes. Images are predicted on all CPUs and GPUs
of this machine, or of the cluster that RAY_ADDRESS names.

Leaves output.csv (--out) with a JSON beside it that says how it was made.

  python jobs/predict.py --run ID --data DIR
  python jobs/predict.py --checkpoint runs/NAME/fold*/best.pt --data DIR --tta flip --soft
  python jobs/predict.py --checkpoint best.pt --data DIR --window 1024 --stride 512
"""

import argparse
import hashlib
import json
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from handray.cli import Parser, run_job
from handray.data.radiographs import DataFolder, read_folder
from handray.inference.ensemble import votes_needed
from handray.inference.labels import labels_of
from handray.inference.provenance import made_by
from handray.inference.rule import Rule
from handray.inference.score import overlap_of
from handray.inference.submission import Submission, check_target, write_submission
from handray.masks.rle import RunRows
from handray.reporting.console import Counting


def main() -> int:
    """Exit code: 0 all images are predicted, 1 some could not be read, 2 bad input."""
    options = _options()
    _check(options)
    data = read_folder(options.data, Counting(f"reading {options.data}"), options.split)
    images = data.train if options.split == "train" else data.test
    if not images:
        raise ValueError(f"--data {options.data} has no images in {options.split}/DCM to predict")
    # Torch, Ray and MLflow take seconds to import: most mistakes are told before.
    from handray.cluster.predict_all import predict_all
    from handray.cluster.runtime import start_ray

    members = _members(options)
    class_names = members[0].class_names
    rule = _rule(options, members)
    print(start_ray(options.verbose))
    telling = Counting("predicting", quiet_seconds=8.0)
    masks, faults = predict_all(images, [m.content for m in members], rule, telling)
    done = [images[row] for row in sorted(masks)]
    submission = Submission(
        tuple(image.name for image in done),
        class_names,
        RunRows.stack([masks[row] for row in sorted(masks)]),
        sizes_hw=np.array([(image.height, image.width) for image in done], np.int64).reshape(-1, 2),
        source={
            "job": "predict",
            **{key: value for key, value in vars(rule).items() if key != "thresholds_C"},
            "threshold": options.threshold,
            **made_by(),
            "members": [member.about for member in members],
        },
    )
    write_submission(options.out, submission)
    print(f"{options.out}: {len(done)} images by {len(members)} network(s), {_how(rule)}")
    _print_dice(submission, data, options.split)
    sentences = [f"{fault.path}: {fault.what}" for fault in data.faults]
    sentences += [faults[row] for row in sorted(faults)]
    for sentence in sentences:
        print(f"error: {sentence}", file=sys.stderr)
    if sentences:
        print(f"{len(sentences)} faulty files: their images are not in {options.out}")
    return 1 if sentences else 0


@dataclass(frozen=True)
class Member:
    """A checkpoint's content, and where it came from."""

    content: bytes
    class_names: tuple[str, ...]
    about: dict[str, Any]


def _check(options: argparse.Namespace) -> None:
    from handray.inference.tta import check_tta

    if bool(options.run) == bool(options.checkpoint):
        raise ValueError("name the networks, with either --run ID or --checkpoint PATH")
    check_tta(options.tta)
    if options.window < 0 or options.stride < 0 or options.stride > options.window:
        raise ValueError(
            f"--window {options.window} --stride {options.stride}: the stride is at most the "
            "window, e.g. --window 1024 --stride 512"
        )
    if options.soft and (options.votes or options.vote_fraction):
        raise ValueError("--soft averages probabilities, so there are no votes to count")
    check_target(options.out)


def _members(options: argparse.Namespace) -> list[Member]:
    """All networks, in order, of the same classes."""
    with tempfile.TemporaryDirectory(prefix="handray-") as folder:
        paths = {str(path): path for path in options.checkpoint}
        if options.run:
            from handray.reporting.tracking.fetch import download_checkpoint, fold_ids

            for run_id in (one for run in options.run for one in fold_ids(run)):
                into = Path(folder) / run_id
                into.mkdir(exist_ok=True)
                paths[f"run {run_id}"] = download_checkpoint(run_id, into)
        members = [_member(name, path, options.window) for name, path in paths.items()]
    for member in members:
        if member.class_names != members[0].class_names:
            first, other = members[0].about["name"], member.about["name"]
            raise ValueError(f"{first} and {other} have other classes, or in another order")
    return members


def _member(name: str, path: Path, window: int) -> Member:
    from handray.inference.checkpoint import load_for_inference
    from handray.models.zoo import Design, nearest_size

    _, about = load_for_inference(path)
    content = path.read_bytes()
    model = about["config"]["model"]
    nearest = nearest_size(Design(model["model"], model.get("encoder", "")), window)
    if window and nearest != window:
        raise ValueError(f"--window {window}: {name} can't take that size; try {nearest}")
    facts = {
        "name": name,
        "sha256": hashlib.sha256(content).hexdigest(),
        "model": model["model"],
        "size": about["size"],
        "fold": about.get("fold"),
    }
    return Member(content, tuple(about["class_names"]), facts)


def _rule(options: argparse.Namespace, members: list[Member]) -> Rule:
    return Rule(
        thresholds_C=_thresholds(options.threshold, members[0].class_names),
        votes=votes_needed(len(members), options.votes, options.vote_fraction),
        soft=options.soft,
        tta=options.tta,
        window=options.window,
        stride=options.stride or max(1, options.window // 2),
    )


def _thresholds(text: str, class_names: tuple[str, ...]) -> tuple[float, ...]:
    """One probability a class: the same for all, or of a JSON file of class names."""
    try:
        values: Any = float(text)
    except ValueError:
        try:
            values = json.loads(Path(text).read_text())
        except (OSError, ValueError, RecursionError) as error:
            raise ValueError(
                f"--threshold {text}: neither a probability nor a JSON file of them ({error})"
            ) from error
    if not isinstance(values, dict):
        values = dict.fromkeys(class_names, values)
    if unknown := [name for name in values if name not in class_names]:
        raise ValueError(f"--threshold {text}: the networks have no class {unknown[0]!r}")
    thresholds = [values.get(name, 0.5) for name in class_names]
    for name, value in zip(class_names, thresholds, strict=True):
        if not isinstance(value, int | float) or not 0 < value < 1:
            raise ValueError(
                f"--threshold {text}: a probability lies between 0 and 1, got {value} for {name}"
            )
    return tuple(map(float, thresholds))


def _how(rule: Rule) -> str:
    how = "mean of their probabilities" if rule.soft else f"{rule.votes} vote(s) needed"
    return f"{how}, tta {rule.tta}" + (f", windows of {rule.window} px" if rule.window else "")


def _print_dice(submission: Submission, data: DataFolder, split: str) -> None:
    """Score what has labels; a network has seen the training images unless they were held out."""
    try:
        labels = labels_of(data)
        if not labels.covers(submission.image_names):
            return
        dice = overlap_of(submission, labels.rows(submission)).dice()
    except ValueError as error:
        print(f"warning: not scored: {error}", file=sys.stderr)
    else:
        seen = " (images that the networks may have been trained on)"
        print(f"Dice at source size: {dice:.4f}{seen if split == 'train' else ''}")


def _options() -> argparse.Namespace:
    parser = Parser(__doc__)
    add = parser.add_argument
    add("--run", nargs="+", default=[], metavar="ID", help="networks: MLflow runs, of folds or all")
    add(
        "--checkpoint",
        nargs="+",
        type=Path,
        default=[],
        metavar="PATH",
        help="networks: best.pt files",
    )
    add("--data", default="data", metavar="DIR", help="data folder (default: data)")
    add("--split", choices=("test", "train"), default="test", help="which images (default: test)")
    add("--tta", default="none", metavar="NAME", help="none, flip, flip+multiply or multiscale")
    add(
        "--threshold",
        default="0.5",
        metavar="P",
        help="probability that a pixel must exceed, or a JSON file of one a class (default: 0.5)",
    )
    add("--soft", action="store_true", help="average probabilities instead of voting")
    add("--votes", type=int, metavar="N", help="networks that must agree, 1 to all")
    add("--vote-fraction", type=float, metavar="F", help="the same as a share (default: 0.7)")
    add("--window", type=int, default=0, metavar="PX", help="slide windows at source size")
    add("--stride", type=int, default=0, metavar="PX", help="between windows (default: half)")
    add("--out", type=Path, default=Path("output.csv"), help="the result (default: output.csv)")
    add("-v", "--verbose", action="store_true", help="show the log of Ray and of the workers")
    return parser.parse_args()


if __name__ == "__main__":
    run_job(main)
