"""Vote many results into one CSV: a pixel is a class's where enough members say so.

Members are CSVs (image_name,class,rle), MLflow runs of this project, or both; a parent run is one
member, the voted CSV of its folds. Votes are counted on the run lengths, so that 5 members of 300
images take two seconds and CSVs need no torch, Ray or MLflow. The default is the source team's
rule: at least 0.7 of the members, rounded down.

  python jobs/ensemble.py --csv a/output.csv b/output.csv c/output.csv --out voted.csv
  python jobs/ensemble.py --csv a.csv b.csv c.csv d.csv --votes 2 --data /data/hands
  python jobs/ensemble.py --runs 3f1c9a,77ab02 --csv friend.csv --vote-fraction 0.5

With labels in --data the rule can be chosen: members are judged by the out-of-fold masks (oof.csv)
beside each run's output.csv, or by the CSVs themselves where their own images have labels.

  python jobs/ensemble.py --runs 3f1c9a,77ab02 --data /data/hands --sweep
  python jobs/ensemble.py --csv runs/*/output.csv --data /data/hands --select --per-class --soft
  python jobs/ensemble.py --explain output.csv

All members must have the same images and classes, in any order. The size of an image, against which
runs are checked, comes from the JSON beside a CSV, else from --data, else from --image-size.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from handray.cli import Parser, run_job
from handray.inference.ensemble import vote_submissions, votes_needed
from handray.inference.members import Member, evidence
from handray.inference.provenance import explained, made_by
from handray.inference.submission import SizeOf, Submission, json_beside, write_submission
from handray.masks.rle import MOST_PIXELS

QUIET_SECONDS = 10.0
"""Shorter runs print no progress."""


@dataclass(frozen=True)
class Rule:
    """How the members vote."""

    weights: tuple[float, ...]
    needed: float | tuple[float, ...]
    """Votes that a pixel needs, in levels of members where levels vote; of all or of each class."""

    def asdict(self, class_names: Sequence[str]) -> dict[str, Any]:
        """Plain types for the JSON."""
        needed: Any
        if isinstance(self.needed, tuple):
            votes = [round(one, 6) for one in self.needed]
            needed = dict(zip(class_names, votes, strict=True))
        else:
            needed = round(self.needed, 6)
        return {"weights": list(self.weights), "votes_needed": needed}


def main(arguments: list[str] | None = None) -> int:
    """Read the members, choose where asked to, vote, write the result; 0 when done."""
    options = parse_arguments(arguments)
    if options.explain:
        return _explain(options.explain)
    with tempfile.TemporaryDirectory(prefix="handray-") as folder:
        return _vote(options, Path(folder))


def _vote(options: argparse.Namespace, folder: Path) -> int:
    run_ids = [run_id for word in options.runs for run_id in word.split(",") if run_id.strip()]
    count = len(options.csv) + len(run_ids)
    _check(options, count)
    rule = _given_rule(options, count)
    size_of = _size_lookup(options.data, options.image_size)
    tell = _progress()
    members = [Member(str(path), path) for path in options.csv]
    members += [_fetched(run_id, folder, options.soft, tell) for run_id in run_ids]
    results = []
    for member in members:
        tell(f"reading {member.name}")
        results.append(member.read(size_of, options.soft))
    numbers: dict[str, float] = {}
    if options.sweep or options.select or options.per_class:
        rule, numbers = _chosen(options, members, results, size_of, rule, tell)
    tell(f"counting the votes of {count} members")
    voted = _voted(results, rule)
    if options.largest_component or options.fill_holes:
        from handray.inference.tidy import tidied  # imports OpenCV

        tell("tidying masks up")
        voted = tidied(voted, options.largest_component, options.fill_holes)
    source = {
        "job": "ensemble",
        **rule.asdict(voted.class_names),
        "soft": options.soft,
        "largest_component": options.largest_component,
        "fill_holes": options.fill_holes,
        **made_by(),
        "members": {
            member.name: member.about(result[0])
            for member, result in zip(members, results, strict=True)
        },
    }
    write_submission(options.out, replace(voted, source=source))
    for result in results:
        if result[0].reordered:
            print(f"note: the rows of {result[0].name} were in another order; matched by name")
    if options.agreement:
        _show_agreement(options.out, [result[len(result) // 2] for result in results])
    print(f"{options.out}: {_how(rule, options.soft, [m.name for m in members])}")
    if run_ids or options.track:
        from handray.reporting.tracking import check_tracking, track_ensemble, tracking_uri

        check_tracking()
        run = track_ensemble(options.out, source, numbers)
        print(f"MLflow: {tracking_uri()}, run {run}")
    return 0


def _check(options: argparse.Namespace, count: int) -> None:
    if not count:
        raise ValueError("no members; name result files with --csv or MLflow runs with --runs")
    if os.path.realpath(options.out) in map(os.path.realpath, options.csv):
        raise ValueError(f"--out {options.out} is a member too; give the result another name")
    if options.weights and len(options.weights) != count:
        raise ValueError(f"--weights has {len(options.weights)} numbers for {count} members")
    if options.weights and (min(options.weights) < 0 or not sum(options.weights) > 0):
        raise ValueError(f"--weights must be 0 or more, and not all 0, got {options.weights}")
    rule = options.votes is not None or options.vote_fraction is not None
    if options.select and (options.weights or rule):
        raise ValueError(
            "--select chooses weights and votes; leave --weights, --votes and --vote-fraction out"
        )
    if options.per_class and rule:
        raise ValueError("--per-class chooses the votes; leave --votes and --vote-fraction out")
    chooses = [name for name in ("sweep", "select", "per_class") if getattr(options, name)]
    if chooses and not options.data:
        flag = chooses[0].replace("_", "-")
        raise ValueError(f"--{flag} needs labels; name their data folder with --data")


def _given_rule(options: argparse.Namespace, count: int) -> Rule:
    """The rule of --votes or --vote-fraction; by default the source team's, or half of levels."""
    from handray.inference.levels import LEVELS

    weights = tuple(options.weights or [1.0] * count)
    if not options.soft and not options.weights:
        return Rule(weights, votes_needed(count, options.votes, options.vote_fraction))
    total = sum(weights)
    if options.votes is not None:
        share = votes_needed(count, options.votes) / total
    else:
        # Checks the fraction; members are weighed, so nothing is rounded down.
        votes_needed(count, None, options.vote_fraction)
        share = options.vote_fraction or (0.5 if options.soft else 0.7)
    if share > 1:
        raise ValueError(f"--votes {options.votes} is more than the weights' sum of {total:g}")
    return Rule(weights, max(1e-9, share * total * (len(LEVELS) if options.soft else 1) - 1e-9))


