"""Lines and tables for people."""

import pytest

from handray.reporting import console
from handray.reporting.console import Counting, LiveLines, dice_table, duration, progress_line

WORD = {
    "epoch": 3,
    "step": 5,
    "steps": 40,
    "share": 0.251,
    "seconds_left": 7300.0,
    "images_per_s": 12.345,
    "loss": 0.25,
    "dice": None,
}


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(8.4, "8 s"), (89, "89 s"), (600, "10 min"), (7200, "2.0 h"), (864000, "10.0 days")],
)
def test_durations_have_the_unit_that_people_would_use(seconds, text):
    assert duration(seconds) == text


def test_a_folds_line_says_where_it_is_and_how_long_it_will_take():
    assert progress_line("fold 2", WORD) == (
        "fold 2  epoch 3 step 5/40  loss 0.2500  Dice -  12.35 images/s  25%, 2.0 h left"
    )
    assert "Dice 0.8125" in progress_line("fold 2", {**WORD, "dice": 0.8125})
    assert "loss -" in progress_line("fold 2", {**WORD, "loss": None})
    assert progress_line("fold 1", None) == "fold 1  waiting for its workers to start"


def test_a_log_file_gets_each_line_once_and_no_control_characters(capsys, monkeypatch):
    monkeypatch.setattr(console, "LOG_SECONDS", 0.0)
    with LiveLines(lambda: ["one", "two"]) as live:
        live.say("stays")
        live._draw()
    captured = capsys.readouterr()
    assert captured.err == "one\ntwo\n"
    assert captured.out == "stays\n"


def test_short_work_shows_no_count(capsys):
    counting = Counting("reading")
    for done in range(1, 4):
        counting(done, 3)
    assert capsys.readouterr().err == ""


def test_the_table_lists_the_five_worst_classes_worst_first():
    classes = {name: number / 10 for number, name in enumerate("fbecagd", start=1)}
    lines = dice_table([0.5, 0.75], classes, {"oof_dice_mean": 0.625}).split("\n")
    assert "  fold 1               0.7500" in lines
    assert "  oof_dice_mean        0.6250" in lines
    assert [line.split()[0] for line in lines[-5:]] == ["f", "b", "e", "c", "a"]
