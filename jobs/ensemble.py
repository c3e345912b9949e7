"""Vote many results into one CSV: a pixel is a class's where enough members say so.

Members are CSVs (image_name,class,rle), MLflow runs of this project, or both; a parent run is one
member, the voted CSV of its folds. Votes are counted on the run lengths, so that 5 members of 300
images take two seconds and CSVs need no torch, Ray or MLflow. The default is the source team's
rule: at least 0.7 of the members, rounded down.

  python jobs/ensemble.py --csv a/output.csv b/output.csv c/output.csv --out voted.csv
  python jobs/ensemble.py --csv a.csv b.csv c.csv d.csv --votes 2 --data /data/hands
  python jobs/ensemble.py --runs 3f1c9a,77ab02 --csv friend.csv --vote-fraction 0.5

With labels in --data members are judged by the out-of-fold masks (oof.csv) beside each run's
output.csv, or by the CSVs themselves where their own images have labels. OUT_report.html then has
members beside the vote, by class and slice, worst cases; and the rule can be chosen:

  python jobs/ensemble.py --runs 3f1c9a,77ab02 --data /data/hands --sweep
  python jobs/ensemble.py --csv runs/*/output.csv --data /data/hands --select --per-class --soft
  python jobs/ensemble.py --explain output.csv

All members must have the same images and classes, in any order. The size of an image, against which
runs are checked, comes from the JSON beside a CSV, else from --data, else from --image-size.
"""

import argparse
import os
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from handray.cli import Parser, masked, run_job
from handray.inference.ballot import Ballot
from handray.inference.members import OUT_OF_FOLD, OUTPUT, Member, evidence
from handray.inference.provenance import explained, made_by
from handray.inference.submission import (
    SizeOf,
    Submission,
    check_target,
    json_beside,
    read_beside,
    write_submission,
)
from handray.masks.rle import MOST_PIXELS
from handray.reporting.console import Stages, warn

if TYPE_CHECKING:
    from handray.reporting.ensemble_report import JudgedVote


def main(arguments: list[str] | None = None) -> int:
    """Read the members, choose where asked to, vote, write the result; 0 when done."""
    options = parse_arguments(arguments)
    if options.explain:
        return _explain(options.explain)
    with tempfile.TemporaryDirectory(prefix="handray-") as folder:
        return _vote(options, Path(folder))


