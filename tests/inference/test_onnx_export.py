"""ONNX files computed by ONNX Runtime, and nothing but sentences where they would be wrong."""

import json
import warnings

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from handray.inference import onnx_export
from handray.inference.onnx_export import ExportError, export_onnx


class Doubled(nn.Module):
    """Two classes: the image twice over, plus a weight that is 0.5, and its negative."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(0.5))

    def forward(self, image):
        return torch.cat([2 * image + self.weight, -2 * image - self.weight], dim=1)


class Moody(Doubled):
    """Answers otherwise each time that it is asked, so that no file can be right."""

    asked = 0

    def forward(self, image):
        self.asked += 1
        return super().forward(image) + self.asked


class NotANumber(Doubled):
    def forward(self, image):
        return super().forward(image) * float("nan")


class OneByOne(Doubled):
    """Right for any batch, but what is traced is right for as many images only."""

    def forward(self, image):
        return torch.cat([super(OneByOne, self).forward(one[None]) for one in image])


@pytest.fixture(scope="module")
def doubled(tmp_path_factory):
    path = tmp_path_factory.mktemp("onnx") / "made" / "doubled.onnx"
    return path, export_onnx(Doubled().eval(), 8, {"class_names": ["Ä", "b"], "mean": 41.5}, path)


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_any_batch_gives_the_logits_of_the_network(doubled, batch):
    session = onnxruntime.InferenceSession(doubled[0], providers=["CPUExecutionProvider"])
    image = np.full((batch, 1, 8, 8), 3, np.float32)
    (logits,) = session.run(["logits"], {"image": image})
    assert logits.shape == (batch, 2, 8, 8) and logits.dtype == np.float32
    assert (logits[:, 0] == 6.5).all() and (logits[:, 1] == -6.5).all()


def test_only_the_batch_axis_is_open(doubled):
    session = onnxruntime.InferenceSession(doubled[0], providers=["CPUExecutionProvider"])
    assert session.get_inputs()[0].shape == ["batch", 1, 8, 8]
    assert session.get_outputs()[0].shape == ["batch", 2, 8, 8]


def test_facts_come_back_from_the_metadata_as_json(doubled):
    session = onnxruntime.InferenceSession(doubled[0], providers=["CPUExecutionProvider"])
    metadata = session.get_modelmeta().custom_metadata_map
    facts = {key: json.loads(value) for key, value in metadata.items()}
    assert facts == {"class_names": ["Ä", "b"], "mean": 41.5}
    assert "divided by std" in onnx.load(doubled[0]).doc_string


def test_the_file_is_one_and_holds_no_paths_of_this_machine(doubled):
    path, exported = doubled
    assert [file.name for file in path.parent.iterdir()] == ["doubled.onnx"]
    assert exported.size_bytes == path.stat().st_size
    assert b".py" not in path.read_bytes()
    onnx.checker.check_model(onnx.load(path), full_check=True)


def test_weights_too_large_for_one_file_lie_beside_it_and_are_found(tmp_path, monkeypatch):
    from torch.onnx._internal.exporter import _onnx_program

    monkeypatch.setattr(_onnx_program, "_LARGE_MODEL_THRESHOLD", 1000)
    wide = nn.Sequential(nn.Conv2d(1, 64, 3, padding=1), nn.Conv2d(64, 2, 3, padding=1)).eval()
    path = tmp_path / "wide.onnx"
    exported = export_onnx(wide, 8, {}, path)
    files = sorted(tmp_path.iterdir())
    assert [file.name for file in files] == ["wide.onnx", "wide.onnx.data"]
    assert exported.size_bytes == sum(file.stat().st_size for file in files)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    assert session.run(None, {"image": np.zeros((1, 1, 8, 8), np.float32)})[0].shape[1] == 2


def test_differences_are_tiny_where_onnx_is_right(doubled):
    _, exported = doubled
    assert exported.logits_difference < 1e-5 and exported.probability_difference < 1e-6


@pytest.mark.parametrize(
    "model, off",
    [(Moody(), r"a probability is 0\.\d+ off, more than 0.001"), (NotANumber(), "is nan off")],
)
def test_a_file_that_disagrees_is_an_error_and_leaves_the_old_one(tmp_path, model, off):
    path = tmp_path / "network.onnx"
    path.write_text("the old one")
    with pytest.raises(ExportError, match=off):
        export_onnx(model.eval(), 8, {}, path)
    assert [file.name for file in tmp_path.iterdir()] == ["network.onnx"]
    assert path.read_text() == "the old one"


def test_a_network_that_fixes_the_batch_is_never_written(tmp_path):
    with pytest.raises(ExportError, match="takes batches of 2 only"):
        export_onnx(OneByOne().eval(), 8, {}, tmp_path / "network.onnx")
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_is_told_before_the_export(tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_export, "_write", lambda *_: pytest.fail("exported"))
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError) as caught:
        export_onnx(Doubled().eval(), 8, {}, tmp_path / "file" / "network.onnx")
    assert caught.value.filename == str(tmp_path / "file" / "network.onnx")


def test_the_exporter_says_nothing_and_later_warnings_are_heard(tmp_path, capfd):
    export_onnx(Doubled().eval(), 8, {}, tmp_path / "network.onnx")
    assert capfd.readouterr() == ("", "")
    with pytest.warns(UserWarning, match="heard"):
        warnings.warn("heard", stacklevel=1)
