"""jobs/ensemble.py from the outside: files in, one CSV or one sentence out."""

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from handray.inference.submission import json_beside, read_submission

JOB = Path(__file__).parents[2] / "jobs" / "ensemble.py"
HEADER = "image_name,class,rle\n"
A = HEADER + "x.png,Radius,1 4\nx.png,Ulna,\ny.png,Radius,9 2\ny.png,Ulna,5 1\n"
B = HEADER + "x.png,Radius,3 4\nx.png,Ulna,\ny.png,Radius,9 3\ny.png,Ulna,7 1\n"
C = HEADER + "x.png,Radius,4 9\nx.png,Ulna,1 1\ny.png,Radius,\ny.png,Ulna,5 3\n"


@pytest.fixture
def folder(tmp_path):
    for name, text in {"a.csv": A, "b.csv": B, "c.csv": C}.items():
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.fixture(scope="module")
def job(load_job):
    return load_job(JOB)


def run(folder, *arguments, **how):
    return subprocess.run(
        [sys.executable, str(JOB), *arguments], cwd=folder, capture_output=True, text=True, **how
    )


def fails(folder, *arguments, **how):
    """The one sentence on stderr of a job that must leave with 2 and nothing behind."""
    before = sorted(folder.rglob("*"))
    done = run(folder, *arguments, **how)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1, done.stderr
    assert sorted(folder.rglob("*")) == before
    return done.stderr.removeprefix("error: ").rstrip()


def test_two_of_three_votes_make_the_result_and_the_last_line_tells_the_rule(folder):
    done = run(folder, "--csv", "a.csv", "b.csv", "c.csv", "--votes", "2", "--out", "out/v.csv")
    assert (done.returncode, done.stderr) == (0, "")
    assert (folder / "out/v.csv").read_text() == (
        HEADER + "x.png,Radius,3 4\nx.png,Ulna,\ny.png,Radius,9 2\ny.png,Ulna,5 1 7 1\n"
    )
    assert done.stdout == "out/v.csv: pixels with 2 or more of 3 votes: a.csv, b.csv, c.csv\n"
    beside = json.loads((folder / "out/v.json").read_text())
    assert beside["sizes_hw"] == {"x.png": [2048, 2048], "y.png": [2048, 2048]}
    assert beside["source"]["votes_needed"] == 2
    assert list(beside["source"]["members"]) == ["a.csv", "b.csv", "c.csv"]


