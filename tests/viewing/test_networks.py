"""Networks as uploads: what they predict, and that nothing in a file is run or followed."""

import io
import json
import pickle
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from handray.inference.onnx_export import export_onnx
from handray.inference.predict import runs_from_logits
from handray.inference.trained import TrainedNetwork
from handray.viewing.networks import ask, open_network
from handray.viewing.uploads import read_picture

NAMES = ("one", "two", "three")
COLOUR = np.random.default_rng(0).integers(0, 256, (90, 70, 3), dtype=np.uint8)
PICTURE = read_picture(cv2.imencode(".png", COLOUR)[1].tobytes(), "hand.png")
FACTS = {"class_names": ["light", "dark"], "mean": 100.0, "std": 50.0, "size": 32, "model": "tiny"}


def tiny_onnx(channels: int = 1, facts: dict | None = None) -> onnx.ModelProto:
    """Logits are the last channel, normalised, and its negative."""
    weights = np.zeros((2, channels, 1, 1), np.float32)
    weights[:, -1, 0, 0] = 1, -1
    shapes = [("image", channels), ("logits", 2)]
    image, logits = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", count, 32, 32])
        for name, count in shapes
    )
    node = helper.make_node("Conv", ["image", "w"], ["logits"])
    graph = helper.make_graph(
        [node], "tiny", [image], [logits], [numpy_helper.from_array(weights, "w")]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    about = {key: json.dumps(value) for key, value in (FACTS if facts is None else facts).items()}
    helper.set_model_props(model, about)
    return model


def test_a_checkpoint_predicts_as_it_does_in_jobs(untrained, tmp_path):
    path = untrained(tmp_path / "best.pt", NAMES)
    said = ask(open_network(path.read_bytes(), "best.pt"), PICTURE, None, colour=False)
    logits = TrainedNetwork(path, torch.device("cpu")).logits(PICTURE.image_HW)
    assert said.class_names == NAMES
    assert np.array_equal(said.logits_CHW, logits)
    expected = runs_from_logits(logits, PICTURE.hw)
    assert any(len(runs) for runs in expected)
    assert all(np.array_equal(said.rows_C[c], runs) for c, runs in enumerate(expected))


def test_another_size_is_another_model_frame(untrained, tmp_path):
    network = open_network(untrained(tmp_path / "best.pt", NAMES).read_bytes(), "best.pt")
    assert ask(network, PICTURE, 96, colour=False).logits_CHW.shape == (3, 96, 96)
    with pytest.raises(ValueError, match="takes multiples of 32 px, got 100"):
        ask(network, PICTURE, 100, colour=False)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("colour", [False, True])
def test_onnx_sees_gray_or_where_it_takes_three_channels_rgb(channels, colour):
    network = open_network(tiny_onnx(channels).SerializeToString(), "tiny.onnx")
    said = ask(network, PICTURE, None, colour)
    # The last channel of RGB is blue, the first of OpenCV's BGR.
    seen = COLOUR[..., 0] if channels == 3 and colour else PICTURE.image_HW
    expected = (cv2.resize(seen, (32, 32), interpolation=cv2.INTER_LINEAR) - 100.0) / 50
    assert said.class_names == ("light", "dark")
    np.testing.assert_allclose(said.logits_CHW, [expected, -expected], atol=0.02)


def test_an_export_of_this_project_opens(tmp_path):
    torch.manual_seed(0)
    model = torch.nn.Conv2d(1, 2, 3, padding=1).eval()
    export_onnx(model, 32, FACTS, tmp_path / "hands.onnx")
    said = ask(
        open_network((tmp_path / "hands.onnx").read_bytes(), "hands.onnx"), PICTURE, 32, False
    )
    resized = cv2.resize(PICTURE.image_HW, (32, 32), interpolation=cv2.INTER_LINEAR)
    with torch.inference_mode():
        expected = model((torch.from_numpy(resized)[None, None].float() - 100) / 50)[0]
    np.testing.assert_allclose(said.logits_CHW, expected.numpy(), atol=1e-4)


def test_an_onnx_file_has_one_size():
    network = open_network(tiny_onnx().SerializeToString(), "tiny.onnx")
    with pytest.raises(ValueError, match="one size, 32 px here"):
        ask(network, PICTURE, 512, colour=False)


class Bomb:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self):
        return Path.touch, (self.target,)


@pytest.mark.parametrize("suffix", ["pt", "pth"])
@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_checkpoint_is_not_run(tmp_path, suffix, zipped):
    target, content = tmp_path / "was_run", io.BytesIO()
    bomb = {"weights": {}, "about": Bomb(target)}
    if zipped:
        torch.save(bomb, content)
    else:
        pickle.dump(bomb, content)
    with pytest.raises(ValueError, match=rf"evil\.{suffix} is not a checkpoint that torch can"):
        open_network(content.getvalue(), f"evil.{suffix}")
    assert not target.exists()


@pytest.mark.parametrize("place", ["secret.bin", "../here/secret.bin", "absolute"])
def test_weights_beside_an_onnx_file_are_not_followed(tmp_path, monkeypatch, place):
    secret = tmp_path / "here" / "secret.bin"
    secret.parent.mkdir()
    secret.write_bytes(bytes(8))
    monkeypatch.chdir(secret.parent)
    model = tiny_onnx()
    weights = model.graph.initializer[0]
    place = str(secret) if place == "absolute" else place
    onnx.external_data_helper.set_external_data(weights, place, 0, 8)
    weights.ClearField("raw_data")
    with pytest.raises(ValueError, match=r"evil\.onnx is no network that ONNX Runtime can load"):
        open_network(model.SerializeToString(), "evil.onnx")


@pytest.mark.parametrize(
    "content, name, message",
    [
        (b"nonsense", "a.pt", r"a\.pt is not a checkpoint that torch can read; give the best.pt"),
        (b"", "a.pth", r"a\.pth is not a checkpoint"),
        (b"nonsense", "a.onnx", r"a\.onnx is no network"),
        (b"", "a.onnx", r"a\.onnx is no network"),
        (tiny_onnx(facts={}).SerializeToString(), "a.onnx", "doesn't say what it needs and finds"),
        (tiny_onnx(2).SerializeToString(), "a.onnx", "takes images of 2 channels; 1 or 3"),
        (b"", "a.pkl", r"a\.pkl: a network's file ends in pt, pth, onnx"),
    ],
)
def test_what_is_no_network_is_refused_by_name(content, name, message):
    with pytest.raises(ValueError, match=message):
        open_network(content, name)
