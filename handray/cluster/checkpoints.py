"""A fold's checkpoints in the storage: which are whole, and which of them is the furthest.

Ray Train copies a checkpoint file by file, so one that was being copied when its process died is
there in part; a disk may cut one short later. Each holds a seal, which knows all its files.
"""

import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.fs

from handray.cluster.storage import fetch_file, fetch_folder, open_storage
from handray.inference.provenance import sha256
from handray.whole_files import write_json

SEAL = "seal.json"
INDEX = "checkpoint_manager_snapshot.json"
"""Ray Train's list of a fold's checkpoints; it is written in place, so a crash may cut it short."""


def seal(folder: Path, steps: int) -> None:
    """Write down what a folder holds and how far its training is, so that it can be checked."""
    files = {
        path.name: {"bytes": path.stat().st_size, "sha256": sha256(path)}
        for path in folder.iterdir()
        if path.name != SEAL
    }
    write_json(folder / SEAL, {"steps": steps, "files": files})


def damage(folder: Path) -> str | None:
    """What is wrong with a sealed folder, for people; None where all is as it was sealed."""
    for name, about in json.loads((folder / SEAL).read_text())["files"].items():
        if not (folder / name).exists():
            return f"{name} is missing"
        if sha256(folder / name) != about["sha256"]:
            return f"{name} is cut short or changed"
    return None


@dataclass(frozen=True)
class Checkpoints:
    """Those of one fold."""

    storage: str
    """Absolute path or URL of the run's storage."""
    fold: int

    def fetch_furthest(self, into: Path) -> tuple[str | None, list[str]]:
        """Copy the furthest whole checkpoint to this machine.

        Args:
            into: an existing, empty folder.

        Returns:
            Its name, None where no checkpoint is whole; and what is wrong with each that was
            further.

        """
        complaints: list[str] = []
        seals = {name: self._seal(name) for name in self._names()}
        sealed = [(about["steps"], name) for name, about in seals.items() if about]
        for _, name in sorted(sealed, reverse=True):
            fetch_folder(f"{self._path}/{name}", self.storage, into)
            if (wrong := damage(into)) is None:
                return name, complaints
            complaints.append(f"{name} is damaged ({wrong})")
            for path in into.iterdir():
                path.unlink()
        return None, complaints

    def fetch_file(self, name: str, file: str, into: Path) -> None:
        """Copy one file of a checkpoint to this machine."""
        path = f"fold{self.fold}/{name}/{file}"
        if not fetch_file(self.storage, path, into / file):
            raise FileNotFoundError(f"{path} is gone from {self.storage}")

    def drop_parts(self) -> None:
        """Give back the room of checkpoints that are there in part."""
        for name in self._names():
            about = self._seal(name)
            files = about["files"] if about else {}
            paths = [f"{self._path}/{name}/{file}" for file in files]
            sizes = [entry.size for entry in self._filesystem.get_file_info(paths)]
            if about and sizes == [file["bytes"] for file in files.values()]:
                continue
            # Their folders stay: Ray Train may want to delete them itself.
            self._filesystem.delete_dir_contents(f"{self._path}/{name}", missing_dir_ok=True)

    def mend_index(self) -> None:
        """Remove Ray Train's list where it is cut short or names what is gone: it would give up."""
        path = f"{self._path}/{INDEX}"
        if self._filesystem.get_file_info(path).type == pyarrow.fs.FileType.NotFound:
            return
        try:
            results = self._read_json(path)["checkpoint_results"]
            named = {result["checkpoint_dir_name"] for result in results}
        except (ValueError, KeyError, TypeError):
            named = {""}
        if not named <= set(self._names()):
            self._filesystem.delete_file(path)

    @property
    def _filesystem(self) -> pyarrow.fs.FileSystem:
        return open_storage(self.storage)[0]

    @property
    def _path(self) -> str:
        return f"{open_storage(self.storage)[1]}/fold{self.fold}"

    def _names(self) -> list[str]:
        selector = pyarrow.fs.FileSelector(self._path, allow_not_found=True)
        found = self._filesystem.get_file_info(selector)
        return [entry.base_name for entry in found if entry.type == pyarrow.fs.FileType.Directory]

    def _seal(self, name: str) -> dict[str, Any] | None:
        """What a checkpoint's seal says; None where it has none, or a part of one."""
        with suppress(OSError, ValueError):
            return self._read_json(f"{self._path}/{name}/{SEAL}")
        return None

    def _read_json(self, path: str) -> dict[str, Any]:
        with self._filesystem.open_input_stream(path) as file:
            content: dict[str, Any] = json.loads(file.read())
        return content
