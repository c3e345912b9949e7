"""Members of an ensemble: result files, and what lies beside them.

A member is a CSV. Where it is the output.csv of a run, the run's out-of-fold masks (oof.csv) and
the levels of both lie beside it. Members are judged by labels: of their out-of-fold masks, or of
the CSVs themselves where those images have labels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from handray.inference.levels import read_levels
from handray.inference.provenance import sha256
from handray.inference.submission import SizeOf, Submission, levels_beside, read_submission

OUT_OF_FOLD, OUTPUT = "oof.csv", "output.csv"


if TYPE_CHECKING:
    from handray.inference.labels import Labels  # reads images: slow to import


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

    def about(self, result: Sequence[Submission]) -> dict[str, Any]:
        """What the JSON of a vote says of the member; the hash is of the file that was read."""
        path = levels_beside(self.path) if len(result) > 1 else self.path
        source = dict(result[0].source)
        return {"name": self.name, "run": self.run, "sha256": sha256(path), "source": source}


def _read(path: Path, name: str, size_of: SizeOf | None, soft: bool) -> list[Submission]:
    if soft:
        return read_levels(levels_beside(path), name)
    return [read_submission(path, size_of, name)]


def evidence(
    members: Sequence[Member],
    results: Sequence[Sequence[Submission]],
    labels: "Labels",
    size_of: SizeOf | None,
    soft: bool,
) -> tuple[list[list[Submission]], str]:
    """What the members are judged by, each with as many levels as its result, and how to call it.

    Args:
        members: the ensemble's.
        results: their CSVs, or levels.
        labels: of a data folder.
        size_of: of an image whose CSV doesn't say it.
        soft: levels are wanted.

    Raises:
        ValueError: some have neither out-of-fold masks nor labels.

    """
    lacking = [member.name for member in members if member.out_of_fold is None]
    if not lacking:
        judged = [member.read_out_of_fold(size_of, soft) for member in members]
        return judged, "out-of-fold masks of the training images"
    if labels.covers(results[0][0].image_names):
        what = f"the members' own images, since {lacking[0]} has no {OUT_OF_FOLD} beside it"
        return [list(levels) for levels in results], what
    raise ValueError(
        f"{lacking[0]} can't be judged: its images have no labels in {labels.folder}, and there is "
        f"no {OUT_OF_FOLD} of a run beside it"
    )
