"""The cache on disk: what is decoded when, whatever happens to files, jobs and processes."""

import os
import pickle
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from handray.data.augment import Augment
from handray.data.decode import Sample, decode
from handray.data.disk_cache import DiskCache, check_room
from handray.data.feed import EpochFeed
from handray.data.radiographs import read_folder
from handray.data.stream import Frame, GraySums, cache_rows

SIZE = 64


class Decoder:
    """Decodes in this process, and remembers which rows; may die before one of them."""

    def __init__(self, images, size=SIZE, dies_at=None):
        self.images, self.size, self.dies_at = images, size, dies_at
        self.decoded: list[int] = []

    def samples(self, rows):
        for row in rows:
            if len(self.decoded) == self.dies_at:
                os.kill(os.getpid(), signal.SIGKILL)
            self.decoded.append(row)
            yield Sample(row, *decode(self.images[row], self.size, 29))


def opened(folder, hands, only=None, size=SIZE):
    """Rows of the training images, or some of them, the images, and which rows were decoded."""
    data = read_folder(hands)
    images = data.train if only is None else data.train[only]
    decoder = Decoder(images, size)
    rows = DiskCache.of(str(folder), data, size).open(images, decoder)
    return rows, images, decoder.decoded


def check(rows, images, size=SIZE):
    order = [*range(len(images))][::-1]
    for row, sample in zip(order, rows.samples(order), strict=True):
        image, planes = decode(images[row], size, 29)
        assert sample.row == row
        assert np.array_equal(sample.image_HW, image)
        assert np.array_equal(sample.planes_HWP, planes)
        assert rows.sums[row] == GraySums.of(image)
        assert not sample.image_HW.flags.writeable, "views of the file"


@pytest.fixture(scope="module")
def filled(phantoms, tmp_path_factory):
    folder = tmp_path_factory.mktemp("filled")
    opened(folder, phantoms)
    return folder


@pytest.fixture
def folder(filled, tmp_path):
    """A cache of all phantoms, to be spoilt."""
    return shutil.copytree(filled, tmp_path / "cache")


@pytest.fixture
def hands(phantoms, tmp_path):
    """The phantoms, to be changed, with a cache of their own in ``tmp_path / "cache"``."""
    copy = shutil.copytree(phantoms, tmp_path / "hands")
    opened(tmp_path / "cache", copy)
    return copy


def files(folder):
    return sorted(folder.glob("*.npy"))


def test_rows_are_the_decoded_images_bit_for_bit_and_a_second_opening_decodes_nothing(
    phantoms, tmp_path, capsys
):
    rows, images, decoded = opened(tmp_path / "new/cache", phantoms)
    assert decoded == list(range(13))
    check(rows, images)
    rows, images, decoded = opened(tmp_path / "new/cache", phantoms)
    assert decoded == []
    check(rows, images)
    said = capsys.readouterr()
    assert f"Mapping 13 images from {tmp_path}/new/cache, decoding 13\n" in said.out
    assert f"Mapping 13 images from {tmp_path}/new/cache, decoding 0\n" in said.out
    assert said.err == ""
    assert len(files(tmp_path / "new/cache")) == 1


def test_some_of_the_images_use_the_file_of_all_and_more_of_them_copy_it(phantoms, tmp_path):
    _, _, decoded = opened(tmp_path, phantoms, slice(4))
    assert decoded == [0, 1, 2, 3]
    rows, images, decoded = opened(tmp_path, phantoms)
    assert decoded == list(range(4, 13))
    check(rows, images)
    (whole,) = files(tmp_path)
    rows, images, decoded = opened(tmp_path, phantoms, slice(3, 7))
    assert decoded == []
    check(rows, images)
    assert files(tmp_path) == [whole]


def test_another_size_is_another_file(folder, phantoms):
    rows, images, decoded = opened(folder, phantoms, size=32)
    assert len(decoded) == 13
    check(rows, images, size=32)
    assert len(files(folder)) == 2


