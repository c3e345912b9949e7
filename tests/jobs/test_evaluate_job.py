"""jobs/evaluate.py on the labels of drawn hands, shifted by known distances."""

import json
from functools import partial

import numpy as np
import pytest

from handray.data.radiographs import read_folder
from handray.inference.score import score, truth_rows
from handray.inference.submission import Submission, read_submission, write_submission
from handray.masks.rle import RunRows, decode, encode


@pytest.fixture
def job(run_here, tmp_path):
    return partial(run_here, "evaluate.py", folder=tmp_path)


@pytest.fixture
def results(phantoms, tmp_path):
    """Labels as they are, and those three pixels further right in the first image."""
    data = read_folder(phantoms)
    for name, shift in {"true.csv": 0, "moved.csv": 3}.items():
        rows = []
        for number, image in enumerate(data.train):
            hw = (image.height, image.width)
            for runs in truth_rows(image.polygons, len(data.class_names), hw):
                mask = decode(runs, hw)
                rows.append(encode(np.roll(mask, shift, axis=1)) if not number else runs)
        names = tuple(image.name for image in data.train)
        sizes = np.array([(image.height, image.width) for image in data.train])
        done = Submission(names, data.class_names, RunRows.join(rows), sizes)
        write_submission(tmp_path / name, done)
    return data


def test_labels_against_themselves_are_perfect(job, results, phantoms, tmp_path):
    code, said = job("--csv", "true.csv", "--data", phantoms)
    assert code == 0, said
    facts = json.loads((tmp_path / "evaluation.json").read_text())
    mean = facts["mean"]
    assert mean["dice"] == mean["surface_dice_2px"] == mean["precision"] == mean["recall"] == 1
    assert mean["hd95_px"] == 0 and facts["interval"] == [1, 1]
    assert set(facts["group"]) == {"fingers", "carpals", "forearm"}
    assert {"right hand", "left hand"} <= set(facts["slice"])
    assert "evaluation.json: the same as JSON" in said and "Worst images" in said


@pytest.mark.parametrize("truth", ["--data", "--against"])
def test_an_image_moved_by_three_pixels_is_the_worst_and_as_far_as_that(
    job, results, phantoms, tmp_path, truth
):
    other = phantoms if truth == "--data" else "true.csv"
    code, said = job("--csv", "moved.csv", truth, other, "--out", "found.json")
    assert code == 0, said
    facts = json.loads((tmp_path / "found.json").read_text())
    assert next(iter(facts["worst"])) == results.train[0].name
    labels = {image.name: image.polygons for image in results.train}
    expected = score(read_submission(tmp_path / "moved.csv"), labels).dice()
    assert facts["mean"]["dice"] == pytest.approx(expected)
    # One image of 13 is 3 px off, as far as its bones are not thinner than that.
    assert 0.5 * 3 / 13 < facts["mean"]["hd95_px"] <= 3 / 13 + 1e-6
    assert facts["mean"]["surface_dice_4px"] == pytest.approx(1)
    assert facts["mean"]["surface_dice_2px"] < 1
    low, high = facts["interval"]
    assert low < facts["mean"]["dice"] < high


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--csv", "true.csv"], "name what is true, with --data DIR"),
        (["--csv", "no.csv", "--against", "true.csv"], "no.csv: No such file"),
        (["--csv", "true.csv", "--against", "true.csv", "--out", "x.csv"], "ends in .json"),
        (["--against", "true.csv"], "--csv"),
    ],
)
def test_a_mistake_is_one_sentence(job, results, arguments, sentence):
    code, said = job(*arguments)
    assert code == 2
    assert sentence in said


def test_an_image_without_a_label_is_named(job, results, phantoms, tmp_path):
    text = (tmp_path / "true.csv").read_text()
    (tmp_path / "other.csv").write_text(text.replace(results.train[0].name, "unknown.png"))
    code, said = job("--csv", "other.csv", "--data", phantoms)
    assert code == 2
    assert "unknown.png" in said


def test_classes_are_matched_by_name_and_must_be_the_labels(job, results, phantoms, tmp_path):
    header, *rows = (tmp_path / "true.csv").read_text().splitlines()
    (tmp_path / "sorted.csv").write_text("\n".join([header, *sorted(rows)]) + "\n")
    code, said = job("--csv", "sorted.csv", "--data", phantoms)
    assert code == 0, said
    assert json.loads((tmp_path / "evaluation.json").read_text())["mean"]["dice"] == 1
    fewer = [row for row in rows if ",Ulna," not in row]
    (tmp_path / "fewer.csv").write_text("\n".join([header, *fewer]) + "\n")
    code, said = job("--csv", "fewer.csv", "--data", phantoms)
    assert code == 2 and "class 'Ulna' is in" in said


def test_sizes_that_disagree_with_the_labels_are_told(job, results, phantoms, tmp_path):
    beside = (tmp_path / "true.json").read_text()
    (tmp_path / "true.json").write_text(beside.replace("[128, 128]", "[256, 256]", 1))
    code, said = job("--csv", "true.csv", "--data", phantoms)
    assert code == 2 and "is 256 x 256 there, but 128 x 128 in" in said


def test_the_json_beside_a_csv_is_not_overwritten(job, results, phantoms, tmp_path):
    before = (tmp_path / "true.json").read_text()
    code, said = job("--csv", "true.csv", "--data", phantoms, "--out", "true.json")
    assert code == 2 and "belongs to a CSV and would be lost" in said
    assert (tmp_path / "true.json").read_text() == before


def test_shuffled_rows_and_runs_past_the_image_are_seen_against_another_csv(job, results, tmp_path):
    header, *rows = (tmp_path / "moved.csv").read_text().splitlines()
    beside = json.loads((tmp_path / "true.json").read_text())
    assert job("--csv", "moved.csv", "--against", "true.csv")[0] == 0
    expected = json.loads((tmp_path / "evaluation.json").read_text())["mean"]
    (tmp_path / "shuffled.csv").write_text("\n".join([header, *rows[::-1]]) + "\n")
    assert job("--csv", "shuffled.csv", "--against", "true.csv")[0] == 0
    found = json.loads((tmp_path / "evaluation.json").read_text())["mean"]
    assert found == pytest.approx(expected)
    name = next(iter(beside["sizes_hw"]))
    far = [f"{name},{row.split(',')[1]},16384 5" if row.startswith(name) else row for row in rows]
    (tmp_path / "far.csv").write_text("\n".join([header, *far]) + "\n")
    code, said = job("--csv", "far.csv", "--against", "true.csv")
    assert code == 2 and "goes past the end of the image" in said
