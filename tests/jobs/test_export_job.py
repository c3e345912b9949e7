"""jobs/export.py as a user starts it: a checkpoint or a run in, one ONNX file or one sentence."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from handray.inference.checkpoint import load_for_inference
from handray.models.zoo import Design, build_network
from handray.reporting.run_folder import RunFolder
from handray.reporting.tracking.tracker import start_tracking
from handray.training.state import save_network

JOB = Path(__file__).parents[2] / "jobs" / "export.py"
NAMES = ["Radius", "Ulna", "Capitate"]
ABOUT = {
    "config": {"model": {"model": "hrnet_small", "weights": "none"}},
    "class_names": NAMES,
    "mean": 40.25,
    "std": 51.5,
    "size": 64,
}


def run(folder: Path, *arguments: object) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of the job, started in ``folder``."""
    known = {k: v for k, v in os.environ.items() if k != "MLFLOW_TRACKING_URI"}
    done = subprocess.run(
        [sys.executable, str(JOB), *map(str, arguments)],
        cwd=folder,
        env=known,
        capture_output=True,
        text=True,
        timeout=400,
    )
    return done.returncode, done.stdout, done.stderr


def untrained(path: Path, **changes: object) -> Path:
    torch.manual_seed(3)
    save_network(path, build_network(Design("hrnet_small"), len(NAMES)), ABOUT | changes)
    return path


@pytest.fixture(scope="module")
def job(load_job):
    return load_job(JOB)


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return tmp_path


@pytest.fixture
def tracker(folder):
    """A training of two folds in sqlite, whose fold 0 has a best.pt."""
    home = RunFolder("mine")
    home.claim({})
    home.note(weights="none")
    tracker = start_tracking(home, {}, {f"fold{fold}": {"fold": fold} for fold in (0, 1)})
    tracker.log_files("fold0", [untrained(folder / "best.pt")])
    tracker.settle()
    (folder / "best.pt").unlink()
    return tracker


@pytest.mark.parametrize(
    "design", [Design("unet_scratch", activation="relu"), Design("unet", "resnet18")]
)
def test_a_checkpoint_is_built_with_its_encoder_and_activation(design, tmp_path):
    config = {
        "model": {
            "model": design.name,
            "encoder": design.encoder,
            "activation": design.activation,
        }
    }
    ours = build_network(design, 3)
    save_network(tmp_path / "best.pt", ours, ABOUT | {"config": config})
    network, about = load_for_inference(tmp_path / "best.pt")
    assert not network.training and about["size"] == 64
    # SELU and ReLU have no weights, so the state alone would not show the activation.
    kinds = [{type(module) for module in model.modules()} for model in (network, ours)]
    assert kinds[0] == kinds[1]


def complaints(errors: str) -> list[str]:
    """What is on stderr beside the stages, which a slow machine is shown."""
    return [line for line in errors.splitlines() if not line.endswith(" so far")]


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("export")
    untrained(folder / "best.pt")
    return folder, run(folder, "--checkpoint", "best.pt")


def test_the_result_is_named_after_the_model_and_the_last_line_describes_it(exported):
    folder, (code, output, errors) = exported
    assert (code, complaints(errors)) == (0, [])
    assert sorted(path.name for path in folder.iterdir()) == ["best.pt", "hrnet_small.onnx"]
    lines = output.splitlines()
    assert lines[0] == "exporting hrnet_small at 64 px"
    assert "logits differ by at most" in lines[1] and "(0.001 is allowed)" in lines[1]
    mib = (folder / "hrnet_small.onnx").stat().st_size / 2**20
    assert lines[2].startswith(f"hrnet_small.onnx: {mib:.1f} MiB, opset ")
    assert lines[2].endswith("parameters; Netron (https://netron.app) opens it")
    assert len(lines) == 3


@pytest.mark.parametrize("batch", [1, 3])
def test_the_file_predicts_what_the_checkpoint_does_in_any_batch(exported, batch):
    folder, _ = exported
    network, _ = load_for_inference(folder / "best.pt")
    image = torch.randn(batch, 1, 64, 64, generator=torch.Generator().manual_seed(batch))
    session = onnxruntime.InferenceSession(
        folder / "hrnet_small.onnx", providers=["CPUExecutionProvider"]
    )
    (logits,) = session.run(["logits"], {"image": image.numpy()})
    with torch.inference_mode():
        np.testing.assert_allclose(logits, network(image), atol=1e-3)
    assert logits.shape == (batch, 3, 64, 64)


def test_the_metadata_holds_all_that_a_prediction_needs(exported):
    session = onnxruntime.InferenceSession(
        exported[0] / "hrnet_small.onnx", providers=["CPUExecutionProvider"]
    )
    metadata = session.get_modelmeta().custom_metadata_map
    assert {key: json.loads(value) for key, value in metadata.items()} == {
        "class_names": NAMES,
        "mean": 40.25,
        "std": 51.5,
        "size": 64,
        "model": "hrnet_small",
    }


