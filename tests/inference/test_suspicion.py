import numpy as np
import pytest

from handray.inference.submission import Submission
from handray.inference.suspicion import WHOLE, read_excluded, suspects_csv, suspicions
from handray.masks.rle import RunRows

IMAGES = tuple(f"image{n}.png" for n in range(10))
CLASSES = tuple("abcdefgh")


def span(start: int, end: int) -> np.ndarray:
    return np.array([start, end], np.int32)


def doubts(odd: dict[tuple[int, int], np.ndarray]):
    """Ten images whose masks are their labels, 100 px each, but for the odd ones."""
    classes = len(CLASSES)
    truth = [span(0, 100)] * (len(IMAGES) * classes)
    ours = list(truth)
    for (image, c), runs in odd.items():
        ours[image * classes + c] = runs
    predicted = Submission(IMAGES, CLASSES, RunRows.join(ours), np.full((10, 2), 100))
    return suspicions(predicted, RunRows.join(truth))


def test_the_class_that_disagrees_most_comes_first_with_what_is_usual():
    first, second = doubts({(3, 1): span(200, 300), (5, 2): span(50, 150)})[:2]
    assert (first.image_name, first.class_name) == ("image3.png", "b")
    assert first.dice == pytest.approx(0, abs=1e-5) and first.usual == 1
    assert first.score == pytest.approx(50)  # 1 below the quartile, in spreads of 0.02
    assert (second.image_name, second.class_name) == ("image5.png", "c")
    assert second.dice == pytest.approx(0.5, abs=1e-5)


def test_what_is_usual_for_a_hard_class_is_no_suspicion():
    # Dice 0 to 0.9 in steps of 0.1: quartiles 0.225 and 0.675, so nothing is far below.
    hard = {(n, 0): span(100 - 10 * n, 200 - 10 * n) for n in range(10)}
    assert not [one for one in doubts(hard) if one.is_suspect and one.class_name == "a"]


def test_an_image_that_is_wrong_as_a_whole_is_one_row(tmp_path):
    found = doubts({(4, c): span(200, 300) for c in range(8)} | {(7, 0): span(200, 300)})
    rows = [row.split(",") for row in suspects_csv(found).splitlines()]
    assert rows[0] == ["image_name", "class", "dice", "usual", "score"]
    assert {tuple(row[:3]) for row in rows[1:]} == {
        ("image4.png", WHOLE, "0.0000"),
        ("image7.png", "a", "0.0000"),
    }
    path = tmp_path / "suspects.csv"
    path.write_text(suspects_csv(found))
    assert read_excluded(path) == ["image4.png", "image7.png"]


def test_excluded_images_are_read_once_each_from_any_csv_with_their_column(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_bytes("\ufeffwhy,image_name\r\nblurred,b.png\r\n,a.png\r\n,b.png\r\n".encode())
    assert read_excluded(path) == ["b.png", "a.png"]


@pytest.mark.parametrize(
    "content",
    [b"", b"name\na.png\n", b"image_name\n\xff\n", b"image_name,image_name\na.png,\n"],
)
def test_what_is_no_list_of_images_is_refused_with_its_path(tmp_path, content):
    path = tmp_path / "mine.csv"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"mine\.csv"):
        read_excluded(path)


def test_a_list_of_images_that_cannot_be_read_is_refused_with_a_remedy(tmp_path):
    with pytest.raises(ValueError, match=r"^--exclude .* can't be read .*such as check_data's"):
        read_excluded(tmp_path)
