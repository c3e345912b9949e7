"""A data folder as records: every radiograph with its label, and all its faults at once."""

import hashlib
import math
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from handray.bones import BONES
from handray.data.files import Files, read_bytes
from handray.data.imagefile import decode_gray, image_size
from handray.data.labelfile import Label, parse_label
from handray.data.layout import (
    IMAGES,
    TRUTH,
    Fault,
    Split,
    by_stem,
    list_split,
    no_images_error,
    person_of,
    read_class_names,
)
from handray.data.pose import hand_side, wrist_bend

READERS = 8
"""Files that are read at the same time; reading waits for the disk or network, not for the CPU."""


@dataclass(frozen=True, eq=False)
class Radiograph:
    """One image as it lies in the folder, with its label; its pixels stay on disk."""

    name: str
    """The file's name, as in the CSV."""
    person: str
    """The folder under DCM."""
    image_path: str
    """Absolute path or URL."""
    height: int
    """Pixels, source frame."""
    width: int
    bytes: int
    """Size of the image's file."""
    digest: str
    """SHA-256 (hex) of the image's file, as it was when the folder was read."""
    side: str = ""
    """R, L or "" where unknown, by the label."""
    bend: float = math.nan
    """Degrees, positive to the little finger's side, by the label; nan where unknown."""
    polygons: Mapping[int, NDArray[np.int32]] = field(default_factory=dict)
    """Channel -> int32 (N, 2) xy, source frame; a class that isn't there has no key."""


@dataclass(frozen=True, eq=False)
class DataFolder:
    """All usable radiographs, sorted by relative path; faulty files are left out and listed."""

    root: str
    class_names: tuple[str, ...]
    """In channel order."""
    train: tuple[Radiograph, ...]
    test: tuple[Radiograph, ...]
    faults: tuple[Fault, ...]
    """Sorted by path."""
    warnings: tuple[str, ...]
    excluded: tuple[str, ...] = ()
    """Names of training images that a user left out."""


def read_folder(
    root: str | os.PathLike[str],
    progress: Callable[[int, int], None] | None = None,
    only: str | None = None,
) -> DataFolder:
    """Every radiograph of a data folder (see layout.py), and every fault in it, in one pass.

    progress is called in this thread with (images read, images in all); `only` is the one split to
    read, "train" or "test". Raises ValueError where the folder or its training images, unless only
    "test" is read, are missing or classes.txt is wrong; never for a faulty file.
    """
    files = Files.at(root)
    class_names = read_class_names(files)
    train, test = (
        Split({}, {}, (), ()) if only not in (None, name) else list_split(files, name)
        for name in ("train", "test")
    )
    if not train.sizes and only != "test":
        raise no_images_error(files)
    images = [(split, image) for split in (train, test) for image in split.sizes]
    readings: list[tuple[Radiograph | None, list[Fault], list[str]]] = []
    with ThreadPoolExecutor(READERS) as pool:
        for reading in pool.map(lambda job: _read(files, class_names, *job), images):
            readings.append(reading)
            if progress is not None:
                progress(len(readings), len(images))
    found, file_faults, file_warnings = zip(*readings, strict=True) if readings else ((), (), ())
    faults = [*train.faults, *test.faults, *chain(*file_faults)]
    bad = {fault.path for fault in faults}
    return DataFolder(
        root=files.url("").rstrip("/"),
        class_names=class_names,
        train=_usable(train, found[: len(train.sizes)], bad),
        test=_usable(test, found[len(train.sizes) :], bad),
        faults=tuple(sorted(faults, key=lambda fault: fault.path)),
        warnings=(*train.warnings, *test.warnings, *chain(*file_warnings)),
    )


def faults_error(folder: DataFolder) -> ValueError:
    """All faults of a folder in one error, a line each, with the way out at the end."""
    paths = {fault.path for fault in folder.faults}
    lines = [f"{len(folder.faults)} faults in {len(paths)} files of {folder.root}:"]
    lines += [f"  {fault.path}: {fault.what}" for fault in folder.faults]
    lines += [f"{len(folder.train)} training and {len(folder.test)} test images are without fault"]
    lines += ["--skip-bad leaves these files out"]
    return ValueError("\n".join(lines))


def folder_digest(folder: DataFolder) -> str:
    """SHA-256 (hex) of class names, usable images (name, bytes) and their polygons.

    Independent of where the folder lies: a run's name depends on its data, not on a path.
    """
    digest = hashlib.sha256(repr(folder.class_names).encode())
    for split, radiographs in (("train", folder.train), ("test", folder.test)):
        for radiograph in radiographs:
            digest.update(repr((split, radiograph.person, radiograph.name)).encode())
            digest.update(repr((radiograph.bytes, sorted(radiograph.polygons))).encode())
            digest.update(polygon_bytes(radiograph.polygons))
    return digest.hexdigest()


