import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from handray.bones import BONES
from handray.data import phantom_folder
from handray.data.hands.anatomy import anatomy, area_centre_spread, closed_spline, fitted_outline
from handray.data.phantom import draw_hand, draw_polygons
from handray.data.phantom_folder import draw_folder

ROOT = Path(__file__).resolve().parents[2]
FILM = 2048  # the size in which the anatomy was measured
HANDS = 60


def drawn(points):
    """A polygon's mask inside its own box, and the box's corner, px."""
    x, y, width, height = cv2.boundingRect(points)
    mask = np.zeros((height, width), np.uint8)
    cv2.fillPoly(mask, [points - (x, y)], 1)
    return mask, np.array([x, y])


def measured(points):
    """Area, centre, 4-sd length and width, and angle of the drawn pixels."""
    mask, corner = drawn(points)
    moments = cv2.moments(mask, binaryImage=True)
    area = moments["m00"]
    centre = corner + np.array([moments["m10"], moments["m01"]]) / area
    xx, xy, yy = (moments[name] / area for name in ("mu20", "mu11", "mu02"))
    variances, axes = np.linalg.eigh([[xx, xy], [xy, yy]])
    angle = np.degrees(np.arctan2(axes[1, 1], axes[0, 1]))
    return area, centre, 4 * np.sqrt(variances[1]), 4 * np.sqrt(variances[0]), angle


def in_the_hand_frame(polygons):
    """(29, 6): area, x, y, length, width, angle of each bone, as FIELD_NOTES 11 defines them."""
    found = {bone: measured(polygons[bone]) for bone in BONES}
    origin, unit = found["Capitate"][1], found["finger-11"][2]
    up = found["finger-11"][1] - origin
    up /= np.hypot(*up)
    right = np.array([-up[1], up[0]])
    tilt = np.degrees(np.arctan2(right[1], right[0]))
    rows = []
    for bone in BONES:
        area, centre, length, width, angle = found[bone]
        place = (centre - origin) / unit
        near = anatomy()[bone].angle_deg  # of the angles that mean the same line, the nearest
        angle = near + (angle - tilt - near + 90) % 180 - 90
        rows.append((area, place @ right, -place @ up, length / unit, width / unit, angle))
    return rows


