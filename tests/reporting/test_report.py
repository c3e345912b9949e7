"""The report of a k-fold training, from what its folder holds."""

import re
from dataclasses import replace

import pytest
from pages import read_page
from shifted import levels_of

from handray.config import Config, replaced
from handray.data.folds import assign_folds
from handray.data.radiographs import read_folder, read_truth
from handray.inference.labels import labels_of
from handray.inference.levels import write_levels
from handray.inference.submission import levels_beside, write_submission
from handray.reporting import run_folder
from handray.reporting.report import write_report
from handray.reporting.run_folder import RunFolder
from handray.reporting.training_record import TrainingRecord
from handray.whole_files import write_json

SECTIONS = [
    *("In numbers", "Curves", "Dice by class", "Dice by slice", "Worst cases", "Threshold"),
    *("Reliability of probabilities", "Test images", "Time spent", "What was run"),
]
EPOCH = {
    "loss": 0.5,
    "class_dice": [],
    "lr": 0.1,
    "steps": 7,
    "images_per_s": 2.0,
    "wait_share": 0.25,
    "wait_seconds": 10.0,
    "step_seconds": 30.0,
    "validation_seconds": 5.0,
}


@pytest.fixture
def leave(phantoms, tmp_path, monkeypatch):
    """Leaves a run as a training would: moved labels as masks, 13 images of 7 people."""
    monkeypatch.setattr(run_folder, "RUNS", str(tmp_path))

    def run(folds=2, finished=(0, 1), names=None, failures=None) -> TrainingRecord:
        data = read_folder(phantoms)
        truth, labels = read_truth(phantoms, data), labels_of(data)
        data = replace(data, class_names=names or data.class_names)
        config = replaced(Config(), {"data.folds": folds, "data.size": 64})
        home = RunFolder("demo")
        home.path.mkdir()
        write_json(home.path / "config.json", {"data": "0123456789abcdef"})
        home.note(decode_seconds=3.0, mlflow={"parent": "run0"}, weights="none")
        fold_of = assign_folds(data.train, folds, 0)
        for fold in finished:
            home.fold(fold).mkdir()
            history = [{**EPOCH, "epoch": n, "dice": 0.1 * n} for n in (1, 2)]
            write_json(home.fold(fold) / "history.json", history)
            held = [one for one, its in zip(data.train, fold_of, strict=True) if its == fold]
            if held:
                levels = levels_of(held, data.class_names, 2)
                write_levels(levels_beside(home.fold(fold) / "oof.csv"), levels)
        if len(finished) == folds:
            test = [replace(image, polygons=truth[image.name]) for image in data.test]
            levels = levels_of(test, data.class_names, 2)
            write_submission(home.path / "output.csv", levels[3])
            write_levels(levels_beside(home.path / "output.csv"), levels)
        record = TrainingRecord(home, data, config, 90.0, failures or {})
        vars(record)["labels"] = replace(labels, class_names=data.class_names)
        return record

    return run


def test_it_has_every_section_with_its_pictures_and_needs_nothing_outside(leave):
    record = leave()
    page = read_page(write_report(record))
    assert page.headings == SECTIONS
    assert {name: len(some) for name, some in page.pictures.items()} == {
        "In numbers": 0,
        "Curves": 1,
        "Dice by class": 1,
        "Dice by slice": 1,
        "Worst cases": 6 * 5,
        "Threshold": 1,
        "Reliability of probabilities": 1,
        "Test images": 2,
        "Time spent": 1,
        "What was run": 0,
    }
    assert "2 of 2" in page.sections["In numbers"]
    assert "fold 1" in page.sections["Dice by slice"]
    assert "bent wrist" in page.sections["Dice by slice"]
    assert "0123456789abcdef" in page.sections["What was run"]
    assert "torch" in page.sections["What was run"]
    dice_NC = record.judged.dice_NC
    assert f"{dice_NC.mean():.4f}" in page.sections["In numbers"]
    cases = re.findall(r"image\d+\S*", page.sections["Worst cases"])
    assert cases[0] == record.judged.images[int(dice_NC.mean(axis=1).argmin())].name
    # Two epochs of 30 s of steps and 10 s of waiting, 2 images a second.
    assert " ".join(page.sections["Time spent"].split("fold 0")[1].split()[:8]) == (
        "60 s 20 s 10 s 2 25.0%"
    )


def test_a_fold_that_failed_and_one_that_is_missing_are_told(leave):
    record = leave(folds=3, finished=(1,), failures={0: "the loss became nan"})
    page = read_page(write_report(record))
    assert page.headings == SECTIONS
    assert "1 of 3" in page.sections["In numbers"]
    assert "Fold 0 failed: the loss became nan" in page.sections["In numbers"]
    assert "Fold 2 isn't trained yet." in page.sections["In numbers"]
    assert "They aren't voted yet." in page.sections["Test images"]
    assert page.pictures["Worst cases"]


def test_where_no_fold_ended_each_section_says_so(leave):
    page = read_page(write_report(leave(finished=(), failures={0: "no", 1: "no"})))
    assert page.headings == SECTIONS
    for name in SECTIONS[1:7]:
        assert "No fold is finished" in page.sections[name]


def test_one_network_on_all_images_is_judged_by_the_test_images_where_they_have_labels(leave):
    record = leave(folds=1, finished=(0,))
    page = read_page(write_report(record))
    assert "Masks of the test images" in page.sections["Dice by class"]
    assert "none held out" in page.sections["In numbers"]


def test_without_any_labels_to_judge_by_the_sections_say_why(leave):
    record = leave(folds=1, finished=(0,))
    images = {image.name: image for image in record.data.train}
    vars(record)["labels"] = replace(record.labels, images=images)  # no truth/
    page = read_page(write_report(record))
    assert page.headings == SECTIONS
    for name in SECTIONS[2:7]:
        assert "none was held out, and the test images have no labels" in page.sections[name]
    assert len(page.pictures["Test images"]) == 2


def test_classes_of_any_name_are_shown_as_text(leave):
    names = tuple(f"<b>{n}</b> & $x^{n}$" for n in range(29))
    page = read_page(write_report(leave(names=names)))
    assert "<b>28</b> & $x^28$" in page.sections["Dice by class"]
    assert page.headings == SECTIONS
    assert "The labels tell neither" not in page.sections["Dice by slice"]


def test_an_image_that_is_gone_and_clocks_that_nobody_read_are_told(leave, tmp_path):
    record = leave()
    gone = replace(record.judged.images[0], image_path=str(tmp_path / "gone.png"))
    record.judged.dice_NC[0] = 0.0
    vars(record)["judged"] = replace(record.judged, images=(gone, *record.judged.images[1:]))
    for fold in (0, 1):
        old = {k: v for k, v in EPOCH.items() if not k.endswith("_seconds")}
        write_json(record.run.fold(fold) / "history.json", [{**old, "epoch": 1, "dice": 0.1}])
    write_json(record.run.path / "notes.json", {})
    page = read_page(write_report(record))
    assert "image can't be read any more" in page.sections["Worst cases"]
    assert len(page.pictures["Worst cases"]) == 5 * 5, "of the other five"
    assert "Nothing of it was recorded" in page.sections["Time spent"]
