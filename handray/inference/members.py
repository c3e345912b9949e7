"""Members of an ensemble: result files, and what lies beside them.

A member is a CSV. Where it is the output.csv of a run, the run's out-of-fold masks (oof.csv) and
the levels of both lie beside it. Members are judged by labels: of their out-of-fold masks, or of
the CSVs themselves where those images have labels.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from handray.inference.levels import levels_beside, read_levels
from handray.inference.provenance import sha256
from handray.inference.submission import SizeOf, Submission, read_submission

OUT_OF_FOLD, OUTPUT = "oof.csv", "output.csv"


@dataclass(frozen=True)
class Member:
    """One result."""

    name: str
    """In messages."""
    path: Path
    run: str | None = None
    """MLflow's id, where it was fetched from there."""

    @property
    def out_of_fold(self) -> Path | None:
        """The run's out-of-fold CSV, where this is a run's output and there is one."""
        path = self.path.with_name(OUT_OF_FOLD)
        return path if self.path.name == OUTPUT and path.exists() else None

    def read(self, size_of: SizeOf | None, soft: bool) -> list[Submission]:
        """The CSV, or its levels."""
        return _read(self.path, self.name, size_of, soft)

    def read_out_of_fold(self, size_of: SizeOf | None, soft: bool) -> list[Submission]:
        """The out-of-fold CSV, or its levels; raises ValueError where there is none."""
        if self.out_of_fold is None:
            raise ValueError(f"{self.name} has no {OUT_OF_FOLD} beside it")
        return _read(self.out_of_fold, f"{self.name} out of fold", size_of, soft)

    def about(self, submission: Submission) -> dict[str, Any]:
        """What the result's JSON says of the member."""
        return {
            "run": self.run,
            "sha256": sha256(self.path),
            "source": dict(submission.source),
        }


def _read(path: Path, name: str, size_of: SizeOf | None, soft: bool) -> list[Submission]:
    if soft:
        return read_levels(levels_beside(path), name)
    return [read_submission(path, size_of, name)]


def evidence(
    members: Sequence[Member],
    results: Sequence[Sequence[Submission]],
    labelled: Mapping[str, Any],
    size_of: SizeOf | None,
    soft: bool,
) -> list[list[Submission]]:
    """What the members are judged by, each with as many levels as its result.

    Args:
        members: the ensemble's.
        results: their CSVs, or levels.
        labelled: names of images with labels.
        size_of: of an image whose CSV doesn't say it.
        soft: levels are wanted.

    Raises:
        ValueError: some have neither out-of-fold masks nor labels.

    """
    lacking = [member.name for member in members if member.out_of_fold is None]
    if not lacking:
        return [member.read_out_of_fold(size_of, soft) for member in members]
    if set(results[0][0].image_names) <= set(labelled):
        return [list(levels) for levels in results]
    raise ValueError(
        f"{lacking[0]} can't be judged: its images have no labels in --data, and there is no "
        f"{OUT_OF_FOLD} of a run beside it"
    )
