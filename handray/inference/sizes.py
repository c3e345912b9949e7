"""Sizes of a data folder's images, for CSVs that have no JSON beside them."""

from functools import cache
from pathlib import PurePosixPath

from handray.data.files import Files
from handray.data.imagefile import image_size
from handray.data.layout import list_split
from handray.inference.submission import SizeOf


def sizes_in(data: str) -> SizeOf:
    """Looks up (height, width) by an image's file name, in the test, then the training images.

    Raises ValueError where there is no such folder; the function it returns raises ValueError for
    an image that isn't there or can't be read.
    """
    files = Files.at(data)
    path_of: dict[str, str] = {}
    for split in ("test", "train"):
        for path in list_split(files, split).sizes:
            path_of.setdefault(PurePosixPath(path).name, path)

    @cache
    def size_of(image: str) -> tuple[int, int]:
        if image not in path_of:
            raise ValueError(f"image {image!r} is in neither test nor train of {data}")
        try:
            return image_size(files.read(path_of[image]))
        except ValueError as error:
            raise ValueError(f"{files.url(path_of[image])}: {error}") from None

    return size_of
