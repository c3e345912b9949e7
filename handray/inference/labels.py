"""Labels of a data folder, put beside results: matched by the names of images and classes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from handray.data.radiographs import DataFolder, Radiograph, read_folder, read_truth
from handray.inference.score import truth_rows
from handray.inference.submission import Submission
from handray.masks.rle import RunRows


@dataclass(frozen=True)
class Labels:
    """What a data folder knows of its images."""

    folder: str
    class_names: tuple[str, ...]
    """In the order of the polygons' numbers."""
    images: Mapping[str, Radiograph]
    """Those with labels, by name."""
    people: Mapping[str, str]
    """Person of every image, labelled or not."""
    faults: int
    """Images that were left out because they are faulty."""

    def covers(self, image_names: Sequence[str]) -> bool:
        """Whether all of these images have labels."""
        return set(image_names) <= set(self.images)

    def rows(self, submission: Submission) -> RunRows:
        """The labels' masks in the order of a result.

        Raises:
            ValueError: an image without a label, or the result's classes or sizes are others.

        """
        name, number = submission.name, {c: n for n, c in enumerate(self.class_names)}
        theirs = set(submission.class_names)
        for here, there, names in (
            (name, self.folder, theirs - set(number)),
            (self.folder, name, set(number) - theirs),
        ):
            if names:
                raise ValueError(f"class {min(names)!r} is in {here} but not in {there}")
        if missing := [image for image in submission.image_names if image not in self.images]:
            left_out = f" ({self.faults} faulty images were left out)" if self.faults else ""
            raise ValueError(
                f"{name}: image {missing[0]!r} has no label in {self.folder}{left_out}"
            )
        channels = [number[c] for c in submission.class_names]
        parts = []
        for at, image_name in enumerate(submission.image_names):
            image = self.images[image_name]
            size = image.height, image.width
            if submission.sizes_hw is not None and tuple(submission.sizes_hw[at]) != size:
                height, width = submission.sizes_hw[at]
                raise ValueError(
                    f"{name}: image {image_name!r} is {height} x {width} there, but "
                    f"{size[0]} x {size[1]} in {self.folder}"
                )
            whole = truth_rows(image.polygons, len(self.class_names), size)
            parts.append(whole.take(channels))
        return RunRows.stack(parts)


def read_labels(folder: str, progress: Callable[[int, int], None] | None = None) -> Labels:
    """Read a data folder's labels; see ``labels_of``, which may raise ValueError as well.

    progress is called with (images read, images in all).
    """
    return labels_of(read_folder(folder, progress))


def labels_of(data: DataFolder) -> Labels:
    """The labels of training images and, where truth/ has them, of test images.

    Raises:
        ValueError: faulty labels of test images.

    """
    truth = read_truth(data.root, data) or {}
    images = {image.name: image for image in data.train}
    images |= {
        image.name: replace(image, polygons=truth[image.name])
        for image in data.test
        if image.name in truth
    }
    people = {image.name: image.person for image in (*data.train, *data.test)}
    return Labels(str(data.root), data.class_names, images, people, len(data.faults))
