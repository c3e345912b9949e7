"""A folder of files, local or remote, through fsspec: the same code reads /data and s3://bucket/data."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem


@dataclass(frozen=True)
class Files:
    """A root folder on one fsspec file system; names are relative to the root and use "/"."""

    fs: Any
    root: str

    @classmethod
    def at(cls, root: str | os.PathLike[str]) -> Files:
        """The folder at a path or URL; raises ValueError where there is none."""
        try:
            fs, path = url_to_fs(os.fspath(root))
            is_there = bool(os.fspath(root)) and fs.exists(path) and not fs.isfile(path)
        except (ImportError, OSError, ValueError) as error:
            # fsspec says which package a kind of URL needs, e.g. s3fs.
            raise ValueError(f"data folder {root} can't be opened: {error}") from error
        if not is_there:
            raise ValueError(f"no such data folder: {root}; check the path or URL")
        return cls(fs, path.rstrip("/"))

    def sizes(self, folder: str) -> dict[str, int]:
        """Bytes of every file under a folder by name, sorted; empty where there is no such folder.

        Names that begin with a dot (.DS_Store, ._x.png) are left out, and so is all below them.
        """
        top = f"{self.root}/{folder}"
        if isinstance(self.fs, LocalFileSystem):
            found = dict(_walk(top))
        else:
            found = {path: info["size"] for path, info in self.fs.find(top, detail=True).items()}
        names = {path[len(self.root) + 1 :]: size for path, size in found.items()}
        return {n: names[n] for n in sorted(names) if not any(p[0] == "." for p in n.split("/"))}

    def exists(self, name: str) -> bool:
        """Whether a file or folder of this name is there."""
        return bool(self.fs.exists(f"{self.root}/{name}"))

    def read(self, name: str) -> bytes:
        """A file's content; raises OSError where it can't be read."""
        return bytes(self.fs.cat_file(f"{self.root}/{name}"))

    def url(self, name: str) -> str:
        """A name that any process can open: an absolute path here, a URL elsewhere."""
        path = f"{self.root}/{name}"
        return path if isinstance(self.fs, LocalFileSystem) else str(self.fs.unstrip_protocol(path))


def read_bytes(path: str) -> bytes:
    """The content of one file by path or URL; raises OSError where it can't be read."""
    fs, inside = url_to_fs(path)
    return bytes(fs.cat_file(inside))


def _walk(top: str) -> Iterator[tuple[str, int]]:
    """Path and bytes of all files below; unlike fsspec's find it follows linked folders."""
    for folder, _, names in os.walk(top, followlinks=True):
        for name in names:
            path = Path(folder, name)
            # A link to nowhere is listed too, so that reading it can name it as a fault.
            yield path.as_posix(), path.stat().st_size if path.exists() else 0
