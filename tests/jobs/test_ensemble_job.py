"""jobs/ensemble.py from the outside: files in, one CSV or one sentence out."""

import hashlib
import json
import os
import resource
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from mlflow import MlflowClient
from pages import read_page
from processes import mlflow_runs
from shifted import levels_of

from handray.data.radiographs import read_folder, read_truth
from handray.inference.levels import write_levels
from handray.inference.score import score
from handray.inference.submission import (
    json_beside,
    levels_beside,
    read_submission,
    write_submission,
)

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
    names = [member["name"] for member in beside["source"]["members"]]
    assert names == ["a.csv", "b.csv", "c.csv"]


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


def test_sizes_come_from_json_then_data_then_image_size(job, folder, monkeypatch, capsys):
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
    assert capsys.readouterr().out.count("note: no report, since ") == 2


def test_runs_and_csvs_mix_and_a_tracked_vote_is_a_member_for_others(
    job, folder, monkeypatch, capsys
):
    monkeypatch.chdir(folder)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    runs = []
    for name in ("b.csv", "c.csv"):
        job.main(["--csv", name, "--track", "--out", "alone.csv"])
        runs.append(capsys.readouterr().out.split()[-1])
    job.main(["--runs", ",".join(runs), "--csv", "a.csv", "--votes", "2", "--out", "mixed.csv"])
    assert f"2 or more of 3 votes: a.csv, run {runs[0]}, run {runs[1]}" in capsys.readouterr().out
    job.main(["--csv", "a.csv", "b.csv", "c.csv", "--votes", "2", "--out", "files.csv"])
    assert (folder / "mixed.csv").read_text() == (folder / "files.csv").read_text()
    first, _, last = json.loads((folder / "mixed.json").read_text())["source"]["members"]
    assert (last["name"], last["run"]) == (f"run {runs[1]}", runs[1])
    assert first["sha256"] == hashlib.sha256((folder / "a.csv").read_bytes()).hexdigest()
    tags = [run.data.tags for run in mlflow_runs(folder)[1] if "member/2" in run.data.tags]
    assert [tags[0][f"member/{n}"] for n in range(3)] == ["a.csv", *runs]


