"""The viewer in a real browser: Chromium, by Playwright; its pictures go to screenshots/."""

import os
import pickle
import re
import shutil
import signal
import socket
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from processes import start, wait_for

from handray.bones import BONES
from handray.data.radiographs import read_folder
from handray.inference.score import truth_rows
from handray.inference.submission import Submission, write_submission
from handray.masks.rle import RunRows

pytestmark = pytest.mark.browser

CHROMIUM = shutil.which("chromium")
SCREENSHOTS = Path(__file__).parents[2] / "screenshots"
SECONDS = 90
IMAGES = "[data-testid=stImage] img"


@pytest.fixture(scope="module")
def folder(phantoms):
    return read_folder(phantoms)


@pytest.fixture(scope="module")
def csvs(folder, tmp_path_factory) -> list[Path]:
    """Members that are ever worse: of more and more images they have another one's label."""
    images = folder.train
    truth = [truth_rows(image.polygons, len(BONES), (128, 128)) for image in images]
    home, paths = tmp_path_factory.mktemp("csvs"), []
    for step in range(3):
        rows = RunRows.stack(
            [truth[(at + step * (at % 3)) % len(truth)] for at in range(len(truth))]
        )
        paths.append(home / f"member{step}.csv")
        write_submission(paths[-1], Submission(tuple(i.name for i in images), BONES, rows))
    return paths