def test_csvs_alone_import_no_torch_ray_mlflow_pandas_or_albumentations(folder):
    heavy = ["torch", "ray", "mlflow", "pandas", "albumentations", "cv2", "fsspec"]
    script = (
        "import runpy, sys\n"
        f"sys.argv = ['ensemble', '--csv', 'a.csv', 'b.csv']\n"
        "try:\n"
        f"    runpy.run_path({str(JOB)!r}, run_name='__main__')\n"
        "except SystemExit as left:\n"
        "    assert left.code == 0, left.code\n"
        f"print([name for name in {heavy} if name in sys.modules])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=folder, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_help_explains_the_rule_and_shows_examples(folder):
    done = run(folder, "--help")
    assert done.returncode == 0 and done.stdout.count("python jobs/ensemble.py") >= 3
    assert "0.7" in done.stdout and "--vote-fraction" in done.stdout


def test_the_default_rule_is_seven_tenths_rounded_down(job, folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    assert job.main(["--csv", "a.csv", "b.csv", "c.csv"]) == 0
    assert "output.csv: pixels with 2 or more of 3 votes" in capsys.readouterr().out


def test_a_member_with_shuffled_rows_counts_and_is_noted(job, folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    header, *rows = B.splitlines()
    (folder / "b.csv").write_text("\n".join([header, *(rows[at] for at in (3, 0, 2, 1))]))
    job.main(["--csv", "b.csv", "a.csv", "--votes", "2"])
    assert read_submission(folder / "output.csv").image_names == ("x.png", "y.png")
    assert (folder / "output.csv").read_text().splitlines()[1] == "x.png,Radius,3 2"
    assert "note: the rows of b.csv were in another order" in capsys.readouterr().out


def test_sizes_come_from_json_then_data_then_image_size(job, folder, monkeypatch):
    monkeypatch.chdir(folder)
    person = folder / "data/test/DCM/ID001"
    person.mkdir(parents=True)
    for name in ("x.png", "y.png"):
        cv2.imwrite(str(person / name), np.zeros((3, 5), np.uint8))

    def sizes(*arguments):
        job.main(["--csv", "a.csv", *arguments])
        return read_submission(Path("output.csv")).sizes_hw.tolist()

    assert sizes("--image-size", "6") == [[6, 6], [6, 6]]
    assert sizes("--data", "data") == [[3, 5], [3, 5]]
    json_beside(folder / "a.csv").write_text('{"sizes_hw": {"x.png": [4, 4], "y.png": [5, 5]}}')
    assert sizes("--data", "data") == [[4, 4], [5, 5]]


def test_runs_and_csvs_mix_and_run_ids_may_be_split_by_commas(job, folder, monkeypatch, capsys):
    asked = []

    def download(run_id, into):
        asked.append(run_id)
        (into / "output.csv").write_text(C)
        return into / "output.csv"

    tracking = type(sys)("handray.reporting.tracking")
    tracking.download_submission = download
    monkeypatch.setitem(sys.modules, "handray.reporting.tracking", tracking)
    monkeypatch.chdir(folder)
    job.main(["--runs", "r1,r2", "r3", "--csv", "a.csv", "--votes", "3"])
    assert asked == ["r1", "r2", "r3"]
    assert "3 or more of 4 votes: a.csv, run r1, run r2, run r3" in capsys.readouterr().out
    assert (folder / "output.csv").read_text() == C.replace("x.png,Ulna,", "x.png,Ulna,")


def test_progress_is_told_only_after_ten_seconds(job, folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    job.main(["--csv", "a.csv"])
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(job, "QUIET_SECONDS", -1.0)
    job.main(["--csv", "a.csv"])
    assert "0 s: reading a.csv" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        ([], "no members; name result files with --csv or MLflow runs with --runs"),
        (["--csv", "no.csv"], "no.csv: No such file or directory"),
        (["--csv", "."], ".: Is a directory"),
        (
            ["--csv", "a.csv", "--votes", "2"],
            "--votes must be 1 to 1, the number of members; got 2",
        ),
        (
            ["--csv", "a.csv", "--votes", "x"],
            "argument --votes: invalid int value: 'x'; see --help",
        ),
        (["--csv", "a.csv", "--out", "."], "can't write a CSV to"),
        (["--csv", "a.csv", "--out", "a.csv"], "--out a.csv is a member too"),
        (["--csv", "a.csv", "--out", "a.csv/v.csv"], "a.csv/v.csv"),
        (["--csv", "a.csv", "--image-size", "0"], "--image-size must be 1 to 46340, got 0"),
        (
            ["--csv", "a.csv", "--image-size", "3"],
            "line 4, image 'y.png', class 'Radius': run '9 2'",
        ),
        (["--csv", "a.csv", "--data", "nowhere"], "no such data folder: nowhere"),
        (["--csv", "a.csv", "--out", "/proc/v.csv"], "/proc/"),
    ],
)
def test_each_mistake_is_one_sentence_code_2_and_leaves_nothing(folder, arguments, sentence):
    assert sentence in fails(folder, *arguments)


def test_votes_and_a_fraction_together_are_refused(folder):
    said = fails(folder, "--csv", "a.csv", "--votes", "1", "--vote-fraction", "0.5")
    assert "--vote-fraction: not allowed with argument --votes" in said


@pytest.mark.parametrize(
    "text, sentence",
    [
        (A.replace("rle", "mask"), "b.csv lacks the column 'rle'"),
        (HEADER + "x.png,Radius,\nx.png,Ulna,\n", "image 'y.png' is in a.csv (2 in all) but not"),
        (A + "y.png,Femur,\n", "image 'x.png' has no row for class 'Femur'"),
        (
            A.replace("9 2", "4194304 2"),
            "run '4194304 2' goes past the end of the image of 4194304",
        ),
        (A.replace("9 2", "9 2 10 1"), "run '10 1' overlaps"),
        (A.replace("9 2", "9 2 3"), "an odd count of numbers (3)"),
        ("", "b.csv is empty"),
        (A + "x.png,Ulna,\n", "line 6: image 'x.png', class 'Ulna' again"),
    ],
)
def test_each_broken_member_is_one_sentence(job, folder, monkeypatch, text, sentence):
    (folder / "b.csv").write_text(text)
    monkeypatch.chdir(folder)
    with pytest.raises(ValueError) as caught:
        job.main(["--csv", "a.csv", "b.csv"])
    assert sentence in str(caught.value)
    assert not (folder / "output.csv").exists()


def test_a_disk_that_fills_up_leaves_no_half_written_result(folder):
    def small_files_only():
        resource.setrlimit(resource.RLIMIT_FSIZE, (20, 20))

    said = fails(
        folder,
        "--csv",
        "a.csv",
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        preexec_fn=small_files_only,
    )
    assert said.endswith("output.csv: File too large")


def test_an_image_that_data_lacks_is_named(folder):
    (folder / "data/test/DCM").mkdir(parents=True)
    said = fails(folder, "--csv", "a.csv", "--data", "data")
    assert said == "image 'x.png' is in neither test nor train of data"
