"""The audit's page and table, of hands and of classes that are no bones; without Ray."""

import json
import re
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from handray.data.audit.measure import measure
from handray.data.radiographs import read_folder
from handray.reporting.audit import Audit
from handray.reporting.audit_page import audit_page
from handray.reporting.cutout import around, draw_cutout

ABOUT_HANDS = ("Mirrored", "Swapped", "hand", "Bend", "Bent")


def audited(folder: Path) -> Audit:
    data = read_folder(folder)
    images = [*data.train, *data.test]
    return Audit(data, images, [measure(image, data.class_names) for image in images])


def page_of(audit: Audit) -> str:
    return audit_page(audit, None, lambda cutouts: [draw_cutout(one) for one in cutouts])


@pytest.fixture(scope="module")
def hands(phantoms) -> Audit:
    return audited(phantoms)


@pytest.fixture(scope="module")
def bars(tmp_path_factory) -> Audit:
    """Ten films of 96 x 64 px; "bar" overlaps "ball" by half, and one bar is ten times as large."""
    folder = tmp_path_factory.mktemp("bars")
    (folder / "classes.txt").write_text("ball\nbar\n")
    for n in range(10):
        image = np.full((64, 96), 20 + n, np.uint8)
        wide = 60 if n == 4 else 5
        points = {
            "ball": [(10, 10), (19, 10), (19, 19), (10, 19)],
            "bar": [(15, 10), (15 + wide - 1, 10), (15 + wide - 1, 19), (15, 19)],
        }
        marks = [{"label": name, "points": [list(p) for p in xy]} for name, xy in points.items()]
        for part in ("DCM", "outputs_json"):
            (folder / "train" / part / f"P{n // 2}").mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / f"train/DCM/P{n // 2}/film{n}.png"), image)
        label = folder / f"train/outputs_json/P{n // 2}/film{n}.json"
        label.write_text(json.dumps({"annotations": marks}))
    return audited(folder)


def test_the_page_holds_everything_and_asks_the_network_for_nothing(hands):
    html = page_of(hands)
    links = re.findall(r'(?:src|href)="([^"]*)"', html)
    assert all(link.startswith(("data:image/", "#")) for link in links)
    assert "<script" not in html
    for title in ("At a glance", "Bent wrists", "Gray levels", "Classes", "Overlaps", "People"):
        assert title in html
    assert html.count("data:image/svg+xml") == 5


def test_the_table_has_what_folds_are_stratified_by(hands):
    table = hands.table().set_index("image_name")
    assert set(table["split"]) == {"train", "test"}
    for image in hands.data.train:
        row = table.loc[image.name]
        assert (row["person"], row["side"]) == (image.person, image.side)
        assert row["bend"] == pytest.approx(image.bend, abs=0.05)
        assert row["is_bent"] == (abs(image.bend) > 12)
    assert pd.isna(table.loc[hands.data.test[0].name, "bend"])


def test_mean_and_std_are_of_all_training_pixels(hands):
    pixels = [cv2.imread(image.image_path, cv2.IMREAD_GRAYSCALE) for image in hands.data.train]
    mean, std, wrapped = hands.gray()
    assert mean == pytest.approx(np.mean(pixels)) and std == pytest.approx(np.std(pixels))
    squares = [image.astype(np.uint8) ** 2 for image in pixels]
    assert wrapped == pytest.approx(np.sqrt(np.mean(squares)))


def test_hands_are_counted_by_side_and_overlaps_by_pair(hands):
    assert hands.sides() == {"R": 7, "L": 6}
    assert next(iter(hands.overlaps())) == ("Triquetrum", "Pisiform")
    assert "hands: 7 right, 6 left" in hands.summary()


def test_other_classes_have_no_findings_of_hands(bars):
    html = page_of(bars)
    titles = re.findall(r"<h2>(.*?)</h2>", html)
    assert "Areas far from the rest" in titles
    assert not [title for title in titles if any(word in title for word in ABOUT_HANDS)]
    assert "hands" not in bars.summary()


def test_findings_whose_pictures_cannot_be_drawn_are_listed_by_name(bars):
    html = audit_page(bars, None, lambda cutouts: [None for _ in cutouts])
    assert "film4.png" in html and "data:image/jpeg" not in html


def test_areas_overlaps_and_modes_of_other_classes_are_counted(bars):
    facts = bars.classes()["bar"]
    assert (facts.images, facts.median) == (10, 50)
    overlap = bars.overlaps()["ball", "bar"]
    # Nine films share 50 of 100 pixels; one shares 50 of 650.
    assert (overlap.images, overlap.share) == (10, 1)
    assert overlap.iou == pytest.approx((9 * 0.5 + 50 / 650) / 10)
    assert bars.modes() == {"gray": 10} and bars.sizes() == {"96 x 64": 10}
    found = {(one.kind, one.image): one.text for one in bars.findings}
    assert found["area", 4].startswith("bar: ")


def test_a_cutout_stays_on_its_film_and_around_its_polygon():
    corner = np.array([(0, 0), (9, 0), (9, 9)], np.int32)
    x0, y0, x1, y1 = around([corner], (100, 200))
    assert (x0, y0) == (0, 0) and x1 == y1 == 21  # 0.16 of 200 px around (4.5, 4.5)
    assert around([], (100, 200)) is None
