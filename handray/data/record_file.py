"""Decoded rows as a file: a .npy of records with their keys and checksums, mapped and never read.

A file appears whole and is never changed. Whoever maps it holds a shared lock on it, which the
kernel drops with the process, however it ends; so a file that no job uses can be told.

Axes: H W pixels of the model frame, P planes of eight classes.
"""

import fcntl
import os
import platform
import zlib
from collections.abc import Container, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from handray.data.decode import Sample
from handray.data.stream import Frame, GraySums
from handray.masks.planes import plane_count

Records = NDArray[np.void]
"""Records of ``record_type``, (N,)."""


class MappedRows:
    """Rows of one file, as views of the page cache that all processes of a machine share."""

    def __init__(self, path: Path, places: Sequence[int]) -> None:
        """Map the file.

        Args:
            path: of ``write_records``.
            places: the record of each row.

        Raises:
            ValueError: this machine doesn't see the file.

        """
        self.path, self.places = path, tuple(places)
        self._records: Records | None = None
        _ = self.records

    def __getstate__(self) -> dict[str, Any]:
        """Leave the map behind: another process maps the file itself."""
        return {**self.__dict__, "_records": None}

    @property
    def records(self) -> Records:
        """All records of the file; ValueError where this machine doesn't see it."""
        if self._records is None:
            try:
                self._records = map_records(self.path)
            except OSError as error:
                raise ValueError(
                    f"{platform.node()} can't open {self.path} ({error.strerror}); "
                    "put --cache on a mount that all nodes share"
                ) from error
        return self._records

    @property
    def sums(self) -> dict[int, GraySums]:
        """Gray levels of every row."""
        sums = self.records["sums"].tolist()
        return {row: GraySums(*sums[place]) for row, place in enumerate(self.places)}

    def samples(self, rows: Sequence[int]) -> Iterator[Sample]:
        """The named rows in the named order; ValueError where this machine doesn't see the file."""
        for row in rows:
            record = self.records[self.places[row]]
            yield Sample(int(row), record["image"], record["planes"])


def record_type(frame: Frame) -> np.dtype[np.void]:
    """What a row is on disk."""
    side, planes = frame.size, plane_count(frame.classes)
    return np.dtype(
        [
            ("checksum", "<u4"),  # CRC-32 of what follows
            ("key", "S32"),
            ("sums", "<i8", 3),
            ("image", "u1", (side, side)),
            ("planes", "u1", (side, side, planes)),
        ]
    )


def record_bytes(frame: Frame) -> int:
    """Bytes of a record, also where they are too many for a type of numpy (2 GiB)."""
    return frame.row_bytes + 4 + 32 + 3 * 8


def record_of(key: bytes, sample: Sample, kind: np.dtype[np.void]) -> Records:
    """A decoded row as a record, (1,)."""
    record = np.zeros(1, kind)
    sums = GraySums.of(sample.image_HW)
    record["key"], record["sums"] = key, (sums.pixels, sums.total, sums.squares)
    record["image"], record["planes"] = sample.image_HW, sample.planes_HWP
    record["checksum"] = _checksum(record)
    return record


def write_records(draft: Path, path: Path, records: Iterable[Records], count: int) -> None:
    """Write records (1,) one by one to a draft, which becomes the file once it is whole.

    Args:
        draft: overwritten where a job that died left it.
        path: replaced at once, if it is there.
        records: of one type.
        count: how many there are.

    Raises:
        OSError: there is no room, or the folder can't be written to.

    """
    try:
        # Not through a map: a write to one ends the process where the disk is full.
        with draft.open("wb") as file:
            for number, record in enumerate(records):
                if not number:
                    descr = npy.dtype_to_descr(record.dtype)
                    header = {"descr": descr, "fortran_order": False, "shape": (count,)}
                    npy.write_array_header_1_0(file, header)
                file.write(record.view(np.uint8).data)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def map_records(path: Path) -> Records:
    """Records of a file, read-only; as long as they or views of them live, it is in use.

    Raises:
        OSError: the file can't be opened.
        ValueError: it is cut off or no file of records.

    """
    with path.open("rb") as file:
        # The map keeps a duplicate of this descriptor, and with it the lock.
        fcntl.flock(file, fcntl.LOCK_SH)
        npy.read_magic(file)
        shape, _, kind = npy.read_array_header_1_0(file)
        mapped = np.memmap(file, kind, "r", offset=file.tell(), shape=shape)
    return mapped.view(np.ndarray)


def remove_unused(path: Path) -> None:
    """Remove a file unless a job has it mapped.

    Raises:
        OSError: one has, or it can't be removed.

    """
    # NFS gives an exclusive lock only to who may write.
    with path.open("r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink()


def places_of(records: Records) -> dict[bytes, int]:
    """Position of each key."""
    return {key: place for place, key in enumerate(records["key"].tolist())}


def sound_records(records: Records, wanted: Container[bytes]) -> tuple[dict[bytes, Records], int]:
    """Records (1,) of the wanted keys with the right checksum, and how many have a wrong one."""
    places = places_of(records)
    found = {key: records[at : at + 1] for key, at in places.items() if key in wanted}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        checksums = pool.map(_checksum, found.values())
        pairs = zip(found.items(), checksums, strict=True)
        sound = {key: one for (key, one), checksum in pairs if one["checksum"][0] == checksum}
    return sound, len(found) - len(sound)


def _checksum(record: Records) -> int:
    """CRC-32 of one record, (1,), but for the checksum itself."""
    return zlib.crc32(record.view(np.uint8)[4:].data)
