"""Augmentation: the label follows the image, and any sample can be drawn again."""

from concurrent.futures import ThreadPoolExecutor

import albumentations as A
import cv2
import numpy as np
import pytest

from handray.data.augment import TRANSFORMS, Augment, arguments, build
from handray.data.warp import Elastic, Grid, Warp
from handray.masks.planes import pack
from handray.policies import POLICIES, names

SIZE = 96


def sample(classes: int = 29):
    """A smooth image, and a disc for each class."""
    rng = np.random.default_rng(0)
    image = cv2.GaussianBlur(rng.integers(0, 256, (SIZE, SIZE), dtype=np.uint8), (0, 0), 4)
    masks = np.zeros((classes, SIZE, SIZE), np.uint8)
    for mask in masks:
        cv2.circle(mask, rng.integers(10, SIZE - 10, 2).tolist(), 9, 1, -1)
    return image, masks.astype(bool)


@pytest.mark.parametrize("classes", [5, 29, 40])
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


@pytest.mark.parametrize("size", [96, 512, 1024])
def test_elastic_moves_by_half_a_percent_of_the_side_and_folds_nothing_over(size):
    (warp,) = build("elastic", size).transforms
    fields = []
    for seed in range(4):
        warp.set_random_seed(seed)
        positions = warp.positions(size, force_apply=True)
        # Going right or down, the pixel that is read goes right or down too.
        assert np.diff(positions[..., 0], axis=1).min() > 0
        assert np.diff(positions[..., 1], axis=0).min() > 0
        fields.append(positions - np.dstack(np.meshgrid(np.arange(size), np.arange(size))))
    assert 0.004 * size < np.std(fields) < 0.006 * size


@pytest.mark.parametrize(("size", "tolerance"), [(96, 0.01), (1024, 0.05)])
def test_moves_that_are_composed_on_the_grid_are_those_of_every_pixel(size, tolerance):
    warp = build("affine+elastic+flip", size).transforms[0]
    pixels = np.dstack(np.meshgrid(np.arange(size), np.arange(size))).astype(np.float64)
    for seed in range(3):
        warp.set_random_seed(seed)
        composed = warp.positions(size, force_apply=True)
        # Drawn once more in the same order, each at every pixel.
        warp.set_random_seed(seed)
        affine, elastic, _ = warp.transforms
        matrix = affine.get_params_dependent_on_data({"shape": (size, size)}, {})["matrix"]
        field = Grid(size).every_pixel(elastic.field(Grid(size)))
        mirrored = pixels * [-1, 1] + [size - 1, 0]
        bent = mirrored + field[:, ::-1]
        exact = cv2.transform(bent, np.linalg.inv(matrix)[:2])
        assert np.abs(composed - exact).max() < tolerance


def test_a_mirror_in_a_warp_is_a_mirror_and_no_move_changes_nothing():
    image, masks = sample()
    planes = pack(masks)
    mirror = Warp([A.HorizontalFlip(p=1), Elastic(0, 5, p=1)], p=1)  # by 0 pixels
    moved = A.Compose([mirror], seed=0)(image=image, mask=planes)
    assert np.array_equal(moved["image"], image[:, ::-1])
    assert np.array_equal(moved["mask"], planes[:, ::-1])
    still = A.Compose([Warp([Elastic(5, 5, p=0)], p=1)], seed=0)(image=image, mask=planes)
    assert np.array_equal(still["image"], image) and np.array_equal(still["mask"], planes)


def test_an_affine_move_in_a_warp_is_albumentations_own():
    image, masks = sample()
    drawn = {}
    for name, transform in {
        "warp": Warp([A.Affine(rotate=(10, 10), p=1), Elastic(0, 5, p=1)], p=1),
        "own": A.Affine(rotate=(10, 10), p=1),
    }.items():
        drawn[name] = A.Compose([transform], seed=3)(image=image, mask=pack(masks))
    assert np.abs(drawn["warp"]["image"].astype(int) - drawn["own"]["image"]).max() <= 2
    assert (drawn["warp"]["mask"] == drawn["own"]["mask"]).mean() > 0.995


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(
        ValueError, match="--augment swirl is not known; join some of affine, clahe"
    ):
        build("flip+swirl", SIZE)


def test_an_argument_that_albumentations_would_ignore_is_an_error(monkeypatch):
    monkeypatch.setitem(TRANSFORMS, "old", lambda *_: A.GaussNoise(var_limit=(10, 50)))
    with pytest.raises(ValueError, match=r"--augment old: .*var_limit"):
        build("old", SIZE)


def test_the_reports_combinations_go_by_name_alone_or_with_more():
    assert names("jitter_sharpen_rbc") == ["jitter", "sharpen", "rbc"]
    assert names("elastic_flip+gamma") == ["elastic", "flip", "gamma"]
    assert names("none") == []
    for policy in POLICIES:
        assert build(policy, SIZE).transforms
    (warp,) = build("elastic_flip", SIZE).transforms
    assert [type(one) for one in warp.transforms] == [Elastic, A.HorizontalFlip]
    assert len(build("jitter_sharpen_rbc_griddropout_flip", SIZE).transforms) == 5


def test_transforms_have_the_reports_parameters():
    by_name = {name: arguments(name, SIZE)[0] for name in TRANSFORMS}
    jitter, dropout, rbc = by_name["jitter"], by_name["griddropout"], by_name["rbc"]
    assert [jitter[k] for k in ("brightness", "contrast", "saturation")] == [(0.8, 1.2)] * 3
    assert jitter["hue"] == (-0.2, 0.2)
    assert (dropout["ratio"], dropout["random_offset"]) == (0.25, True)
    assert dropout["holes_number_xy"] == (4, 4)
    assert rbc["brightness_limit"] == rbc["contrast_limit"] == (-0.2, 0.2)
    assert by_name["griddistortion"]["p"] == 0.5
    # A variance of 10 to 50 in gray levels, as a share of 255.
    assert np.round(np.square(255 * np.array(by_name["noise"]["std_range"]))).tolist() == [10, 50]


def test_hue_and_saturation_are_nothing_to_a_gray_image():
    image, _ = sample()
    rich = A.Compose([A.ColorJitter((1, 1), (1, 1), (0.5, 1.5), (-0.2, 0.2), p=1)], seed=0)
    assert np.array_equal(rich(image=image)["image"], image)


@pytest.mark.parametrize("name", sorted(set(TRANSFORMS) - {"clahe", "crop", "flip", "invert"}))
def test_strength_widens_what_a_transform_does(name):
    # CLAHE is left out: in tiles of a few pixels OpenCV clips nothing, whatever the limit.
    _, masks = sample()
    image, planes = np.random.default_rng(1).integers(60, 200, (SIZE, SIZE), np.uint8), pack(masks)

    def change(strength):
        augment = Augment(name, SIZE, strength)
        drawn = [augment(image, planes, (seed,))[0] for seed in range(40)]
        return np.mean([np.abs(d.astype(int) - image).mean() for d in drawn])

    assert 0 < change(0.3) < change(1.5)


def test_a_crop_keeps_some_bone_and_fills_the_frame():
    image, masks = sample(1)
    masks[:] = False
    masks[0, :10, :10] = True
    augment = Augment("crop", SIZE)
    drawn = [augment(image, pack(masks), (seed,)) for seed in range(20)]
    assert all(planes.any() for _, planes in drawn)
    # 10 of 96 pixels are 13 of 96 after three quarters of the side are stretched to all of it.
    assert max(int(planes.any(axis=(0, 2)).sum()) for _, planes in drawn) in (13, 14)
