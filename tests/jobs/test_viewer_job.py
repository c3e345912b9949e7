"""The viewer's page as Streamlit runs it, and its command line."""

import json
import socket
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from processes import JOBS, wait_for
from streamlit.testing.v1 import AppTest

from handray.bones import BONES
from handray.data.radiographs import read_folder
from handray.inference.score import truth_rows
from handray.inference.submission import Submission, write_submission
from handray.masks.rle import RunRows

SECONDS = 60


@pytest.fixture(scope="module")
def folder(phantoms):
    return read_folder(phantoms)


@pytest.fixture(scope="module")
def results(folder, tmp_path_factory):
    """Two CSVs of the training images: the labels, and the labels with other images' carpals."""
    home = tmp_path_factory.mktemp("results")
    images = folder.train
    truth = [truth_rows(image.polygons, len(BONES), (128, 128)) for image in images]
    wrong = [
        RunRows.join(
            [truth[(at + 1) % len(truth) if c >= 19 else at][c] for c in range(len(BONES))]
        )
        for at in range(len(truth))
    ]
    paths = []
    for name, rows in (("perfect", truth), ("wrong", wrong)):
        names = tuple(image.name for image in images)
        sizes = np.full((len(names), 2), 128)
        path = home / f"{name}.csv"
        write_submission(path, Submission(names, BONES, RunRows.stack(rows), sizes))
        paths.append(path)
    return paths


@pytest.fixture
def page(monkeypatch):
    """Opens the page with a command line."""

    def open_page(*arguments: object) -> AppTest:
        monkeypatch.setattr("sys.argv", ["viewer.py", *map(str, arguments)])
        return AppTest.from_file(str(JOBS / "viewer.py"), default_timeout=SECONDS).run()

    return open_page


def titles(at: AppTest) -> list[str]:
    assert not at.exception
    return [caption.value for caption in at.main.caption]


def errors(at: AppTest) -> list[str]:
    assert not at.exception
    return [error.value for error in at.error]


def test_csvs_stand_beside_the_image_and_its_label_with_their_dice(page, phantoms, results):
    at = page("--data", phantoms, "--csv", *results)
    assert [title.split("/")[-1] for title in titles(at)][:3] == [
        "radiograph",
        "label",
        "perfect, Dice 1.000",
    ]
    assert len(at.image) == 4
    table = at.dataframe[0].value
    assert table["class"].tolist() == ["all", *BONES]
    perfect, wrong = table.columns[1:]
    assert (table[perfect] == 1).all()
    assert (table[wrong][1:20] == 1).all() and table[wrong][20:28].max() < 1


def test_groups_and_classes_are_toggled_and_the_dice_is_of_those_that_are_shown(
    page, phantoms, results
):
    at = page("--data", phantoms, "--csv", results[1])
    before = at.image[2].value
    at.pills(key="groups").set_value(["all", "fingers", "carpals"]).run()
    assert at.pills(key="classes").value == list(BONES[:-2])
    assert at.image[2].value != before
    at.pills(key="classes").set_value(["finger-3"]).run()
    assert at.pills(key="groups").value == []
    assert titles(at)[-1].endswith("Dice 1.000")
    assert at.dataframe[0].value["class"].tolist() == ["all", "finger-3"]
    at.pills(key="groups").set_value(["all"]).run()
    assert at.pills(key="classes").value == list(BONES)


def test_a_picture_is_put_away_and_stays_away(page, phantoms, results):
    at = page("--data", phantoms, "--csv", *results)
    names = at.pills(key="pictures").value
    at.pills(key="pictures").set_value(names[1:]).run()
    assert titles(at)[0] == "label" and len(at.image) == 3
    at.button[1].click().run()
    assert titles(at)[0] == "label" and len(at.image) == 3


def test_next_worst_goes_up_the_ranks_of_the_classes_that_are_shown(page, phantoms, results):
    at = page("--data", phantoms, "--csv", results[1])
    at.selectbox(key="order").set_value(at.selectbox(key="order").options[1].split("by ")[1]).run()
    seen = []
    for _ in range(3):
        seen.append(float(titles(at)[2].split("Dice ")[1]))
        assert at.button[1].label == "Next worst"
        at.button[1].click().run()
    assert seen == sorted(seen) and seen[0] < seen[2]


def test_compare_loss_and_agreement_have_their_numbers(page, phantoms, results):
    at = page("--data", phantoms, "--csv", *results)
    at.segmented_control(key="mode").set_value("Compare Loss").run()
    table = at.dataframe[0].value
    perfect, wrong = (name for name in table.columns if name.endswith("px"))
    assert table[perfect].sum() == 0 and table[wrong][0] == table[wrong][1:].sum() > 0
    assert any("A CSV holds no probabilities" in title for title in titles(at))
    at.segmented_control(key="mode").set_value("Agreement").run()
    assert at.dataframe[0].value["contested px"][0] > 0


def test_an_uploaded_network_predicts_an_uploaded_image_beside_its_label(
    page, folder, untrained, tmp_path
):
    image = folder.train[0]
    label = image.image_path.replace("DCM", "outputs_json").replace(".png", ".json")
    network = untrained(tmp_path / "best.pt", BONES).read_bytes()
    at = page()
    assert at.info and not at.image
    at.file_uploader(key="image_file").set_value(
        (image.name, Path(image.image_path).read_bytes(), "image/png")
    ).run()
    assert titles(at) == ["radiograph"]
    at.file_uploader(key="label_file").set_value(
        ("label.json", Path(label).read_bytes(), "application/json")
    )
    at.file_uploader(key="network_files").set_value(("best.pt", network, "")).run()
    assert titles(at)[2].startswith("best.pt, Dice 0.")
    at.segmented_control(key="mode").set_value("Compare Loss").run()
    assert "best.pt: loss of each pixel" in titles(at)
    every = at.image[3].value
    at.pills(key="classes").set_value(["Radius"]).run()
    assert at.image[3].value != every
    assert {"bce loss", "dice loss"} <= set(at.dataframe[0].value.columns)


