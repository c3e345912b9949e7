"""jobs/predict.py as a user starts it, and its mistakes."""

import json

import pytest
from processes import JOBS, run

from handray.data.radiographs import read_folder, read_truth
from handray.inference.score import score
from handray.inference.submission import read_submission


@pytest.fixture(scope="module")
def networks(phantoms, untrained, tmp_path_factory):
    """Two networks of two sizes."""
    folder, names = tmp_path_factory.mktemp("networks"), read_folder(phantoms).class_names
    for number, size in enumerate((64, 96)):
        untrained(folder / f"{number}.pt", names, number, size)
    return folder


def test_two_networks_vote_and_the_result_says_how(shared_ray, networks, phantoms, tmp_path):
    paths = [networks / "0.pt", networks / "1.pt"]
    arguments = ["--data", phantoms, "--checkpoint", *paths, "--votes", 2, "--tta", "flip"]
    code, output = run("predict.py", *arguments, folder=tmp_path, RAY_ADDRESS=shared_ray)
    assert code == 0, output
    data = read_folder(phantoms)
    done = read_submission(tmp_path / "output.csv")
    assert done.image_names == tuple(image.name for image in data.test)
    assert done.class_names == data.class_names
    dice = score(done, read_truth(phantoms, data)).dice()
    assert f"Dice at source size: {dice:.4f}" in output
    assert "output.csv: 2 images by 2 network(s), 2 vote(s) needed, tta flip" in output
    source = json.loads((tmp_path / "output.json").read_text())["source"]
    assert [member["name"] for member in source["members"]] == [str(path) for path in paths]
    assert [member["size"] for member in source["members"]] == [64, 96]
    assert source["tta"] == "flip" and source["version"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "name the networks, with either --run ID or --checkpoint PATH"),
        (["--checkpoint", "no.pt"], "no.pt: no such file; give the best.pt of a fold"),
        (["--checkpoint", "0.pt", "--tta", "spin"], "--tta spin"),
        (["--checkpoint", "0.pt", "--threshold", "1.5"], "--threshold 1.5: a probability lies"),
        (["--checkpoint", "0.pt", "--threshold", "x"], "--threshold x: neither a probability"),
        (["--checkpoint", "0.pt", "--votes", "2"], "--votes must be 1 to 1"),
        (["--checkpoint", "0.pt", "--soft", "--votes", "1"], "--soft averages probabilities"),
        (["--checkpoint", "0.pt", "--window", "100"], "--window 100: 0.pt can't take that size"),
        (["--checkpoint", "0.pt", "--window", "64", "--stride", "65"], "the stride is at most"),
        (["--checkpoint", "0.pt", "--out", "x.txt"], "name a file that ends in .csv"),
        (["--checkpoint", "0.pt", "--data", "nowhere"], "no such data folder: nowhere"),
    ],
)
def test_a_mistake_is_one_sentence_before_ray_starts(
    run_here, arguments, sentence, networks, phantoms
):
    before = sorted(networks.iterdir())
    code, output = run_here("predict.py", "--data", phantoms, *arguments, folder=networks)
    assert code == 2
    assert sentence in output
    assert sorted(networks.iterdir()) == before


def test_a_threshold_a_class_comes_from_a_file(load_job, tmp_path):
    job = load_job(JOBS / "predict.py")
    (tmp_path / "t.json").write_text('{"Ulna": 0.4}')
    assert job._thresholds(str(tmp_path / "t.json"), ("Radius", "Ulna")) == (0.5, 0.4)
    (tmp_path / "t.json").write_text('{"Femur": 0.4}')
    with pytest.raises(ValueError, match="the networks have no class 'Femur'"):
        job._thresholds(str(tmp_path / "t.json"), ("Radius", "Ulna"))