def _fetched(run_id: str, folder: Path, soft: bool, tell: Callable[[str], None]) -> Member:
    from handray.reporting.tracking import download_submission  # imports MLflow: seconds

    tell(f"fetching run {run_id}")
    into = folder / run_id
    into.mkdir(exist_ok=True)
    return Member(f"run {run_id}", download_submission(run_id, into, soft), run_id)


def _chosen(
    options: argparse.Namespace,
    members: Sequence[Member],
    results: Sequence[Sequence[Submission]],
    size_of: SizeOf | None,
    rule: Rule,
    tell: Callable[[str], None],
) -> tuple[Rule, dict[str, float]]:
    """Judge the members by labels and print what was found; the rule, and numbers to track."""
    from handray.reporting.choosing import Chooser, labelled  # reads images: slow to import

    tell(f"reading the labels of {options.data}")
    images = labelled(options.data)
    judged = evidence(members, results, images, size_of, options.soft)
    tell("counting who has which pixels")
    names = [member.name for member in members]
    chooser = Chooser.of(names, judged, images)
    tell("trying votes")
    if options.sweep:
        print(chooser.sweep(rule.weights), end="\n\n")
    if not (options.select or options.per_class):
        return rule, {}
    if options.select:
        choice, text = chooser.chosen(options.per_class)
    else:
        choice, text = chooser.best_share(rule.weights, options.per_class)
    print(text, end="\n\n")
    levels = len(results[0])
    needed = tuple(choice.needed_C(levels).tolist())
    if options.per_class:
        print(f"Share of the votes that a class needs:\n{chooser.shares_of(choice)}\n")
        return Rule(choice.weights_M, needed), {"oof_dice_mean": choice.dice}
    return Rule(choice.weights_M, needed[0]), {"oof_dice_mean": choice.dice}


