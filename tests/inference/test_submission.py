"""The competition's CSV and its JSON: round trips, and a sentence for every broken file."""

import json

import numpy as np
import pytest

from handray.inference.submission import (
    Submission,
    json_beside,
    read_submission,
    write_submission,
)
from handray.masks.rle import RunRows, encode, format_runs

HEADER = "image_name,class,rle"
ROWS = ["a.png,Radius,1 2", "a.png,Ulna,", "b.png,Radius,3 1 5 2", "b.png,Ulna,8 8"]


def csv_of(folder, rows, header=HEADER, end="\n", name="m.csv"):
    path = folder / name
    path.write_bytes(end.join([header, *rows, ""]).encode())
    return path


def rows_of(submission):
    return [
        f"{image},{name},{format_runs(submission.runs(i, c))}"
        for i, image in enumerate(submission.image_names)
        for c, name in enumerate(submission.class_names)
    ]


def small(**changes):
    rows = RunRows.join([np.array(r, np.int32) for r in ([0, 2], [], [2, 3, 4, 6], [7, 15])])
    parts = {"image_names": ("a.png", "b.png"), "class_names": ("Radius", "Ulna"), "rows": rows}
    return Submission(**{**parts, **changes})


def test_a_file_holds_a_row_for_each_image_and_class_and_an_empty_field_for_an_empty_mask(tmp_path):
    path = tmp_path / "new" / "output.csv"
    write_submission(path, small())
    assert path.read_bytes() == "\n".join([HEADER, *ROWS, ""]).encode()
    assert sorted(p.name for p in path.parent.iterdir()) == ["output.csv", "output.json"]


def test_reading_undoes_writing_with_sizes_and_source(tmp_path):
    sizes_hw = np.array([[4, 4], [3, 5]])
    written = small(sizes_hw=sizes_hw, source={"run": "3f1c", "fold": 2})
    write_submission(tmp_path / "o.csv", written)
    read = read_submission(tmp_path / "o.csv")
    assert rows_of(read) == ROWS and not read.reordered
    np.testing.assert_array_equal(read.sizes_hw, sizes_hw)
    assert read.source == {"run": "3f1c", "fold": 2}
    assert json.loads(json_beside(tmp_path / "o.csv").read_text())["sizes_hw"]["b.png"] == [3, 5]


@pytest.mark.parametrize("classes", [1, 29, 40])
def test_random_masks_survive_the_file(tmp_path, classes):
    masks = np.random.default_rng(classes).random((2 * classes, 9, 11)) > 0.6
    rows = RunRows.join([encode(mask) for mask in masks])
    names = tuple(f"class {number}" for number in range(classes))
    write_submission(tmp_path / "o.csv", small(class_names=names, rows=rows))
    read = read_submission(tmp_path / "o.csv")
    np.testing.assert_array_equal(read.rows.bounds, rows.bounds)
    np.testing.assert_array_equal(read.rows.offsets, rows.offsets)


def test_names_with_commas_quotes_and_umlauts_survive_the_file(tmp_path):
    names = ("Hand, rechts.png", 'die "Röntgen".png')
    write_submission(tmp_path / "o.csv", small(image_names=names))
    assert read_submission(tmp_path / "o.csv").image_names == names


@pytest.mark.parametrize(
    "content",
    [
        "\r\n".join([HEADER, *ROWS, ""]).encode(),
        b"\xef\xbb\xbf" + "\n".join([HEADER, *ROWS]).encode(),
        "\n".join([HEADER, '"a.png","Radius","1 2"', *ROWS[1:]]).encode(),
        "\r\n".join([HEADER, *ROWS, "", ""]).encode(),
        "\n".join([f",{HEADER}", *(f"{n},{row}" for n, row in enumerate(ROWS))]).encode(),
        "\n".join(["rle,class,image_name", *(",".join(r.split(",")[::-1]) for r in ROWS)]).encode(),
    ],
    ids=["windows", "byte-order-mark", "quoted", "blank-lines", "pandas-index", "columns-moved"],
)
def test_other_programs_files_read_the_same(tmp_path, content):
    path = tmp_path / "m.csv"
    path.write_bytes(content)
    read = read_submission(path)
    assert rows_of(read) == ROWS
    assert not read.reordered