def overlap(polygons, one, other):
    masks = []
    for bone in (one, other):
        mask = np.zeros((FILM // 2, FILM // 2), bool)
        part, (x, y) = drawn(polygons[bone] // 2)
        mask[y : y + part.shape[0], x : x + part.shape[1]] = part
        masks.append(mask)
    return (masks[0] & masks[1]).sum() / (masks[0] | masks[1]).sum()


@pytest.fixture(scope="module")
def hands():
    """Right hands, 58 % of them with bent wrists, as where the anatomy was measured."""
    bent = [int((person + 1) * 0.58) > int(person * 0.58) for person in range(HANDS)]
    return [draw_polygons(0, person, "right", FILM, bent[person]) for person in range(HANDS)]


def test_the_mean_bone_lies_within_one_spread_of_the_measured_anatomy(hands):
    means = np.mean([in_the_hand_frame(polygons) for polygons in hands], axis=0)
    for bone, mean in zip(BONES, means, strict=True):
        real = anatomy()[bone]
        wanted = (real.area_px, real.x, real.y, real.length, real.width, real.angle_deg)
        spread = (
            real.area_sd, real.x_sd, real.y_sd, real.length_sd, real.width_sd, real.angle_sd
        )  # fmt: skip
        # finger-11 has length 1 and the Capitate is at 0 by definition: no spread, but rounding
        far = np.abs(mean - wanted) / np.maximum(spread, 1e-6)
        assert (far < 1).all(), f"{bone}: {mean.round(3)} is not near {wanted}"


@pytest.mark.parametrize(
    "one, other, iou, slack",
    [
        ("Triquetrum", "Pisiform", 0.41, 0.08),
        ("Trapezium", "Trapezoid", 0.19, 0.06),
        ("Capitate", "Lunate", 0.05, 0.03),
        ("Capitate", "Scaphoid", 0.04, 0.03),
        ("Hamate", "Capitate", 0.04, 0.03),
        ("Hamate", "finger-19", 0.04, 0.03),
        ("Scaphoid", "Lunate", 0.03, 0.03),
        ("finger-10", "finger-11", 0.0, 0.02),
    ],
)
def test_neighbours_overlap_as_much_as_real_ones(hands, one, other, iou, slack):
    found = np.mean([overlap(polygons, one, other) for polygons in hands[:30]])
    assert abs(found - iou) < slack


def test_a_phantom_is_a_function_of_seed_person_side_and_bend():
    one, same = (draw_hand(0, 1, "left", 64, True) for _ in range(2))
    assert np.array_equal(one.image_HW, same.image_HW)
    assert all(np.array_equal(one.polygons[bone], same.polygons[bone]) for bone in BONES)
    for other in ((1, 1, "left", 64, True), (0, 2, "left", 64, True), (0, 1, "right", 64, True)):
        assert not np.array_equal(one.image_HW, draw_hand(*other).image_HW)


def test_the_size_only_scales_the_hand():
    small = draw_polygons(0, 3, "right", 256, False)
    large = draw_polygons(0, 3, "right", 1024, False)
    for bone in BONES:
        for corner in (np.min, np.max):
            assert np.abs(corner(large[bone], axis=0) / 4 - corner(small[bone], axis=0)).max() <= 1


@pytest.mark.parametrize("side, order", [("right", 1), ("left", -1)])
def test_the_thumb_of_a_right_hand_is_on_the_left_of_the_film(side, order):
    polygons = draw_polygons(0, 0, side, 512, False)
    thumb, little = (polygons[bone][:, 0].mean() for bone in ("finger-1", "finger-16"))
    assert (little - thumb) * order > 0


@pytest.mark.parametrize("bent, low, high", [(True, 15, 48), (False, -8, 8)])
def test_bent_wrists_lean_15_to_48_degrees_and_others_at_most_8(bent, low, high):
    bends = [draw_hand(0, person, "right", 64, bent).bend_deg for person in range(6)]
    assert low <= min(bends) <= max(bends) <= high


def test_polygons_have_26_to_80_points_on_the_film_and_the_forearm_leaves_it_below(hands):
    for polygons in hands:
        assert tuple(polygons) == BONES
        for points in polygons.values():
            assert 26 <= len(points) <= 80
            assert 0 <= points.min() <= points.max() < FILM
        assert polygons["Radius"][:, 1].max() == FILM - 1


def test_gray_levels_are_those_of_real_films():
    films = [
        draw_hand(0, person, side, 256, False) for person in range(8) for side in ("right", "left")
    ]
    images = np.stack([film.image_HW for film in films]) / 255
    assert abs(images.mean() - 0.124) < 0.02
    assert abs(images.std(axis=(1, 2)).mean() - 0.168) < 0.03


def test_where_bones_overlap_the_film_is_brighter_than_either():
    brighter = []
    for person in range(5):
        film = draw_hand(0, person, "right", 512, False)
        parts = [np.zeros((512, 512), np.uint8) for _ in range(2)]
        for part, bone in zip(parts, ("Trapezium", "Trapezoid"), strict=True):
            cv2.fillPoly(part, [film.polygons[bone]], 1)
        one, other = (part.astype(bool) for part in parts)
        both = film.image_HW[one & other].mean()
        brighter.append(both - film.image_HW[one ^ other].mean())
    assert min(brighter) > 5


def test_moments_of_an_outline_are_those_of_its_area():
    # a rectangle of 6 by 2 around (3, 1): variances 36/12 and 4/12
    area, centre, spread = area_centre_spread(np.array([[0, 0], [6, 0], [6, 2], [0, 2.0]]))
    assert area == 12
    assert centre.tolist() == [3, 1]
    assert np.allclose(spread, [[3, 0], [0, 1 / 3]])


def test_a_spline_of_a_square_stays_inside_and_keeps_its_centre():
    square = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1.0]])
    outline = closed_spline(square)
    assert np.abs(outline).max() < 1
    assert np.allclose(area_centre_spread(outline)[1], 0)


@pytest.mark.parametrize("bone", BONES)
def test_a_fitted_outline_has_unit_extents(bone):
    _, centre, spread = area_centre_spread(fitted_outline(bone))
    assert np.allclose(centre, 0)
    assert np.allclose(spread, np.eye(2) / 16)  # four standard deviations are 1


def test_too_small_a_film_and_an_unknown_side_are_named():
    with pytest.raises(ValueError, match=r"at least 64 px .* got 32"):
        draw_hand(0, 0, "right", 32, False)
    with pytest.raises(ValueError, match='"right" or "left", got \'top\''):
        draw_hand(0, 0, "top", 64, False)


