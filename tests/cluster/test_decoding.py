"""Rows for a whole run: from the object store, or from a cache that a second job finds."""

import numpy as np
import pytest

from handray.cluster.board import start_board
from handray.cluster.decoding import open_source
from handray.data.radiographs import read_folder


@pytest.fixture(scope="module")
def jobs(one_ray, phantoms, tmp_path_factory):
    """What three jobs open, the last two from one cache, and how many images each decodes."""
    data, folder = read_folder(phantoms), str(tmp_path_factory.mktemp("cache"))
    opened = []
    for cache in ("", folder, folder):
        board = start_board()
        decoded = open_source(64, data, False, cache, board)
        opened.append((decoded, one_ray.get(board.read.remote()).decodes))
    return opened


def test_the_second_job_decodes_nothing(jobs):
    assert [decodes for _, decodes in jobs] == [15, 15, 0]


def test_gray_levels_are_those_of_the_images_in_memory(jobs):
    assert len({(decoded.mean, decoded.std) for decoded, _ in jobs}) == 1


def test_workers_see_the_same_rows_wherever_they_are(one_ray, jobs):
    @one_ray.remote(num_cpus=0)
    def pixels(source):
        return [(s.row, s.image_HW.copy(), s.planes_HWP.copy()) for s in source.samples([14, 0])]

    stored, *mapped = one_ray.get([pixels.remote(decoded.source) for decoded, _ in jobs])
    for rows in mapped:
        for (row, *ours), (expected, *theirs) in zip(rows, stored, strict=True):
            assert row == expected
            assert all(map(np.array_equal, ours, theirs))