def test_a_quoted_mask_longer_than_the_csv_modules_limit_is_read(tmp_path):
    text = " ".join(f"{start} 1" for start in range(1, 60_000, 2))
    assert len(text) > 131_072
    read = read_submission(csv_of(tmp_path, [f'a.png,Ulna,"{text}"']))
    assert len(read.rows.bounds) == 60_000


def test_shuffled_rows_are_put_in_order_and_the_reader_says_so(tmp_path):
    read = read_submission(csv_of(tmp_path, [ROWS[at] for at in (3, 0, 2, 1)]))
    assert read.reordered
    assert rows_of(read) == [ROWS[3], ROWS[2], ROWS[1], ROWS[0]]


def broken(tmp_path, rows, **how):
    with pytest.raises(ValueError) as caught:
        read_submission(csv_of(tmp_path, rows, **how), lambda image: (4, 4))
    message = str(caught.value)
    assert message.startswith(str(tmp_path / "m.csv")) and "\n" not in message
    return message[len(str(tmp_path / "m.csv")) :]


@pytest.mark.parametrize(
    "rows, sentence",
    [
        ([*ROWS[:3], "b.png,Ulna,8 10"], "run '8 10' goes past the end of the image of 16 pixels"),
        ([*ROWS[:3], "b.png,Ulna,8 4 9 1"], "run '9 1' overlaps the run before it, '8 4'"),
        ([*ROWS[:3], "b.png,Ulna,8 1 2 1"], "run '2 1' goes back behind the run before it, '8 1'"),
        ([*ROWS[:3], "b.png,Ulna,8"], "an odd count of numbers (1); each start has a length"),
        ([*ROWS[:3], "b.png,Ulna,nan"], "'nan' is not a whole number"),
        ([*ROWS[:3], "b.png,Ulna,0 4"], "run '0 4' starts below 1; starts count from 1"),
    ],
)
def test_a_bad_mask_is_named_by_line_image_and_class(tmp_path, rows, sentence):
    assert broken(tmp_path, rows) == f", line 5, image 'b.png', class 'Ulna': {sentence}"


def test_lines_are_those_of_the_file_even_where_rows_are_shuffled(tmp_path):
    assert broken(tmp_path, [ROWS[3], "a.png,Radius,x", ROWS[1], ROWS[2]]) == (
        ", line 3, image 'a.png', class 'Radius': 'x' is not a whole number"
    )


def test_a_row_that_comes_twice_is_refused(tmp_path):
    assert broken(tmp_path, [*ROWS, ROWS[1]]) == (
        ", line 6: image 'a.png', class 'Ulna' again; it is on line 3 already"
    )


def test_a_class_missing_for_an_image_is_refused(tmp_path):
    assert broken(tmp_path, ROWS[:3]) == (
        ": image 'b.png' has no row for class 'Ulna', which image 'a.png' has on line 3"
    )


def test_a_class_that_only_a_later_image_has_is_refused(tmp_path):
    assert broken(tmp_path, [*ROWS, "b.png,Femur,"]) == (
        ": image 'a.png' has no row for class 'Femur', which image 'b.png' has on line 6"
    )


@pytest.mark.parametrize("column", ["image_name", "class", "rle"])
def test_a_missing_column_is_named(tmp_path, column):
    header = HEADER.replace(column, "other")
    assert broken(tmp_path, ROWS, header=header).startswith(f" lacks the column '{column}'; its")


def test_semicolons_show_in_the_sentence(tmp_path):
    said = broken(tmp_path, ["a.png;Ulna;1 1"], header="image_name;class;rle")
    assert said == " lacks the column 'image_name'; its header is ['image_name;class;rle']"


def test_a_row_with_a_field_too_few_is_named(tmp_path):
    said = broken(tmp_path, [ROWS[0], "a.png,Ulna"])
    assert said == ", line 3: 2 fields where the header has 3"


