"""A run's folder: whose it is, what is finished, what appears as a whole."""

import json

import pytest

from handray.reporting.run_folder import RunFolder

FACTS = {"data.size": 64, "optim.lr": 0.1}


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return RunFolder("mine")


def test_looking_at_a_run_writes_nothing(home, tmp_path):
    home.check(FACTS)
    home.require_space(1)
    assert (home.summary(), home.notes(), list(tmp_path.iterdir())) == (None, {}, [])


def test_the_same_facts_go_on_and_others_are_refused_by_name(home):
    home.claim(FACTS)
    home.check(dict(FACTS))
    with pytest.raises(ValueError, match=r"other data \(optim.lr was 0.1, now 0.2\)"):
        home.check({**FACTS, "optim.lr": 0.2})
    with pytest.raises(ValueError, match=r"classes was None, now 3"):
        home.check({**FACTS, "classes": 3})


@pytest.mark.parametrize("text", ["{", "[]", "null", ""])
def test_a_damaged_file_is_named_with_the_remedy(home, text):
    home.claim(FACTS)
    for name in ("config.json", "notes.json", "summary.json"):
        before = home.path / name
        kept = before.read_text() if before.exists() else None
        before.write_text(text)
        with pytest.raises(
            ValueError, match=rf"{name} is damaged .*; remove .*mine, or take anoth"
        ):
            home.check(FACTS) or home.notes() or home.summary()
        before.write_text(kept) if kept else before.unlink()


def test_two_processes_cannot_train_one_run(home):
    home.claim(FACTS)
    with pytest.raises(ValueError, match="run mine is being trained already"):
        RunFolder("mine").claim(FACTS)
    with pytest.raises(ValueError, match="run mine is being trained already"):
        RunFolder("mine").check(FACTS)


def test_a_fold_appears_as_a_whole_or_not_at_all(home):
    home.claim(FACTS)

    def breaks(into):
        (into / "best.pt").write_text("half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        home.finish_fold(0, breaks)
    assert not home.fold(0).exists()
    home.finish_fold(0, lambda into: (into / "best.pt").write_text("whole"))
    home.finish_fold(0, breaks)
    assert (home.fold(0) / "best.pt").read_text() == "whole"
    assert [path.name for path in home.fold(0).iterdir()] == ["best.pt"]


def test_notes_are_added_to(home):
    home.claim(FACTS)
    home.note(weights="none", seconds=1.5)
    home.note(seconds=2.0)
    assert RunFolder("mine").notes() == {"weights": "none", "seconds": 2.0}
    assert json.loads((home.path / "config.json").read_text()) == FACTS


def test_a_disk_without_room_is_named_with_what_is_needed(home):
    with pytest.raises(OSError, match=r"needs about 1048576.0 GiB for checkpoints, but its disk"):
        home.require_space(2**50)


@pytest.mark.parametrize("name", ["a/b", "", ".", ".."])
def test_a_name_that_is_no_folders_name_is_refused(name):
    with pytest.raises(ValueError, match="--name"):
        RunFolder(name)
