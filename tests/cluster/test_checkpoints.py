"""Which checkpoints are whole."""

import json
from pathlib import Path

import pytest

from handray.cluster.checkpoints import INDEX, SEAL, Checkpoints, damage, seal


def keep(storage: Path, name: str, steps: int, content: bytes = b"weights") -> Path:
    folder = storage / "fold0" / name
    folder.mkdir(parents=True)
    (folder / "last.pt").write_bytes(content)
    (folder / "history.json").write_text("[]")
    seal(folder, steps)
    return folder


@pytest.fixture
def into(tmp_path) -> Path:
    folder = tmp_path / "into"
    folder.mkdir()
    return folder


def test_the_furthest_by_steps_is_taken_whatever_the_clock_of_its_machine_said(tmp_path, into):
    keep(tmp_path, "checkpoint_2026-11-27_09", steps=12)
    keep(tmp_path, "checkpoint_2026-11-27_10", steps=6)
    found = Checkpoints(str(tmp_path), 0).fetch_furthest(into)
    assert found == ("checkpoint_2026-11-27_09", [])
    assert {path.name for path in into.iterdir()} == {"last.pt", "history.json", SEAL}


def test_a_file_that_is_cut_short_is_told_and_the_checkpoint_before_is_taken(tmp_path, into):
    keep(tmp_path, "a", steps=6, content=b"before")
    (keep(tmp_path, "b", steps=12) / "last.pt").write_bytes(b"wei")
    name, complaints = Checkpoints(str(tmp_path), 0).fetch_furthest(into)
    assert (name, complaints) == ("a", ["b is damaged (last.pt is cut short or changed)"])
    assert (into / "last.pt").read_bytes() == b"before"


def test_where_no_checkpoint_is_whole_there_is_none(tmp_path, into):
    assert Checkpoints(str(tmp_path), 0).fetch_furthest(into) == (None, [])
    (keep(tmp_path, "a", steps=6) / "last.pt").write_bytes(b"")
    name, complaints = Checkpoints(str(tmp_path), 0).fetch_furthest(into)
    assert name is None and len(complaints) == 1
    assert list(into.iterdir()) == []


def test_what_was_copied_in_part_gives_its_room_back(tmp_path, into):
    whole, *parts = (keep(tmp_path, name, steps) for steps, name in enumerate("abcd"))
    for part, file in zip(parts, (SEAL, "last.pt", "history.json"), strict=True):
        (part / file).unlink()
    cut = keep(tmp_path, "e", steps=12)
    (cut / "last.pt").write_bytes(b"wei")
    checkpoints = Checkpoints(str(tmp_path), 0)
    checkpoints.drop_parts()
    assert [list(part.iterdir()) for part in (*parts, cut)] == [[]] * 4
    assert len(list(whole.iterdir())) == 3
    assert checkpoints.fetch_furthest(into) == ("a", [])


def test_damage_names_the_file(tmp_path):
    folder = keep(tmp_path, "a", steps=6)
    assert damage(folder) is None
    (folder / "history.json").unlink()
    assert damage(folder) == "history.json is missing"


@pytest.mark.parametrize(
    ("text", "stays"),
    [
        (json.dumps({"checkpoint_results": [{"checkpoint_dir_name": "a"}]}), True),
        (json.dumps({"checkpoint_results": [{"checkpoint_dir_name": "gone"}]}), False),
        ('{"checkpoint_results": [{"check', False),
        ("", False),
    ],
)
def test_a_list_that_ray_train_could_not_start_with_is_removed(tmp_path, text, stays):
    keep(tmp_path, "a", steps=6)
    index = tmp_path / "fold0" / INDEX
    index.write_text(text)
    Checkpoints(str(tmp_path), 0).mend_index()
    assert index.exists() == stays
