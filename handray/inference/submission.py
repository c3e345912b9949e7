"""The competition's CSV, `image_name,class,rle`, and the small JSON beside it.

`output.csv` holds a row for each image and class, images in the caller's order, classes in channel
order, an empty mask as an empty field. `output.json` beside it holds {"sizes_hw": {image: [height,
width]}, "source": where the CSV came from}. `read_submission` and `write_submission` are inverse.
"""

import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handray.inference.csv_table import COLUMNS, arranged, read_table
from handray.masks.rle import MOST_PIXELS, RunRows, Runs, RunTextError, format_rows, parse_rows
from handray.whole_files import check_writable, write_files

SizeOf = Callable[[str], tuple[int, int]]
"""The (height, width) of the image of this name."""


@dataclass(frozen=True, eq=False)
class Submission:
    """One result: for every image and class a mask, as runs in the source image.

    Row i * len(class_names) + c of `rows` is class c of image i. `sizes_hw` is (images, 2), None if
    unknown; `source` is free-form and JSON-able; `name` stands for the submission in messages;
    `reordered` says that the file's rows were in another order. Raises ValueError where the parts
    don't fit together.
    """

    image_names: tuple[str, ...]
    class_names: tuple[str, ...]
    rows: RunRows
    sizes_hw: NDArray[np.int64] | None = None
    source: Mapping[str, Any] = field(default_factory=dict)
    name: str = "submission"
    reordered: bool = False

    def __post_init__(self) -> None:
        for names in (self.image_names, self.class_names):
            doubles = [name for name, count in Counter(names).items() if count > 1]
            if doubles:
                raise ValueError(f"{self.name}: {doubles[0]!r} stands for more than one; rename it")
        expected = len(self.image_names) * len(self.class_names)
        if len(self.rows) != expected:
            raise ValueError(f"{self.name}: expected {expected} rows, got {len(self.rows)}")
        if self.sizes_hw is not None and self.sizes_hw.shape != (len(self.image_names), 2):
            raise ValueError(f"{self.name}: sizes_hw of shape {self.sizes_hw.shape}")

    def runs(self, image: int, class_number: int) -> Runs:
        """The mask of one image and class."""
        return self.rows[image * len(self.class_names) + class_number]

    def masks(self, image: int) -> RunRows:
        """The masks of one image, one a class."""
        classes = len(self.class_names)
        return self.rows.part(image * classes, (image + 1) * classes)

    def chosen(self, images: Sequence[int]) -> "Submission":
        """The same of some images alone, in this order."""
        classes = len(self.class_names)
        return replace(
            self,
            image_names=tuple(self.image_names[image] for image in images),
            rows=self.rows.take(image * classes + c for image in images for c in range(classes)),
            sizes_hw=None if self.sizes_hw is None else self.sizes_hw[list(images)],
        )


def write_submission(path: Path, submission: Submission) -> None:
    """Write `path` and the JSON beside it; both appear complete or not at all.

    Folders are made. Raises ValueError for a path that is no CSV's or whose JSON is another
    program's, OSError naming the CSV where it couldn't be written.
    """
    target, beside = _target(path)
    facts: dict[str, Any] = {"source": dict(submission.source)}
    if submission.sizes_hw is not None:
        sizes = submission.sizes_hw.tolist()
        facts["sizes_hw"] = dict(zip(submission.image_names, sizes, strict=True))
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        # The CSV comes last: where it stands, its JSON is its own.
        texts = {beside: json.dumps(facts), target: "\n".join(_csv_lines(submission))}
        write_files({file: f"{text}\n".encode() for file, text in texts.items()})
        # Levels of what stood here before would be another result's.
        levels_beside(target).unlink(missing_ok=True)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def check_target(path: Path) -> None:
    """See that `write_submission` can write to `path`; raises ValueError or OSError if not."""
    target, _ = _target(path)
    check_writable(target.parent, path)