def content(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("phantoms") / "out"
    assert draw_folder(out, people=2, test_people=1, size=64, seed=0)
    return out


def test_a_folder_is_laid_out_as_the_competition_lays_it_out(folder):
    images = sorted(folder.glob("t*/DCM/*/*.png"))
    labels = sorted(folder.glob("t*/outputs_json/*/*.json"))
    assert [path.parts[-4] for path in images] == ["test"] * 2 + ["train"] * 4
    assert [path.parts[-4] for path in labels] == ["train"] * 4 + ["truth"] * 2
    assert sorted(path.stem for path in images) == sorted(path.stem for path in labels)
    assert len({path.stem for path in images}) == 6
    assert {path.parent.name for path in images[:2]} == {"ID003"}
    assert (folder / "train/DCM/ID001/image1661130828152_R.png").exists()
    assert all(len(path.stem.split("_")[0]) == len("image") + 13 for path in images)


def test_by_name_the_first_film_of_a_person_is_the_right_hand(folder):
    for person in ("ID001", "ID002"):
        for path, order in zip(
            sorted((folder / "train/outputs_json" / person).iterdir()), (1, -1), strict=True
        ):
            points = {a["label"]: a["points"] for a in json.loads(path.read_text())["annotations"]}
            thumb, little = (np.mean(points[b], axis=0)[0] for b in ("finger-1", "finger-16"))
            assert (little - thumb) * order > 0


def test_an_image_is_8_bit_with_three_equal_channels(folder):
    image = cv2.imread(str(next(folder.glob("train/DCM/*/*.png"))), cv2.IMREAD_UNCHANGED)
    assert image.shape == (64, 64, 3)
    assert image.dtype == np.uint8
    assert (image == image[..., :1]).all()


def test_labels_are_of_the_competitions_schema(folder):
    path = next(folder.glob("train/outputs_json/*/*.json"))
    label = json.loads(path.read_text())
    assert [annotation["label"] for annotation in label["annotations"]] == list(BONES)
    assert {annotation["type"] for annotation in label["annotations"]} == {"poly_seg"}
    assert all(type(x) is int for x in label["annotations"][0]["points"][0])
    assert label["filename"] == path.with_suffix(".jpg").name
    assert label["metadata"] == {"height": 64, "width": 64}


def test_a_complete_folder_is_left_alone(folder):
    before = content(folder)
    assert not draw_folder(folder, people=2, test_people=1, size=64, seed=0)
    assert content(folder) == before


def test_an_interrupted_folder_is_finished_to_the_same_bytes(folder, tmp_path):
    def stop(done, films):
        if done == 2:
            raise KeyboardInterrupt

    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        draw_folder(out, 2, 1, 64, 0, progress=stop)
    assert json.loads((out / "phantoms.json").read_text())["complete"] is False
    assert 0 < len(list(out.rglob("*.png"))) < 6
    steps = []
    assert draw_folder(out, 2, 1, 64, 0, progress=lambda done, films: steps.append((done, films)))
    assert steps == [(3, 6), (4, 6), (5, 6), (6, 6)]
    assert content(out) == content(folder)


def test_several_processes_draw_the_same_bytes_as_one(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(phantom_folder, "POOL_PIXELS", 0)
    monkeypatch.setattr(phantom_folder, "_cores", lambda: 2)
    draw_folder(tmp_path / "out", 2, 1, 64, 0)
    assert content(tmp_path / "out") == content(folder)


@pytest.mark.parametrize(
    "change, sentence",
    [
        ({"seed": 1}, "seed 0, not 1"),
        ({"size": 32}, "at least 64 px"),
        ({"people": 0}, "people must be at least 1, got 0"),
        ({"test_people": -1}, "test people can't be negative, got -1"),
    ],
)
def test_other_arguments_and_bad_ones_are_refused(folder, change, sentence):
    arguments = {"people": 2, "test_people": 1, "size": 64, "seed": 0} | change
    with pytest.raises(ValueError, match=sentence):
        draw_folder(folder, **arguments)


def test_a_folder_of_other_files_is_refused(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(ValueError, match="already holds other files"):
        draw_folder(tmp_path, 1, 0, 64, 0)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def run_job(*arguments):
    command = [sys.executable, "jobs/make_phantoms.py", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_the_job_draws_then_says_that_nothing_is_to_do(tmp_path):
    arguments = ("--people", "1", "--test-people", "0", "--size", "64", "--out", f"{tmp_path}/out")
    first, second = run_job(*arguments), run_job(*arguments)
    assert (first.returncode, second.returncode) == (0, 0)
    assert "1 people to train on, 0 to test on, two films of 64 px each" in first.stdout
    assert "already drawn" in second.stdout


def test_the_job_answers_bad_input_with_one_sentence_and_exit_code_2(tmp_path):
    result = run_job("--size", "10", "--out", f"{tmp_path}/out")
    assert result.returncode == 2
    assert len(result.stderr.splitlines()) == 1
    assert "at least 64 px" in result.stderr


def test_ctrl_c_leaves_no_half_written_file(tmp_path):
    out = tmp_path / "out"
    command = [sys.executable, "jobs/make_phantoms.py", "--out", str(out)]
    command += ["--people", "100", "--size", "512"]  # enough for several processes
    job = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    while job.poll() is None and not list(out.rglob("*.png")):
        time.sleep(0.05)
    job.send_signal(signal.SIGINT)
    _, errors = job.communicate(timeout=120)
    assert job.returncode == 130
    assert "the same command goes on" in errors
    assert not list(out.rglob(".*.tmp"))
    assert all(cv2.imread(str(path)) is not None for path in out.rglob("*.png"))
