"""A data folder to choose radiographs from."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from handray.data.files import read_bytes
from handray.data.radiographs import DataFolder, Radiograph, read_folder
from handray.inference.labels import Labels, labels_of
from handray.viewing.uploads import Picture, Polygons, read_picture


@dataclass(frozen=True, eq=False)
class Shelf:
    """What a data folder has, read once; pixels stay on disk."""

    folder: DataFolder
    labels: Labels

    @classmethod
    def of(cls, root: str) -> "Shelf":
        """Read a folder; raises ValueError as ``read_folder`` and ``labels_of`` do."""
        folder = read_folder(root)
        return cls(folder, labels_of(folder))

    @cached_property
    def images(self) -> Mapping[str, Radiograph]:
        """All usable images by name, those to train on first."""
        return {image.name: image for image in (*self.folder.train, *self.folder.test)}

    def size_of(self, image: str) -> tuple[int, int]:
        """Height and width; raises ValueError for an image that isn't there."""
        if image not in self.images:
            raise ValueError(f"image {image!r} is not in {self.folder.root}")
        return self.images[image].height, self.images[image].width

    def picture(self, image: str) -> Picture:
        """Read an image.

        Raises:
            ValueError: it is no longer what it was when the folder was read.
            OSError: it can't be read.

        """
        picture = read_picture(read_bytes(self.images[image].image_path), image)
        if picture.hw != self.size_of(image):
            raise ValueError(
                f"{image} has changed since the folder was read; start the viewer again"
            )
        return picture

    def polygons(self, image: str) -> Polygons | None:
        """The label; None for an image without one."""
        known = self.labels.images.get(image)
        return known.polygons if known else None
