"""Decoded rows on disk, shared by all jobs: one file a data folder and size (see record_file.py).

A row's key is a digest of all that its pixels are made of, and a file's name ends in a digest of
its keys: what a name stands for never changes, and a job with other rows writes another file.
"""

import fcntl
import hashlib
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import cv2

from handray.data.feed import Source
from handray.data.radiographs import DataFolder, Radiograph, polygon_bytes
from handray.data.record_file import (
    MappedRows,
    Records,
    map_records,
    places_of,
    record_bytes,
    record_of,
    record_type,
    remove_unused,
    sound_records,
    write_records,
)
from handray.data.stream import Frame
from handray.masks.planes import plane_count
from handray.whole_files import check_writable, nearest

VERSION = 2
"""Of what ``decode`` gives and of a record; rows of another version are decoded anew."""


@dataclass(frozen=True)
class DiskCache:
    """What a folder keeps of one data set at one size."""

    folder: Path
    root: str
    """Path or URL of the data set."""
    frame: Frame

    @classmethod
    def of(cls, folder: str, data: DataFolder, size: int) -> "DiskCache":
        """What a folder, which need not exist yet, keeps of a data set at ``size`` pixels."""
        return cls(Path(folder).absolute(), data.root, Frame(size, len(data.class_names)))

    def missing_bytes(self, images: Sequence[Radiograph]) -> int:
        """Bytes of disk that opening these images takes; 0 where a file has them all."""
        keys = {row_key(image, self.frame) for image in images}
        if any(keys <= places_of(records).keys() for records in self._files().values()):
            return 0
        # A draft was left behind and will be overwritten, or it is becoming the very file.
        draft = self._draft.stat().st_size if self._draft.exists() else 0
        return max(0, len(keys) * record_bytes(self.frame) - draft)

    def open(
        self,
        images: Sequence[Radiograph],
        decoder: Source,
        progress: Callable[[int, int], None] = lambda *_: None,
    ) -> MappedRows:
        """Rows of these images, row i of image i; what no file has is decoded and kept.

        Waits while another job fills this cache. Files that are damaged, as a whole or in some
        rows, are told on stderr and replaced; files that no job uses any more are removed.

        Args:
            images: what to open.
            decoder: decodes rows of ``images``.
            progress: called with (rows written, rows in all) while a file is written.

        Raises:
            ValueError: an image can't be decoded, or the folder can't be written to.

        """
        keys = [row_key(image, self.frame) for image in images]
        try:
            with self._locked():
                path = self._filled(keys, decoder, progress)
                places = places_of(map_records(path))
                rows = MappedRows(path, [places[key] for key in keys])
                for other in self._paths():
                    if other != path:
                        with suppress(OSError):
                            remove_unused(other)
        except OSError as error:
            raise _no_folder(self.folder, error) from error
        return rows

    def _filled(
        self, keys: Sequence[bytes], decoder: Source, progress: Callable[[int, int], None]
    ) -> Path:
        """The file that has all of these keys, written where there is none."""
        rows: dict[bytes, int] = {}
        for row, key in enumerate(keys):
            rows.setdefault(key, row)  # copies of an image are one record
        sound: dict[bytes, Records] = {}
        for path, records in self._files(tell=True).items():
            found, damaged = sound_records(records, rows)
            if damaged:
                _warn(f"{damaged} of {len(records)} rows of {path} are damaged; decoding them anew")
            if len(found) == len(rows):
                self._say(len(keys), 0)
                return path
            sound |= found
        self._say(len(keys), len(rows.keys() - sound.keys()))
        digest = hashlib.sha256(b"".join(rows)).hexdigest()[:16]
        path = self.folder / f"{self._stem}-{digest}.npy"
        written = _counted(self._records(rows, sound, decoder), len(rows), progress)
        write_records(self._draft, path, written, len(rows))
        return path

    def _records(
        self, rows: Mapping[bytes, int], sound: Mapping[bytes, Records], decoder: Source
    ) -> Iterator[Records]:
        """Records of keys and their rows: sound ones as they are, others as they are decoded."""
        decoded = decoder.samples([row for key, row in rows.items() if key not in sound])
        kind = record_type(self.frame)
        for key in rows:
            yield sound[key] if key in sound else record_of(key, next(decoded), kind)

    def _say(self, images: int, decoding: int) -> None:
        print(f"Mapping {images} images from {self.folder}, decoding {decoding}", flush=True)

    def _files(self, tell: bool = False) -> dict[Path, Records]:
        """Records of all files that can be mapped, the largest file first."""
        files: dict[Path, Records] = {}
        for path in self._paths():
            try:
                records = map_records(path)
                if records.dtype != record_type(self.frame) or records.ndim != 1:
                    raise ValueError("no records of this version")
                files[path] = records
            except (OSError, ValueError) as error:
                if tell:
                    _warn(f"{path} is damaged ({error}); decoding its images anew")
        return dict(sorted(files.items(), key=lambda file: -len(file[1])))

    def _paths(self) -> list[Path]:
        inside = self.folder.iterdir() if self.folder.exists() else []
        return [p for p in inside if p.name.startswith(f"{self._stem}-") and p.suffix == ".npy"]

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Keep other jobs from filling this cache and from removing its files."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / f".{self._stem}.lock").open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                print(f"Waiting for another job that fills {self.folder}", flush=True)
                fcntl.flock(file, fcntl.LOCK_EX)
            yield

    @property
    def _stem(self) -> str:
        """What the names of this cache's files begin with."""
        where = hashlib.sha256(self.root.encode()).hexdigest()[:8]
        planes = plane_count(self.frame.classes)
        return f"{PurePosixPath(self.root).name}-{where}-{self.frame.size}px-{planes}planes"

    @property
    def _draft(self) -> Path:
        """The file that is being written, by whoever holds the lock; else left by a dead job."""
        return self.folder / f".{self._stem}.draft"


def check_room(caches: Sequence[DiskCache], images: Sequence[Radiograph]) -> None:
    """See that caches of one folder can be filled with images, before anything starts.

    Raises:
        ValueError: the folder can't be written to, or its disk is too small.

    """
    folder = caches[0].folder
    try:
        check_writable(folder, folder)
        needed = sum(cache.missing_bytes(images) for cache in caches)
        free = shutil.disk_usage(nearest(folder)).free
    except OSError as error:
        raise _no_folder(folder, error) from error
    if needed > free:
        raise ValueError(
            f"--cache {folder} needs {needed / 2**30:.2f} GiB for decoded images, but its disk has "
            f"{free / 2**30:.2f} GiB free; make room there, or give another folder"
        )


def _counted(
    records: Iterable[Records], total: int, progress: Callable[[int, int], None]
) -> Iterator[Records]:
    """The records; progress is told of each once the next one is wanted."""
    for number, record in enumerate(records, 1):
        yield record
        progress(number, total)


def row_key(radiograph: Radiograph, frame: Frame) -> bytes:
    """Digest, 32 hex digits, of all that decides what a radiograph's row is."""
    # Another OpenCV may read a JPEG, or resize, a little differently.
    parts = (VERSION, cv2.__version__, frame, radiograph.digest, sorted(radiograph.polygons))
    content = repr(parts).encode() + polygon_bytes(radiograph.polygons)
    return hashlib.sha256(content).hexdigest()[:32].encode()


def _no_folder(folder: Path, error: OSError) -> ValueError:
    return ValueError(
        f"--cache {folder} can't be written to ({error.strerror or error}); give another "
        "folder, or make room there"
    )


def _warn(sentence: str) -> None:
    print(f"warning: {sentence}", file=sys.stderr)
