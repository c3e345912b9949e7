"""Decoded rows through the real Ray Data: decoded once, every row, in our own order."""

import dataclasses
import threading

import numpy as np
import pytest
import ray

from handray.cluster.board import CountDecode, start_board
from handray.data.augment import Augment
from handray.data.decode import decode
from handray.data.feed import EpochFeed, ordered_map
from handray.data.radiographs import read_folder
from handray.data.stream import Frame, GraySums, StreamedRows, cache_rows, gray_sums

FRAME = Frame(size=64, classes=29)
ROWS = [5, 0, 12, 5]


@pytest.fixture(scope="module")
def data(phantoms):
    return read_folder(phantoms)


@pytest.fixture(scope="module")
def cached(one_ray, data):
    board = start_board()
    rows = cache_rows(data.train, FRAME, CountDecode(board))
    return rows, board


def check(samples, data):
    assert [sample.row for sample in samples] == ROWS
    for sample in samples:
        image, planes = decode(data.train[sample.row], FRAME.size, FRAME.classes)
        assert np.array_equal(sample.image_HW, image)
        assert np.array_equal(sample.planes_HWP, planes)


def test_cached_rows_are_the_decoded_images_in_the_order_asked_for(cached, data):
    samples = list(cached[0].samples(ROWS))
    check(samples, data)
    assert not samples[0].image_HW.flags.writeable, "views into the object store"


def test_streamed_rows_are_the_same(one_ray, data):
    check(list(StreamedRows(data.train, FRAME).samples(ROWS)), data)


def test_a_stream_goes_on_while_others_hold_all_cpus(one_ray, data, monkeypatch):
    monkeypatch.setattr("handray.data.stream.PATIENCE", 0.5)
    others = ray.util.placement_group([{"CPU": 1}] * int(ray.cluster_resources()["CPU"]))
    assert others.wait(60)
    check(list(StreamedRows(data.train, FRAME).samples(ROWS)), data)
    ray.util.remove_placement_group(others)


def test_no_rows_are_no_error(one_ray, cached, data):
    assert list(StreamedRows(data.train, FRAME).samples([])) == []
    assert list(cached[0].samples([])) == []


def test_an_image_that_cannot_be_read_is_one_sentence(one_ray, data):
    gone = dataclasses.replace(data.train[0], image_path="/nowhere/gone.png")
    with pytest.raises(ValueError, match=r"^[^\n]*/nowhere/gone.png[^\n]*$"):
        cache_rows([gone], FRAME)
    with pytest.raises(ValueError, match=r"/nowhere/gone\.png"):
        list(StreamedRows([gone], FRAME).samples([0]))
    with pytest.raises(ValueError, match=r"/nowhere/gone\.png"):
        gray_sums([gone], FRAME, [0])


def test_reading_the_cache_again_decodes_nothing_anew(one_ray, cached, data):
    rows, board = cached
    for _ in range(3):
        list(rows.samples(range(len(data.train))))
    assert one_ray.get(board.read.remote()).decodes == len(data.train)


def test_gray_sums_are_exact_whether_cached_or_streamed(cached, data):
    pixels = np.stack([decode(r, FRAME.size, FRAME.classes)[0] for r in data.train]).astype(float)
    total = sum(cached[0].sums.values(), GraySums(0, 0, 0))
    assert total.mean_std() == pytest.approx((pixels.mean(), pixels.std()))
    assert gray_sums(data.train, FRAME, [2, 3]) == {r: cached[0].sums[r] for r in (2, 3)}


def test_images_of_one_gray_are_no_xrays():
    with pytest.raises(ValueError, match="all images have the one gray level 7"):
        GraySums(100, 700, 4900).mean_std()


def feed(source, rank: int, ranks: int, **other) -> EpochFeed:
    settings = {
        "source": source,
        "rows": np.array([1, 2, 4, 7, 8, 11, 12]),
        "augment": Augment("affine+flip", FRAME.size),
        "seed": 3,
        "batch": 4,
        "passes": 2,
        "threads": 2,
    }
    columns = np.arange(settings["batch"])[rank::ranks]
    return EpochFeed(**(settings | other), columns=columns)


def test_ranks_get_equal_full_batches_whose_union_is_the_single_ranks(cached):
    whole = list(feed(cached[0], 0, 1).batches(epoch=1))
    halves = [list(feed(cached[0], rank, 2).batches(epoch=1)) for rank in (0, 1)]
    assert [len(step) for step in whole] == [4] * 4
    assert [len(step) for half in halves for step in half] == [2] * 8
    for step, *parts in zip(whole, *halves, strict=True):
        # Rank r has columns r, r + 2, ..., pixel by pixel.
        for rank, part in enumerate(parts):
            for ours, theirs in zip(part, step[rank::2], strict=True):
                assert ours.row == theirs.row
                assert np.array_equal(ours.image_HW, theirs.image_HW)
                assert np.array_equal(ours.planes_HWP, theirs.planes_HWP)


def test_any_step_can_be_replayed_alone(cached):
    whole = list(feed(cached[0], 0, 1).batches(epoch=2))
    tail = list(feed(cached[0], 0, 1, threads=3).batches(epoch=2, start=2))
    for ours, theirs in zip(tail, whole[2:], strict=True):
        assert all(
            np.array_equal(a.image_HW, b.image_HW) for a, b in zip(ours, theirs, strict=True)
        )


def test_a_row_visited_twice_in_an_epoch_is_drawn_anew(cached):
    seen: dict[int, set[bytes]] = {}
    for step in feed(cached[0], 0, 1).batches(epoch=0):
        for sample in step:
            seen.setdefault(sample.row, set()).add(sample.image_HW.tobytes())
    assert sum(len(pixels) > 1 for pixels in seen.values()) > len(seen) // 2


def test_an_ordered_map_keeps_the_order_and_runs_ahead_only_so_far():
    begun, gate = [], threading.Event()

    def work(number):
        gate.wait(5)
        return number * number

    def numbers():
        for number in range(50):
            begun.append(number)
            yield number

    results = ordered_map(work, numbers(), threads=3, ahead=6)
    gate.set()
    assert next(results) == 0
    assert len(begun) <= 8
    assert list(results) == [number * number for number in range(1, 50)]