def _voted(results: Sequence[Sequence[Submission]], rule: Rule) -> Submission:
    flat = [level for levels in results for level in levels]
    needed = np.array(rule.needed) if isinstance(rule.needed, tuple) else rule.needed
    if len(set(rule.weights)) == 1:
        # Alike: the faster count.
        return vote_submissions(flat, needed / rule.weights[0])
    return vote_submissions(flat, needed, [w for w in rule.weights for _ in results[0]])


def _how(rule: Rule, soft: bool, names: Sequence[str]) -> str:
    told = [
        name if weight == 1 else f"{weight:g} x {name}"
        for name, weight in zip(names, rule.weights, strict=True)
        if weight
    ]
    from handray.inference.levels import LEVELS

    total = sum(rule.weights) * (len(LEVELS) if soft else 1)
    what = "levels" if soft else "votes"
    if isinstance(rule.needed, tuple):
        needed = f"each class's share of {total:g}"
    else:
        needed = f"{rule.needed + 1e-9:.6g} or more of {total:g}"
    return f"pixels with {needed} {what}: {', '.join(told)}"


def _show_agreement(out: Path, results: Sequence[Submission]) -> None:
    from handray.reporting.choosing import agreement, agreement_text, save_agreement

    names = [result.name for result in results]
    matrix = agreement(results)
    picture = out.with_name(f"{out.stem}_agreement.png")
    save_agreement(picture, names, matrix)
    print(f"Dice of each two members, also in {picture}:\n{agreement_text(names, matrix)}\n")


def _explain(path: Path) -> int:
    beside = json_beside(path)
    if not beside.exists():
        raise ValueError(f"--explain {path}: there is no {beside} that tells where it comes from")
    try:
        facts = json.loads(beside.read_text())
        sizes, source = facts.get("sizes_hw", {}), dict(facts["source"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"--explain {path}: {beside} tells nothing ({error!r})") from error
    shapes = sorted({tuple(size) for size in sizes.values()})
    print(f"{path}: {len(sizes)} images of {', '.join(f'{h} x {w}' for h, w in shapes)} px")
    print(explained(source))
    return 0


def _size_lookup(data: str | None, image_size: int) -> SizeOf:
    if not 1 <= image_size <= MOST_PIXELS**0.5:
        raise ValueError(f"--image-size must be 1 to 46340, got {image_size}; the bones' is 2048")
    if data is None:
        return lambda _image: (image_size, image_size)
    from handray.inference.sizes import sizes_in  # reads images: slow to import

    return sizes_in(data)


def _progress() -> Callable[[str], None]:
    """Prints what goes on, on stderr, once the job has taken QUIET_SECONDS."""
    start = time.monotonic()

    def tell(what: str) -> None:
        seconds = time.monotonic() - start
        if seconds > QUIET_SECONDS:
            print(f"{seconds:.0f} s: {what}", file=sys.stderr, flush=True)

    return tell


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
    add(
        "--weights",
        nargs="+",
        type=float,
        default=[],
        metavar="W",
        help="what each member counts for, CSVs first (default: 1 each)",
    )
    add(
        "--soft",
        action="store_true",
        help="vote with the levels (0.2 to 0.8) that runs keep, which is nearly the mean of their "
        "probabilities; half of all levels by default",
    )
    add("--sweep", action="store_true", help="print the Dice of every number of votes")
    add(
        "--select",
        action="store_true",
        help="choose members, weights and votes greedily, and say what to expect of the choice",
    )
    add("--per-class", action="store_true", help="choose the votes for each class")
    add("--largest-component", action="store_true", help="keep each mask's largest piece alone")
    add("--fill-holes", action="store_true", help="fill what a mask surrounds")
    add("--agreement", action="store_true", help="print and draw the Dice of each two members")
    add("--data", metavar="DIR", help="data folder: sizes of images without a JSON, and labels")
    add(
        "--image-size",
        type=int,
        default=2048,
        metavar="S",
        help="side of the images where neither says it (default: 2048)",
    )
    add("--out", type=Path, default=Path("output.csv"), help="the result (default: output.csv)")
    add("--track", action="store_true", help="track the vote in MLflow, as --runs does")
    add("--explain", type=Path, metavar="CSV", help="say where a result comes from, and do no more")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    run_job(main)