def test_a_vote_that_mlflow_does_not_take_is_whole_and_its_run_failed(job, folder, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (folder / "runs").mkdir()
    (folder / "runs/mlartifacts").write_text("no folder")
    with pytest.raises(OSError, match=r"^output.csv is written, but MLflow at sqlite.* not got it"):
        job.main(["--csv", "a.csv", "--track"])
    assert (folder / "output.csv").read_text() == A
    assert [run.info.status for run in mlflow_runs(folder)[1]] == ["FAILED"]


def test_explain_prints_where_a_result_comes_from(job, folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    job.main(["--csv", "a.csv", "b.csv", "--weights", "1", "2", "--image-size", "64"])
    capsys.readouterr()
    job.main(["--explain", "output.csv"])
    said = capsys.readouterr().out
    for part in ("2 images of 64 x 64 px", "a.csv:", "sha256", "[1.0, 2.0]", "version", "time"):
        assert part in said
    assert "no CSV with a a.json that tells of it" in fails(folder, "--explain", "a.csv")


def test_a_weight_counts_as_often_as_it_says(job, folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    rule = ["--vote-fraction", "0.5"]
    job.main(["--csv", "a.csv", "b.csv", "--weights", "2", "1", *rule, "--out", "weighted.csv"])
    # int(0.5 * 3) is one vote, which either gives.
    assert "1 or more of 3 votes: 2 x a.csv, b.csv" in capsys.readouterr().out
    job.main(["--csv", "a.csv", "b.csv", "--weights", "2", "1", "--votes", "2"])
    assert (folder / "output.csv").read_text() == A
    job.main(["--csv", "a.csv", "b.csv", "--weights", "0.6", "0.3", "--vote-fraction", "0.6"])
    assert (folder / "output.csv").read_text() == A
    job.main(["--csv", "a.csv", "b.csv", "c.csv", "--weights", "1", "1", "1", "--out", "ones.csv"])
    job.main(["--csv", "a.csv", "b.csv", "c.csv", "--out", "plain.csv"])
    assert (folder / "ones.csv").read_text() == (folder / "plain.csv").read_text()


@pytest.fixture(scope="module")
def judged(phantoms, tmp_path_factory):
    """Two runs' results of the test images with out-of-fold ones beside: one good, one shifted."""
    home, data = tmp_path_factory.mktemp("judged"), read_folder(phantoms)
    truth = read_truth(phantoms, data)
    test = [replace(image, polygons=truth[image.name]) for image in data.test]
    for name, shift in {"good": 1, "bad": 9}.items():
        (home / name).mkdir()
        for file, images in {"oof.csv": data.train, "output.csv": test}.items():
            levels = levels_of(images, data.class_names, shift)
            write_submission(home / name / file, levels[3])
            write_levels(levels_beside(home / name / file), levels)
    return home


@pytest.mark.parametrize("more", [[], ["--soft"], ["--per-class"], ["--soft", "--per-class"]])
def test_select_takes_the_good_member_by_its_out_of_fold_masks(
    job, judged, phantoms, tmp_path, monkeypatch, capsys, more
):
    monkeypatch.chdir(tmp_path)
    csvs = [str(judged / name / "output.csv") for name in ("bad", "good")]
    job.main(["--csv", *csvs, "--data", str(phantoms), "--select", *more])
    said = capsys.readouterr().out
    weights = json.loads((tmp_path / "output.json").read_text())["source"]["weights"]
    assert weights[0] == 0 and weights[1] >= 1
    for part in ("no part in the choice", "Gain over the best single member", "within noise"):
        assert part in said
    voted, good = read_submission(tmp_path / "output.csv"), read_submission(Path(csvs[1]))
    page = read_page(tmp_path / "output_report.html")
    assert page.headings == [
        *("In numbers", "Members", "Votes", "Dice by class", "Dice by slice", "Worst cases"),
        *("Reliability of probabilities", "What was run"),
    ]
    assert csvs[1] in page.sections["Members"] and "judged_by" in page.sections["What was run"]
    assert "Gain over the best single member" in page.sections["In numbers"]
    assert len(page.pictures["Worst cases"]) == 6 * 5
    if not more:
        assert (tmp_path / "output.csv").read_text() == Path(csvs[1]).read_text()
    assert voted.image_names == good.image_names, "chosen on the training images, not of them"


def test_a_vote_beside_labels_leaves_its_report_and_mlflow_has_it(
    job, judged, phantoms, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    csvs = [str(judged / name / "output.csv") for name in ("bad", "good")]
    job.main(["--csv", *csvs, "--data", str(phantoms), "--votes", "1", "--track"])
    page = read_page(tmp_path / "output_report.html")
    assert "out-of-fold masks of the training images" in page.sections["In numbers"]
    run = capsys.readouterr().out.rpartition("run ")[2].strip()
    client = MlflowClient(tracking_uri=os.environ["MLFLOW_TRACKING_URI"])
    kept = client.download_artifacts(run, "report.html", str(tmp_path))
    assert Path(kept).read_bytes() == (tmp_path / "output_report.html").read_bytes()


def test_a_sweep_prints_the_dice_of_every_number_of_votes(
    job, judged, phantoms, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    csvs = [str(judged / name / "oof.csv") for name in ("bad", "good")]
    job.main(["--csv", *csvs, "--data", str(phantoms), "--sweep", "--votes", "2", "--agreement"])
    said = capsys.readouterr().out
    assert "judged by the members' own images" in said
    lines = said.splitlines()[2:]
    assert lines[0].split() == ["votes", "Dice"]
    labels = {image.name: image.polygons for image in read_folder(phantoms).train}
    expected = score(read_submission(tmp_path / "output.csv"), labels).dice()
    assert float(lines[2].split()[1]) == pytest.approx(expected, abs=6e-5)
    assert "Dice of each two members" in said
    assert (tmp_path / "output_agreement.png").read_bytes()[:4] == b"\x89PNG"


def test_classes_are_matched_by_name_whatever_their_order(
    job, judged, phantoms, tmp_path, monkeypatch, capsys
):
    """The same results, their classes in another order in output.csv than in oof.csv."""
    monkeypatch.chdir(tmp_path)
    rules = {}
    for order in ("as it is", "sorted"):
        csvs = []
        for name in ("bad", "good"):
            home = tmp_path / order / name
            shutil.copytree(judged / name, home)
            if order == "sorted":
                text = (home / "output.csv").read_text().splitlines()
                (home / "output.csv").write_text("\n".join([text[0], *sorted(text[1:])]) + "\n")
            csvs.append(str(home / "output.csv"))
        arguments = ["--data", str(phantoms), "--per-class", "--out", f"{order}.csv"]
        job.main(["--csv", *csvs, *arguments])
        said = capsys.readouterr().out
        rules[order] = json.loads((tmp_path / f"{order}.json").read_text())["source"]
        assert "judged by out-of-fold masks" in said
    votes = [rules[order]["votes_needed"] for order in rules]
    assert votes[0] == votes[1]
    rows = [sorted((tmp_path / f"{order}.csv").read_text().splitlines()) for order in rules]
    assert rows[0] == rows[1]


def test_only_the_proportions_of_weights_count(
    job, judged, phantoms, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    csvs = [str(judged / name / "output.csv") for name in ("bad", "good")]
    said = []
    for weights in (["1", "3"], ["100", "300"], ["1e-9", "3e-9"]):
        job.main(
            [
                "--csv",
                *csvs,
                "--data",
                str(phantoms),
                "--soft",
                "--per-class",
                "--weights",
                *weights,
            ]
        )
        said.append(capsys.readouterr().out.split("output.csv: ")[0])
        said.append((tmp_path / "output.csv").read_text())
    assert said[0] == said[2] == said[4]
    assert said[1] == said[3] == said[5]


def test_a_first_member_whose_rows_are_shuffled_changes_nothing(
    job, judged, phantoms, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(judged / "bad", tmp_path / "bad")
    header, *rows = (tmp_path / "bad/output.csv").read_text().splitlines()
    good = str(judged / "good/output.csv")
    results = []
    for name, text in {"whole": rows, "shuffled": rows[1:] + rows[:1]}.items():
        (tmp_path / "bad/output.csv").write_text("\n".join([header, *text]) + "\n")
        rule = ["--data", str(phantoms), "--per-class", "--out", f"{name}.csv"]
        job.main(["--csv", "bad/output.csv", good, *rule])
        results.append(sorted((tmp_path / f"{name}.csv").read_text().splitlines()))
    assert results[0] == results[1]


def test_levels_of_a_csv_that_is_overwritten_are_gone(job, judged, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(judged / "bad", tmp_path / "bad")
    job.main(["--csv", str(judged / "good/output.csv"), "--out", "bad/output.csv"])
    with pytest.raises(ValueError, match="has no levels"):
        job.main(["--csv", "bad/output.csv", "--soft", "--out", "soft.csv"])


def test_what_members_are_judged_by_is_not_overwritten(judged, phantoms, tmp_path):
    shutil.copytree(judged / "bad", tmp_path / "bad")
    said = fails(tmp_path, "--csv", "bad/output.csv", "--out", "bad/oof.csv")
    assert "holds a member's out-of-fold masks" in said


def test_tidying_is_off_unless_asked_for(job, folder, monkeypatch):
    monkeypatch.chdir(folder)
    (folder / "a.csv").write_text(A.replace("1 4\n", "1 4 9 1\n"))
    job.main(["--csv", "a.csv"])
    assert (folder / "output.csv").read_text() == (folder / "a.csv").read_text()
    job.main(["--csv", "a.csv", "--largest-component", "--fill-holes"])
    assert (folder / "output.csv").read_text() == A


def test_a_short_vote_tells_no_stages(job, folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    job.main(["--csv", "a.csv"])
    assert capsys.readouterr().err == ""


def test_a_vote_tells_each_of_its_stages(job, folder, monkeypatch):
    monkeypatch.chdir(folder)
    told = []
    monkeypatch.setattr(job.Stages, "__call__", lambda stages, what: told.append(what))
    arguments = ["--csv", "a.csv", "b.csv", "--fill-holes"]
    job.main(arguments)
    options = job.parse_arguments(arguments)
    assert told == [
        *("reading a.csv", "reading b.csv", "counting the votes of 2 members"),
        "tidying masks up",
    ]
    assert len(told) == job._stages(options, 0, False)


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
        (["--csv", "a.csv", "--weights", "1", "2"], "--weights has 2 numbers for 1 members"),
        (["--csv", "a.csv", "--weights", "-1"], "--weights must be 0 or more, and not all 0"),
        (["--csv", "a.csv", "--select"], "--per-class need labels; name their data folder with"),
        (["--csv", "a.csv", "--weights", "inf"], "--weights must be 0 or more, and not all 0"),
        (["--csv", "a.csv", "--out", "x.txt"], "name a file that ends in .csv"),
        (["--csv", "a.csv", "--soft", "--votes", "1"], "--soft compares the mean probability"),
        (["--csv", "a.csv", "--soft", "--vote-fraction", "0.9"], "probabilities from 0.2 to 0.8"),
        (["--csv", "a.csv", "--fill-holes", "Femur"], "--fill-holes Femur: no class has this name"),
        (
            ["--csv", "a.csv", "--select", "--votes", "1", "--data", "x"],
            "--select chooses weights and votes; leave --weights, --votes and",
        ),
        (["--csv", "a.csv", "--soft"], "a.csv has no levels (a_levels.npz)"),
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
