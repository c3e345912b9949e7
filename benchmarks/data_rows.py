"""Rows of the table of speeds: from files to tensors on the device."""

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import albumentations as A
import baseline
import numpy as np
import ray
import torch
from small_training import films
from timing import Row, as_worker, in_turn, row_of, several_in_turn
from warp import own_elastic

from handray.cluster.board import start_board
from handray.cluster.decoding import open_source
from handray.cluster.fold import Decoded, FoldTask, FoldTraining
from handray.cluster.runtime import start_ray
from handray.config import Config, replaced
from handray.data.augment import TRANSFORMS, Augment
from handray.data.decode import Sample, decode
from handray.data.disk_cache import DiskCache
from handray.data.radiographs import DataFolder, read_folder, read_image
from handray.masks.planes import draw_planes, pack, unpack
from handray.recipes import recipe
from handray.training.ranks import Ranks

SIZE, ROOT = 1024, ""
"""Side of the model frame, and a data folder instead of drawn hands; see ``use``."""
POLICY = "flip+affine+elastic+rbc"
FOLDS = 5
EPOCHS = 20
"""Of ours in a turn; one takes a tenth of a second."""


def use(root: str, size: int) -> None:
    """Measure on a data folder at a size."""
    global ROOT, SIZE
    ROOT, SIZE = root, size


@cache
def folder() -> DataFolder:
    """Twelve people's hands of real size, or the folder to use."""
    return read_folder(ROOT or films(12))


def baseline_images(policy: bool = True) -> baseline.Images:
    """The competition's data set of the folder, with the same policy or none."""
    moves = [A.HorizontalFlip(p=0.5), TRANSFORMS["affine"](SIZE, 1.0), own_elastic(SIZE, 1.0)]
    light = A.RandomBrightnessContrast(0.2, 0.2, p=0.5)
    chosen = [*moves, light] if policy else []
    transform = A.Compose([A.Resize(SIZE, SIZE), *chosen], seed=0)
    paths = [Path(radiograph.image_path) for radiograph in folder().train]
    return baseline.Images(paths, folder().class_names, transform)


def labels() -> Row:
    """The label of one image in the model frame."""
    theirs, ours = as_worker(partial(_label_seconds, ROOT, SIZE))
    return row_of(
        f"labels to the model frame at {SIZE}",
        400,
        "s",
        "bit-exact",
        theirs,
        ours,
        "both with the memory settings of handray's workers, where labels are drawn",
    )


def _label_seconds(root: str, size: int) -> list[list[float]]:
    """Seconds a label: the baseline's and ours."""
    use(root, size)
    radiograph, classes = folder().train[0], folder().class_names
    polygons = radiograph.polygons
    side = read_image(radiograph.image_path).shape[0]
    resize, nothing = A.Resize(SIZE, SIZE), np.zeros((1, 1), np.uint8)

    def theirs() -> np.ndarray:
        label = np.zeros((side, side, len(classes)), np.uint8)
        for number, polygon in polygons.items():
            label[..., number] = baseline.mask_of(polygon, side)
        return resize(image=nothing, mask=label)["mask"]

    def ours() -> np.ndarray:
        return draw_planes(polygons, (side, side), SIZE, len(classes))

    assert ours().any(), "the label is not empty"
    assert np.array_equal(ours(), pack(theirs().transpose(2, 0, 1).astype(bool)))
    return several_in_turn(theirs, ours, turns=5, times=50)


@cache
def _samples() -> tuple[list[float], list[float], list[float]]:
    """Seconds a sample: the baseline's, ours decoded anew, ours from decoded rows."""
    data, classes = folder().train, len(folder().class_names)
    plain = baseline_images(policy=False)
    for number in (0, 1):
        image, planes = decode(data[number], SIZE, classes)
        their_image, their_label = plain[number]
        assert np.array_equal(planes, pack(their_label.numpy() > 0))
        assert np.abs(their_image.numpy()[0] * 255 - image).max() < 0.51, "rounded once more"
    theirs, augment = baseline_images(), Augment(POLICY, SIZE)
    rows = [decode(radiograph, SIZE, classes) for radiograph in data]
    seeds = iter(range(1_000_000))

    def sent(image: np.ndarray, planes: np.ndarray) -> None:
        for part in augment(image, planes, (next(seeds),)):
            torch.from_numpy(np.ascontiguousarray(part))

    def all_of(one: Callable[[int], Any], times: int) -> Callable[[], object]:
        return lambda: [one(number % len(data)) for number in range(times)]

    counts = len(data), 2 * len(data), 20 * len(data)
    ways = (
        all_of(theirs.__getitem__, counts[0]),
        all_of(lambda number: sent(*decode(data[number], SIZE, classes)), counts[1]),
        all_of(lambda number: sent(*rows[number]), counts[2]),
    )
    times = in_turn(ways, 3)
    baseline_s, uncached, cached = (
        [seconds / count for seconds in way] for way, count in zip(times, counts, strict=True)
    )
    return baseline_s, uncached, cached


SAME = (
    "without augmentation masks bit-exact, gray levels to within rounding; augmentation draws "
    "the same ranges (warp.py trains with both)"
)


def sample() -> Row:
    """One augmented sample from its files."""
    theirs, ours, _ = _samples()
    return row_of(f"sample at {SIZE}, augmented, from files", 20, "s", SAME, theirs, ours)