def test_a_changed_image_of_the_same_bytes_and_time_is_the_only_one_decoded_anew(hands, tmp_path):
    path = sorted((hands / "train/DCM").rglob("*.png"))[5]
    before = path.stat()
    # Two files of equal length that differ in a pixel, uncompressed but for their checksums.
    image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    stored = [cv2.IMWRITE_PNG_COMPRESSION, 0]
    cv2.imwrite(str(path), image, stored)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert opened(tmp_path / "cache", hands)[2] == [5]
    first = path.stat()
    image[40:60, 40:60] ^= 255
    cv2.imwrite(str(path), image, stored)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (first.st_size, first.st_mtime_ns)
    rows, images, decoded = opened(tmp_path / "cache", hands)
    assert decoded == [5]
    check(rows, images)


def test_changed_polygons_decode_their_image_alone(hands, tmp_path):
    label = sorted((hands / "train/outputs_json").rglob("*.json"))[7]
    before, text = label.stat(), label.read_text()
    digit = text.index("[[", text.index('"points"')) + 2
    moved = str((int(text[digit]) + 1) % 9 + 1)
    label.write_text(text[:digit] + moved + text[digit + 1 :])
    os.utime(label, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert label.stat().st_size == before.st_size
    rows, images, decoded = opened(tmp_path / "cache", hands)
    assert decoded == [7]
    check(rows, images)


def test_an_image_that_changes_while_a_job_runs_is_never_kept_as_what_it_was(phantoms, tmp_path):
    hands = shutil.copytree(phantoms, tmp_path / "hands")
    data = read_folder(hands)
    shutil.copy(data.train[1].image_path, data.train[0].image_path)
    cache = DiskCache.of(str(tmp_path / "cache"), data, SIZE)
    with pytest.raises(ValueError, match="has changed since the data folder was read; start again"):
        cache.open(data.train, Decoder(data.train))
    assert files(tmp_path / "cache") == []


@pytest.mark.parametrize("back", [1, SIZE * SIZE * 4 + 1], ids=["planes", "image"])
def test_a_flipped_byte_is_told_and_its_row_decoded_anew(folder, phantoms, capsys, back):
    (path,) = files(folder)
    content = bytearray(path.read_bytes())
    content[-back] ^= 1
    path.write_bytes(content)
    rows, images, decoded = opened(folder, phantoms)
    assert decoded == [12]
    assert f"warning: 1 of 13 rows of {path} are damaged" in capsys.readouterr().err
    check(rows, images)
    assert opened(folder, phantoms)[2] == []
    assert files(folder) == [path]


@pytest.mark.parametrize("size", [0, 5, 100, 30_000])
def test_a_file_that_is_cut_off_is_told_in_one_line_and_written_anew(
    folder, phantoms, capsys, size
):
    (path,) = files(folder)
    os.truncate(path, size)
    rows, images, decoded = opened(folder, phantoms)
    said = capsys.readouterr().err
    assert said.startswith(f"warning: {path} is damaged (") and said.count("\n") == 1
    assert len(decoded) == 13
    check(rows, images)


def test_a_file_that_is_not_ours_is_told_and_written_anew(folder, phantoms, capsys):
    (path,) = files(folder)
    np.save(path, np.arange(5))
    assert len(opened(folder, phantoms)[2]) == 13
    assert "is damaged (no records of this version)" in capsys.readouterr().err


BUILD = """
import sys
sys.path.insert(0, sys.argv[1])
from test_disk_cache import Decoder
from handray.data.disk_cache import DiskCache
from handray.data.radiographs import read_folder
data = read_folder(sys.argv[2])
decoder = Decoder(data.train, dies_at=int(sys.argv[4]))
rows = DiskCache.of(sys.argv[3], data, 64).open(data.train, decoder)
assert len(list(rows.samples(range(13)))) == 13
print("decoded", len(decoder.decoded))
"""


def build(phantoms, folder, dies_at=-1):
    command = [sys.executable, "-c", BUILD, Path(__file__).parent, phantoms, folder, dies_at]
    return subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, text=True)


def test_a_builder_killed_while_it_writes_leaves_a_cache_that_works(phantoms, tmp_path):
    assert build(phantoms, tmp_path, dies_at=8).wait(60) == -signal.SIGKILL
    (draft,) = tmp_path.glob(".*.draft")
    assert draft.stat().st_size > 7 * SIZE**2, "it was writing"
    rows, images, decoded = opened(tmp_path, phantoms)
    assert len(decoded) == 13
    check(rows, images)
    assert not draft.exists() and len(files(tmp_path)) == 1