def test_bad_uploads_are_told_in_a_sentence_each(page, folder, phantoms, untrained, tmp_path):
    image = folder.train[0]
    content = Path(image.image_path).read_bytes()
    other = folder.train[1].image_path.replace("DCM", "outputs_json").replace(".png", ".json")
    at = page("--data", phantoms)
    at.segmented_control(key="from").set_value("Upload").run()
    at.file_uploader(key="image_file").set_value(("x.png", b"no image", "image/png")).run()
    assert errors(at) == ["x.png: neither PNG nor JPEG: the content starts with b'no image'"]
    at.file_uploader(key="image_file").set_value((image.name, content, "image/png"))
    at.file_uploader(key="label_file").set_value(
        ("label.json", Path(other).read_bytes(), "application/json")
    )
    at.file_uploader(key="csv_files").set_value(("a.csv", b"1,2,3", "text/csv"))
    teeth = untrained(tmp_path / "teeth.pt", ("11", "12")).read_bytes()
    at.file_uploader(key="network_files").set_value(
        [("bad.pt", b"0" * 100, ""), ("bad.onnx", b"0", ""), ("teeth.pt", teeth, "")]
    ).run()
    told = sorted(errors(at))
    assert len(told) == 5
    for start, message in zip(
        ("a.csv lacks", "bad.onnx is no", "bad.pt is not", "label.json: it is the label of",
         "teeth.pt has the class '11'"), told, strict=True
    ):  # fmt: skip
        assert message.startswith(start)
    assert titles(at) == ["radiograph"]


def test_other_classes_than_bones_are_shown_by_name_without_groups(page, tmp_path):
    for part, name, content in (
        ("DCM", "x.png", cv2.imencode(".png", np.zeros((40, 60), np.uint8))[1].tobytes()),
        ("outputs_json", "x.json", json.dumps({"annotations": [
            {"label": "12", "points": [[1, 1], [20, 1], [20, 20]]}]}).encode()),
    ):  # fmt: skip
        (tmp_path / "train" / part / "ID1").mkdir(parents=True)
        (tmp_path / "train" / part / "ID1" / name).write_bytes(content)
    (tmp_path / "classes.txt").write_text("11\n12\n")
    at = page("--data", tmp_path)
    assert titles(at) == ["radiograph", "label"]
    assert at.pills(key="classes").value == ["11", "12"]
    assert at.pills(key="groups").options == ["all"]


def test_a_wrong_command_line_under_streamlit_run_is_told_on_the_page(page, tmp_path):
    assert errors(page("--data", tmp_path / "nowhere"))[0].startswith("no such data folder")
    assert "unrecognized arguments" in errors(page("--dta", "x"))[0]


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--csv", "a.csv"], "name their folder with --data DIR"),
        (["--data", "nowhere"], "no such data folder: nowhere"),
        (["--data", ".", "--csv", "nowhere.csv"], "--csv nowhere.csv: no such file"),
        (["--data", ".", "--runs", "0123"], "--runs 0123: there is no tracking store"),
        (["--port", "70000"], "--port is 1 to 65535, got 70000"),
        (["--address", "192.0.2.1"], "can't listen on port 8501 of 192.0.2.1"),
    ],
)
def test_bad_input_ends_before_anything_is_served(run_here, tmp_path, arguments, message):
    code, said = run_here("viewer.py", *arguments, folder=tmp_path, HANDRAY_RUNS=str(tmp_path))
    assert code == 2 and message in said and said.count("\n") == 1


def test_a_port_that_is_taken_is_named(run_here, tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, said = run_here("viewer.py", "--port", port, folder=tmp_path)
    assert code == 2 and f"can't listen on port {port} of 127.0.0.1" in said


def test_without_streamlit_the_command_that_installs_it_is_told(tmp_path):
    hidden = "import runpy, sys; sys.modules['streamlit'] = None; sys.argv = ['viewer.py']; "
    hidden += f"runpy.run_path({str(JOBS / 'viewer.py')!r}, run_name='__main__')"
    done = subprocess.run(
        [sys.executable, "-c", hidden], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr == "error: the viewer needs streamlit: pip install 'handray[viewer]'\n"


def test_streamlit_run_serves_it_on_this_machine_alone(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "streamlit",
        "run",
        JOBS / "viewer.py",
        f"--server.port={port}",
    ]
    process = subprocess.Popen(
        command, cwd=tmp_path, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:
        wait_for(lambda: listeners(port), process)
        assert listeners(port) == {"0100007F"}
    finally:
        process.terminate()
        process.communicate(timeout=30)


def listeners(port: int) -> set[str]:
    """The addresses where a port is listened on, as Linux has them: hexadecimal, reversed."""
    tables = [Path(f"/proc/net/tcp{version}").read_text() for version in ("", "6")]
    rows = [row.split() for table in tables for row in table.splitlines()[1:]]
    places = [row[1].split(":") for row in rows if row[3] == "0A"]
    return {address for address, its in places if int(its, 16) == port}