@pytest.fixture(scope="module")
def server(phantoms, csvs, tmp_path_factory):
    """The viewer's address; what it wrote anywhere is looked at in the end."""
    home, temporary = tmp_path_factory.mktemp("served"), tmp_path_factory.mktemp("temporary")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    arguments = ["--data", phantoms, "--csv", *csvs, "--port", port]
    process = start("viewer.py", *arguments, folder=home, TMPDIR=str(temporary))
    address = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        with suppress(urllib.error.URLError):
            return urllib.request.urlopen(f"{address}/_stcore/health", timeout=5).status == 200
        return False

    wait_for(answers, process)
    yield address
    os.killpg(process.pid, signal.SIGINT)
    said = process.communicate(timeout=30)[0]
    assert "Traceback" not in said, said
    left = [path for top in (home, temporary) for path in top.rglob("*") if path.is_file()]
    assert not left, "no upload stays on disk"


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        pytest.skip("there is no chromium; apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # Without its sandbox, which root can't have, a browser should only see what is ours.
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


class Viewer:
    """A page of the viewer, and what a person does there."""

    def __init__(self, page, address: str) -> None:
        self.page = page
        page.set_default_timeout(1000 * SECONDS)
        self.asked: set[str] = set()
        page.on("request", lambda request: self.asked.add(request.url))
        page.goto(address)
        page.wait_for_selector(IMAGES)
        self.settle()

    def settle(self) -> None:
        """Wait until Streamlit has nothing to do."""
        self.page.wait_for_timeout(200)
        self.page.wait_for_selector("[data-testid=stApp][data-test-script-state=notRunning]")
        self.page.wait_for_timeout(200)

    def pictures(self) -> list[str]:
        return [str(one.get_attribute("src")) for one in self.page.locator(IMAGES).all()]

    def see(self, act: Callable[[], object], picture: int) -> None:
        """Do something and wait for a picture that isn't the one before."""
        before = self.pictures()[picture]
        act()
        self.page.wait_for_function(
            "([selector, at, before]) => { const all = document.querySelectorAll(selector);"
            " return all.length > at && all[at].getAttribute('src') != before }",
            arg=[IMAGES, picture, before],
        )
        self.settle()

    def press(self, name: str) -> None:
        self.page.get_by_role("button", name=name, exact=True).click()

    def option(self, name: str) -> None:
        self.page.get_by_role("radio", name=name, exact=True).click()

    def pick(self, label: str, text: str) -> None:
        box = self.page.get_by_label(label).first
        box.click()
        self.page.get_by_role("option", name=text).click()
        self.settle()

    def upload(self, key: str, *files: Path | dict) -> None:
        self.page.locator(f".st-key-{key} input[type=file]").set_input_files(list(files))
        self.settle()

    def titles(self) -> list[str]:
        return self.page.locator(
            "[data-testid=stMain] [data-testid=stCaptionContainer]"
        ).all_inner_texts()

    def errors(self) -> list[str]:
        assert self.page.get_by_test_id("stException").count() == 0
        return self.page.get_by_test_id("stAlertContentError").all_inner_texts()

    def keep(self, name: str) -> None:
        SCREENSHOTS.mkdir(exist_ok=True)
        self.page.screenshot(path=str(SCREENSHOTS / f"{name}.png"))


@pytest.fixture
def viewer(browser, server):
    page = browser.new_page(viewport={"width": 1500, "height": 950})
    opened = Viewer(page, server)
    yield opened
    outside = [url for url in opened.asked if not url.startswith((server, "data:", "blob:"))]
    assert not outside, "the page needs no network"
    page.close()


def test_a_folder_with_csvs_is_gone_through_from_the_worst_on(viewer):
    assert viewer.titles()[:2] == ["radiograph", "label"]
    viewer.keep("prediction_output")
    viewer.see(lambda: viewer.press("carpals"), picture=1)
    viewer.see(lambda: viewer.press("Radius"), picture=1)
    viewer.see(lambda: viewer.press("all"), picture=1)
    viewer.pick("Order", re.compile("worst first by .*member2"))
    dice = []
    for _ in range(3):
        dice.append(float(viewer.titles()[4].split("Dice ")[1]))
        viewer.see(lambda: viewer.press("Next worst"), picture=0)
    assert dice == sorted(dice) and dice[0] < 0.9
    viewer.see(lambda: viewer.pick("Zoom on", "carpals"), picture=0)
    viewer.keep("next_worst_zoomed")
    viewer.option("Agreement")
    viewer.page.wait_for_selector("text=votes of 3 predictions")
    viewer.settle()
    assert len(viewer.pictures()) == 3
    viewer.keep("agreement")


def test_an_uploaded_network_predicts_and_is_compared(viewer, folder, untrained, tmp_path):
    image = Path(folder.train[0].image_path)
    label = Path(str(image).replace("DCM", "outputs_json")).with_suffix(".json")
    viewer.option("Upload")
    viewer.settle()
    viewer.upload("image_file", image)
    viewer.upload("label_file", label)
    viewer.upload("network_files", untrained(tmp_path / "best.pt", BONES))
    viewer.page.wait_for_selector("text=best.pt, Dice")
    viewer.keep("uploaded_network")
    network = len(viewer.pictures()) - 1
    viewer.see(lambda: viewer.press("Radius"), picture=network)
    viewer.see(lambda: viewer.option("512"), picture=network)
    viewer.option("Compare Loss")
    viewer.page.wait_for_selector("text=best.pt: loss of each pixel")
    viewer.settle()
    assert any(re.match(r"best\.pt: [\d,]+ pixels differ", title) for title in viewer.titles())
    viewer.keep("compare_loss")
    assert viewer.errors() == []


def test_bad_uploads_are_told_and_the_page_goes_on(viewer, folder, tmp_path):
    image, other = (Path(one.image_path) for one in folder.train[:2])
    label = Path(str(other).replace("DCM", "outputs_json")).with_suffix(".json")
    viewer.option("Upload")
    viewer.settle()
    huge = tmp_path / "huge.png"
    with huge.open("wb") as file:
        file.truncate(100 << 20)
    viewer.upload("image_file", huge)
    viewer.page.wait_for_selector("text=File must be 64.0MB or smaller")
    viewer.keep("too_large")
    viewer.upload("image_file", {"name": "x.png", "mimeType": "image/png", "buffer": b"none"})
    viewer.page.wait_for_selector("text=x.png: neither PNG nor JPEG")
    viewer.upload("image_file", image)
    viewer.upload("label_file", label)
    evil = {"name": "evil.pt", "mimeType": "", "buffer": pickle.dumps(os.system)}
    viewer.upload("network_files", evil)
    viewer.page.wait_for_selector("text=evil.pt is not a checkpoint")
    told = viewer.errors()
    assert len([message for message in told if "evil.pt is not a checkpoint" in message]) == 1
    assert len([message for message in told if "it is the label of" in message]) == 1
    viewer.keep("bad_uploads")
    assert viewer.titles()[0] == "radiograph"
