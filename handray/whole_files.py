"""Files that appear as a whole or not at all, and folders that are tried before the work."""

import errno
import fcntl
import json
import os
import platform
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
GOES_ON = "make room, then the same command goes on"
"""The remedy of a full disk."""


def write_files(contents: Mapping[Path, bytes]) -> None:
    """Write all files under other names; then rename them, in order."""
    drafts = {path: path.with_name(f".{path.name}.{os.getpid()}.tmp") for path in contents}
    try:
        for path, content in contents.items():
            drafts[path].write_bytes(content)
        for path, draft in drafts.items():
            draft.replace(path)
    finally:
        for draft in drafts.values():
            with suppress(OSError):
                draft.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Write one file."""
    write_files({path: content})


def write_text(path: Path, text: str) -> None:
    """Write a text file."""
    write_bytes(path, text.encode())


def write_json(path: Path, content: object) -> None:
    """Write plain types as JSON."""
    write_text(path, json.dumps(content, indent=1) + "\n")


@contextmanager
def scratch_folder(prefix: str) -> Iterator[Path]:
    """A temporary folder; removes those that processes which were killed have left."""
    for lock in Path(tempfile.gettempdir()).glob(f"{prefix}*/.lock"):
        with suppress(OSError), lock.open("r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(lock.parent)
    with tempfile.TemporaryDirectory(prefix=prefix) as name:
        folder, draft = Path(name) / "scratch", Path(name) / ".draft"
        folder.mkdir()
        with draft.open("wb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            draft.rename(Path(name) / ".lock")  # others look at it from here on
            yield folder


def is_full(error: BaseException | None) -> bool:
    """Whether an error, or one that it covers, is of a disk that is full, or one's share of it."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in FULL:
            return True
        error = error.__cause__ or error.__context__
    return False


def full_places(*places: str) -> str:
    """A path on each disk of this machine that is full; where none is any more, all paths."""
    full: dict[int, str] = {}
    for place in places:
        if "://" not in place:
            folder = nearest(Path(place))
            if shutil.disk_usage(folder).free < 1 << 20:
                full.setdefault(folder.stat().st_dev, place)
    return f"{' or '.join(full.values() or places)} on {platform.node()}"


def nearest(folder: Path) -> Path:
    """The folder, or the nearest one above it that exists."""
    return next(path for path in (folder, *folder.parents) if path.exists())


def check_writable(folder: Path, named: Path) -> None:
    """Raise OSError that names ``named`` where no file can be written to a folder.

    One that isn't there yet will be made in the nearest above it.
    """
    try:
        with tempfile.TemporaryFile(dir=nearest(folder)):
            pass
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(named)) from error