def polygon_bytes(polygons: Mapping[int, NDArray[np.int32]]) -> bytes:
    """The polygons of a radiograph, in channel order, to be digested."""
    ordered = [polygons[channel].astype("<i4") for channel in sorted(polygons)]
    return b"".join(repr(polygon.shape).encode() + polygon.tobytes() for polygon in ordered)


def read_radiograph(path: Path) -> tuple[Radiograph, tuple[str, ...]]:
    """One image, with its label where it lies in DATA/train/DCM/<person>/, and the class names.

    Raises ValueError where the image or its label is missing or faulty.
    """
    absolute = path.absolute()
    name = "/".join(absolute.parts[-4:])
    if not name.startswith(f"train/{IMAGES}/"):
        height, width = read_image(str(absolute)).shape
        content = absolute.read_bytes()
        return Radiograph(
            path.name, "", str(absolute), height, width, len(content), _digest(content)
        ), BONES
    files = Files.at(absolute.parents[3])
    class_names, split = read_class_names(files), list_split(files, "train")
    if name not in split.sizes:
        raise ValueError(f"{path}: no such image")
    radiograph, faults, _ = _read(files, class_names, split, name)
    faults = [*(fault for fault in split.faults if fault.path == name), *faults]
    if radiograph is None or faults:
        raise ValueError(f"{files.url(faults[0].path)}: {faults[0].what}")
    return radiograph, class_names


def read_image(path: str, digest: str = "") -> NDArray[np.uint8]:
    """Gray pixels of an image by path or URL, (H, W) uint8 0..255, source frame.

    Raises ValueError, with the path, where the file is missing, damaged, not 8-bit PNG or JPEG, or
    no longer the one that had this digest.
    """
    try:
        content = read_bytes(path)
        if digest and digest != _digest(content):
            raise ValueError("the file has changed since the data folder was read; start again")
        return decode_gray(content)
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from error


def read_truth(
    root: str | os.PathLike[str], folder: DataFolder
) -> dict[str, Mapping[int, NDArray[np.int32]]] | None:
    """Polygons (as in `Radiograph`) of the test images by name, from root/truth; None without it.

    A test image without a truth has no key. Raises ValueError with all faults of these labels.
    """
    files = Files.at(root)
    labels = by_stem(files.sizes(TRUTH), TRUTH)
    truth: dict[str, Mapping[int, NDArray[np.int32]]] = {}
    faults: list[str] = []
    for image in folder.test:
        path = labels.get(f"{image.person}/{PurePosixPath(image.name).stem}")
        if path is not None:
            label = _read_label(files, path, folder.class_names, (image.height, image.width))
            truth[image.name] = label.polygons
            faults += [f"  {path}: {what}" for what in label.faults]
    if faults:
        raise ValueError("\n".join(["faulty labels of test images, correct them:", *faults]))
    return truth if labels else None


def _read(
    files: Files, class_names: Sequence[str], split: Split, image: str
) -> tuple[Radiograph | None, list[Fault], list[str]]:
    """One image and its label, their faults and warnings; runs in a thread."""
    faults: list[Fault] = []
    size, digest = None, ""
    try:
        content = files.read(image)
        size, digest = image_size(content), _digest(content)
    except (OSError, ValueError) as error:
        faults.append(Fault(image, str(error)))
    label, label_path = Label(), split.labels.get(image, "")
    if label_path:
        label = _read_label(files, label_path, class_names, size)
        faults += [Fault(label_path, what) for what in label.faults]
    warnings = [f"{label_path}: {warning}" for warning in label.warnings]
    if size is None:
        return None, faults, warnings
    by_name = {class_names[channel]: polygon for channel, polygon in label.polygons.items()}
    radiograph = Radiograph(
        name=PurePosixPath(image).name,
        person=person_of(image),
        image_path=files.url(image),
        height=size[0],
        width=size[1],
        bytes=split.sizes[image],
        digest=digest,
        side=hand_side(by_name),
        bend=wrist_bend(by_name),
        polygons=label.polygons,
    )
    return radiograph, faults, warnings


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _read_label(
    files: Files, path: str, class_names: Sequence[str], size: tuple[int, int] | None
) -> Label:
    try:
        return parse_label(files.read(path), class_names, size)
    except OSError as error:
        return Label(faults=(str(error),))


def _usable(
    split: Split, radiographs: Sequence[Radiograph | None], bad: set[str]
) -> tuple[Radiograph, ...]:
    """The radiographs whose image and label are both without fault."""
    pairs = zip(split.sizes, radiographs, strict=True)
    return tuple(r for image, r in pairs if r and not {image, split.labels.get(image)} & bad)
