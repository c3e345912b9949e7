"""Prediction on the real Ray: every image once, bad ones named, a killed worker's done again."""

import os
import shutil
import signal
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from processes import workers

from handray.cluster.predict_all import predict_all
from handray.data.radiographs import read_folder, read_image
from handray.inference.rule import Rule
from handray.inference.trained import TrainedNetwork, predict_masks


@pytest.fixture
def threads_of_an_actor():
    """Sums in another order move a pixel now and then."""
    before = torch.get_num_threads()
    torch.set_num_threads(max(1, (os.cpu_count() or 1) - 1))
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def checkpoint(phantoms, untrained, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("networks") / "best.pt"
    return untrained(path, read_folder(phantoms).class_names)


def broken_png(path: Path, side: int) -> None:
    """A PNG whose chunks are in order and whose pixels are not."""

    chunks = b""
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    for kind, data in {b"IHDR": header, b"IDAT": bytes(99), b"IEND": b""}.items():
        body = kind + data
        chunks += struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunks)


def test_every_image_is_predicted_once_though_a_worker_is_killed(
    one_ray, phantoms, checkpoint, threads_of_an_actor
):
    images = read_folder(phantoms).train
    rule = Rule((0.5,) * 29)
    told, killed = [], []

    def progress(done: int, total: int) -> None:
        told.append((done, total))
        if not killed:
            killed.extend(workers("ray::MapWorker"))
            for pid in killed:
                os.kill(pid, signal.SIGKILL)

    masks, faults = predict_all(images, [checkpoint.read_bytes()], rule, progress)
    assert killed, "an actor was at work"
    assert not faults and told == [(done, 13) for done in range(1, 14)]
    network = TrainedNetwork(checkpoint, torch.device("cpu"))
    for row, image in enumerate(images):
        expected = predict_masks([network], read_image(image.image_path), rule)
        assert np.array_equal(masks[row].offsets, expected.offsets)
        assert np.array_equal(masks[row].bounds, expected.bounds)


def test_an_image_that_cannot_be_decoded_is_named_and_the_others_are_finished(
    one_ray, phantoms, checkpoint, tmp_path
):
    shutil.copytree(phantoms / "test", tmp_path / "test")
    bad = sorted((tmp_path / "test").rglob("*.png"))[0]
    broken_png(bad, 128)
    images = read_folder(tmp_path, only="test").test
    assert len(images) == 2, "its header is fine"
    rule = Rule((0.5,) * 29, soft=True)
    masks, faults = predict_all(images, [checkpoint.read_bytes()] * 2, rule, lambda *_: None)
    row = next(n for n, image in enumerate(images) if image.name == bad.name)
    assert list(faults) == [row] and str(bad) in faults[row]
    assert list(masks) == [1 - row]