def _target(path: Path) -> tuple[Path, Path]:
    """The files that stand for `path`, links followed: the CSV, and the JSON beside it."""
    target = Path(os.path.realpath(path))
    beside = json_beside(target)
    if target.suffix != ".csv" or target.is_dir() or target.parent.is_file():
        raise ValueError(f"can't write a CSV to {path}; name a file that ends in .csv")
    if beside.exists() and not {"source"} <= set(read_beside(target)) <= {"source", "sizes_hw"}:
        raise ValueError(f"{beside} is not of a CSV and would be lost; give {path} another name")
    return target, beside


def _csv_lines(submission: Submission) -> Iterator[str]:
    yield ",".join(COLUMNS)
    texts = iter(format_rows(submission.rows))
    class_fields = [_quoted(name) for name in submission.class_names]
    for image_field in map(_quoted, submission.image_names):
        for class_field in class_fields:
            yield f"{image_field},{class_field},{next(texts)}"


def json_beside(path: Path) -> Path:
    """Where the sizes and the source of a CSV are kept."""
    return path.with_suffix(".json")


def levels_beside(path: Path) -> Path:
    """Where the levels of a CSV are kept (levels.py)."""
    return path.with_name(f"{path.stem}_levels.npz")


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"' if any(c in name for c in ',"\r\n') else name


def read_submission(
    path: Path, size_of: SizeOf | None = None, name: str | None = None
) -> Submission:
    """Read a CSV and the JSON beside it; `name` stands for it in messages.

    Sizes come from the JSON, else from `size_of`, else are unknown. Windows line ends, a byte
    order mark, quoted fields and other columns are fine. Shuffled rows are put in order: images by
    first appearance, classes as the first image has them. Raises ValueError, naming file, line,
    image and class, for anything that can't be a submission; OSError where a file can't be read.
    """
    name = name or str(path)
    table = read_table(path, name)
    image_names, class_names, order = arranged(table, name)
    sizes_hw = _sizes_beside(path, image_names)
    if sizes_hw is None and size_of is not None:
        sizes_hw = np.array([size_of(image) for image in image_names], np.int64)
    pixels = dict.fromkeys(image_names, MOST_PIXELS)
    if sizes_hw is not None:
        pixels = dict(zip(image_names, sizes_hw.prod(axis=1).tolist(), strict=True))
    try:
        rows = parse_rows(table.texts, np.array([pixels[i] for i in table.images], np.int64))
    except RunTextError as error:
        image, class_name = table.images[error.row], table.classes[error.row]
        where = f"{name}, line {table.lines[error.row]}, image {image!r}, class {class_name!r}"
        raise ValueError(f"{where}: {error.fault}") from None
    return Submission(
        image_names=image_names,
        class_names=class_names,
        rows=rows if order is None else rows.take(order),
        sizes_hw=sizes_hw,
        source=read_beside(path).get("source", {}),
        name=name,
        reordered=order is not None,
    )


def _sizes_beside(path: Path, image_names: tuple[str, ...]) -> NDArray[np.int64] | None:
    """(images, 2) from the JSON beside the CSV; None where there is none or it has no sizes."""
    sizes = read_beside(path).get("sizes_hw")
    if sizes is None:
        return None
    try:
        sizes_hw = np.array([sizes[image] for image in image_names], np.int64)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        fault = f"no size for image {error}" if isinstance(error, KeyError) else str(error)
        raise ValueError(f"{json_beside(path)}: {fault}; remove it or make the CSV anew") from None
    if sizes_hw.shape != (len(image_names), 2) or sizes_hw.min() < 1:
        raise ValueError(f"{json_beside(path)}: sizes_hw must hold [height, width] of 1 or more")
    return sizes_hw


def read_beside(csv: Path) -> dict[str, Any]:
    """What the JSON beside a CSV holds; {} without one; raises ValueError for a broken one."""
    path = json_beside(csv)
    if not path.exists():
        return {}
    try:
        beside = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not JSON ({error}); remove it or make the CSV anew") from None
    if not isinstance(beside, dict) or not isinstance(beside.get("source", {}), dict):
        raise ValueError(f"{path} holds no JSON object; remove it or make the CSV anew")
    return beside