def _vote(options: argparse.Namespace, folder: Path) -> int:
    words = [run_id.strip() for word in options.runs for run_id in word.split(",")]
    run_ids = [run_id for run_id in words if run_id]
    tracked = bool(run_ids) or options.track
    ballot = _checked(options, len(options.csv) + len(run_ids), tracked)
    size_of = _size_lookup(options.data, options.image_size)
    with Stages(_stages(options, len(run_ids), tracked)) as tell:
        members = [Member(str(path), path) for path in options.csv]
        for number, run_id in enumerate(run_ids):
            members.append(_fetched(run_id, folder / str(number), options, tell))

        def read(member: Member) -> tuple[list[Submission], dict[str, Any]]:
            tell(f"reading {member.name}")
            result = member.read(size_of, options.soft)
            return result, member.about(result)

        with ThreadPoolExecutor(os.cpu_count()) as threads:
            results, about = zip(*threads.map(read, members), strict=True)
        tidying = _tidying(options, results[0][0].class_names)
        judged, numbers = _judged(options, members, results, size_of, ballot, tell)
        ballot = judged.ballot if judged else ballot
        tell(f"counting the votes of {len(members)} members")
        voted = ballot.vote(results)
        if tidying:
            from handray.inference.tidy import tidied  # imports OpenCV

            tell("tidying masks up")
            voted = tidied(voted, **tidying)
        source = {
            "job": "ensemble",
            **ballot.facts(),
            **tidying,
            **({"judged_by": judged.by} if judged else {}),
            **made_by(),
            "members": about,
        }
        if options.agreement:
            _show_agreement(options.out, tell, [result[len(result) // 2] for result in results])
        write_submission(options.out, replace(voted, source=source))
        for result in results:
            if result[0].reordered:
                tell.say(
                    f"note: the rows of {result[0].name} were in another order; matched by name"
                )
        tell.say(f"{options.out}: {ballot.told([member.name for member in members])}")
        report = _report(options.out, judged, source, tell) if judged else None
        if tracked:
            from handray.reporting.tracking.store import tracking_uri
            from handray.reporting.tracking.tracker import track_ensemble

            tell("tracking the vote")
            run_id = track_ensemble(options.out, source, numbers, report)
            tell.say(f"MLflow: {masked(tracking_uri())}, run {run_id}")
        return 0


def _report(out: Path, judged: "JudgedVote", source: dict[str, Any], tell: Stages) -> Path | None:
    """Leave the page beside the CSV; its path, None where that failed."""
    from handray.reporting.ensemble_report import write_vote_report

    tell("writing the report")
    path = out.with_name(f"{out.stem}_report.html")
    try:
        write_vote_report(path, judged, source)
    except Exception as error:  # without this look at what is done, the work is as good
        warn(f"no report was written: {type(error).__name__}: {error}")
        return None
    tell.say(f"{path}: Dice of members and vote, by class and slice, worst cases")
    return path


def _stages(options: argparse.Namespace, runs: int, tracked: bool) -> int:
    """How many times the job says that it begins something else."""
    tidied = options.largest_component is not None or options.fill_holes is not None
    return len(options.csv) + 2 * runs + 1 + 4 * bool(options.data) + tidied + tracked


def _chooses(options: argparse.Namespace) -> bool:
    """Whether something is to be chosen by labels."""
    return bool(options.sweep or options.select or options.per_class)


def _checked(options: argparse.Namespace, count: int, tracked: bool) -> Ballot:
    """The rule of the command line, after all that can be checked before the members are read."""
    if not count:
        raise ValueError("no members; name result files with --csv or MLflow runs with --runs")
    check_target(options.out)
    out = Path(os.path.realpath(options.out))
    for csv in (Path(os.path.realpath(path)) for path in options.csv):
        if out == csv:
            raise ValueError(f"--out {options.out} is a member too; give the result another name")
        if json_beside(out) == json_beside(csv):
            raise ValueError(f"--out {options.out} would take the JSON of {csv}; rename it")
        if out == csv.with_name(OUT_OF_FOLD) and csv.name == OUTPUT:
            raise ValueError(f"--out {options.out} holds a member's out-of-fold masks; rename it")
    rule = options.votes is not None or options.vote_fraction is not None
    if options.select and (options.weights or rule):
        raise ValueError(
            "--select chooses weights and votes; leave --weights, --votes and --vote-fraction out"
        )
    if options.per_class and rule:
        raise ValueError("--per-class chooses the votes; leave --votes and --vote-fraction out")
    if _chooses(options) and not options.data:
        raise ValueError(
            "--sweep, --select and --per-class need labels; name their data folder with --data"
        )
    ballot = Ballot.given(
        count, options.weights, options.votes, options.vote_fraction, options.soft
    )
    if tracked:
        from handray.reporting.tracking.store import check_tracking  # imports MLflow: seconds

        check_tracking()
    return ballot


def _fetched(run_id: str, into: Path, options: argparse.Namespace, tell: Stages) -> Member:
    from handray.reporting.tracking.fetch import download_submission

    tell(f"fetching run {run_id}")
    into.mkdir()
    path = download_submission(run_id, into, bool(options.data), options.soft)
    return Member(f"run {run_id}", path, run_id)


def _judged(
    options: argparse.Namespace,
    members: Sequence[Member],
    results: Sequence[Sequence[Submission]],
    size_of: SizeOf | None,
    ballot: Ballot,
    tell: Stages,
) -> "tuple[JudgedVote | None, dict[str, float]]":
    """The vote judged by the labels of --data, numbers to track; to choose, it must have some."""
    if not options.data:
        return None, {}
    try:
        return _chosen(options, members, results, size_of, ballot, tell)
    except (ValueError, OSError) as error:
        if _chooses(options):
            raise
        tell.say(f"note: no report, since {error}")
        return None, {}


def _chosen(
    options: argparse.Namespace,
    members: Sequence[Member],
    results: Sequence[Sequence[Submission]],
    size_of: SizeOf | None,
    ballot: Ballot,
    tell: Stages,
) -> "tuple[JudgedVote, dict[str, float]]":
    """Judge the members by labels and print what was found: the vote, numbers to track."""
    from handray.inference.labels import read_labels  # reads images: slow to import
    from handray.reporting.choosing import Chooser
    from handray.reporting.ensemble_report import JudgedVote

    tell(f"reading the labels of {options.data}")
    labels = read_labels(options.data)
    judged, by = evidence(members, results, labels, size_of, options.soft)
    if set(judged[0][0].class_names) != set(results[0][0].class_names):
        raise ValueError(f"{judged[0][0].name} has other classes than {results[0][0].name}")
    tell("counting who has which pixels")
    names = [member.name for member in members]
    chooser = Chooser.of(names, judged, labels)
    tell.say(f"Members are judged by {by}.\n")
    tell("trying votes")
    if options.sweep:
        tell.say(f"{chooser.sweep(ballot.weights)}\n")
    if options.select:
        choice, expected = chooser.chosen(options.per_class)
        tell.say(f"{chooser.by_member(choice)}\n")
    elif options.per_class:
        choice, expected = chooser.best_share(ballot.weights)
    else:
        return JudgedVote(names, ballot, judged, by, labels, chooser, []), {}
    tell.say("\n".join([*expected, ""]))
    if options.per_class:
        tell.say(f"{chooser.by_class(choice)}\n")
    ballot = Ballot.chosen(choice, chooser.class_names, options.soft)
    vote = JudgedVote(names, ballot, judged, by, labels, chooser, expected)
    return vote, {"oof_dice_mean": choice.dice}


def _tidying(options: argparse.Namespace, class_names: Sequence[str]) -> dict[str, list[str]]:
    """Classes that are tidied up, by how; a flag without classes means all."""
    ways = {way: getattr(options, way) for way in ("largest_component", "fill_holes")}
    if all(named is None for named in ways.values()):
        return {}
    from handray.inference.tidy import check_classes  # imports OpenCV

    asked = {way: named for way, named in ways.items() if named is not None}
    for way, named in asked.items():
        check_classes(way, named, class_names)
    return {way: list(named or class_names) for way, named in asked.items()}


def _show_agreement(out: Path, tell: Stages, results: Sequence[Submission]) -> None:
    from handray.reporting import figures
    from handray.reporting.choosing import agreement, agreement_text

    names = [result.name for result in results]
    matrix = agreement(results)
    picture = out.with_name(f"{out.stem}_agreement.png")
    figures.save_png(picture, figures.agreement(matrix, names))
    tell.say(f"Dice of each two members, also in {picture}:\n{agreement_text(names, matrix)}\n")


def _explain(path: Path) -> int:
    facts = read_beside(path)
    if not path.exists() or not isinstance(facts.get("source"), dict):
        raise ValueError(f"--explain {path}: no CSV with a {json_beside(path)} that tells of it")
    sizes = facts.get("sizes_hw")
    if isinstance(sizes, dict):
        shapes = sorted({" x ".join(map(str, np.ravel(size))) for size in sizes.values()})
        print(f"{path}: {len(sizes)} images of {', '.join(shapes)} px")
    print(explained(facts["source"]))
    return 0


def _size_lookup(data: str | None, image_size: int) -> SizeOf:
    if not 1 <= image_size <= MOST_PIXELS**0.5:
        raise ValueError(f"--image-size must be 1 to 46340, got {image_size}; the bones' is 2048")
    if data is None:
        return lambda _image: (image_size, image_size)
    from handray.inference.sizes import sizes_in  # reads images: slow to import

    return sizes_in(data)


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
        help="the same as a share, above 0 to 1, rounded down (default: 0.7); with --soft the mean "
        "probability that a pixel must exceed, 0.2 to 0.8 (default: 0.5)",
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
        "probabilities",
    )
    add("--sweep", action="store_true", help="print the Dice of every number of votes")
    add(
        "--select",
        action="store_true",
        help="choose members, weights and votes greedily, and say what to expect of the choice",
    )
    add("--per-class", action="store_true", help="choose the votes for each class")
    classes: dict[str, Any] = {"nargs": "*", "metavar": "CLASS"}
    add("--largest-component", **classes, help="keep masks' largest pieces, of all or some classes")
    add("--fill-holes", **classes, help="fill what masks surround, of all or some classes")
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