def cached_sample() -> Row:
    """One augmented sample from decoded rows."""
    theirs, _, ours = _samples()
    return row_of(f"sample at {SIZE}, augmented, from the cache", 100, "s", SAME, theirs, ours)


class _Decoder:
    """Decodes rows in this process."""

    def samples(self, rows: Sequence[int]) -> Iterator[Sample]:
        for row in rows:
            image, planes = decode(folder().train[row], SIZE, len(folder().class_names))
            yield Sample(row, image, planes)


def disk() -> Row:
    """One decoded row from the cache on disk, in the page cache of the system as all is."""
    data = folder()
    rows = range(len(data.train))

    def parts(sample: Sample) -> tuple[np.ndarray, np.ndarray]:
        return sample.image_HW, sample.planes_HWP

    with tempfile.TemporaryDirectory() as name:
        mapped = DiskCache.of(f"{name}/cache", data, SIZE).open(data.train, _Decoder())
        files = [(Path(name) / f"{row}i.npy", Path(name) / f"{row}p.npy") for row in rows]
        for sample, paths in zip(_Decoder().samples(rows), files, strict=True):
            for path, part in zip(paths, parts(sample), strict=True):
                np.save(path, part)

        def theirs() -> list[np.ndarray]:
            return [np.load(path) for paths in files for path in paths]

        def ours() -> list[np.ndarray]:
            return [part.copy() for sample in mapped.samples(rows) for part in parts(sample)]

        assert all(map(np.array_equal, ours(), theirs()))
        times = [[s / len(rows) for s in way] for way in in_turn((theirs, ours), 9)]
    name = f"row of {SIZE} px from --cache, beside np.load of two files"
    return row_of(name, 1, "s", "bit-exact", *times, "read as a whole, then a copy in memory")


def sample_bytes() -> Row:
    """What one sample takes on its way between processes."""
    theirs = sum(tensor.nbytes for tensor in baseline_images(policy=False)[0])
    ours = sum(part.nbytes for part in decode(folder().train[0], SIZE, len(folder().class_names)))
    same = "the label's bits are its classes"
    return row_of(
        "bytes a sample through shared memory", 25, "MB", same, [theirs / 1e6], [ours / 1e6]
    )


def fold_training(fold: int, decoded: Decoded) -> FoldTraining:
    """A fold's training of the folder at the benchmarks' size, on rows that are decoded."""
    config: Config = replaced(
        recipe("hrnet_small"),
        {
            "model.weights": "none",
            "data.size": SIZE,
            "data.augment": POLICY,
            "train.batch": 4,
            "train.accumulate": 1,
        },
    )
    data = folder()
    fold_of = tuple(number % FOLDS for number in range(len(data.train)))
    task = FoldTask(fold, config, data.class_names, data.train, (), decoded, fold_of, 2, None, None)
    return FoldTraining(task, Ranks(), None)


@cache
def _epochs() -> tuple[list[float], list[float], float, int]:
    """Seconds an epoch of both ways; of unpacking an image; decodes of five folds' epochs."""
    data, images = folder(), len(folder().train)
    start_ray(verbose=False)
    try:
        board = start_board()
        decoded = open_source(SIZE, data, streamed=False, cache="", board=board)
        for fold in range(FOLDS):
            training = fold_training(fold, decoded)
            trained = sum(len(batch.names) for batch in training.batches(0, 0))
            validated = len(list(decoded.source.samples(training.held_out.tolist())))
            assert trained + validated >= images
        decodes = ray.get(board.read.remote()).decodes
        training = fold_training(-1, decoded)
        loader = torch.utils.data.DataLoader(
            baseline_images(), batch_size=4, shuffle=True, num_workers=2
        )

        def theirs() -> None:
            assert sum(len(image) for image, _ in loader) == images

        def ours() -> None:
            for epoch in range(EPOCHS):
                assert sum(len(b.names) for b in training.batches(epoch, 0)) == images

        times = in_turn((theirs, ours), 3, time.perf_counter)
        planes = next(training.batches(0, 0)).planes_BHWP
        started = time.perf_counter()
        for _ in range(10):
            unpack(planes, len(data.class_names))
        unpacking = (time.perf_counter() - started) / 10 / len(planes)
    finally:
        ray.shutdown()
    return times[0], [seconds / EPOCHS for seconds in times[1]], unpacking, decodes


def epoch() -> Row:
    """An epoch's batches from the object store, no training."""
    theirs, ours, unpacking, _ = _epochs()
    images = len(folder().train)
    unpacked = np.median(theirs) / (np.median(ours) + images * unpacking)
    note = (
        f"{images} images, wall time of two cores; ours are bytes, which the device unpacks: a CPU "
        f"takes {1000 * unpacking:.0f} ms an image for it, and with that the ratio is "
        f"{unpacked:.0f}"
    )
    name = f"epoch of batches at {SIZE}, Ray Data's rows beside torch's DataLoader"
    return row_of(name, 40, "s", SAME, theirs, ours, note)


def decodes() -> Row:
    """Images decoded for an epoch of each of five folds, training and validation."""
    ours, images = _epochs()[-1], len(folder().train)
    note = "counted in the tasks that decode"
    same = "each fold sees every image"
    name = f"decodes for an epoch of {FOLDS} folds"
    return row_of(name, FOLDS, "images", same, [FOLDS * images], [ours], note)