def test_a_folds_run_is_exported_under_the_name_that_is_asked_for(tracker, folder):
    code, output, errors = run(folder, "--run", tracker.ids["fold0"], "--out", "made/hands.onnx")
    assert (code, complaints(errors)) == (0, [])
    assert output.splitlines()[-1].startswith("made/hands.onnx: ")
    assert [path.name for path in (folder / "made").iterdir()] == ["hands.onnx"]


def test_a_run_of_all_folds_names_its_folds(job, tracker):
    with pytest.raises(ValueError) as caught:
        job.main(["--run", tracker.ids["parent"]])
    ids = tracker.ids
    assert str(caught.value) == (
        f"--run {ids['parent']} (mine) is a run of all folds; "
        f"name one of its folds: {ids['fold0']}, {ids['fold1']}"
    )


def test_unfinished_and_unknown_runs_are_named(job, tracker):
    with pytest.raises(ValueError, match=r"\(mine-fold1\) has no best.pt; did its training"):
        job.main(["--run", tracker.ids["fold1"]])
    with pytest.raises(ValueError, match="--run abc: no such run at sqlite"):
        job.main(["--run", "abc"])


def test_a_run_without_a_store_is_told_and_no_store_is_made(job, folder):
    with pytest.raises(ValueError, match="--run abc: there is no tracking store at sqlite"):
        job.main(["--run", "abc"])
    assert not list(folder.iterdir())


@pytest.mark.parametrize(
    "content, sentence",
    [
        (None, "best.pt: no such file; give the best.pt of a fold"),
        (b"", "best.pt is not a checkpoint that torch can read"),
        (b"words, words", "best.pt is not a checkpoint that torch can read"),
        ({"conv.weight": torch.zeros(1)}, "no facts about its network, so it is no handray"),
        ({"weights": {}, "about": "{}"}, "no facts about its network, so it is no handray"),
        ({"weights": {}, "about": "no JSON"}, "no facts about its network, so it is no handray"),
        ([1, 2], "no facts about its network, so it is no handray"),
        (
            {"weights": {}, "about": json.dumps(ABOUT | {"config": {"model": {"model": "vgg"}}})},
            "best.pt is of a network that can't be built here: --model vgg is not known",
        ),
        (
            {"weights": {}, "about": json.dumps(ABOUT)},
            "the weights in best.pt are not those of hrnet_small with 3 classes",
        ),
    ],
)
def test_each_file_that_is_no_checkpoint_is_one_sentence(job, folder, content, sentence):
    if isinstance(content, bytes):
        Path("best.pt").write_bytes(content)
    elif content is not None:
        torch.save(content, "best.pt")
    with pytest.raises(ValueError) as caught:
        job.main(["--checkpoint", "best.pt"])
    assert sentence in str(caught.value) and "\n" not in str(caught.value)
    assert not list(folder.glob("*.onnx"))


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        ([], "one of the arguments --run --checkpoint is required; see --help"),
        (["--run", "a", "--checkpoint", "b"], "--checkpoint: not allowed with argument --run"),
        (["--checkpoint", "no.pt"], "no.pt: no such file; give the best.pt of a fold"),
        (["--checkpoint", "x", "--out", "."], "can't write ONNX to .; name a file that ends in"),
        (["--checkpoint", "x", "--out", "x.pt"], "can't write ONNX to x.pt; name a file that ends"),
        (["--checkpoint", "x.onnx", "--out", "x.onnx"], "--out x.onnx is the checkpoint"),
    ],
)
def test_each_mistake_is_one_sentence_code_2_and_leaves_nothing(folder, arguments, sentence):
    code, output, errors = run(folder, *arguments)
    assert (code, output) == (2, "")
    assert errors.startswith("error: ") and errors.count("\n") == 1 and sentence in errors
    assert not list(folder.iterdir())


@pytest.mark.parametrize("package", ["onnx", "onnxruntime", "onnxscript"])
def test_a_missing_package_is_told_with_the_command_that_installs_it(job, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ValueError) as caught:
        job.main(["--checkpoint", "best.pt"])
    assert str(caught.value) == (
        "export needs onnx, onnxruntime and onnxscript: pip install 'handray[export]'"
    )


def test_a_file_that_disagrees_with_torch_is_code_1_and_one_sentence(
    job, folder, monkeypatch, capsys
):
    from handray.inference import onnx_export

    untrained(folder / "best.pt")
    monkeypatch.setattr(onnx_export, "_write", lambda *_: 20)
    monkeypatch.setattr(onnx_export, "_differences", lambda *_: (0.5, 0.125))
    assert job.main(["--checkpoint", "best.pt"]) == 1
    assert capsys.readouterr().err == (
        "error: the ONNX file disagrees with torch: a probability is 0.12 off, more than 0.001, "
        "so hrnet_small.onnx was not written; please report it\n"
    )
    assert [path.name for path in folder.iterdir()] == ["best.pt"]