@pytest.mark.parametrize(
    "content, sentence",
    [
        (b"", "is empty; expected the header 'image_name,class,rle' and rows"),
        (b"\n\n", "is empty; expected the header"),
        (b"image_name,class,rle\n", "has a header but no rows"),
        (b"\xff\xfei\x00m\x00", "is not UTF-8 text (byte 0); save it so"),
        (b'image_name,class,rle\n"a.png,Ulna,1 1\n', "line 2: unexpected end of data"),
    ],
)
def test_what_is_no_submission_is_refused(tmp_path, content, sentence):
    path = tmp_path / "m.csv"
    path.write_bytes(content)
    with pytest.raises(ValueError) as caught:
        read_submission(path)
    assert str(path) in str(caught.value) and sentence in str(caught.value)


def test_runs_are_checked_against_the_json_before_the_lookup(tmp_path):
    path = csv_of(tmp_path, ROWS)
    json_beside(path).write_text('{"sizes_hw": {"a.png": [4, 4], "b.png": [2, 7]}}')
    with pytest.raises(ValueError, match="past the end of the image of 14 pixels"):
        read_submission(path, lambda image: (9, 9))


def test_without_json_or_lookup_sizes_are_unknown(tmp_path):
    assert read_submission(csv_of(tmp_path, ROWS)).sizes_hw is None


@pytest.mark.parametrize(
    "beside, sentence",
    [
        ("{", "is not JSON"),
        ("[1]", "holds no JSON object"),
        ('{"sizes_hw": {"a.png": [4, 4]}}', "no size for image 'b.png'"),
        ('{"sizes_hw": {"a.png": [4, 4], "b.png": [4]}}', "m.json: "),
        ('{"sizes_hw": {"a.png": 4, "b.png": 4}}', "must hold [height, width] of 1 or more"),
        ('{"sizes_hw": {"a.png": [4, 4], "b.png": [0, 4]}}', "of 1 or more"),
        ('{"sizes_hw": 2048}', "m.json: "),
    ],
)
def test_a_broken_json_is_named_with_its_remedy(tmp_path, beside, sentence):
    path = csv_of(tmp_path, ROWS)
    json_beside(path).write_text(beside)
    with pytest.raises(ValueError) as caught:
        read_submission(path)
    assert str(json_beside(path)) in str(caught.value) and sentence in str(caught.value)


@pytest.mark.parametrize(
    "changes, sentence",
    [
        ({"image_names": ("a.png", "a.png")}, "'a.png' stands for more than one"),
        ({"class_names": ("Ulna",)}, "expected 2 rows, got 4"),
        ({"sizes_hw": np.ones((1, 2), int)}, "sizes_hw of shape"),
    ],
)
def test_parts_that_do_not_fit_make_no_submission(changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        small(**changes)


def test_a_failed_write_leaves_the_old_files_and_no_others(tmp_path, monkeypatch):
    path = tmp_path / "o.csv"
    write_submission(path, small())
    (tmp_path / "o_levels.npz").touch()
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}

    def full(draft, content):
        draft.touch()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    with pytest.raises(OSError, match="No space left") as caught:
        write_submission(path, small(source={"new": True}))
    assert str(tmp_path) in caught.value.filename
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_another_programs_json_is_not_overwritten(tmp_path):
    (tmp_path / "config.json").write_text('{"lr": 0.1}')
    with pytest.raises(ValueError, match=r"config\.json is not of a CSV and would be lost; give"):
        write_submission(tmp_path / "config.csv", small())
    assert [p.name for p in tmp_path.iterdir()] == ["config.json"]


@pytest.mark.parametrize("name", ["", "folder.csv", "o.json", "o.txt", "file.csv/o.csv"])
def test_a_path_that_cannot_be_a_csv_is_refused(tmp_path, name):
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "file.csv").touch()
    with pytest.raises(ValueError, match=r"can't write a CSV to .*ends in \.csv"):
        write_submission(tmp_path / name, small())
