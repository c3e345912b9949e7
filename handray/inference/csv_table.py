"""The columns of a submission's CSV as text: every check that needs no image size.

Windows line ends, a byte order mark, quoted fields, blank lines and further columns are fine.
"""

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

COLUMNS = ("image_name", "class", "rle")


@dataclass(frozen=True)
class Table:
    """The columns of a CSV as they stand, and the line of each row."""

    images: list[str]
    classes: list[str]
    texts: list[str]
    lines: list[int]


def read_table(path: Path, name: str) -> Table:
    """The rows of the CSV at `path`, called `name` in messages.

    Raises ValueError for text that is not UTF-8, no header, a missing column, a row with too few or
    too many fields, or no rows; OSError where the file can't be read.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{name} is not UTF-8 text (byte {error.start}); save it so") from None
    records = _records(text, name)
    header = [column.strip() for column in next(records, (0, []))[1]]
    if not header:
        raise ValueError(f"{name} is empty; expected the header {','.join(COLUMNS)!r} and rows")
    missing = [column for column in COLUMNS if column not in header]
    if missing:
        raise ValueError(f"{name} lacks the column {missing[0]!r}; its header is {header}")
    image_at, class_at, rle_at = (header.index(column) for column in COLUMNS)
    table = Table([], [], [], [])
    for line, record in records:
        if len(record) != len(header):
            raise ValueError(
                f"{name}, line {line}: {len(record)} fields where the header has {len(header)}"
            )
        table.images.append(record[image_at])
        table.classes.append(record[class_at])
        table.texts.append(record[rle_at])
        table.lines.append(line)
    if not table.lines:
        raise ValueError(f"{name} has a header but no rows")
    return table


def _records(text: str, name: str) -> Iterator[tuple[int, list[str]]]:
    """Line number and fields of each line that isn't blank."""
    if '"' not in text:  # no field can hold a comma: three times as fast as csv
        unix = text.replace("\r\n", "\n") if "\r" in text else text
        for number, line in enumerate(unix.split("\n"), 1):
            if line:
                fields = line.split(",", 2)
                # Run lengths are long and come last: one quick look for commas in them.
                last = fields.pop()
                yield number, [*fields, *(last.split(",") if "," in last else [last])]
        return
    csv.field_size_limit(max(csv.field_size_limit(), len(text)))  # 131,072 by default
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        for record in reader:
            if record:
                yield reader.line_num, record
    except csv.Error as error:
        raise ValueError(f"{name}, line {reader.line_num}: {error}") from None


def arranged(table: Table, name: str) -> tuple[tuple[str, ...], tuple[str, ...], list[int] | None]:
    """Images, classes, and the file's row for each image and class, None where it is in order.

    Images come in order of first appearance, classes as the first image has them. Raises ValueError
    for an image and class that come twice, and where one image lacks a class that another has.
    """
    keys = list(zip(table.images, table.classes, strict=True))
    image_names = tuple(dict.fromkeys(table.images))
    class_names = tuple(dict.fromkeys(c for image, c in keys if image == image_names[0]))
    expected = [(image, c) for image in image_names for c in class_names]
    if keys == expected:
        return image_names, class_names, None
    row_of: dict[tuple[str, str], int] = {}
    for row, key in enumerate(keys):
        if key in row_of:
            raise ValueError(
                f"{name}, line {table.lines[row]}: image {key[0]!r}, class {key[1]!r} again; "
                f"it is on line {table.lines[row_of[key]]} already"
            )
        row_of[key] = row
    for image, c in [*expected, *((image_names[0], c) for c in dict.fromkeys(table.classes))]:
        if (image, c) not in row_of:
            example = table.classes.index(c)
            raise ValueError(
                f"{name}: image {image!r} has no row for class {c!r}, which image "
                f"{table.images[example]!r} has on line {table.lines[example]}"
            )
    return image_names, class_names, [row_of[key] for key in expected]
