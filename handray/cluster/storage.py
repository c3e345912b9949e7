"""Where all nodes keep files while they train: an absolute path, or a URL such as s3://."""

import secrets
import tempfile
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import pyarrow.fs
import ray.train

from handray.cluster.nodes import Question, alive, ask, reason


def beneath(storage: str, name: str) -> str:
    """A folder in a storage: an absolute path, or a URL whose options stay at its end."""
    if "://" not in storage:
        return str(Path(storage).absolute() / name)
    parts = urlsplit(storage)
    return urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}/{name}"))


def fetch_folder(path: str, storage: str, into: Path) -> None:
    """Copy a folder from the storage to this machine."""
    ray.train.Checkpoint(path, open_storage(storage)[0]).to_directory(str(into))


def make_folder(storage: str) -> None:
    """Make the storage's folder; raises OSError or ValueError where that can't be done."""
    filesystem, path = open_storage(storage)
    filesystem.create_dir(path, recursive=True)


def keep_file(file: Path, storage: str, name: str) -> None:
    """Copy a file of this machine to the storage; it is there as a whole or not at all."""
    filesystem, path = open_storage(storage)
    partial = f"{path}/{name}.partial"
    pyarrow.fs.copy_files(
        str(file),
        partial,
        source_filesystem=pyarrow.fs.LocalFileSystem(),
        destination_filesystem=filesystem,
    )
    filesystem.move(partial, f"{path}/{name}")


def drop_file(storage: str, name: str) -> None:
    """Delete a file that ``keep_file`` kept, if there is one."""
    filesystem, path = open_storage(storage)
    if filesystem.get_file_info(f"{path}/{name}").type != pyarrow.fs.FileType.NotFound:
        filesystem.delete_file(f"{path}/{name}")


def try_write(storage: str) -> None:
    """Write a small file into the storage's folder; raises OSError where that can't be done."""
    with tempfile.TemporaryDirectory(prefix="handray-") as folder:
        file = Path(folder) / secrets.token_hex(8)
        file.write_text("written by jobs/doctor.py")
        keep_file(file, storage, file.name)


def drop_folder(storage: str) -> None:
    """Delete a folder with all that is in it; what can't be deleted stays."""
    with suppress(OSError):
        filesystem, path = open_storage(storage)
        filesystem.delete_dir(path)


def fetch_file(storage: str, name: str, into: Path) -> bool:
    """Copy a file that ``keep_file`` kept to this machine; False where there is none."""
    filesystem, path = open_storage(storage)
    if filesystem.get_file_info(f"{path}/{name}").type == pyarrow.fs.FileType.NotFound:
        return False
    pyarrow.fs.copy_files(
        f"{path}/{name}",
        str(into),
        source_filesystem=filesystem,
        destination_filesystem=pyarrow.fs.LocalFileSystem(),
    )
    return True


def check_reach(storage: str, image: str) -> None:
    """Make the folder of the storage, and see that every node reaches it and the data.

    Args:
        storage: absolute path or URL.
        image: path or URL of any image.

    Raises:
        ValueError: nothing can be written there, or a local path that the nodes don't share.

    """
    local = [path for path in (storage, image) if "://" not in path]
    try:
        make_folder(storage)
    except (OSError, ValueError) as error:
        raise ValueError(f"--storage {storage} can't be written to: {error}") from error
    for path in local:
        flag = "--storage" if path == storage else "--data"
        check_nodes(flag, path, ", or an s3:// URL")


def check_nodes(flag: str, path: str, otherwise: str = "") -> None:
    """Raise ValueError, with the flag and another remedy, where a node doesn't see a local path."""
    nodes = alive()
    if len(nodes) == 1:
        return
    there = ask(_exists, [Question(node, (path,)) for node in nodes])
    for node, answer in zip(nodes, there, strict=True):
        if isinstance(answer, Exception):
            raise ValueError(f"node {node.name} doesn't answer: {reason(answer)}")
        if not answer:
            raise ValueError(
                f"node {node.name} has no {path}; "
                f"give {flag} a folder that all nodes mount{otherwise}"
            )


def _exists(path: str) -> bool:
    return Path(path).exists()


def open_storage(storage: str) -> tuple[pyarrow.fs.FileSystem, str]:
    """File system of an absolute path or URL, and the path in it."""
    if "://" in storage:
        filesystem, path = pyarrow.fs.FileSystem.from_uri(storage)
        return filesystem, path
    return pyarrow.fs.LocalFileSystem(), storage