def test_two_builders_at_once_decode_once_and_both_end_well(phantoms, tmp_path):
    both = [build(phantoms, tmp_path) for _ in range(2)]
    said = [process.communicate(timeout=60)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert sorted(text.splitlines()[-1] for text in said) == ["decoded 0", "decoded 13"]
    assert len(files(tmp_path)) == 1


def test_a_file_stays_as_long_as_a_job_maps_it_and_goes_after(hands, tmp_path):
    ours, before, _ = opened(tmp_path / "cache", hands)
    expected = [decode(image, SIZE, 29) for image in before]
    shutil.copy(before[1].image_path, before[0].image_path)
    opened(tmp_path / "cache", hands)
    assert len(files(tmp_path / "cache")) == 2
    late = pickle.loads(pickle.dumps(ours))  # a worker that starts after the file was superseded
    for sample, (image, planes) in zip(late.samples(range(13)), expected, strict=True):
        assert np.array_equal(sample.image_HW, image)
        assert np.array_equal(sample.planes_HWP, planes)
    del ours, late, sample
    assert opened(tmp_path / "cache", hands)[2] == []
    assert len(files(tmp_path / "cache")) == 1


def test_a_worker_that_does_not_see_the_file_says_what_to_do(phantoms, tmp_path):
    elsewhere = pickle.dumps(opened(tmp_path, phantoms)[0])
    shutil.rmtree(tmp_path)
    with pytest.raises(ValueError, match=r"^[^\n]* can't open .*\.npy \(.*; put --cache on"):
        list(pickle.loads(elsewhere).samples([0]))


def test_folders_that_cannot_be_used_are_one_sentence(phantoms, tmp_path):
    data = read_folder(phantoms)
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file/below", Path("/proc/cache")):
        cache = DiskCache.of(str(folder), data, SIZE)
        with pytest.raises(ValueError, match=rf"^--cache {folder} can't be written to \(.*there$"):
            check_room([cache], data.train)
        with pytest.raises(ValueError, match=rf"^--cache {folder} can't be written to"):
            cache.open(data.train, Decoder(data.train))


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes to read-only folders as well")
def test_a_read_only_folder_is_one_sentence(phantoms, tmp_path):
    tmp_path.chmod(0o500)
    data = read_folder(phantoms)
    with pytest.raises(ValueError, match=f"^--cache {tmp_path} can't be written to"):
        check_room([DiskCache.of(str(tmp_path), data, SIZE)], data.train)


def test_a_disk_that_is_too_small_is_told_before_and_a_full_cache_needs_no_room(
    folder, phantoms, tmp_path
):
    data = read_folder(phantoms)
    large = DiskCache.of(str(tmp_path / "new"), data, 1 << 20)
    with pytest.raises(ValueError, match=r"new needs 66560\.00 GiB .* GiB free; make room there"):
        check_room([large], data.train)
    assert not (tmp_path / "new").exists()
    small = DiskCache.of(str(folder), data, SIZE)
    assert small.missing_bytes(data.train) == 0
    check_room([small], data.train)


def test_a_disk_that_fills_up_is_one_sentence_and_leaves_no_file(phantoms, tmp_path):
    data = read_folder(phantoms)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))  # 13 rows take 266 KB
    try:
        with pytest.raises(ValueError, match=rf"^--cache {tmp_path} can't be .* make room there"):
            DiskCache.of(str(tmp_path), data, SIZE).open(data.train, Decoder(data.train))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [path.suffix for path in tmp_path.iterdir()] == [".lock"]


def test_training_draws_the_same_batches_as_from_memory(one_ray, filled, phantoms):
    mapped, images, decoded = opened(filled, phantoms)
    assert decoded == []
    for source in (mapped, cache_rows(images, Frame(SIZE, 29))):
        augment = Augment("elastic+flip", SIZE)
        feed = EpochFeed(source, np.arange(13), augment, 3, 4, np.arange(4), passes=1, threads=2)
        first = [sample for step in feed.batches(epoch=0) for sample in step]
        if source is mapped:
            ours = first
    for mine, theirs in zip(ours, first, strict=True):
        assert mine.row == theirs.row
        assert np.array_equal(mine.image_HW, theirs.image_HW)
        assert np.array_equal(mine.planes_HWP, theirs.planes_HWP)
