"""Augmentation: the label follows the image, and any sample can be drawn again."""

from concurrent.futures import ThreadPoolExecutor

import albumentations as A
import cv2
import numpy as np
import pytest

from handray.data.augment import TRANSFORMS, Augment, build
from handray.masks.planes import pack

SIZE = 96


def sample(classes: int = 29):
    """A smooth image, and a disc for each class."""
    rng = np.random.default_rng(0)
    image = cv2.GaussianBlur(rng.integers(0, 256, (SIZE, SIZE), dtype=np.uint8), (0, 0), 4)
    masks = np.zeros((classes, SIZE, SIZE), np.uint8)
    for mask in masks:
        cv2.circle(mask, rng.integers(10, SIZE - 10, 2).tolist(), 9, 1, -1)
    return image, masks.astype(bool)


@pytest.mark.parametrize("classes", [29, 40])
@pytest.mark.parametrize("name", TRANSFORMS)
def test_bit_planes_move_exactly_as_one_hot_masks_do(name, classes):
    image, masks = sample(classes)
    for seed in range(6):
        compose = build(name, SIZE)
        compose.set_random_seed(seed)
        planes = compose(image=image, mask=pack(masks))["mask"]
        compose.set_random_seed(seed)
        one_hot = compose(image=image, mask=masks.transpose(1, 2, 0).astype(np.uint8))["mask"]
        assert np.array_equal(planes, pack(one_hot.transpose(2, 0, 1).astype(bool)))


@pytest.mark.parametrize("policy", ["none", "elastic+flip", "affine+elastic+flip+rbc"])
def test_image_and_planes_stay_bytes_of_the_same_shape(policy):
    image, masks = sample()
    drawn, planes = Augment(policy, SIZE)(image, pack(masks), (0, 1))
    assert (drawn.dtype, drawn.shape) == (np.uint8, (SIZE, SIZE))
    assert (planes.dtype, planes.shape) == (np.uint8, (SIZE, SIZE, 4))


def test_a_seed_draws_the_same_sample_in_any_order_and_thread():
    image, masks = sample()
    planes, augment = pack(masks), Augment("affine+elastic+flip+rbc", SIZE)
    seeds = [(7, epoch, row) for epoch in range(3) for row in range(8)]
    in_order = [augment(image, planes, seed) for seed in seeds]
    with ThreadPoolExecutor(4) as pool:
        backwards = list(pool.map(lambda seed: augment(image, planes, seed), seeds[::-1]))[::-1]
    for (image_a, planes_a), (image_b, planes_b) in zip(in_order, backwards, strict=True):
        assert np.array_equal(image_a, image_b)
        assert np.array_equal(planes_a, planes_b)
    assert len({drawn.tobytes() for drawn, _ in in_order}) > len(seeds) // 2


def test_what_is_read_only_is_not_written_to():
    image, masks = sample()
    planes = pack(masks)
    image.setflags(write=False)
    planes.setflags(write=False)
    before = image.copy(), planes.copy()
    for seed in range(4):
        Augment("affine+elastic+flip+rbc", SIZE)(image, planes, (seed,))
    assert np.array_equal(image, before[0]) and np.array_equal(planes, before[1])


def test_elastic_moves_bones_by_a_visible_but_small_distance():
    # The columns' numbers as gray levels show where each pixel came from.
    ramp = np.tile(np.arange(SIZE, dtype=np.uint8) * 2, (SIZE, 1))
    compose = build("elastic", SIZE)
    moved = []
    for seed in range(40):
        compose.set_random_seed(seed)
        drawn = compose(image=ramp)["image"].astype(int)
        moved.append(np.abs(drawn - ramp)[8:-8, 8:-8].max() / 2)
    moved = [distance for distance in moved if distance]
    assert 0.25 * len(range(40)) < len(moved) < 0.75 * len(range(40)), "p is 0.5"
    assert 0.003 * SIZE < np.median(moved) < 0.04 * SIZE


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(ValueError, match="--augment swirl is not known; join some of affine, ela"):
        build("flip+swirl", SIZE)


def test_an_argument_that_albumentations_would_ignore_is_an_error(monkeypatch):
    monkeypatch.setitem(TRANSFORMS, "old", lambda _: A.GaussNoise(var_limit=(10, 50)))
    with pytest.raises(ValueError, match=r"--augment old: .*var_limit"):
        build("old", SIZE)
