"""jobs/check_data.py as a user starts it, and what train_kfold does with its suspects."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from processes import run

from handray.data.radiographs import read_folder
from handray.inference.score import truth_rows
from handray.inference.submission import Submission, write_submission
from handray.masks.rle import RunRows
from handray.preparation import without


@pytest.fixture
def spoilt(phantoms, tmp_path):
    """Hands of which one file is cut off and one label was mirrored after a run had seen it."""
    folder = shutil.copytree(phantoms, tmp_path / "hands")
    data = read_folder(folder)
    cut, mirrored = data.train[0], data.train[5]
    rows = [
        truth_rows(one.polygons, len(data.class_names), (one.height, one.width))
        for one in data.train[1:]
    ]
    names = tuple(one.name for one in data.train[1:])
    sizes = np.array([(one.height, one.width) for one in data.train[1:]])
    seen = Submission(names, data.class_names, RunRows.stack(rows), sizes)
    write_submission(tmp_path / "runs/small/oof.csv", seen)
    path = folder / "train/DCM" / cut.person / cut.name
    path.write_bytes(path.read_bytes()[:500])
    label = (folder / "train/outputs_json" / mirrored.person / mirrored.name).with_suffix(".json")
    content = json.loads(label.read_text())
    for mark in content["annotations"]:
        mark["points"] = [[mirrored.width - 1 - x, y] for x, y in mark["points"]]
    label.write_text(json.dumps(content))
    return folder, cut.name, mirrored.name


def test_a_page_a_table_and_suspects_that_a_training_leaves_out(spoilt, shared_ray, tmp_path):
    folder, cut, mirrored = spoilt
    arguments = ["--data", folder, "--out", "page.html", "--run", "small"]
    code, output = run("check_data.py", *arguments, folder=tmp_path, RAY_ADDRESS=shared_ray)
    assert code == 1, output
    assert f"{cut}: PNG cut off after 500 bytes" in output
    assert f"Mirrored hands: 1 images, such as {mirrored}" in output
    assert "12 training images of 7 people, 2 test images, 29 classes, 1 faulty files" in output
    html = (tmp_path / "page.html").read_text()
    assert cut in html and mirrored in html and "Labels that a network doubts" in html
    table = pd.read_csv(tmp_path / "page_images.csv", keep_default_na=False)
    findings = dict(zip(table["image_name"], table["findings"], strict=True))
    assert "mirrored" in findings[mirrored].split() and len(findings) == 14
    suspects = pd.read_csv(tmp_path / "suspects.csv", keep_default_na=False)
    assert list(suspects["image_name"]) == [mirrored] and list(suspects["class"]) == [""]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "hands",
        "page.html",
        "page_images.csv",
        "runs",
        "suspects.csv",
    ]


def test_excluded_images_are_no_training_images_any_more(phantoms, capsys):
    data = read_folder(phantoms)
    gone = data.train[3].name
    left = without(data, [gone], "suspects.csv")
    assert [image.name for image in left.train] == [
        image.name for image in data.train if image.name != gone
    ]
    assert left.test == data.test
    assert left.excluded == (gone,)
    assert "1 training images are left out, as suspects.csv says" in capsys.readouterr().out
    with pytest.raises(ValueError, match="leaves no training image"):
        without(data, [image.name for image in data.train], "suspects.csv")


def test_a_training_refuses_to_leave_out_what_is_not_there(run_here, phantoms, tmp_path):
    (tmp_path / "mine.csv").write_text("image_name\nnobody.png\n")
    small = ["--model", "hrnet_small", "--size", 64, "--weights", "none"]
    arguments = [*small, "--data", phantoms, "--exclude", "mine.csv"]
    code, said = run_here("train_kfold.py", *arguments, folder=tmp_path)
    assert code == 2 and "'nobody.png'; correct the name, or remove its row" in said
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (["--out", "page.csv"], "name a file that ends in .html"),
        (["--out", "nowhere/page.html"], "in a folder that is there"),
        (["--data", "nowhere"], "no such data folder: nowhere"),
        (["--run", "nobody"], "--run nobody"),
    ],
)
def test_mistakes_are_told_before_ray_starts(run_here, phantoms, tmp_path, arguments, sentence):
    code, said = run_here("check_data.py", "--data", phantoms, *arguments, folder=tmp_path)
    assert code == 2 and sentence in said, said
    assert not list(tmp_path.glob("*.html"))
